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
    /// Brands (steady).
    #[arg(long, default_value_t = 20)]
    pub brands: usize,
    /// Contacts in all: of the steady run, due at once (timers), or active at once (actors).
    #[arg(long, default_value_t = 100_000)]
    pub contacts: usize,
    /// Connections that send at once.
    #[arg(long, default_value_t = 32)]
    pub users: usize,
    /// Items in a batch.
    #[arg(long, default_value_t = 100)]
    pub batch: usize,
    /// Seconds that are measured (steady).
    #[arg(long, default_value_t = 120)]
    pub seconds: u64,
    /// Seconds of the same traffic before that (steady).
    #[arg(long, default_value_t = 15)]
    pub warm_up: u64,
    /// Worker processes apart from the one that clients speak to; none: one process is everything.
    /// They need --postgres.
    #[arg(long, default_value_t = 0, requires = "postgres")]
    pub workers: usize,
    /// A Redis that the processes share.
    #[arg(long)]
    pub redis: Option<String>,
    /// Batches a second, at most, of all users; as many as are answered without it (steady).
    #[arg(long)]
    pub batches_per_second: Option<usize>,
}

impl Args {
    /// How long is measured.
    pub const fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The database's name for people.
    pub const fn database(&self) -> &'static str {
        if self.postgres.is_some() { "PostgreSQL" } else { "SQLite" }
    }
}
