//! What all parts of a running delivery share.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use parcours_domain::Timestamp;
use parcours_kit::{Clock, telemetry};
use parcours_queue::tokens::TokenLease;
use parcours_store::{DeliveryDoor, Moments, Store, StoreError};
use parcours_wire::WorkerApi;
use tokio::sync::Semaphore;

use crate::{
    board::Board, budget::Purse, catalogue::Catalogue, config::DeliveryConfig, days::Days,
    doors::Doors, gate::Gate, pace::Paces, pool::Pools, recorder::Recorder,
    templates::TemplateTime, warm_up::WarmUps,
};

/// Shared by the dispatcher and every batch.
pub(crate) struct Core {
    pub config: DeliveryConfig,
    pub door: DeliveryDoor,
    pub clock: Arc<dyn Clock>,
    pub purse: Purse,
    /// By what pace each lane goes.
    pub paces: Paces,
    pub days: Days,
    pub warm_ups: WarmUps,
    pub templates: TemplateTime,
    pub catalogue: Catalogue,
    pub gate: Gate,
    pub recorder: Recorder,
    pub pools: Pools,
    pub doors: Doors,
    pub board: Board,
    pub renders: Semaphore,
    /// Whom to tell that a run's message has ended; the inbox sweep finds out by itself.
    pub worker: Arc<OnceLock<Arc<dyn WorkerApi>>>,
    stopping: AtomicBool,
}

impl Core {
    pub(crate) fn new(
        config: DeliveryConfig,
        store: &Store,
        clock: Arc<dyn Clock>,
        tokens: Arc<dyn TokenLease>,
    ) -> Self {
        let door = store.delivery();
        let worker = Arc::new(OnceLock::new());
        Self {
            gate: Gate::new(door.clone(), Arc::clone(&clock), &config),
            recorder: Recorder::new(door.clone(), config.group, Arc::clone(&worker)),
            catalogue: Catalogue::new(store.clone()),
            pools: Pools::default(),
            doors: Doors::default(),
            board: Board::new(),
            renders: Semaphore::new(config.renders_most.max(1)),
            stopping: AtomicBool::new(false),
            config,
            worker,
            door,
            clock,
            purse: Purse::new(tokens),
            paces: Paces::default(),
            days: Days::new(store.clone()),
            warm_ups: WarmUps::new(store.clone()),
            templates: TemplateTime::new(store.clone()),
        }
    }

    /// From now on nothing new passes its final commit.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Settles claims whose lease is over or whose process is dead, by the brands' policies.
    pub(crate) async fn settle_claims(
        &self,
        product: Timestamp,
        machine: Timestamp,
    ) -> Result<(), StoreError> {
        self.catalogue.learn_policies().await?;
        let policy = |tenant, class| self.catalogue.policies().of(tenant, class);
        let now = Moments { product, machine };
        let settled = self.door.settle_expired_claims(now, &policy).await?;
        let (unknown, again) = (settled.unknown.len(), settled.again.len());
        if settled.requeued > 0 || unknown + again > 0 {
            let requeued = settled.requeued;
            tracing::info!(requeued, unknown, again, "claims of lost owners were settled");
            let ended = u64::try_from(unknown).unwrap_or(0);
            let labels = [("outcome", "unknown")];
            telemetry::metrics().add("parcours_messages_ended_total", ended, &labels);
        }
        Ok(())
    }
}
