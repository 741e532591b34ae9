//! Settings of a node, parsed once from the command line and the environment.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use parcours_consent::GuessLimits;
use parcours_domain::{Rate, Timestamp};
use parcours_kit::traces::TraceSettings;
use parcours_store::{RootKeySource, StoreConfig};

use crate::{
    cli::{NodeArgs, Role},
    peers::PeerConfig,
};

/// Everything a node needs to know before it starts.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Folder of the SQLite file, the root key and the lock.
    pub data: PathBuf,
    /// PostgreSQL instead of SQLite.
    pub database_url: Option<String>,
    /// The root key as hexadecimal digits, if given.
    pub root_key: Option<String>,
    /// The root key's file, if given.
    pub root_key_file: Option<PathBuf>,
    /// Where HTTP listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What this process does.
    pub roles: Vec<Role>,
    /// How this process meets the others of its install.
    pub peers: PeerConfig,
    /// What they share besides the database.
    pub redis_url: Option<String>,
    /// How guessed links are dealt with.
    pub guesses: GuessLimits,
    /// Where traces go, and which; none: nowhere.
    pub traces: Option<TraceSettings>,
    /// How many events a brand may bring that has no quota of its own; none: any number.
    pub events: Option<Rate>,
    /// For how many contacts a worker has room in memory.
    pub active_contacts: usize,
    /// Whether /mailbox is served.
    pub mailbox_page: bool,
    /// The product clock stands at this moment in a new install (the demo); otherwise it is real.
    pub product_clock_start: Option<Timestamp>,
    /// What came due since a restored backup is worked off, on a clock of its own.
    pub catching_up: bool,
    /// Contact ids and handles derive from identities under this key (the demo); otherwise random.
    pub seeded_chance: Option<[u8; 32]>,
}

impl NodeConfig {
    /// From the command line.
    ///
    /// # Errors
    /// Settings that contradict one another, each with what to do.
    pub fn from_args(args: &NodeArgs) -> anyhow::Result<Self> {
        if args.root_key.is_some() && args.root_key_file.is_some() {
            bail!("give the root key once: either --root-key or --root-key-file");
        }
        if let Some(url) = &args.database_url {
            if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
                bail!(
                    "--database-url must begin with postgres://; for SQLite leave it out and name a \
                     folder with --data"
                );
            }
            if args.root_key.is_none() && args.root_key_file.is_none() {
                bail!(
                    "PostgreSQL needs the install's root key: make one with `openssl rand -hex 32`, \
                     keep it safe, and give it as PARCOURS_ROOT_KEY or --root-key-file"
                );
            }
        }
        Ok(Self {
            data: args.data.clone(),
            database_url: args.database_url.clone(),
            root_key: args.root_key.clone(),
            root_key_file: args.root_key_file.clone(),
            listen: args.listen,
            roles: args.roles.clone(),
            peers: PeerConfig::from_args(args)?,
            redis_url: args.redis_url.clone(),
            guesses: GuessLimits { rate: args.link_guesses, proxies: args.trusted_proxies },
            traces: traces(args)?,
            events: args.events_quota.rate(None),
            active_contacts: usize::try_from(args.active_contacts)?,
            mailbox_page: args.mailbox_page,
            product_clock_start: None,
            catching_up: false,
            seeded_chance: None,
        })
    }

    /// Whether this process has a role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// How to open the store; makes the data folder when SQLite needs it.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn store(&self) -> anyhow::Result<StoreConfig> {
        let sqlite = self.database_url.is_none();
        if sqlite {
            std::fs::create_dir_all(&self.data)
                .with_context(|| format!("cannot make the data folder {}", self.data.display()))?;
        }
        let url = match &self.database_url {
            Some(url) => url.clone(),
            None => format!("sqlite:{}", self.data.join("parcours.sqlite").display()),
        };
        let root_key = match (&self.root_key, &self.root_key_file) {
            (Some(hex), _) => RootKeySource::Hex(hex.clone()),
            (None, Some(path)) => RootKeySource::File(path.clone(), false),
            (None, None) => RootKeySource::File(self.data.join("root.key"), true),
        };
        let mut config = StoreConfig::new(url, root_key);
        config.worker_role = self.has(Role::Worker);
        config.sends = self.has(Role::Delivery);
        // A worker that nobody could bring events to must be the only one.
        config.sole_worker = self.catching_up || self.peers.secret.is_none();
        config.product_clock_start = self.product_clock_start;
        Ok(config)
    }
}

fn traces(args: &NodeArgs) -> anyhow::Result<Option<TraceSettings>> {
    if !(0.0..=1.0).contains(&args.trace_share) {
        bail!("--trace-share is a share from 0 to 1, such as 0.01, and not {}", args.trace_share);
    }
    let Some(endpoint) = args.otlp.clone() else { return Ok(None) };
    if !endpoint.starts_with("http://") {
        bail!(
            "--otlp must be an http:// URL, such as http://collector:4317; for a receiver behind \
             TLS put a collector beside this process"
        );
    }
    let named = |role: &Role| Some(role.to_possible_value()?.get_name().to_owned());
    let roles: Vec<_> = args.roles.iter().filter_map(named).collect();
    Ok(Some(TraceSettings { endpoint, share: args.trace_share, roles: roles.join(",") }))
}
