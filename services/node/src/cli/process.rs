//! What a process is, where it keeps its data, and whom it meets.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use parcours_consent::GuessLimits;
use parcours_domain::{EventQuota, Rate};

/// Options of the running product, and of commands that open the store themselves.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// Folder for the SQLite file, the root key and the lock; made when absent.
    #[arg(long, env = "PARCOURS_DATA", default_value = "parcours-data", global = true)]
    pub data: PathBuf,
    /// `postgres://user@host/database` instead of the SQLite file in the data folder.
    #[arg(long, env = "PARCOURS_DATABASE_URL", global = true, hide_env_values = true)]
    pub database_url: Option<String>,
    /// The root key, 64 hexadecimal digits; required with PostgreSQL. SQLite makes its own.
    #[arg(long, env = "PARCOURS_ROOT_KEY", global = true, hide_env_values = true)]
    pub root_key: Option<String>,
    /// File that holds the root key, instead of `--root-key`.
    #[arg(long, env = "PARCOURS_ROOT_KEY_FILE", global = true)]
    pub root_key_file: Option<PathBuf>,
    /// Where HTTP listens. Port 0 takes a free one.
    #[arg(long, env = "PARCOURS_LISTEN", default_value = "127.0.0.1:8080", global = true)]
    pub listen: SocketAddr,
    /// Which roles this process has.
    #[arg(
        long,
        env = "PARCOURS_ROLES",
        value_delimiter = ',',
        default_value = "gateway,worker,delivery,consent",
        global = true
    )]
    pub roles: Vec<Role>,
    /// Where this process answers the other processes of its install; needed by the worker role
    /// when there are several. Port 0 takes a free one.
    #[arg(long, env = "PARCOURS_RPC_LISTEN", value_name = "ADDRESS:PORT", global = true)]
    pub rpc_listen: Option<SocketAddr>,
    /// What the others are told to call, when it is not the address of `--rpc-listen`.
    #[arg(long, env = "PARCOURS_RPC_ADVERTISE", value_name = "HOST:PORT", global = true)]
    pub rpc_advertise: Option<String>,
    /// What all processes of the install know and nobody else, at least 16 characters: with it
    /// events go to whichever worker owns their contact, in this process or another.
    #[arg(
        long,
        env = "PARCOURS_RPC_SECRET",
        value_name = "SECRET",
        global = true,
        hide_env_values = true
    )]
    pub rpc_secret: Option<String>,
    /// Redis that the processes of the install share: `redis://HOST:6379`, or `rediss://...`. It holds
    /// no truth: without it everything still happens, a little later.
    #[arg(
        long,
        env = "PARCOURS_REDIS_URL",
        value_name = "URL",
        global = true,
        hide_env_values = true
    )]
    pub redis_url: Option<String>,
    /// How many links that are none of ours one network may ask for before it gets 429. Real
    /// links always work.
    #[arg(
        long,
        env = "PARCOURS_LINK_GUESSES",
        default_value = GuessLimits::RATE,
        value_name = "RATE",
        global = true
    )]
    pub link_guesses: Rate,
    /// How many proxies of yours stand before the server and append to X-Forwarded-For: so many
    /// of its last entries are believed.
    #[arg(
        long,
        env = "PARCOURS_TRUSTED_PROXIES",
        default_value_t = 0,
        value_name = "COUNT",
        global = true
    )]
    pub trusted_proxies: u8,
    /// How many events a brand may bring that has no quota of its own, such as "500/s burst 5000";
    /// `none`: any number.
    #[arg(
        long,
        env = "PARCOURS_EVENTS_QUOTA",
        default_value = "none",
        value_name = "RATE",
        global = true
    )]
    pub events_quota: EventQuota,
    /// For how many contacts a worker has room in memory, at about 2 kB each: so many stay for 15
    /// minutes after their last event, those beyond for 30 s.
    #[arg(
        long,
        env = "PARCOURS_ACTIVE_CONTACTS",
        default_value_t = 100_000,
        value_name = "COUNT",
        global = true
    )]
    pub active_contacts: u32,
    /// Logs as JSON lines instead of text.
    #[arg(long, env = "PARCOURS_LOG_JSON", global = true)]
    pub log_json: bool,
    /// Where traces are sent: an OTLP receiver that speaks gRPC, such as `http://collector:4317`.
    #[arg(long, env = "PARCOURS_OTLP", value_name = "URL", global = true)]
    pub otlp: Option<String>,
    /// The share of traces that is kept, from 0 to 1; the same in every process of an install, or
    /// traces have holes.
    #[arg(
        long,
        env = "PARCOURS_TRACE_SHARE",
        default_value_t = 0.01,
        value_name = "SHARE",
        global = true
    )]
    pub trace_share: f64,
    /// Show the page of the built-in mailbox at /mailbox. It shows message contents to whoever
    /// can reach the port, so it is off unless asked for.
    #[arg(long, env = "PARCOURS_MAILBOX_PAGE", global = true)]
    pub mailbox_page: bool,
}

/// A role of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// HTTP API.
    Gateway,
    /// Contact actors and timers; several on one PostgreSQL share the contacts.
    Worker,
    /// Sending.
    Delivery,
    /// Consent pages and links.
    Consent,
}
