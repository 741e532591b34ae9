//! `parcours` without a command: the product, until told to stop.

use std::collections::BTreeSet;

use anyhow::bail;
use parcours_kit::{machine_now, shutdown};
use parcours_store::{KeyKind, KeyScope, NewApiKey};

use crate::{assemble::Node, cli::NodeArgs, config::NodeConfig};

/// Starts the roles and waits for an interrupt or a termination signal.
///
/// # Errors
/// The node cannot be started.
pub async fn serve(args: &NodeArgs) -> anyhow::Result<()> {
    let config = NodeConfig::from_args(args)?;
    let node = Node::start(&config).await?;
    if let Some(key) = first_key(&node).await? {
        println!("first admin key (shown once): {key}");
    }
    match node.url() {
        Some(url) => println!("Parcours listens on {url}"),
        None => println!("Parcours runs without HTTP"),
    }
    tokio::select! {
        signal = shutdown::signalled() => signal?,
        // An orderly stop would commit; nothing of this worker's may be committed any more.
        () = node.store.declared_dead() => bail!(
            "this worker was declared dead by another, which has its shards now; it ends at once. \
             Start it again if it is wanted"
        ),
    }
    eprintln!("stopping");
    node.stop().await;
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
