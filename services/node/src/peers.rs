//! How this process reaches the others of its install, and they it.
//!
//! With the install's secret, events go to whichever process owns their contact; without it, this
//! process knows only its own worker.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use parcours_kit::{
    route::{DirectoryError, LocalWorker, Route, RouteLimits, Router, ShardDirectory, ShardPlace},
    rpc::{LinkSettings, RpcLimits, RpcPort, RpcSecret, RpcServer, serve},
};
use parcours_store::Store;
use parcours_wire::{DeliveryApi, WorkerApi};

use crate::{
    cli::{NodeArgs, Role},
    config::NodeConfig,
};

/// How processes of one install find and trust one another.
#[derive(Clone, Debug, Default)]
pub struct PeerConfig {
    /// Where this process answers the others; none: it answers nobody.
    pub listen: Option<SocketAddr>,
    /// What the others are told to call; none: the address that it listens on.
    pub advertise: Option<String>,
    /// What every process of the install knows; none: processes do not talk to one another.
    pub secret: Option<RpcSecret>,
}

impl PeerConfig {
    /// From the command line.
    ///
    /// # Errors
    /// The secret is none.
    pub fn from_args(args: &NodeArgs) -> anyhow::Result<Self> {
        let secret = args.rpc_secret.as_deref().map(str::parse).transpose();
        Ok(Self {
            listen: args.rpc_listen,
            advertise: args.rpc_advertise.clone(),
            secret: secret.context("PARCOURS_RPC_SECRET cannot be used")?,
        })
    }

    /// The secret under which this process meets others, if it does.
    ///
    /// # Errors
    /// Settings that contradict one another, each with what to do.
    fn checked(&self, node: &NodeConfig) -> anyhow::Result<Option<RpcSecret>> {
        let Some(secret) = &self.secret else {
            if self.listen.is_some() || self.advertise.is_some() {
                bail!(
                    "processes talk to one another under a secret: make one with \
                     `openssl rand -hex 32` and give it to all of them as PARCOURS_RPC_SECRET"
                );
            }
            return Ok(None);
        };
        if node.database_url.is_none() {
            bail!("PARCOURS_RPC_SECRET is for processes on one PostgreSQL; SQLite has only one");
        }
        match (self.listen, &self.advertise) {
            (None, _) if node.has(Role::Worker) => bail!(
                "with PARCOURS_RPC_SECRET a process with the worker role needs --rpc-listen \
                 ADDRESS:PORT: that is where the others bring it events"
            ),
            (Some(listen), None) if listen.ip().is_unspecified() => bail!(
                "--rpc-listen {listen} is no address that others could call; name one with \
                 --rpc-advertise HOST:PORT"
            ),
            _ => Ok(Some(secret.clone())),
        }
    }
}

/// Others as this process is to meet them, before it has a store.
pub(crate) struct Peers {
    secret: RpcSecret,
    advertise: Option<String>,
    port: Option<RpcPort>,
}

impl Peers {
    /// Takes the port, so that its address can be told. None when this process meets nobody.
    ///
    /// # Errors
    /// Settings contradict one another, or the address cannot be listened on.
    pub(crate) async fn prepare(node: &NodeConfig) -> anyhow::Result<Option<Self>> {
        if node.catching_up {
            // That is done alone.
            return Ok(None);
        }
        let Some(secret) = node.peers.checked(node)? else { return Ok(None) };
        let port = match node.peers.listen {
            Some(listen) => Some(RpcPort::take(listen).await?),
            None => None,
        };
        Ok(Some(Self { secret, advertise: node.peers.advertise.clone(), port }))
    }

    /// What others are told to call.
    pub(crate) fn address(&self) -> Option<String> {
        let port = self.port.as_ref()?;
        Some(self.advertise.clone().unwrap_or_else(|| port.address().to_string()))
    }

    /// All workers of the install as one. Inside the runtime that outlives all requests.
    pub(crate) fn router(
        &self,
        store: &Store,
        worker: Option<Arc<dyn WorkerApi>>,
        delivery: Arc<dyn DeliveryApi>,
    ) -> Router {
        let held = store.held();
        let local = |worker| LocalWorker {
            worker,
            holds: Arc::new(move |shard| held.borrow().contains(shard)),
        };
        Router::new(Route {
            process: store.incarnation(),
            shards: store.shards(),
            worker: worker.map(local),
            delivery: Some(delivery),
            directory: Arc::new(Owners(store.clone())),
            dial: Arc::new(LinkSettings::new(self.secret.clone(), RpcLimits::default())),
            limits: RouteLimits::default(),
        })
    }

    /// Answers the others for this process's own worker and delivery, if it has a port for that.
    pub(crate) fn serve(
        self,
        worker: Arc<dyn WorkerApi>,
        delivery: Arc<dyn DeliveryApi>,
    ) -> Option<RpcServer> {
        let told = self.address();
        let (secret, limits) = (self.secret, RpcLimits::default());
        let server = self.port.map(|port| serve(port, worker, delivery, secret, limits))?;
        tracing::info!(address = %server.address(), told, "other processes are answered");
        Some(server)
    }
}

/// Owners of shards, as the database has them.
struct Owners(Store);

#[async_trait]
impl ShardDirectory for Owners {
    async fn owners(&self) -> Result<Vec<ShardPlace>, DirectoryError> {
        let owners = self.0.shard_owners().await.map_err(|error| DirectoryError(error.into()))?;
        let place = |of: parcours_store::ShardOwner| ShardPlace {
            shard: of.shard,
            epoch: of.epoch,
            owner: of.owner,
            address: of.address,
        };
        Ok(owners.into_iter().map(place).collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::Cli;

    const SECRET: &str = "--rpc-secret=0123456789abcdef";

    /// What is said of a command line for a process on PostgreSQL; nothing when it is taken.
    fn said(arguments: &[&str]) -> String {
        let database = ["parcours", "--database-url=postgres://x@y/z", "--root-key=00"];
        let cli = Cli::parse_from(database.iter().chain(arguments));
        match NodeConfig::from_args(&cli.node).map(|node| node.peers.checked(&node).err()) {
            Ok(refused) => refused.map(|error| error.to_string()).unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_worker_that_nobody_could_call_does_not_start() {
        let any = "--rpc-listen=0.0.0.0:7000";
        assert!(said(&[SECRET]).contains("needs --rpc-listen"));
        assert!(said(&[SECRET, any]).contains("--rpc-advertise"));
        assert_eq!(said(&[SECRET, any, "--rpc-advertise=worker-1:7000"]), "");
        assert_eq!(said(&[SECRET, "--rpc-listen=127.0.0.1:0"]), "");
        assert_eq!(said(&[SECRET, "--roles=gateway"]), "", "a gateway is called by nobody");
    }

    #[test]
    fn nobody_is_listened_to_without_a_secret() {
        assert_eq!(said(&[]), "");
        assert!(said(&["--rpc-listen=127.0.0.1:0"]).contains("PARCOURS_RPC_SECRET"));
        assert!(
            said(&["--rpc-secret=short", "--rpc-listen=127.0.0.1:0"]).contains("cannot be used")
        );
    }

    #[test]
    fn sqlite_has_one_process() {
        let cli = Cli::parse_from(["parcours", SECRET]);
        let node = NodeConfig::from_args(&cli.node).unwrap();
        assert!(node.peers.checked(&node).unwrap_err().to_string().contains("SQLite"));
    }
}
