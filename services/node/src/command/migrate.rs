//! `migrate`: the schema, and nothing else.

use parcours_store::Store;

use crate::{assemble::explain_held, cli::NodeArgs, config::NodeConfig};

/// Makes the schema or brings it up to date; says which it is.
///
/// # Errors
/// The store cannot be opened, or a newer version has migrated it.
pub async fn migrate(node: &NodeArgs) -> anyhow::Result<()> {
    let mut config = NodeConfig::from_args(node)?.store()?;
    // Neither a worker nor a sender: it takes nothing and leaves no row behind.
    (config.worker_role, config.sends) = (false, false);
    let store = Store::open(config).await.map_err(explain_held)?;
    let schema = store.schema().await?;
    let install = store.install_id();
    store.close().await;
    println!("schema {schema} of install {install}");
    Ok(())
}
