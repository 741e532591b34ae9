//! How a command reaches the product: a running server, or the store itself.
//!
//! Without a server the command opens the store, serves it to itself on a free loopback port with a
//! key that it revokes afterwards, and so takes the same way through the API as everybody else.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::{Context as _, bail};
use parcours_domain::KeyId;
use parcours_kit::machine_now;
use parcours_store::{KeyKind, KeyScope, NewApiKey};

use super::client::Client;
use crate::{
    assemble::Node,
    cli::{NodeArgs, RemoteArgs, Role},
    config::NodeConfig,
};

/// A way to the product.
pub struct Session {
    /// The API.
    pub client: Client,
    local: Option<(Node, KeyId)>,
}

impl Session {
    /// To the server that the arguments name, or to the store.
    ///
    /// # Errors
    /// No key for the server; or the store is held by another process, with by whom and what to
    /// do.
    pub async fn open(node: &NodeArgs, remote: &RemoteArgs) -> anyhow::Result<Self> {
        if let Some(url) = &remote.url {
            let Some(key) = &remote.key else {
                bail!("the server at {url} wants a key: give it as PARCOURS_KEY or --key");
            };
            return Ok(Self { client: Client::new(url, key)?, local: None });
        }
        let mut config = NodeConfig::from_args(node)?;
        config.roles = vec![Role::Gateway];
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.mailbox_page = false;
        let local = Node::start(&config).await?;
        let new = NewApiKey {
            organisation: None,
            tenant: None,
            kind: KeyKind::Secret,
            scopes: BTreeSet::from(KeyScope::ALL),
            label: "command line, revoked when the command ends".to_owned(),
            expires_at: None,
        };
        let (key, secret) = local.store.admin().create_key(&new, machine_now()).await?;
        let url = local.url().context("the command serves itself")?;
        Ok(Self { client: Client::new(&url, secret.expose())?, local: Some((local, key.id)) })
    }

    /// Revokes the key and closes the store, if the command opened it.
    ///
    /// # Errors
    /// The key cannot be revoked.
    pub async fn close(self) -> anyhow::Result<()> {
        if let Some((local, key)) = self.local {
            let revoked = local.store.admin().revoke_key(key, machine_now()).await;
            local.stop().await;
            revoked?;
        }
        Ok(())
    }
}
