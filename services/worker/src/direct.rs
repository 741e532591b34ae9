//! Timers without an index: what the sweep finds due goes straight to its actor.
//!
//! Everything still happens, later by no more than the sweep's period. Nothing fires twice for it:
//! actors and commits decide, whoever hands a timer over.

use parcours_queue::TimerEntry;

use crate::loops::Loops;

impl Loops {
    /// Indexes due rows. Where that is not possible, gives those that there is room for to their
    /// actors instead, and says whether there were any; the others come again with later passes.
    pub(crate) async fn index_or_fire(&self, rows: &[TimerEntry]) -> bool {
        let Err(error) = self.deps.timers.add(rows).await else { return false };
        if !self.deps.durable.may_act() {
            return false;
        }
        let fits = rows.iter().take(self.room());
        let fired = fits.take_while(|row| self.fire(**row)).count();
        tracing::debug!(%error, rows = rows.len(), fired, "timers are fired without an index");
        fired > 0
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::{Duration, Instant},
    };

    use async_trait::async_trait;
    use parcours_domain::{ContactId, RunId, TenantId, Timestamp};
    use parcours_kit::clock::ProductClock;
    use parcours_queue::{QueueError, TimerEntry, TimerIndex};
    use parcours_wire::{ContactEvents, WorkerApi as _};

    use crate::{
        config::WorkerConfig,
        double::{Double, TENANT, at, contact, event, parts},
        hosts::Hosts,
        loops::ACT_AGAIN,
        worker::{WorkerHandle, WorkerParts, start_on},
    };

    /// An index that cannot be reached; it counts who asks it for what is due.
    #[derive(Default)]
    struct Away {
        asked: AtomicUsize,
        /// It was reached a moment ago and said that something is due.
        just_now: bool,
    }

    #[async_trait]
    impl TimerIndex for Away {
        async fn begin(&self, _: u16, _: i64) -> Result<bool, QueueError> {
            Err(QueueError::Unavailable)
        }
        async fn finish(&self, _: u16, _: i64) -> Result<bool, QueueError> {
            Err(QueueError::Unavailable)
        }
        async fn unbuilt(&self, _: &[(u16, i64)]) -> Result<Vec<(u16, i64)>, QueueError> {
            Err(QueueError::Unavailable)
        }
        async fn drop_shard(&self, _: u16) {}
        async fn add(&self, _: &[TimerEntry]) -> Result<(), QueueError> {
            Err(QueueError::Unavailable)
        }
        async fn pop_due(&self, _: Timestamp, _: usize) -> Result<Vec<TimerEntry>, QueueError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            Err(QueueError::Unavailable)
        }
        async fn remove(&self, _: TenantId, _: ContactId, _: &[RunId]) -> Result<(), QueueError> {
            Err(QueueError::Unavailable)
        }
        async fn next_due(&self) -> Result<Option<Timestamp>, QueueError> {
            if self.just_now { Ok(Some(at(1))) } else { Err(QueueError::Unavailable) }
        }
        async fn pending(&self) -> Result<usize, QueueError> {
            Err(QueueError::Unavailable)
        }
        async fn pending_due(&self, _: Timestamp) -> Result<usize, QueueError> {
            Err(QueueError::Unavailable)
        }
    }

    /// A worker without an index, at product time 10,000; periods so long that only pokes count.
    async fn worker(double: &Arc<Double>, away: &Arc<Away>) -> (Arc<ProductClock>, WorkerHandle) {
        let clock = Arc::new(ProductClock::standing(at(10_000)));
        let timers = Arc::<Away>::clone(away);
        let parts = WorkerParts { timers, ..parts(double, &clock) };
        let long = Duration::from_secs(3_600);
        let config =
            WorkerConfig { sweep_period: long, repair_period: long, ..WorkerConfig::default() };
        let worker = start_on(Hosts::here(), config, parts).await.unwrap();
        (clock, worker)
    }

    #[actix::test]
    async fn a_pass_that_was_full_is_followed_by_the_next_without_waiting() {
        let double = Double::new();
        for n in 0..2_500_u16 {
            let run = RunId(uuid::Uuid::from_u128(u128::from(n)));
            let due_at = at(i64::from(n));
            let contact = contact((n % 200) as u8);
            let entry = TimerEntry { tenant: TENANT, contact, run, seq: 1, due_at };
            double.inner().timers.insert(run, (entry, false));
        }
        let (_clock, worker) = worker(&double, &Arc::default()).await;
        worker.poke();
        // No contact knows these runs, so each timer is cancelled once its contact got it.
        while !double.inner().timers.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[actix::test]
    async fn without_an_index_due_timers_are_fired_by_the_sweep_once_and_not_early() {
        let double = Double::new();
        let (clock, worker) = worker(&double, &Arc::default()).await;
        let events = vec![event("a", "wait")];
        worker.accept(vec![ContactEvents { tenant: TENANT, contact: contact(1), events }]).await;
        worker.poke();
        worker.settled().await;
        assert_eq!(double.log(contact(1)), ["wait"], "its time has not come");
        clock.advance_to(at(20_000));
        worker.poke();
        while double.log(contact(1)).len() < 2 {
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            worker.poke();
            worker.settled().await;
        }
        assert_eq!(double.log(contact(1)), ["wait", "timer"]);
    }

    #[actix::test]
    async fn an_index_that_is_away_is_asked_with_pauses() {
        let begun = Instant::now();
        let away = Arc::new(Away { just_now: true, ..Away::default() });
        let (_clock, _worker) = worker(&Double::new(), &away).await;
        while away.asked.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await;
        }
        assert!(begun.elapsed() >= ACT_AGAIN * 3, "{:?}", begun.elapsed());
    }
}
