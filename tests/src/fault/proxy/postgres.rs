//! The proxy's eye for PostgreSQL: it sees each COMMIT before the server does.
//!
//! It reads the frontend messages of each connection: which statements a transaction has run, and
//! the simple query `COMMIT` that ends it. A hook then says what becomes of that COMMIT, so that
//! a test can lose it, lose its answer, or end the backend at exactly that moment.
//!
//! What always holds: until the hook returns, the server has not seen the COMMIT. With
//! [`OnCommit::Withhold`] the server's answer has arrived (so the transaction is over) and no byte
//! of it has reached the client when the closure runs. TLS is declined, so all can be read.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
};

use super::{
    Direction, Proxy,
    line::{Filter, Line},
    lock,
};

/// Asked at each COMMIT; it may block, and only its connection waits.
pub type CommitHook = dyn Fn(&Commit) -> OnCommit + Send + Sync;

/// A COMMIT that the server has not seen yet.
#[derive(Debug)]
pub struct Commit {
    /// The connection, counted from 0.
    pub connection: usize,
    /// The process id of its backend, as for `pg_terminate_backend`.
    pub backend: i32,
    /// The statements that the transaction has run, in order.
    pub statements: Vec<Arc<str>>,
}

impl Commit {
    /// Whether a statement of the transaction contains these words.
    #[must_use]
    pub fn ran(&self, words: &str) -> bool {
        self.statements.iter().any(|statement| statement.contains(words))
    }
}

/// What becomes of a COMMIT.
pub enum OnCommit {
    /// The server sees it, the client gets the answer.
    Pass,
    /// The connection is cut and the server never sees it.
    Lose,
    /// The server sees it and answers; then this runs; the client gets only what comes after.
    Withhold(Box<dyn FnOnce() + Send>),
    /// The server sees it and answers; the connection is cut and the client gets nothing.
    LoseAnswer,
}

impl Proxy {
    /// A proxy to the server of this URL, and the URL through it. The hook is asked at each COMMIT.
    ///
    /// # Errors
    /// The URL names no host, or no port can be had.
    pub fn postgres(
        url: &str,
        hook: impl Fn(&Commit) -> OnCommit + Send + Sync + 'static,
    ) -> anyhow::Result<(Self, String)> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = server.rsplit_once('@').unwrap_or(("postgres", server));
        // A directory is where the server's Unix socket is.
        let directory = query.split('&').find_map(|option| option.strip_prefix("host="));
        let target = match (directory, host.contains(':')) {
            (Some(directory), _) => format!("{directory}/.s.PGSQL.5432"),
            (None, true) => host.to_owned(),
            (None, false) => format!("{host}:5432"),
        };
        anyhow::ensure!(!target.starts_with(':'), "the URL names no host");
        let proxy = Self::start(target, Some(Arc::new(hook)))?;
        let through = format!("postgres://{user}@{}/{database}", proxy.address());
        Ok((proxy, through))
    }
}

/// What the two directions of one connection share.
#[derive(Default)]
struct Between {
    backend: i32,
    /// The answer to come is withheld, and this happens when it is there.
    withheld: Option<OnCommit>,
}

/// The two eyes of one connection.
pub(super) fn ends(hook: Arc<CommitHook>, connection: usize) -> (Front, Back) {
    let between = Arc::new(Mutex::new(Between::default()));
    let front = Front {
        hook,
        connection,
        between: Arc::clone(&between),
        started: false,
        buffer: Vec::new(),
        prepared: HashMap::new(),
        statements: Vec::new(),
    };
    (front, Back { between, buffer: Vec::new() })
}

/// Reads what the client says.
pub(super) struct Front {
    hook: Arc<CommitHook>,
    connection: usize,
    between: Arc<Mutex<Between>>,
    /// The start-up message has no type byte.
    started: bool,
    buffer: Vec<u8>,
    prepared: HashMap<Vec<u8>, Arc<str>>,
    statements: Vec<Arc<str>>,
}

/// `SSLRequest` and `GSSENCRequest` (PostgreSQL, "Message Formats").
const ENCRYPTION_REQUESTS: [i32; 2] = [80_877_103, 80_877_104];

impl Filter for Front {
    fn pass(&mut self, bytes: &[u8], line: &Line, _: Direction) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        let mut onward = Vec::with_capacity(self.buffer.len());
        while let Some(message) = take(&mut self.buffer, self.started) {
            if !self.started {
                if ENCRYPTION_REQUESTS.contains(&number(&message, 4)) {
                    line.send(Direction::ToClient, b"N")?;
                    continue;
                }
                self.started = true;
            } else if self.is_commit(&message) {
                // Everything before it must be with the server when the hook looks.
                line.send(Direction::ToServer, &onward)?;
                onward.clear();
                if !self.ask() {
                    line.cut();
                    return Ok(());
                }
            }
            onward.extend_from_slice(&message);
        }
        line.send(Direction::ToServer, &onward)
    }
}

impl Front {
    /// Keeps the books on statements; true for a COMMIT.
    fn is_commit(&mut self, message: &[u8]) -> bool {
        let body = message.get(5..).unwrap_or_default();
        match message.first() {
            Some(b'Q') => {
                let text = word(body);
                if text.eq_ignore_ascii_case(b"BEGIN") {
                    self.statements.clear();
                } else {
                    self.statements.push(text_of(text));
                }
                text.eq_ignore_ascii_case(b"COMMIT")
            }
            Some(b'P') => {
                let name = word(body);
                let text = text_of(word(body.get(name.len() + 1..).unwrap_or_default()));
                self.prepared.insert(name.to_vec(), text);
                false
            }
            Some(b'B') => {
                let portal = word(body);
                let name = word(body.get(portal.len() + 1..).unwrap_or_default());
                self.statements.extend(self.prepared.get(name).cloned());
                false
            }
            _ => false,
        }
    }

    /// Asks the hook; false when the connection is to be lost here.
    fn ask(&mut self) -> bool {
        let backend = lock(&self.between).backend;
        let statements = std::mem::take(&mut self.statements);
        match (self.hook)(&Commit { connection: self.connection, backend, statements }) {
            OnCommit::Pass => true,
            OnCommit::Lose => false,
            answer @ (OnCommit::Withhold(_) | OnCommit::LoseAnswer) => {
                lock(&self.between).withheld = Some(answer);
                true
            }
        }
    }
}

/// Reads what the server says.
pub(super) struct Back {
    between: Arc<Mutex<Between>>,
    buffer: Vec<u8>,
}

impl Filter for Back {
    fn pass(&mut self, bytes: &[u8], line: &Line, _: Direction) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        let mut onward = Vec::with_capacity(self.buffer.len());
        while let Some(message) = take(&mut self.buffer, true) {
            let mut between = lock(&self.between);
            let kind = message.first();
            if kind == Some(&b'K') {
                between.backend = number(&message, 5);
            }
            if between.withheld.is_none() {
                onward.extend_from_slice(&message);
            } else if kind == Some(&b'Z') {
                let then = between.withheld.take();
                drop(between);
                match then {
                    Some(OnCommit::Withhold(then)) => then(),
                    _ => {
                        line.cut();
                        return Ok(());
                    }
                }
            }
        }
        line.send(Direction::ToClient, &onward)
    }
}

/// The next whole message, if it is there; `typed` ones begin with a type byte.
fn take(buffer: &mut Vec<u8>, typed: bool) -> Option<Vec<u8>> {
    let at = usize::from(typed);
    buffer.get(at..at + 4)?;
    let length = usize::try_from(number(buffer, at)).unwrap_or(4).max(4) + at;
    (buffer.len() >= length).then(|| buffer.drain(..length).collect())
}

/// The big-endian number at this place; 0 beyond the end.
fn number(bytes: &[u8], at: usize) -> i32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map_or(0, i32::from_be_bytes)
}

/// The bytes up to the first NUL.
fn word(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text_of(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}
