//! The running delivery: how others hint at it, wait for it and stop it.

use std::{sync::Arc, time::Duration};

use parcours_domain::TenantId;
use parcours_kit::{Clock, Shutdown, ShutdownTrigger};
use parcours_queue::tokens::TokenLease;
use parcours_store::Store;
use parcours_wire::{DeliveryApi, WorkerApi};
use tokio::{sync::Mutex, task::JoinHandle};

use crate::{config::DeliveryConfig, core::Core, dispatch};

/// Starts delivery.
#[derive(Debug)]
pub struct Delivery;

impl Delivery {
    /// Starts on the present tokio runtime. Claims that a dead process left behind are settled
    /// first, before anything is claimed.
    #[must_use]
    pub fn start(
        config: DeliveryConfig,
        store: &Store,
        clock: Arc<dyn Clock>,
        tokens: Arc<dyn TokenLease>,
    ) -> DeliveryHandle {
        let core = Arc::new(Core::new(config, store, clock, tokens));
        let (trigger, shutdown) = Shutdown::new();
        let task = tokio::spawn(dispatch::run(Arc::clone(&core), shutdown));
        let running = Running { trigger, task: Mutex::new(Some(task)) };
        DeliveryHandle { core, running: Arc::new(running) }
    }
}

struct Running {
    trigger: ShutdownTrigger,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A running delivery. Clones share it; when the last one is dropped, it stops claiming.
#[derive(Clone)]
pub struct DeliveryHandle {
    core: Arc<Core>,
    running: Arc<Running>,
}

impl std::fmt::Debug for DeliveryHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryHandle").field("in_flight", &self.in_flight()).finish()
    }
}

impl DeliveryHandle {
    /// Look at the queue now: the clock was moved, or work was committed.
    pub fn poke(&self) {
        self.core.board.hint();
    }

    /// Whom to tell that a run's message has ended. Set once; without it, the inbox sweep finds
    /// out.
    pub fn set_worker(&self, worker: Arc<dyn WorkerApi>) {
        if self.core.worker.set(worker).is_err() {
            tracing::debug!("the worker was set before");
        }
    }

    /// Messages that are claimed and not yet recorded.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.core.board.in_flight()
    }

    /// Whether a whole look since the last hint found nothing that may leave, and nothing is in
    /// flight. Messages that wait for a permit keep it from being quiet.
    #[must_use]
    pub fn quiet(&self) -> bool {
        self.core.board.quiet()
    }

    /// Looks at the queue now and returns when it is quiet.
    pub async fn settled(&self) {
        self.core.board.settled().await;
    }

    /// Stops: claims nothing more, gives back what has not passed its final commit, waits for the
    /// replies to what has. What is still open after `grace` is left to the lease and the policy.
    /// Whether everything was recorded in time.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.core.stop();
        self.running.trigger.stop();
        let Some(mut task) = self.running.task.lock().await.take() else { return true };
        let ended = tokio::time::timeout(grace, &mut task).await.is_ok();
        if !ended {
            tracing::warn!(in_flight = self.in_flight(), "stopped with replies outstanding");
            task.abort();
        }
        ended
    }
}

impl DeliveryApi for DeliveryHandle {
    fn hint(&self, _tenant: TenantId, _lane: i64) {
        self.core.board.hint();
    }
}
