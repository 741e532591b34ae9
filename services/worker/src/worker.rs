//! The worker: actors, loops, and the handle that others hold.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::join_all;
use parcours_domain::{ContactId, TenantId, Timestamp};
use parcours_kit::clock::Clock;
use parcours_queue::{MemoryTimers, TimerIndex};
use parcours_store::{Store, StoreError};
use parcours_wire::{ContactEvents, DeliveryApi, ItemOutcome, WorkerApi};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    actor::{Idle, Limits},
    brands::Brands,
    config::{BATCH_CONTACTS, WorkerConfig},
    contact::Deps,
    durable::{Durable, StoreDurable},
    fold::StepFn,
    hosts::Hosts,
    loops::Loops,
    registry::{Lanes, Registry},
    work::{BUSY_SECONDS, Gauge, Replies, TimersInFlight, Work},
};

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// No threads for actors.
    #[error("no threads for actors: {0}")]
    Threads(#[from] std::io::Error),
    /// The timers could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a worker works with.
pub struct WorkerParts {
    /// The durable store.
    pub durable: Arc<dyn Durable>,
    /// Product time.
    pub clock: Arc<dyn Clock>,
    /// Whom to tell of queued messages.
    pub delivery: Arc<dyn DeliveryApi>,
    /// The timer index.
    pub timers: Arc<dyn TimerIndex>,
    /// The interpreter.
    pub step: StepFn,
}

impl WorkerParts {
    /// A store, timers in memory, and the interpreter. Inside the runtime that opened the store.
    #[must_use]
    pub fn over(store: Store, clock: Arc<dyn Clock>, delivery: Arc<dyn DeliveryApi>) -> Self {
        let durable = StoreDurable::new(store);
        Self {
            timers: Arc::new(MemoryTimers::with_shards(durable.shards())),
            durable: Arc::new(durable),
            clock,
            delivery,
            step: Arc::new(parcours_journey::interpret::step),
        }
    }
}

/// Starts workers.
#[derive(Clone, Copy, Debug)]
pub struct Worker;

impl Worker {
    /// Starts a worker over the store, with timers in memory: rebuilds the index of the shards that
    /// are held, then takes work, and follows the shards from then on. Must be called inside a tokio runtime, which runs the loops.
    ///
    /// # Errors
    /// When threads cannot be started or the timers cannot be read.
    pub async fn start(
        config: WorkerConfig,
        store: Store,
        clock: Arc<dyn Clock>,
        delivery: Arc<dyn DeliveryApi>,
    ) -> Result<WorkerHandle, WorkerError> {
        Self::start_with(config, WorkerParts::over(store, clock, delivery)).await
    }

    /// The same with every part chosen by the caller.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub async fn start_with(
        config: WorkerConfig,
        parts: WorkerParts,
    ) -> Result<WorkerHandle, WorkerError> {
        let hosts = Hosts::start(config.arbiters)?;
        start_on(hosts, config, parts).await
    }
}

pub(crate) async fn start_on(
    hosts: Hosts,
    config: WorkerConfig,
    parts: WorkerParts,
) -> Result<WorkerHandle, WorkerError> {
    let held = parts.durable.held();
    let deps = Arc::new(Deps {
        brands: Brands::new(Arc::clone(&parts.durable)),
        durable: parts.durable,
        clock: parts.clock,
        delivery: parts.delivery,
        timers: parts.timers,
        timers_changed: Notify::new(),
        step: parts.step,
        held,
    });
    let gauge = Gauge::new(config.in_flight_max);
    let idle = Idle {
        in_room: config.idle_in_room,
        crowded: config.idle_passivate,
        room: config.active_contacts,
    };
    let limits = Limits { pending: config.mailbox, idle };
    let lanes = Lanes { live: Gauge::new(config.in_flight_max), bulk: Gauge::new(BATCH_CONTACTS) };
    let registry = Registry::new(
        Arc::clone(&deps),
        hosts.handles(),
        (config.mailbox, limits),
        (Arc::clone(&gauge), lanes),
    );
    let (stop, stopped) = watch::channel(false);
    let loops = Arc::new(Loops {
        deps,
        registry,
        in_flight: Arc::new(TimersInFlight::default()),
        config,
        sweep_timers: Notify::new(),
        sweep_inbox: Notify::new(),
        stop: stopped,
    });
    let (held, timers) = loops.take_up().await?;
    tracing::info!(shards = held.len(), timers, "timer index rebuilt");
    let tasks = vec![
        tokio::spawn(Arc::clone(&loops).run_shards(held)),
        tokio::spawn(Arc::clone(&loops).run_timers()),
        tokio::spawn(Arc::clone(&loops).run_inbox()),
        tokio::spawn(Arc::clone(&loops).run_plans()),
        tokio::spawn(Arc::clone(&loops).run_repair()),
    ];
    let running = Running { stop, hosts, tasks };
    Ok(WorkerHandle { inner: Arc::new(Inner { loops, gauge, running: Mutex::new(Some(running)) }) })
}

struct Running {
    stop: watch::Sender<bool>,
    hosts: Hosts,
    tasks: Vec<JoinHandle<()>>,
}

struct Inner {
    loops: Arc<Loops>,
    gauge: Arc<Gauge>,
    /// None once it is stopped.
    running: Mutex<Option<Running>>,
}

/// A running worker. Clones are the same worker.
#[derive(Clone)]
pub struct WorkerHandle {
    inner: Arc<Inner>,
}

/// Figures of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Inputs accepted and not answered.
    pub in_flight: usize,
    /// Contacts in memory.
    pub actors: usize,
    /// Actors that died and were or will be replaced.
    pub actors_died: u64,
}

impl WorkerHandle {
    /// Inputs accepted and not answered yet, and loops at work.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.gauge.busy()
    }

    /// Whether nothing is under way and no indexed timer is due. What other processes wrote and
    /// nobody hinted at is not seen here; [`WorkerHandle::poke`] first.
    pub async fn quiet(&self) -> bool {
        self.in_flight() == 0 && !self.inner.loops.timers_due().await && self.in_flight() == 0
    }

    /// Waits until [`WorkerHandle::quiet`].
    pub async fn settled(&self) {
        loop {
            let given_back = self.inner.gauge.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            if self.quiet().await {
                return;
            }
            given_back.await;
        }
    }

    /// The clock was moved, or rows were written by others: look at timers and inbox at once.
    pub fn poke(&self) {
        let Loops { sweep_timers, sweep_inbox, deps, .. } = &*self.inner.loops;
        deps.timers_changed.notify_one();
        sweep_timers.notify_one();
        sweep_inbox.notify_one();
    }

    /// The clock was moved: look at the indexed timers at once.
    pub fn tick_timers(&self) {
        self.inner.loops.deps.timers_changed.notify_one();
    }

    /// When the first indexed timer is due.
    pub async fn next_due(&self) -> Option<Timestamp> {
        self.inner.loops.deps.timers.next_due().await.ok().flatten()
    }

    /// Figures.
    #[must_use]
    pub fn counts(&self) -> WorkerCounts {
        let registry = &self.inner.loops.registry;
        WorkerCounts {
            in_flight: self.in_flight(),
            actors: registry.live(),
            actors_died: registry.deaths(),
        }
    }

    /// Stops: takes no more work, lets what was accepted come to its end (within
    /// [`WorkerConfig::drain_max`]), ends the actors and their threads. What is not done by then
    /// is answered `Unavailable` or found again after the next start. What comes meanwhile is
    /// answered `Moved`: the shards are about to be.
    pub async fn stop(&self) {
        let running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        // Loops end whether or not anyone still receives.
        let _ = running.stop.send(true);
        for task in running.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a loop of the worker ended by a panic");
            }
        }
        let drained = async {
            loop {
                let given_back = self.inner.gauge.given_back.notified();
                tokio::pin!(given_back);
                given_back.as_mut().enable();
                if self.in_flight() == 0 {
                    return;
                }
                given_back.await;
            }
        };
        if tokio::time::timeout(self.inner.loops.config.drain_max, drained).await.is_err() {
            tracing::warn!(in_flight = self.in_flight(), "stopping with inputs that are not done");
        }
        self.inner.loops.registry.close();
        running.hosts.stop().await;
    }

    fn stopping(&self) -> bool {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Hands one contact's events to its actor.
    fn hand_over(&self, one: ContactEvents) -> oneshot::Receiver<Vec<ItemOutcome>> {
        let (reply, answer) = oneshot::channel();
        let ContactEvents { tenant, contact, events } = one;
        let n = events.len();
        if self.stopping() {
            reject(reply, ItemOutcome::Moved, n);
            return answer;
        }
        match self.inner.gauge.take(n) {
            Some(permit) => {
                let work = Work::Events { events, reply, permit };
                if let Err(not_taken) = self.inner.loops.registry.send((tenant, contact), work) {
                    not_taken.refuse();
                }
            }
            None => reject(reply, ItemOutcome::Busy(BUSY_SECONDS), n),
        }
        answer
    }
}

fn reject(reply: oneshot::Sender<Vec<ItemOutcome>>, outcome: ItemOutcome, n: usize) {
    let mut replies = Replies::default();
    drop(replies.open(reply, n));
    replies.answer_rest(&outcome);
}

#[async_trait]
impl WorkerApi for WorkerHandle {
    async fn accept(&self, batch: Vec<ContactEvents>) -> Vec<Vec<ItemOutcome>> {
        let waiting: Vec<_> = batch
            .into_iter()
            .map(|one| {
                let n = one.events.len();
                let answer = self.hand_over(one);
                // An actor that died answers nothing: whether it committed is not known here.
                async move { answer.await.unwrap_or_else(|_| vec![ItemOutcome::Unavailable; n]) }
            })
            .collect();
        join_all(waiting).await
    }

    fn wake(&self, tenant: TenantId, contact: ContactId) {
        if !self.stopping() {
            self.inner.loops.registry.wake((tenant, contact), false);
        }
    }

    fn plans_changed(&self, tenant: TenantId) {
        self.inner.loops.deps.brands.forget(tenant);
        // A resumed journey's timers come back by their rows.
        self.inner.loops.sweep_timers.notify_one();
    }
}

#[cfg(test)]
mod tests;
