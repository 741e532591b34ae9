//! One proxied connection: two sockets, two threads, and what happens to each direction.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Direction, Way, lock};

/// How long a write into a full connection lasts before it looks whether the line was ended.
const WRITE_LOOK: Duration = Duration::from_millis(50);

/// What looks at the bytes of one direction on their way.
pub(super) trait Filter: Send + 'static {
    /// Takes what has arrived and sends on what shall be sent on.
    fn pass(&mut self, bytes: &[u8], line: &Line, direction: Direction) -> io::Result<()>;
}

/// Sends on what arrives.
pub(super) struct Plain;

impl Filter for Plain {
    fn pass(&mut self, bytes: &[u8], line: &Line, direction: Direction) -> io::Result<()> {
        line.send(direction, bytes)
    }
}

/// A client with its connection to the target; closed when both threads are through.
pub(super) struct Line {
    client: TcpStream,
    server: TcpStream,
    ways: Mutex<[Way; 2]>,
    changed: Condvar,
    ended: AtomicBool,
}

impl Line {
    pub(super) fn new(client: TcpStream, server: TcpStream, ways: [Way; 2]) -> io::Result<Self> {
        for stream in [&client, &server] {
            // A Unix socket has no such thing.
            let _ = stream.set_nodelay(true);
            stream.set_write_timeout(Some(WRITE_LOOK))?;
        }
        let ended = AtomicBool::new(false);
        Ok(Self { client, server, ways: Mutex::new(ways), changed: Condvar::new(), ended })
    }

    pub(super) fn set(&self, direction: Direction, way: Way) {
        lock(&self.ways)[direction as usize] = way;
        self.changed.notify_all();
    }

    /// FIN to both; whatever waits is lost.
    pub(super) fn cut(&self) {
        self.end();
        for stream in [&self.client, &self.server] {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// RST to both, once the threads have let go: closing with a linger time of zero does it.
    pub(super) fn reset(&self) {
        for stream in [&self.client, &self.server] {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        self.end();
        for stream in [&self.client, &self.server] {
            // Wakes the thread that reads, and tells the other side nothing.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    fn end(&self) {
        let held = lock(&self.ways);
        self.ended.store(true, Ordering::SeqCst);
        drop(held);
        self.changed.notify_all();
    }

    /// Sends on in this direction, until all is sent or the line ends.
    pub(super) fn send(&self, direction: Direction, mut bytes: &[u8]) -> io::Result<()> {
        let mut to = match direction {
            Direction::ToServer => &self.server,
            Direction::ToClient => &self.client,
        };
        while !bytes.is_empty() {
            if self.ended.load(Ordering::SeqCst) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            match to.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until what has arrived may go on: true, or is to be lost: false.
    fn may_pass(&self, direction: Direction) -> io::Result<bool> {
        let arrived = Instant::now();
        let mut ways = lock(&self.ways);
        loop {
            if self.ended.load(Ordering::SeqCst) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            ways = match ways[direction as usize] {
                Way::Open => return Ok(true),
                Way::Lost => return Ok(false),
                Way::Frozen => self.changed.wait(ways).unwrap_or_else(PoisonError::into_inner),
                Way::Delayed(by) => match by.checked_sub(arrived.elapsed()) {
                    None | Some(Duration::ZERO) => return Ok(true),
                    Some(left) => {
                        let waited = self.changed.wait_timeout(ways, left);
                        waited.unwrap_or_else(PoisonError::into_inner).0
                    }
                },
            };
        }
    }

    fn carry(&self, direction: Direction, filter: &mut impl Filter) -> io::Result<()> {
        let (mut from, to) = match direction {
            Direction::ToServer => (&self.client, &self.server),
            Direction::ToClient => (&self.server, &self.client),
        };
        let mut piece = vec![0; 16 << 10];
        loop {
            let length = match from.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            let pass = self.may_pass(direction)?;
            match piece.get(..length) {
                None | Some([]) if pass => return to.shutdown(Shutdown::Write),
                None | Some([]) => return self.stay_silent(direction),
                Some(bytes) if pass => filter.pass(bytes, self, direction)?,
                Some(_lost) => {}
            }
        }
    }

    /// One side has closed and the other must not know: until the line ends or this way opens.
    fn stay_silent(&self, direction: Direction) -> io::Result<()> {
        let mut ways = lock(&self.ways);
        while !self.ended.load(Ordering::SeqCst) && ways[direction as usize] == Way::Lost {
            ways = self.changed.wait(ways).unwrap_or_else(PoisonError::into_inner);
        }
        Err(ErrorKind::ConnectionAborted.into())
    }
}

/// Starts the thread of one direction. A fault of either side ends both.
pub(super) fn pump(line: &Arc<Line>, direction: Direction, mut filter: impl Filter) {
    let line = Arc::clone(line);
    thread::spawn(move || {
        if line.carry(direction, &mut filter).is_err() && !line.ended.load(Ordering::SeqCst) {
            line.cut();
        }
    });
}

/// Connects to `host:port`, or to the Unix socket of that path; both are only read, written and
/// shut down here, which is the same for either.
pub(super) fn dial(target: &str) -> io::Result<TcpStream> {
    if target.starts_with('/') {
        return Ok(TcpStream::from(OwnedFd::from(UnixStream::connect(target)?)));
    }
    TcpStream::connect(target)
}

/// Turns a client away with a reset.
pub(super) fn abandon(client: TcpStream) {
    let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
    drop(client);
}
