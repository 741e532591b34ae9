//! `parcours` without a command: the product, until told to stop.

use std::collections::BTreeSet;

use anyhow::anyhow;
use parcours_kit::{machine_now, shutdown, traces};
use parcours_store::{KeyKind, KeyScope, NewApiKey};

use crate::{assemble::Node, cli::NodeArgs, config::NodeConfig};

/// Starts the roles and waits for an interrupt or a termination signal.
///
/// # Errors
/// The node cannot be started.
pub async fn serve(args: &NodeArgs) -> anyhow::Result<()> {
    let config = NodeConfig::from_args(args)?;
    if let Some(settings) = &config.traces {
        traces::start(settings).map_err(|error| anyhow!("--otlp: {error}"))?;
    }
    let node = Node::start(&config).await?;
    if let Some(key) = first_key(&node).await? {
        println!("first admin key (shown once): {key}");
    }
    if let Some(url) = node.url() {
        println!("Parcours listens on {url}");
    }
    tokio::select! {
        signal = shutdown::signalled() => signal?,
        () = node.store.declared_dead() => {
            eprintln!(
                "this worker was declared dead by another, which has its shards now; it ends at \
                 once. Start it again if it is wanted"
            );
            // Not in order: that would wait for commits, and none of this worker's counts any more.
            std::process::exit(1);
        }
    }
    eprintln!("stopping");
    node.stop().await;
    // Blocks until the receiver has what is left, or does not answer.
    tokio::task::spawn_blocking(traces::finish).await?;
    Ok(())
}

/// An admin key for the whole install, when there is no key at all yet.
async fn first_key(node: &Node) -> anyhow::Result<Option<String>> {
    let admin = node.store.admin();
    if !admin.api_keys(None, None).await?.is_empty() {
        return Ok(None);
    }
    let new = NewApiKey {
        organisation: None,
        tenant: None,
        kind: KeyKind::Secret,
        scopes: BTreeSet::from(KeyScope::ALL),
        label: "first admin key".to_owned(),
        expires_at: None,
    };
    let (_, secret) = admin.create_key(&new, machine_now()).await?;
    Ok(Some(secret.expose().to_owned()))
}
