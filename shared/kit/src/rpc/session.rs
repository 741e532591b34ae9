//! One caller's stream, as the callee sees it: asks are taken in, worked on at the same time, and
//! answered as they are done.
//!
//! What always holds: of an ask that is refused, or comes after `Closing` was said, nothing is
//! done; one that was taken is answered, or the stream ends.

use std::{sync::Arc, time::Duration};

use parcours_wire::{ContactEvents, DeliveryApi, ItemOutcome, WorkerApi};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tonic::{Status, Streaming};

use super::{
    RpcLimits,
    convert::{batch_from, contact_from, lane_from, outcomes_to, tenant_from},
    proto::{self, answer, ask, refusal::Reason},
};
use crate::{Shutdown, telemetry::metrics};

/// What this process does for others.
pub(super) struct Callee {
    pub worker: Arc<dyn WorkerApi>,
    pub delivery: Arc<dyn DeliveryApi>,
    pub limits: RpcLimits,
}

type Answers = mpsc::Sender<Result<proto::Answer, Status>>;

/// A stream.
pub(super) struct Session {
    callee: Arc<Callee>,
    asks: Streaming<proto::Ask>,
    answers: Answers,
    places: Arc<Semaphore>,
    /// The highest number that was looked at.
    taken: u64,
}

impl Session {
    pub(super) fn new(callee: Arc<Callee>, asks: Streaming<proto::Ask>, answers: Answers) -> Self {
        let places = Arc::new(Semaphore::new(callee.limits.asks_max));
        Self { callee, asks, answers, places, taken: 0 }
    }

    /// Until the caller is gone or this process stops.
    pub(super) async fn run(mut self, mut shutdown: Shutdown) {
        loop {
            let ask = tokio::select! {
                biased;
                () = shutdown.requested() => return self.close().await,
                ask = self.asks.message() => ask,
            };
            match ask {
                Ok(Some(ask)) => self.take(ask).await,
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(%status, "another process's stream ended");
                    // It may be a message that cannot be read; the caller may be gone, too.
                    let _ = self.answers.send(Err(status)).await;
                    return;
                }
            }
        }
    }

    async fn take(&mut self, ask: proto::Ask) {
        match ask.what {
            Some(ask::What::Accept(accept)) => self.accept(accept).await,
            Some(ask::What::Hints(hints)) => self.callee.hear(&hints),
            None => tracing::warn!("another process asked for something that is not known here"),
        }
    }

    async fn accept(&mut self, accept: proto::Accept) {
        let number = accept.number;
        self.taken = self.taken.max(number);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.refuse(number, Reason::Busy).await;
        };
        let batch = match batch_from(accept.contacts) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "another process's events cannot be read: do versions fit?");
                return self.refuse(number, Reason::Unreadable).await;
            }
        };
        let patience = Duration::from_millis(accept.patience_ms.into());
        let (callee, answers) = (Arc::clone(&self.callee), self.answers.clone());
        tokio::spawn(async move {
            let contacts = outcomes_to(callee.work(batch, patience).await);
            let outcomes = answer::What::Outcomes(proto::Outcomes { number, contacts });
            // A caller that is gone asks again elsewhere.
            let _ = answers.send(Ok(proto::Answer { what: Some(outcomes) })).await;
            drop(place);
        });
    }

    async fn refuse(&self, number: u64, reason: Reason) {
        let end = if reason == Reason::Busy { "busy" } else { "unreadable" };
        metrics().add("parcours_rpc_served_total", 1, &[("end", end)]);
        self.say(answer::What::Refusal(proto::Refusal { number, reason: reason.into() })).await;
    }

    async fn say(&self, what: answer::What) {
        // A caller that is gone asks again elsewhere.
        let _ = self.answers.send(Ok(proto::Answer { what: Some(what) })).await;
    }

    /// Says that nothing more is taken, and waits for what was.
    async fn close(self) {
        let drained = async {
            self.say(answer::What::Closing(proto::Closing { taken: self.taken })).await;
            let all = u32::try_from(self.callee.limits.asks_max).unwrap_or(u32::MAX);
            // It fails only when closed, which nobody does.
            drop(self.places.acquire_many(all).await);
        };
        if timeout(self.callee.limits.drain_max, drained).await.is_err() {
            tracing::warn!("stopping with another process's events that are not done");
        }
    }
}

impl Callee {
    /// The outcomes; after the caller's patience nobody knows.
    async fn work(&self, batch: Vec<ContactEvents>, patience: Duration) -> Vec<Vec<ItemOutcome>> {
        let sizes: Vec<usize> = batch.iter().map(|of| of.events.len()).collect();
        let worked = timeout(patience.min(self.limits.work_max), self.worker.accept(batch)).await;
        let end = if worked.is_ok() { "answered" } else { "late" };
        metrics().add("parcours_rpc_served_total", 1, &[("end", end)]);
        let unknown = |_| sizes.iter().map(|&n| vec![ItemOutcome::Unavailable; n]).collect();
        worked.unwrap_or_else(unknown)
    }

    /// Hints that cannot be read are left to the sweeps.
    fn hear(&self, hints: &proto::Hints) {
        for (tenant, contact) in hints.wakes.iter().filter_map(|of| contact_from(of).ok()) {
            self.worker.wake(tenant, contact);
        }
        for tenant in hints.plans_changed.iter().filter_map(|of| tenant_from(of).ok()) {
            self.worker.plans_changed(tenant);
        }
        for (tenant, lane) in hints.lanes.iter().filter_map(|of| lane_from(of).ok()) {
            self.delivery.hint(tenant, lane);
        }
    }
}
