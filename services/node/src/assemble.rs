//! The composition root: opens the store and wires the roles of this process.
//!
//! Only this file knows who implements the traits in `wire`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, dev::ServerHandle, middleware::from_fn};
use anyhow::{Context as _, bail};
use parcours_consent::ConsentService;
use parcours_delivery::{Delivery, DeliveryConfig, DeliveryHandle};
use parcours_domain::{Timestamp, hash::MacKey};
use parcours_gateway::{GatewayState, Limits, Probed};
use parcours_kit::{
    Chance, Clock, OsChance, ProductClock, Readiness, SeededChance, Shutdown, ShutdownTrigger,
    health::Phase, machine_now, rpc::RpcServer,
};
use parcours_queue::tokens::MemoryTokens;
use parcours_store::{Store, StoreError, StoredClock, SweepCounts, keep::RestoredFrom};
use parcours_wire::{DeliveryApi, WorkerApi};
use parcours_worker::{Worker, WorkerConfig, WorkerHandle, WorkerParts};
use tokio::task::JoinHandle;

use crate::{
    absent::{NoDelivery, NoWorker},
    cli::Role,
    common::Common,
    config::NodeConfig,
    maintenance,
    peers::Peers,
};

/// How long HTTP requests in progress may take when the process stops.
const HTTP_STOP_S: u64 = 10;

/// How long deliveries in progress may take when the process stops: more than the longest wait
/// for the reply to a message's final dot (RFC 5321, section 4.5.3.2.6).
const DELIVERY_STOP: Duration = Duration::from_secs(610);

/// A running node.
pub struct Node {
    /// The open store.
    pub store: Store,
    /// Product time.
    pub clock: Arc<ProductClock>,
    /// Where ids and handles come from.
    pub chance: Arc<dyn Chance>,
    /// The consent service.
    pub consent: Arc<ConsentService>,
    worker: Option<WorkerHandle>,
    delivery: Option<DeliveryHandle>,
    readiness: Arc<Readiness>,
    maintenance: Option<(ShutdownTrigger, JoinHandle<()>)>,
    http: Option<(ServerHandle, SocketAddr)>,
    /// Answers the other processes.
    rpc: Option<RpcServer>,
    /// Lives as long as the roles that use it.
    _common: Option<Common>,
}

impl Node {
    /// Opens the store and starts the roles.
    ///
    /// # Errors
    /// The store cannot be opened or is held by another process, or the port is taken.
    pub async fn start(config: &NodeConfig) -> anyhow::Result<Self> {
        let peers = Peers::prepare(config).await?;
        let (store, clock) = open(config, peers.as_ref().and_then(Peers::address)).await?;
        let started = Self::over(config, peers, (store.clone(), clock)).await;
        if started.is_err() {
            // In order, so that nobody waits for this worker's shards.
            store.close().await;
        }
        started
    }

    /// Starts the roles over an open store.
    async fn over(
        config: &NodeConfig,
        peers: Option<Peers>,
        (store, clock): (Store, Arc<ProductClock>),
    ) -> anyhow::Result<Self> {
        let chance: Arc<dyn Chance> = match config.seeded_chance {
            Some(key) => Arc::new(SeededChance(MacKey(key))),
            None => Arc::new(OsChance),
        };
        let mut common = Common::of(config, &store)?;
        let delivery =
            config.has(Role::Delivery).then(|| start_delivery(&store, &clock, common.as_mut()));
        let hints = senders(delivery.as_ref(), common.as_mut());
        let worker = if config.has(Role::Worker) {
            let mut parts = WorkerParts::over(store.clone(), clock.clone(), Arc::clone(&hints));
            if let Some(common) = &common {
                parts.timers = common.timers();
            }
            #[cfg(debug_assertions)]
            crate::planned::panics(&mut parts);
            let active_contacts = config.active_contacts;
            let config = WorkerConfig { active_contacts, ..WorkerConfig::default() };
            Some(Worker::start_with(config, parts).await?)
        } else {
            None
        };
        let (owners, hints, rpc) = meet(&store, peers, worker.as_ref(), (hints, &delivery));
        let consent = Arc::new(ConsentService::new(
            store.clone(),
            clock.clone(),
            Arc::clone(&chance),
            config.guesses,
        ));
        consent.set_worker(Arc::clone(&owners));
        if let Some(delivery) = &delivery {
            delivery.set_worker(Arc::clone(&owners));
        }
        let mut node = Self {
            store,
            clock,
            chance,
            consent,
            worker,
            delivery,
            readiness: Arc::new(Readiness::default()),
            maintenance: None,
            http: None,
            rpc,
            _common: common,
        };
        if node.worker.is_some() {
            let (trigger, shutdown) = Shutdown::new();
            let rounds = maintenance::run(node.store.clone(), node.clock.clone(), shutdown);
            node.maintenance = Some((trigger, tokio::spawn(rounds)));
        }
        // While a restored store catches up nobody is served.
        if !config.catching_up {
            node.http = Some(node.serve(config, owners, hints)?);
        }
        node.readiness.set(Phase::Ready);
        Ok(node)
    }

    fn serve(
        &self,
        config: &NodeConfig,
        worker: Arc<dyn WorkerApi>,
        delivery: Arc<dyn DeliveryApi>,
    ) -> anyhow::Result<(ServerHandle, SocketAddr)> {
        let gateway = config.has(Role::Gateway).then(|| {
            parcours_gateway::configure(GatewayState {
                store: self.store.clone(),
                clock: self.clock.clone(),
                chance: Arc::clone(&self.chance),
                worker,
                delivery,
                consent: self.consent.clone(),
                readiness: Arc::clone(&self.readiness),
                limits: Limits { events: config.events, ..Limits::default() },
                mailbox_page: config.mailbox_page,
            })
        });
        let pages = config
            .has(Role::Consent)
            .then(|| parcours_consent::configure(Arc::clone(&self.consent)));
        let (store, readiness) = (self.store.clone(), Arc::clone(&self.readiness));
        let probes = parcours_gateway::probes(Probed { store, readiness });
        let server = HttpServer::new(move || {
            let mut app = App::new().wrap(from_fn(parcours_gateway::observe));
            if let Some(pages) = &pages {
                app = app.configure(pages);
            }
            match &gateway {
                Some(gateway) => app.configure(gateway),
                None => app.configure(&probes),
            }
        })
        .disable_signals()
        .shutdown_timeout(HTTP_STOP_S)
        .bind(config.listen)
        .with_context(|| {
            format!("cannot listen on {}; choose another with --listen ADDRESS:PORT", config.listen)
        })?;
        let Some(address) = server.addrs().first().copied() else {
            bail!("no address to listen on")
        };
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok((handle, address))
    }

    /// `http://ADDRESS:PORT`, when this process serves HTTP.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        self.http.as_ref().map(|(_, address)| format!("http://{address}"))
    }

    /// Moves a standing product clock, having stored it first, and lets everything look at it.
    ///
    /// # Errors
    /// The store cannot be written; then the clock was not moved.
    pub async fn move_clock(&self, at: Timestamp, running: bool) -> anyhow::Result<()> {
        self.store.set_product_clock(at, running).await?;
        self.clock.advance_to(at);
        if running {
            self.clock.run_from_here();
        }
        self.poke();
        Ok(())
    }

    /// Lets everything look for work now.
    pub(crate) fn poke(&self) {
        if let Some(worker) = &self.worker {
            worker.poke();
        }
        if let Some(delivery) = &self.delivery {
            delivery.poke();
        }
    }

    /// The next moment at which a timer is due.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn next_due(&self) -> anyhow::Result<Option<Timestamp>> {
        Ok(self.store.sweep().next_due().await?)
    }

    /// Returns when nothing is in flight and nothing is due at the product clock's present moment;
    /// messages wait for ever where this process does not deliver them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn settled(&self) -> anyhow::Result<()> {
        loop {
            if let Some(worker) = &self.worker {
                worker.settled().await;
            }
            if let Some(delivery) = &self.delivery {
                delivery.settled().await;
            }
            let mut left = self.store.sweep().counts(self.clock.now()).await?;
            if self.delivery.is_none() {
                (left.queue_ready, left.queue_leaving) = (0, 0);
            }
            if left == SweepCounts::default() {
                return Ok(());
            }
            self.poke();
            tokio::task::yield_now().await;
        }
    }

    /// Stops in order: no new requests, from clients or others; then the actors, whose shards others
    /// take over at once; then delivery, then the store.
    pub async fn stop(self) {
        self.readiness.set(Phase::Draining);
        self.store.take_no_shards();
        if let Some((http, _)) = self.http {
            http.stop(true).await;
        }
        // Before the actors: what others bring from now on they keep, for who has the shards next.
        if let Some(rpc) = self.rpc {
            rpc.stop().await;
        }
        if let Some(worker) = self.worker {
            worker.stop().await;
            self.store.release_shards().await;
        }
        if let Some(delivery) = self.delivery {
            delivery.stop(DELIVERY_STOP).await;
        }
        if let Some((trigger, task)) = self.maintenance {
            trigger.stop();
            if let Err(error) = task.await {
                tracing::error!(%error, "maintenance ended by a panic");
            }
        }
        drop(self.consent);
        self.store.close().await;
    }
}

fn start_delivery(
    store: &Store,
    clock: &Arc<ProductClock>,
    common: Option<&mut Common>,
) -> DeliveryHandle {
    let tokens = match common {
        Some(common) => common.tokens(store),
        None => Arc::new(MemoryTokens::default()),
    };
    Delivery::start(DeliveryConfig::default(), store, Arc::clone(clock) as Arc<dyn Clock>, tokens)
}

/// Who is told of queued messages: all who send and can be told.
fn senders(own: Option<&DeliveryHandle>, common: Option<&mut Common>) -> Arc<dyn DeliveryApi> {
    let own = own.map(|own| -> Arc<dyn DeliveryApi> { Arc::new(own.clone()) });
    match (common, own) {
        (Some(common), own) => common.delivery(own),
        (None, Some(own)) => own,
        (None, None) => Arc::new(NoDelivery),
    }
}

/// Who takes events and hints: this process's worker and delivery, and with others, whichever has
/// the contact or the lane. The others are answered from here on.
fn meet(
    store: &Store,
    peers: Option<Peers>,
    worker: Option<&WorkerHandle>,
    (delivery, sender): (Arc<dyn DeliveryApi>, &Option<DeliveryHandle>),
) -> (Arc<dyn WorkerApi>, Arc<dyn DeliveryApi>, Option<RpcServer>) {
    let own = worker.map(|worker| -> Arc<dyn WorkerApi> { Arc::new(worker.clone()) });
    let absent = || -> Arc<dyn WorkerApi> { Arc::new(NoWorker) };
    match peers {
        Some(peers) => {
            let router = Arc::new(peers.router(store, own.clone(), Arc::clone(&delivery)));
            // What others say is for this process alone: they tell everybody themselves.
            let sender: Arc<dyn DeliveryApi> = match sender {
                Some(sender) => Arc::new(sender.clone()),
                None => Arc::new(NoDelivery),
            };
            let rpc = peers.serve(own.unwrap_or_else(absent), sender);
            (Arc::clone(&router) as Arc<dyn WorkerApi>, router, rpc)
        }
        None => (own.unwrap_or_else(absent), delivery, None),
    }
}

/// The open store, watched, and the product clock that it follows.
async fn open(
    config: &NodeConfig,
    address: Option<String>,
) -> anyhow::Result<(Store, Arc<ProductClock>)> {
    let mut opening = config.store()?;
    opening.worker_address = address;
    opening.watcher = Some(Arc::new(maintenance::StoreMetrics));
    let store = Store::open(opening).await.map_err(explain_held)?;
    let clock = match clock_of(&store, config).await {
        Ok(clock) => Arc::new(clock),
        Err(error) => {
            // In order, so that nobody waits for this worker's shards.
            store.close().await;
            return Err(error);
        }
    };
    let time = Arc::clone(&clock);
    store.follow_time(move || time.now());
    Ok((store, clock))
}

/// Says how to go on when another process has the store.
pub(crate) fn explain_held(error: StoreError) -> anyhow::Error {
    match error {
        held @ StoreError::Held { .. } => anyhow::anyhow!(
            "{held}. Talk to that process instead: set PARCOURS_URL to its address (such as \
             http://127.0.0.1:8080) and PARCOURS_KEY to an admin key; or stop it first; or, to \
             have several workers on one PostgreSQL, start each with the same PARCOURS_RPC_SECRET"
        ),
        other => other.into(),
    }
}

/// The install's clock; the backup's moment for working off what came due since.
async fn clock_of(store: &Store, config: &NodeConfig) -> anyhow::Result<ProductClock> {
    match store.admin().restored().await? {
        Some(RestoredFrom { backup_at, caught_up_at: None }) if config.catching_up => {
            // Not before what an interrupted attempt has seen.
            Ok(ProductClock::standing(backup_at.max(store.high_water())))
        }
        Some(RestoredFrom { caught_up_at: None, .. }) => bail!(
            "the restore of this store was interrupted; `parcours restore --resume` completes it"
        ),
        Some(_) | None => Ok(product_clock(store.product_clock().await?, store.high_water())),
    }
}

/// The clock as the install stores it; the machine's when it stores none. It never begins before
/// the highest time that this install has seen.
fn product_clock(stored: Option<StoredClock>, seen: Timestamp) -> ProductClock {
    match stored {
        None if machine_now() < seen => {
            let behind_ms = (seen - machine_now()).0;
            tracing::error!(
                behind_ms,
                "the machine's clock is behind what this install has seen; product time goes on \
                 from there. Set the machine's clock, then start again"
            );
            ProductClock::running_from(seen)
        }
        None => ProductClock::real(),
        Some(StoredClock { at, speed: 0, .. }) => ProductClock::standing(at.max(seen)),
        Some(running) => ProductClock::running_from(running.at_machine(machine_now()).max(seen)),
    }
}
