//! What finds work that nobody hands over: due timers, inbox rows, publications.
//!
//! Each loop wakes by an event and sweeps by a period, so a lost hint costs one period and a lost
//! index costs one rebuild. None of them decides: actors check that a timer's time has come, and
//! commits check everything else.

use std::{sync::Arc, time::Duration};

use parcours_domain::{Millis, Timestamp};
use parcours_kit::telemetry::metrics;
use parcours_queue::{QueueError, TimerEntry};
use parcours_store::StoreError;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    config::{SWEEP_ROWS_MAX, WorkerConfig},
    contact::Deps,
    durable::{Durable, StuckRun, TimerMark},
    registry::Registry,
    work::{TimersInFlight, Work},
};

/// How often it is looked whether a worker whose sign of life was overdue may act again, and whether
/// an index that could not be read can be.
pub(crate) const ACT_AGAIN: Duration = Duration::from_millis(100);

/// What the loops share.
pub(crate) struct Loops {
    pub deps: Arc<Deps>,
    pub registry: Arc<Registry>,
    pub in_flight: Arc<TimersInFlight>,
    pub config: WorkerConfig,
    /// Look at the timer rows now.
    pub sweep_timers: Notify,
    /// Look at the inbox now.
    pub sweep_inbox: Notify,
    /// True: end.
    pub stop: watch::Receiver<bool>,
}

impl Loops {
    async fn index(&self, entries: &[TimerEntry]) {
        if let Err(error) = self.deps.timers.add(entries).await {
            // The index itself says aloud that it cannot be used, once.
            tracing::debug!(%error, "timers are not indexed; the sweep finds them when they are due");
        }
    }

    /// Gives due timers to their actors; ends when told.
    pub(crate) async fn run_timers(self: Arc<Self>) {
        let mut stop = self.stop.clone();
        let mut next_sweep = Instant::now() + self.config.sweep_period;
        let (mut mark, mut behind) = (None, false);
        loop {
            let busy = self.registry.gauge.hold();
            let fired = self.fire_due().await;
            if Instant::now() >= next_sweep || (behind && self.room() >= SWEEP_ROWS_MAX) {
                behind = self.sweep_timers_now(&mut mark).await;
                next_sweep = Instant::now() + self.config.sweep_period;
                drop(busy);
                continue;
            }
            drop(busy);
            if matches!(fired, Ok(true)) {
                tokio::task::yield_now().await;
                if *stop.borrow() {
                    return;
                }
                continue;
            }
            let look = match fired {
                Ok(_) => self.next_look().await,
                // What is due stays due; the sweep fires it meanwhile.
                Err(_) => Instant::now() + ACT_AGAIN,
            };
            let until = look.min(next_sweep);
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.deps.timers_changed.notified() => {}
                () = self.in_flight.done.notified() => {}
                () = self.sweep_timers.notified() => next_sweep = Instant::now(),
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Machine time at which the first timer is due, as far as the product clock tells now.
    async fn next_look(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3_600);
        // Without room for more, only an actor that is done changes anything.
        if self.room() == 0 {
            return far;
        }
        // What is due waits until this worker may act again, or is another's.
        if !self.deps.durable.may_act() {
            return Instant::now() + ACT_AGAIN;
        }
        match self.deps.timers.next_due().await {
            Ok(Some(due)) => {
                let wait = (due - self.deps.clock.now()).max(Millis(1));
                let wait = Duration::from_millis(u64::try_from(wait.0).unwrap_or(1));
                Instant::now().checked_add(wait).unwrap_or(far)
            }
            Ok(None) | Err(_) => far,
        }
    }

    pub(crate) fn room(&self) -> usize {
        self.config.timers_in_flight_max.saturating_sub(self.in_flight.len())
    }

    /// Fires what is due and fits; whether more may be due. An error when the index cannot tell.
    async fn fire_due(&self) -> Result<bool, QueueError> {
        let max = self.room().min(SWEEP_ROWS_MAX);
        if max == 0 || !self.deps.durable.may_act() {
            return Ok(false);
        }
        let now = self.deps.clock.now();
        let due = self.deps.timers.pop_due(now, max).await.inspect_err(|error| {
            tracing::debug!(%error, "the timer index cannot be read; the sweep goes on");
        })?;
        let popped = due.len();
        let mut left = Vec::new();
        for entry in due {
            if !self.fire(entry) {
                left.push(entry);
            }
        }
        let all_taken = left.is_empty();
        // No room in the worker: they stay indexed, and what gives room back looks again.
        self.index(&left).await;
        Ok(all_taken && popped == max)
    }

    /// Hands a timer to its actor. False: no room in the worker. A contact whose mailbox is full
    /// gets its timer by the sweep; one whose shard is another's gets it there.
    pub(crate) fn fire(&self, entry: TimerEntry) -> bool {
        let Some(permit) = self.registry.gauge.take(1) else { return false };
        if let Some(guard) = self.in_flight.enter(entry.run, permit) {
            let work = Work::Timer { entry, guard };
            drop(self.registry.send((entry.tenant, entry.contact), work));
        }
        true
    }

    /// Puts due rows that nobody has into the index, on from where the pass before ended, or gives
    /// them to their actors itself while there is no index. Yields while a backlog is being worked
    /// off. True: only the sweep can fire what is due, and there is more than one pass took.
    async fn sweep_timers_now(&self, mark: &mut Option<TimerMark>) -> bool {
        let now = self.deps.clock.now();
        let indexed = self.deps.timers.pending_due(now).await;
        let backlog = indexed.unwrap_or(0) + self.in_flight.len();
        metrics().set("parcours_timers_due", i64::try_from(backlog).unwrap_or(i64::MAX));
        if indexed.is_ok() && backlog >= SWEEP_ROWS_MAX {
            return false;
        }
        match due_round(&*self.deps.durable, now, *mark, SWEEP_ROWS_MAX).await {
            Ok(mut rows) => {
                let full = rows.len() >= SWEEP_ROWS_MAX;
                *mark = rows.last().filter(|_| full).map(mark_of);
                rows.retain(|row| {
                    self.deps.holds(row.contact) && !self.in_flight.contains(row.run)
                });
                self.index_or_fire(&rows).await && full
            }
            Err(error) => {
                tracing::warn!(%error, "the timer sweep failed; it comes again");
                false
            }
        }
    }

    /// Looks for live runs that nothing will wake, sets their timers again, and takes timers up
    /// again that were left held; ends when told.
    pub(crate) async fn run_repair(self: Arc<Self>) {
        let mut stop = self.stop.clone();
        let mut tick = interval(self.config.repair_period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            match self.deps.durable.stuck_runs(SWEEP_ROWS_MAX).await {
                Ok(stuck) => self.repair(stuck),
                Err(error) => tracing::warn!(%error, "stuck runs cannot be looked for"),
            }
            match self.deps.durable.release_held(SWEEP_ROWS_MAX).await {
                Ok(0) => {}
                Ok(timers) => {
                    tracing::info!(timers, "held timers of journeys that are not paused go on");
                    self.sweep_timers.notify_one();
                }
                Err(error) => tracing::warn!(%error, "held timers cannot be looked for"),
            }
        }
    }

    fn repair(&self, mut stuck: Vec<StuckRun>) {
        stuck.retain(|stuck| self.deps.holds(stuck.contact));
        metrics().set("parcours_runs_stuck", i64::try_from(stuck.len()).unwrap_or(i64::MAX));
        for StuckRun { tenant, contact, run } in stuck {
            tracing::error!(%tenant, %contact, %run, "a live run has no timer; setting it again");
            if let Some(permit) = self.registry.gauge.take(1) {
                drop(self.registry.send((tenant, contact), Work::Repair { run, permit }));
            }
        }
    }

    /// Forgets brands whose publications moved without a hint; ends when told.
    pub(crate) async fn run_plans(self: Arc<Self>) {
        let mut stop = self.stop.clone();
        let mut tick = interval(self.config.plans_period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let marks = self.deps.brands.marks();
            let tenants = marks.iter().map(|(tenant, _)| *tenant).collect();
            match self.deps.durable.published_marks(tenants).await {
                Ok(present) => {
                    let moved = marks.iter().filter(|(tenant, mark)| {
                        present.get(tenant).is_some_and(|present| present != mark)
                    });
                    moved.for_each(|(tenant, _)| self.deps.brands.forget(*tenant));
                }
                Err(error) => tracing::warn!(%error, "publications cannot be read"),
            }
        }
    }

    /// Whether a timer is due that no actor has.
    pub(crate) async fn timers_due(&self) -> bool {
        let now: Timestamp = self.deps.clock.now();
        matches!(self.deps.timers.next_due().await, Ok(Some(due)) if due <= now)
    }
}

/// Due rows after the mark; what room is left, from the beginning up to the mark.
async fn due_round(
    durable: &dyn Durable,
    now: Timestamp,
    mark: Option<TimerMark>,
    limit: usize,
) -> Result<Vec<TimerEntry>, StoreError> {
    let mut rows = durable.due_timers(now, mark, limit).await?;
    if let Some(mark) = mark
        && rows.len() < limit
    {
        let first = durable.due_timers(now, None, limit - rows.len()).await?;
        rows.extend(first.into_iter().take_while(|row| mark_of(row) <= mark));
    }
    Ok(rows)
}

const fn mark_of(entry: &TimerEntry) -> TimerMark {
    (entry.due_at, entry.run)
}

#[cfg(test)]
mod tests {
    use parcours_domain::RunId;
    use parcours_queue::TimerEntry;

    use super::{due_round, mark_of};
    use crate::double::{Double, TENANT, at, contact};

    #[tokio::test]
    async fn due_timers_are_looked_at_round_and_round() {
        let double = Double::new();
        for n in 1..=3_u8 {
            let run = RunId(uuid::Uuid::from_bytes([n; 16]));
            let due_at = at(i64::from(n));
            let entry = TimerEntry { tenant: TENANT, contact: contact(n), run, seq: 1, due_at };
            double.inner().timers.insert(run, (entry, false));
        }
        // Nobody takes the first ones away, and still each has its turn.
        let (mut mark, mut turns) = (None, Vec::new());
        for _ in 0..3 {
            let rows = due_round(&*double, at(10), mark, 2).await.unwrap();
            mark = rows.last().map(mark_of);
            turns.extend(rows.iter().map(|row| row.due_at.as_millis()));
        }
        assert_eq!(turns, [1, 2, 3, 1, 2, 3]);
        let all = due_round(&*double, at(10), mark, 10).await.unwrap();
        assert_eq!(all.len(), 3);
    }
}
