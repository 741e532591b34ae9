//! What processes use, read in /proc: the server, the database's backends, ourselves, the machine.
//!
//! PostgreSQL writes the name of its database into the title of each backend; the other processes
//! of that server are found by their common parent. CPU times are in microseconds, exact to one
//! tick of 10 ms.

use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

/// One tick of /proc's CPU times (USER_HZ is 100 on Linux).
const TICK_US: u64 = 10_000;

/// CPU times up to one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// When, from the beginning of the run.
    pub at: Duration,
    /// The server, all threads.
    pub server_us: u64,
    /// Backends of our database.
    pub backends_us: u64,
    /// Checkpointer, writers and autovacuum of that PostgreSQL.
    pub background_us: u64,
    /// The load generator.
    pub own_us: u64,
    /// Everything on the machine.
    pub machine_us: u64,
    /// How often SQLite began its log anew.
    pub log_restarts: u32,
}

/// Process ids that grow in number while somebody looks.
#[derive(Clone, Debug, Default)]
pub struct Pids(Arc<Mutex<Vec<u32>>>);

impl Pids {
    /// One more.
    pub fn add(&self, pid: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
    }

    fn all(&self) -> Vec<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whom to look at.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The server's processes, those that are gone too.
    server: Pids,
    /// Our PostgreSQL database's name.
    database: Option<String>,
    /// SQLite's log.
    log: PathBuf,
}

impl Watched {
    /// These processes, that database, and SQLite's log in that folder.
    pub fn new(server: Pids, postgres: Option<&str>, data: &Path) -> Self {
        let database = postgres.and_then(database_of);
        Self { server, database, log: data.join("parcours.sqlite-wal") }
    }
}

/// Looks once a second until it is dropped.
pub struct Watch {
    readings: Arc<Mutex<Vec<Reading>>>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Begins to look.
    pub fn start(watched: Watched, began: Instant) -> Self {
        let readings = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&readings);
        let task = tokio::spawn(async move {
            let mut eye = Eye::new(watched);
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            loop {
                tick.tick().await;
                let reading = eye.look(began.elapsed());
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(reading);
            }
        });
        Self { readings, task }
    }

    /// The readings from `from` to `to`: first and last say what was used between.
    pub fn window(&self, from: Duration, to: Duration) -> Vec<Reading> {
        let all = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|one| one.at >= from && one.at <= to).copied().collect()
    }
}

/// Remembers processes that are gone: what they used counts on.
struct Eye {
    watched: Watched,
    /// By process of the server: the last reading.
    server: HashMap<u32, u64>,
    /// By process of the database: whether it is a backend, and the last reading.
    database: HashMap<u32, (bool, u64)>,
}

impl Eye {
    fn new(watched: Watched) -> Self {
        Self { watched, server: HashMap::new(), database: HashMap::new() }
    }

    fn look(&mut self, at: Duration) -> Reading {
        for pid in self.watched.server.all() {
            if let Some(us) = cpu_us(pid) {
                self.server.insert(pid, us);
            }
        }
        if let Some(name) = &self.watched.database {
            for (pid, backend) in processes_of(name) {
                if let Some(us) = cpu_us(pid) {
                    self.database.insert(pid, (backend, us));
                }
            }
        }
        let of = |wanted: bool| {
            self.database.values().filter(|(backend, _)| *backend == wanted).map(|(_, us)| us).sum()
        };
        Reading {
            at,
            server_us: self.server.values().sum(),
            backends_us: of(true),
            background_us: of(false),
            own_us: cpu_us(std::process::id()).unwrap_or(0),
            machine_us: machine_us(),
            log_restarts: log_restarts(&self.watched.log).unwrap_or(0),
        }
    }
}

/// The database's name in a PostgreSQL URL.
fn database_of(url: &str) -> Option<String> {
    let path = url.split_once("://")?.1.split_once('/')?.1;
    Some(path.split(['?', '/']).next()?.to_owned()).filter(|name| !name.is_empty())
}

/// Backends of the database (true), and the helpers of the same server (false).
fn processes_of(database: &str) -> Vec<(u32, bool)> {
    let all: Vec<(u32, u32, String)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let title = title.strip_prefix("postgres: ")?.trim_end_matches('\0').to_owned();
            Some((pid, parent(pid)?, title))
        })
        .collect();
    let names = |title: &str| title.split(' ').any(|word| word == database);
    let is_helper = |title: &str| {
        ["checkpointer", "background writer", "walwriter", "autovacuum"]
            .iter()
            .any(|helper| title.starts_with(helper))
    };
    let server = all.iter().find(|(_, _, title)| names(title)).map(|(_, parent, _)| *parent);
    all.iter()
        .filter(|(_, parent, _)| Some(*parent) == server)
        .filter_map(|(pid, _, title)| match (names(title), is_helper(title)) {
            (_, true) => Some((*pid, false)),
            (true, false) => Some((*pid, true)),
            (false, false) => None,
        })
        .collect()
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// User and system time of a process, with all its threads.
fn cpu_us(pid: u32) -> Option<u64> {
    let fields = stat(pid)?;
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) * TICK_US)
}

/// Resident memory of a process, in bytes: now, and at most until now.
pub fn resident(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// Everything that was not idle since the machine started.
fn machine_us() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let fields: Vec<u64> =
        first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, ...: the 4th and 5th are rest.
    let busy = fields.iter().take(8).enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
    busy.map(|(_, ticks)| ticks * TICK_US).sum()
}

/// The checkpoint sequence number in a SQLite log's header (SQLite file format, section 4.1).
fn log_restarts(log: &Path) -> Option<u32> {
    let mut header = [0; 16];
    fs::File::open(log).ok()?.read_exact(&mut header).ok()?;
    Some(u32::from_be_bytes(header[12..].try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_as_the_kernel_counts_it() {
        let own = std::process::id();
        let before = cpu_us(own).unwrap();
        let began = Instant::now();
        let mut spun = 0_u64;
        while began.elapsed() < Duration::from_millis(120) {
            spun = spun.wrapping_add(1);
        }
        assert!(spun > 0);
        // The thread has spun for at least some of the time, however busy the machine is.
        assert!(cpu_us(own).unwrap() > before);
        let (now, most) = resident(own).unwrap();
        assert!(now > 100_000 && most >= now);
        assert!(machine_us() > 0);
        assert!(parent(own).is_some());
    }

    #[test]
    fn the_database_is_named_by_the_url() {
        let named = |url| database_of(url);
        assert_eq!(named("postgres://u@127.0.0.1:5432/load_1"), Some("load_1".to_owned()));
        assert_eq!(named("postgres://u@h/load?sslmode=disable"), Some("load".to_owned()));
        assert_eq!(named("postgres://u@h"), None);
    }
}
