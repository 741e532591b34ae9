//! The command line. The script `load-tests/run` fills in the binary and the database.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Durable events a second, and what each costs.
    Steady,
    /// How fast a backlog of timers that are due at once is worked off.
    Timers,
    /// What an active contact holds in memory, and that a passivated one holds nothing.
    Actors,
    /// Timers that are due in the same second, beside live events: none early, each once, how late.
    Stampede,
    /// Workers that are restarted one after another under load: what clients notice.
    Rolling,
    /// One brand sends as fast as it can while the others trickle: what they notice.
    Burst,
    /// Delays that wait in great number: what they hold in memory, and what live events notice.
    Pending,
    /// Rows that pass through timers, queue and inbox while somebody holds an old snapshot open: how
    /// large the tables grow, and that they shrink to a bound afterwards.
    Churn,
    /// Mass work in the inbox: how fast it goes, and what live events of another brand notice.
    Bulk,
}

/// Options.
#[derive(Clone, Debug, Parser)]
#[command(name = "parcours-load", about = "Load tests of Parcours", max_term_width = 100)]
pub struct Args {
    /// What to show.
    pub scenario: Scenario,
    /// The server's binary; it is started with an empty store and ended afterwards.
    #[arg(long)]
    pub server: PathBuf,
    /// Folder for the server's data and log; made when absent.
    #[arg(long)]
    pub work: PathBuf,
    /// An empty PostgreSQL database; SQLite without it.
    #[arg(long)]
    pub postgres: Option<String>,
    /// Where the plot goes.
    #[arg(long, default_value = "load.svg")]
    pub plot: PathBuf,
    /// Brands.
    #[arg(long, default_value_t = 20)]
    pub brands: usize,
    /// Contacts in all: of the steady run, due at once (timers, stampede), active at once (actors),
    /// with a delay each (pending), or with mass work (bulk). 100,000 without it; pending:
    /// 1,000,000; churn: 20,000.
    #[arg(long)]
    contacts: Option<usize>,
    /// Connections that send at once.
    #[arg(long, default_value_t = 32)]
    pub users: usize,
    /// Items in a batch.
    #[arg(long, default_value_t = 100)]
    pub batch: usize,
    /// Seconds that are measured: 120 without it (steady); of each phase: 20 (stampede, rolling,
    /// burst, pending, bulk); how old the snapshot becomes: 600 (churn).
    #[arg(long)]
    seconds: Option<u64>,
    /// Seconds of the same traffic before that (steady).
    #[arg(long, default_value_t = 15)]
    pub warm_up: u64,
    /// Worker processes apart from the one that clients speak to; none: one process is everything.
    /// They need --postgres; rolling takes 3 without it.
    #[arg(long, requires = "postgres")]
    workers: Option<usize>,
    /// A Redis that the processes share.
    #[arg(long)]
    pub redis: Option<String>,
    /// Batches a second, at most, of all users; as many as are answered without it (steady).
    #[arg(long)]
    pub batches_per_second: Option<usize>,
    /// Batches a second of the live traffic beside what is shown (all but steady, timers, actors).
    #[arg(long, default_value_t = 50)]
    pub live_rate: u32,
    /// Items in a batch of the live traffic.
    #[arg(long, default_value_t = 10)]
    pub live_batch: usize,
    /// Keys of earlier events of today that are there before (steady, with --postgres): what a repeat
    /// is recognised by is as large then for few contacts as for many.
    #[arg(long, default_value_t = 0, requires = "postgres")]
    pub event_keys: usize,
    /// For how many contacts each worker has room in memory; the server's default without it.
    #[arg(long)]
    active_contacts: Option<u32>,
    /// Inbox rows of mass work (bulk); passes through each queue (churn).
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: usize,
}

impl Args {
    /// How long is measured.
    pub const fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds())
    }

    /// The same in seconds.
    pub const fn seconds(&self) -> u64 {
        match (self.seconds, self.scenario) {
            (Some(seconds), _) => seconds,
            (None, Scenario::Steady) => 120,
            (None, Scenario::Churn) => 600,
            (None, _) => 20,
        }
    }

    /// How many contacts the scenario is about.
    pub const fn contacts(&self) -> usize {
        match (self.contacts, self.scenario) {
            (Some(contacts), _) => contacts,
            (None, Scenario::Pending) => 1_000_000,
            (None, Scenario::Churn) => 20_000,
            (None, _) => 100_000,
        }
    }

    /// How many processes are workers and nothing else; 0: one process is everything.
    pub const fn workers(&self) -> usize {
        match (self.workers, self.scenario) {
            (Some(workers), _) => workers,
            (None, Scenario::Rolling) => 3,
            (None, _) => 0,
        }
    }

    /// For how many contacts a worker has room in memory, if that is not its own affair: what is to
    /// be seen leaving leaves soon.
    pub const fn active_contacts(&self) -> Option<u32> {
        match (self.active_contacts, self.scenario) {
            (None, Scenario::Actors | Scenario::Pending) => Some(0),
            (said, _) => said,
        }
    }

    /// The processes for people, when there are several.
    pub fn processes(&self) -> String {
        let redis = if self.redis.is_some() { "with" } else { "without" };
        format!("gateway, delivery, consent, workers: {}; {redis} Redis", self.workers())
    }

    /// The database's name for people.
    pub const fn database(&self) -> &'static str {
        if self.postgres.is_some() { "PostgreSQL" } else { "SQLite" }
    }
}
