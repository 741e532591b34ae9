//! A TCP proxy on loopback that does to connections what networks and dying machines do.
//!
//! Put it between the product and its database, mail server or client, then, at any moment and
//! for each direction: hold the bytes back ([`Way::Frozen`]), slow them ([`Way::Delayed`]), or
//! lose them without a word ([`Way::Lost`], a half-open connection); end every connection in
//! order ([`Proxy::cut`]) or with a reset ([`Proxy::reset`]); turn new ones away
//! ([`Proxy::refuse`]). For PostgreSQL, [`Proxy::postgres`] also shows each COMMIT to a hook just
//! before the server would see it; see [`postgres`].
//!
//! What always holds: bytes keep their order and none is made up; a connection that ends on one
//! side ends on the other, unless that direction is frozen or lost; dropping the proxy ends
//! every connection. Two threads for each connection, so some hundreds are the limit.

mod line;
pub mod postgres;

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use line::{Line, Plain};
use postgres::CommitHook;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connected to the target.
    ToServer,
    /// From the target to whoever connected.
    ToClient,
}

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// They pass.
    #[default]
    Open,
    /// Each piece that arrives waits this long first.
    Delayed(Duration),
    /// They wait until the direction thaws; so does the news that a side has closed.
    Frozen,
    /// They vanish; so does the news that a side has closed.
    Lost,
}

/// A running proxy.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    hook: Option<Arc<CommitHook>>,
    /// What new connections begin with: to the server, to the client.
    coming: Mutex<[Way; 2]>,
    lines: Mutex<Vec<Weak<Line>>>,
    refusing: AtomicBool,
    ended: AtomicBool,
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl Proxy {
    /// Forwards to `target`, `host:port` or the path of a Unix socket, from a free port of its own.
    ///
    /// # Errors
    /// No port can be had.
    pub fn to(target: impl Into<String>) -> io::Result<Self> {
        Self::start(target.into(), None)
    }

    fn start(target: String, hook: Option<Arc<CommitHook>>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            hook,
            coming: Mutex::default(),
            lines: Mutex::default(),
            refusing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || accepting.accept(&listener))?;
        Ok(Self { address, shared })
    }

    /// Where to connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this happens to this direction of every connection, present or new.
    pub fn set(&self, direction: Direction, way: Way) {
        self.set_new(direction, way);
        for line in self.shared.present() {
            line.set(direction, way);
        }
    }

    /// From now on this happens to this direction of new connections; present ones stay as they are.
    pub fn set_new(&self, direction: Direction, way: Way) {
        lock(&self.shared.coming)[direction as usize] = way;
    }

    /// Both directions of every connection.
    pub fn freeze(&self) {
        self.set(Direction::ToServer, Way::Frozen);
        self.set(Direction::ToClient, Way::Frozen);
    }

    /// Both directions of every connection pass again.
    pub fn thaw(&self) {
        self.set(Direction::ToServer, Way::Open);
        self.set(Direction::ToClient, Way::Open);
    }

    /// Ends the present connections in order (FIN on both sides), whatever was under way.
    pub fn cut(&self) {
        self.shared.present().iter().for_each(|line| line.cut());
    }

    /// Ends the present connections with a reset (RST on both sides).
    pub fn reset(&self) {
        self.shared.present().iter().for_each(|line| line.reset());
    }

    /// Whether new connections are reset as soon as they are made.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.present().len()
    }

    /// Connections that were ever made through it.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections that were turned away as [`Proxy::refuse`] says.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which sees the flag; if nobody listens any more, good.
        let _ = TcpStream::connect(self.address);
        self.cut();
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { continue };
            if self.refusing.load(Ordering::SeqCst) {
                self.refused.fetch_add(1, Ordering::SeqCst);
                line::abandon(client);
                continue;
            }
            // A target that refuses is shown to the client as a reset.
            match line::dial(&self.target) {
                Ok(server) => self.join(client, server),
                Err(_) => line::abandon(client),
            }
        }
    }

    fn join(&self, client: TcpStream, server: TcpStream) {
        let ways = *lock(&self.coming);
        let number = self.accepted.fetch_add(1, Ordering::SeqCst);
        let Ok(line) = Line::new(client, server, ways) else { return };
        let line = Arc::new(line);
        let mut lines = lock(&self.lines);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        drop(lines);
        match &self.hook {
            None => {
                line::pump(&line, Direction::ToServer, Plain);
                line::pump(&line, Direction::ToClient, Plain);
            }
            Some(hook) => {
                let (front, back) = postgres::ends(Arc::clone(hook), number);
                line::pump(&line, Direction::ToServer, front);
                line::pump(&line, Direction::ToClient, back);
            }
        }
    }

    fn present(&self) -> Vec<Arc<Line>> {
        lock(&self.lines).iter().filter_map(Weak::upgrade).collect()
    }
}

/// A lock whose holder panicked is taken all the same: what it guards is plain values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
