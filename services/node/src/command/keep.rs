//! `tenant dump`, `tenant load` and `backup`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use parcours_store::{
    Store, StoreConfig,
    keep::{Snapshot, SnapshotBrand},
};
use parcours_wire::http::brand::{HaltAnswer, HaltRequest};

use super::{
    Session,
    kept_file::{Draft, Teller, open, passphrase},
};
use crate::{
    assemble::explain_held,
    cli::{BackupArgs, DumpArgs, LoadArgs, NodeArgs},
    config::NodeConfig,
};

/// How long a halted brand's messages that are leaving have to get their reply.
const DRAIN: Duration = Duration::from_secs(60);
/// How often that is looked at.
const DRAIN_STEP: Duration = Duration::from_millis(200);

/// `tenant dump`: one brand to a file.
///
/// # Errors
/// There is no such brand, it cannot be halted, or the file cannot be written.
pub async fn dump(node: &NodeArgs, args: &DumpArgs) -> anyhow::Result<()> {
    let passphrase = passphrase(&args.passphrase)?;
    let config = existing(node)?;
    let mut draft = Draft::new(&args.file)?;
    let before = chosen(&Snapshot::take(&config).await?.brands().await?, &args.brand)?;
    if args.halt {
        halt(node, args, &before).await?;
    }
    let (snapshot, brand) = drained(&config, &before, args.halt).await?;
    if brand.leaving > 0 {
        eprintln!(
            "{} messages have left without a recorded reply: they are in the file as such, and the \
             brand's policy for unknown outcomes ends them",
            brand.leaving
        );
    }
    let mut teller = Teller::new();
    let moved = (args.halt, args.halt && !before.halted);
    let tell = &mut |progress| teller.tell(progress);
    let rows = snapshot.dump(&brand, moved, &passphrase, (draft.out(), tell)).await?;
    draft.finish()?;
    println!("{} rows of {} in {}", total(&rows), named(&brand), args.file.display());
    if !args.halt {
        println!("its sending was not halted here: it will be where the file is loaded");
    }
    Ok(())
}

/// `tenant load`: a dumped brand into this store.
///
/// # Errors
/// The brand is there already, or the file is not whole; nothing was changed then.
pub async fn load(node: &NodeArgs, args: &LoadArgs) -> anyhow::Result<()> {
    let mut file = open(&args.file, &passphrase(&args.passphrase)?)?;
    let store = Store::open(without_worker(node)?).await.map_err(explain_held)?;
    let mut teller = Teller::new();
    let arrived = store.load_brand(&mut file, &mut |progress| teller.tell(progress)).await;
    store.close().await;
    let arrived = arrived?;
    let brand = file.brands().first().context("a dump has one brand")?;
    println!("{} rows of {}/{}", total(&arrived.rows), brand.organisation, brand.name);
    match (arrived.halted, file.moved()) {
        (false, _) => println!("its sending goes on here"),
        (true, true) => println!("its sending is halted, as it was before it moved"),
        (true, false) => println!(
            "its sending is halted, because its source was not: stop the source's, then POST \
             /v1/unhalt. What was queued in the dump may have left there meanwhile"
        ),
    }
    Ok(())
}

/// `backup`: everything to a file.
///
/// # Errors
/// The store cannot be read or the file not written.
pub async fn backup(node: &NodeArgs, args: &BackupArgs) -> anyhow::Result<()> {
    let passphrase = passphrase(&args.passphrase)?;
    let mut draft = Draft::new(&args.file)?;
    let snapshot = Snapshot::take(&existing(node)?).await?;
    let mut teller = Teller::new();
    let tell = &mut |progress| teller.tell(progress);
    let rows = snapshot.backup(&passphrase, (draft.out(), tell)).await?;
    draft.finish()?;
    let brands = rows.get("brand").copied().unwrap_or_default();
    println!("{} rows of {brands} brands in {}", total(&rows), args.file.display());
    Ok(())
}

/// A store that must be there already.
fn existing(node: &NodeArgs) -> anyhow::Result<StoreConfig> {
    let config = NodeConfig::from_args(node)?;
    if config.database_url.is_none() && !config.data.join("parcours.sqlite").exists() {
        bail!("there is no store in {}; name its folder with --data", config.data.display());
    }
    config.store()
}

/// A store that this command opens itself, without taking the worker's part.
pub(super) fn without_worker(node: &NodeArgs) -> anyhow::Result<StoreConfig> {
    let mut config = NodeConfig::from_args(node)?;
    config.roles = Vec::new();
    config.store()
}

pub(super) fn total(rows: &BTreeMap<String, u64>) -> u64 {
    rows.values().sum()
}

fn named(brand: &SnapshotBrand) -> String {
    format!("{}/{}", brand.organisation_name, brand.name)
}

/// By `organisation/name`, by id, or by a name that only one brand has.
fn chosen(brands: &[SnapshotBrand], wanted: &str) -> anyhow::Result<SnapshotBrand> {
    let fits = |brand: &&SnapshotBrand| {
        brand.name == wanted || named(brand) == wanted || brand.tenant.to_string() == wanted
    };
    let found: Vec<_> = brands.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let known: Vec<String> = brands.iter().map(named).collect();
            bail!("there is no brand {wanted} here; there are: {}", known.join(", "))
        }
        _ => bail!("several brands are called {wanted}; name one as organisation/name"),
    }
}

/// Halts the brand by the API: at the server that has the store, or by opening the store.
async fn halt(node: &NodeArgs, args: &DumpArgs, brand: &SnapshotBrand) -> anyhow::Result<()> {
    if brand.halted {
        return Ok(());
    }
    let mut session = Session::open(node, &args.remote).await?;
    session.client.choose_brand(&named(brand));
    let request = HaltRequest { reason: "it moves to another install".to_owned() };
    let answer = session.client.post::<HaltAnswer>("/v1/halt", &request).await;
    session.close().await?;
    answer.map(|_| ())
}

/// A moment in which nothing of a halted brand is leaving any more, if there is one soon.
async fn drained(
    config: &StoreConfig,
    brand: &SnapshotBrand,
    wait: bool,
) -> anyhow::Result<(Snapshot, SnapshotBrand)> {
    let deadline = tokio::time::Instant::now() + DRAIN;
    loop {
        let snapshot = Snapshot::take(config).await?;
        let now = chosen(&snapshot.brands().await?, &brand.tenant.to_string())?;
        if wait && !now.halted {
            bail!("the halt did not reach this store; is PARCOURS_URL the server that has it?");
        }
        if !wait || now.leaving == 0 || tokio::time::Instant::now() >= deadline {
            return Ok((snapshot, now));
        }
        tokio::time::sleep(DRAIN_STEP).await;
    }
}
