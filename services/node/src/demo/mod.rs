//! `parcours demo`: a French record shop's eighteen months, on real purchases, through the
//! production code paths.
//!
//! The brand is invented, the purchases are real ([`data`]), names, consent, clicks and
//! withdrawals are synthesised and say so ([`story`]). The outside world speaks HTTP (`shop`,
//! `letters`); `drive` moves the clock; [`table`] says what came of it.

pub mod data;
mod drive;
mod letters;
mod report;
mod shop;
pub mod story;
pub mod table;

use std::{
    collections::BTreeSet,
    fs,
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::Instant,
};

use anyhow::{Context as _, bail};
use parcours_domain::{TenantId, Timestamp, hash::sha256};
use parcours_kit::{Clock as _, shutdown};
use parcours_store::{KeyKind, KeyScope, NewApiKey};
use parcours_wire::http::document::SourceFile;

use crate::{
    assemble::Node,
    cli::{DemoArgs, NodeArgs, Role},
    command::client::Client,
    config::NodeConfig,
};
use drive::Drive;
use shop::Shop;

/// The brand's documents, embedded.
const DOCUMENTS: [(&str, &str); 3] = [
    ("brand.yaml", include_str!("../../demo/brand/brand.yaml")),
    ("templates.yaml", include_str!("../../demo/brand/templates.yaml")),
    ("journeys.yaml", include_str!("../../demo/brand/journeys.yaml")),
];

/// The file that says that a demo's eighteen months are over.
const FINISHED: &str = "finished";

/// What a demo leaves in its folder, and all that starting afresh removes.
const LEFT: [&str; 6] = [
    "parcours.sqlite",
    "parcours.sqlite-wal",
    "parcours.sqlite-shm",
    "parcours.sqlite.lock",
    "root.key",
    FINISHED,
];

/// Runs the demo: prepares, lives through the data, prints the table, serves.
///
/// # Errors
/// The port is taken, the folder cannot be written, or the product fails.
pub async fn run(node: &NodeArgs, args: &DemoArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let config = config(node)?;
    let resumed = prepare(&config.data, args.fresh)?;
    let running = Node::start(&config).await?;
    let (tenant, keys) = publish(&running).await?;
    introduce(&running, resumed);
    let shop = Shop::new(running.url().context("the demo serves HTTP")?, keys.ingest.clone())?;
    let mut drive = Drive::new(&running, &shop, tenant).await?;
    let mut teller = Teller::new();
    drive.live_through(|at| teller.at(at)).await?;
    teller.end();
    let table = report::table(&running, tenant, &drive, begun).await?;
    fs::write(config.data.join(FINISHED), "")?;
    println!("{}", table.text());
    if args.json {
        println!("{}", serde_json::to_string(&table)?);
    }
    if args.no_serve {
        running.stop().await;
        return Ok(());
    }
    running.move_clock(running.clock.now(), true).await?;
    println!("{}", report::what_next(&running, &keys));
    shutdown::signalled().await?;
    running.stop().await;
    Ok(())
}

fn config(node: &NodeArgs) -> anyhow::Result<NodeConfig> {
    let mut config = NodeConfig::from_args(node)?;
    if config.database_url.is_some() {
        bail!("the demo keeps to its own SQLite file; leave --database-url out");
    }
    config.data = node.data.join("demo");
    config.roles = vec![Role::Gateway, Role::Worker, Role::Delivery, Role::Consent];
    config.mailbox_page = true;
    config.product_clock_start = Some(story::beginning());
    config.seeded_chance = Some(sha256(&[b"parcours demo"]));
    Ok(config)
}

/// Makes room for a new demo unless one was interrupted; whether it was.
fn prepare(folder: &Path, fresh: bool) -> anyhow::Result<bool> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let begun = folder.join(LEFT[0]).exists();
    if begun && !fresh && !folder.join(FINISHED).exists() {
        return Ok(true);
    }
    for name in LEFT {
        let path = folder.join(name);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(false)
}

/// The keys of a demo.
pub(crate) struct Keys {
    /// For events.
    pub ingest: String,
    /// For everything in the brand.
    pub admin: String,
}

/// Publishes the documents over the API, as `parcours apply` does, and makes keys.
async fn publish(node: &Node) -> anyhow::Result<(TenantId, Keys)> {
    let url = node.url().context("the demo serves HTTP")?;
    let mut client = Client::new(&url, &make_key(node, None, &KeyScope::ALL).await?)?;
    let brand = client.make_brand("demo", "sillon").await?;
    client.choose_brand("sillon");
    let files = DOCUMENTS
        .map(|(name, source)| SourceFile { name: name.to_owned(), source: source.to_owned() });
    client.apply(files.to_vec()).await?;
    let tenant = TenantId(brand.id);
    let keys = Keys {
        ingest: make_key(node, Some(tenant), &[KeyScope::Ingest]).await?,
        admin: make_key(node, Some(tenant), &KeyScope::ALL).await?,
    };
    Ok((tenant, keys))
}

async fn make_key(
    node: &Node,
    tenant: Option<TenantId>,
    scopes: &[KeyScope],
) -> anyhow::Result<String> {
    let new = NewApiKey {
        organisation: None,
        tenant,
        kind: KeyKind::Secret,
        scopes: scopes.iter().copied().collect::<BTreeSet<_>>(),
        label: "made by the demo".to_owned(),
        expires_at: None,
    };
    let (_, secret) = node.store.admin().create_key(&new, node.clock.now()).await?;
    Ok(secret.expose().to_owned())
}

fn introduce(node: &Node, resumed: bool) {
    if resumed {
        eprintln!("an interrupted demo goes on at {} (--fresh starts again)", node.clock.now());
    } else {
        eprintln!(
            "Le Sillon, an invented record shop: 6,919 real purchases from {} to {}.\n\
             Names, consent, clicks and withdrawals are synthesised; click links are on for this \
             brand (they are off unless a brand says `clicks: on`).",
            story::beginning(),
            story::end()
        );
    }
}

/// Tells where the demo stands: a line a month, and on a terminal the day in between.
struct Teller {
    month: String,
    terminal: bool,
}

impl Teller {
    fn new() -> Self {
        Self { month: String::new(), terminal: std::io::stderr().is_terminal() }
    }

    fn at(&mut self, at: Timestamp) {
        let text = at.to_string();
        let (month, day) = (text.get(..7).unwrap_or(""), text.get(..10).unwrap_or(""));
        let mut stderr = std::io::stderr().lock();
        // A closed terminal is no reason to stop.
        let _ = if month != self.month {
            self.month = month.to_owned();
            writeln!(stderr, "{}{month} is being simulated", if self.terminal { "\r" } else { "" })
        } else if self.terminal {
            write!(stderr, "\r{day}").and_then(|()| stderr.flush())
        } else {
            Ok(())
        };
    }

    fn end(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}
