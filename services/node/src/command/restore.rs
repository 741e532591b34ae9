//! `restore`: a backup into an empty store, then catching up with what came due since.
//!
//! The product clock stands at the backup's moment and jumps from one due moment to the next until
//! now, with the worker and nothing else: so each delay has its own time, never a later one than
//! it had in the store that was lost. Whatever asks for a message on the way may have left there,
//! and is marked so.
//!
//! What always holds: until this is done nothing serves the store; interrupted, it goes on with
//! `--resume`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parcours_domain::Timestamp;
use parcours_kit::{Clock as _, machine_now};
use parcours_store::{Store, keep::RestoredFrom};

use super::{
    keep::{total, without_worker},
    kept_file::{Teller, open, passphrase},
    sending,
};
use crate::{
    assemble::{Node, explain_held},
    cli::{NodeArgs, RestoreArgs, Role},
    config::NodeConfig,
};

/// How often catching up says where it stands.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// `restore`.
///
/// # Errors
/// The store is not empty, or the file is not whole; nothing was changed then.
pub async fn restore(node: &NodeArgs, args: &RestoreArgs) -> anyhow::Result<()> {
    if let Some(path) = &args.file {
        let mut file = open(path, &passphrase(&args.passphrase)?)?;
        let store = Store::open(without_worker(node)?).await.map_err(explain_held)?;
        let mut teller = Teller::new();
        let arrived = store.restore(&mut file, &mut |progress| teller.tell(progress)).await;
        store.close().await;
        let rows = total(&arrived?.rows);
        println!("{rows} rows of {} brands, as of {}", file.brands().len(), file.created_at());
    }
    let mut config = NodeConfig::from_args(node)?;
    config.roles = vec![Role::Worker];
    config.catching_up = true;
    let running = Node::start(&config).await?;
    let done = catch_up(&running).await;
    let shown = sending::shown(&running.store).await;
    running.stop().await;
    done?;
    print!("{}", shown?);
    Ok(())
}

/// Works off what came due since the backup.
async fn catch_up(node: &Node) -> anyhow::Result<()> {
    let admin = node.store.admin();
    let Some(RestoredFrom { backup_at, caught_up_at }) = admin.restored().await? else {
        bail!("this store was not restored, or its sending was released already")
    };
    if caught_up_at.is_some() {
        bail!("this restore is complete already; `parcours sending` shows what it holds")
    }
    let now = machine_now();
    let clock = node.store.product_clock().await?;
    let until = clock.map_or(now, |clock| clock.at_machine(now)).max(backup_at);
    let (mut told, mut jumps) = (Instant::now(), 0_u64);
    loop {
        settle(node, until).await.with_context(|| format!("at {}", node.clock.now()))?;
        match node.next_due().await? {
            Some(next) if next <= until => node.clock.advance_to(next),
            Some(_) | None => break,
        }
        node.poke();
        jumps += 1;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            eprintln!("catching up: {} of {until}, {jumps} moments", node.clock.now());
        }
    }
    admin.caught_up(until).await?;
    Ok(())
}

/// Until nothing is left to do at this moment; messages that are asked for are set apart.
async fn settle(node: &Node, until: Timestamp) -> anyhow::Result<()> {
    loop {
        node.settled().await?;
        if node.store.admin().hold_back(until, node.clock.now()).await? == 0 {
            return Ok(());
        }
        node.poke();
    }
}
