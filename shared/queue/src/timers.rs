//! The timer index: which runs are due, ordered by moment.
//!
//! At most one entry stands for a run: adding a run again replaces its earlier entry, unless the
//! entry at hand carries a higher number (an old row read late must not undo a newer timer).
//! Entries leave when they are popped; whoever pops one is responsible for it until the row's own
//! commit, and the sweep over SQL is the net below.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use parcours_domain::{ContactId, RunId, TenantId, Timestamp};

use crate::QueueError;

/// One live timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerEntry {
    /// The brand.
    pub tenant: TenantId,
    /// The contact whose run it is.
    pub contact: ContactId,
    /// The run.
    pub run: RunId,
    /// Which of the run's timers.
    pub seq: u32,
    /// Product time from which it may fire.
    pub due_at: Timestamp,
}

/// An index over timers. Entries come out ordered by (due time, run).
#[async_trait]
pub trait TimerIndex: Send + Sync {
    /// Adds or replaces, by run.
    async fn add(&self, entries: &[TimerEntry]) -> Result<(), QueueError>;
    /// Takes out at most `max` entries with `due_at <= now`.
    async fn pop_due(&self, now: Timestamp, max: usize) -> Result<Vec<TimerEntry>, QueueError>;
    /// Forgets a run's entry, if there is one.
    async fn remove(&self, run: RunId) -> Result<(), QueueError>;
    /// When the first entry is due.
    async fn next_due(&self) -> Result<Option<Timestamp>, QueueError>;
    /// How many entries wait.
    async fn pending(&self) -> Result<usize, QueueError>;
    /// How many entries are due at `now`.
    async fn pending_due(&self, now: Timestamp) -> Result<usize, QueueError>;
}

/// The index in this process's memory.
#[derive(Debug, Default)]
pub struct MemoryTimers {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    order: BTreeSet<(Timestamp, RunId)>,
    entries: HashMap<RunId, TimerEntry>,
}

impl Inner {
    fn add(&mut self, entry: TimerEntry) {
        if let Some(old) = self.entries.get(&entry.run) {
            if old.seq > entry.seq {
                return;
            }
            self.order.remove(&(old.due_at, old.run));
        }
        self.order.insert((entry.due_at, entry.run));
        self.entries.insert(entry.run, entry);
    }

    fn remove(&mut self, run: RunId) -> Option<TimerEntry> {
        let entry = self.entries.remove(&run)?;
        self.order.remove(&(entry.due_at, run));
        Some(entry)
    }

    fn pop_due(&mut self, now: Timestamp, max: usize) -> Vec<TimerEntry> {
        let due: Vec<RunId> = self
            .order
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(max)
            .map(|(_, run)| *run)
            .collect();
        due.into_iter().filter_map(|run| self.remove(run)).collect()
    }
}

impl MemoryTimers {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No code runs under this lock that can panic half-way, so a poisoned lock is still whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TimerIndex for MemoryTimers {
    async fn add(&self, entries: &[TimerEntry]) -> Result<(), QueueError> {
        let mut inner = self.lock();
        for entry in entries {
            inner.add(*entry);
        }
        Ok(())
    }
    async fn pop_due(&self, now: Timestamp, max: usize) -> Result<Vec<TimerEntry>, QueueError> {
        Ok(self.lock().pop_due(now, max))
    }
    async fn remove(&self, run: RunId) -> Result<(), QueueError> {
        self.lock().remove(run);
        Ok(())
    }
    async fn next_due(&self) -> Result<Option<Timestamp>, QueueError> {
        Ok(self.lock().order.first().map(|(at, _)| *at))
    }
    async fn pending(&self) -> Result<usize, QueueError> {
        Ok(self.lock().entries.len())
    }
    async fn pending_due(&self, now: Timestamp) -> Result<usize, QueueError> {
        Ok(self.lock().order.iter().take_while(|(at, _)| *at <= now).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcours_domain::ids::uuid_v7;
    use proptest::prelude::*;

    fn run(n: u8) -> RunId {
        RunId(uuid_v7(Timestamp::EPOCH, [n; 10]))
    }
    fn entry(n: u8, seq: u32, due: i64) -> TimerEntry {
        let id = uuid_v7(Timestamp::EPOCH, [7; 10]);
        let due_at = Timestamp::from_millis(due);
        TimerEntry { tenant: TenantId(id), contact: ContactId(id), run: run(n), seq, due_at }
    }
    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[tokio::test]
    async fn comes_out_in_order_of_moment_and_never_early() {
        let timers = MemoryTimers::new();
        timers.add(&[entry(1, 1, 30), entry(2, 1, 10), entry(3, 1, 20)]).await.unwrap();
        assert_eq!(timers.next_due().await.unwrap(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9), 10).await.unwrap(), []);
        assert_eq!(timers.pending_due(at(20)).await.unwrap(), 2);
        let due = timers.pop_due(at(20), 10).await.unwrap();
        assert_eq!(due, [entry(2, 1, 10), entry(3, 1, 20)]);
        assert_eq!(timers.pending().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_run_has_one_entry_and_an_old_row_does_not_undo_a_newer_timer() {
        let timers = MemoryTimers::new();
        timers.add(&[entry(1, 1, 10), entry(1, 2, 50)]).await.unwrap();
        assert_eq!(timers.pop_due(at(49), 10).await.unwrap(), []);
        timers.add(&[entry(1, 1, 10)]).await.unwrap();
        assert_eq!(timers.pop_due(at(49), 10).await.unwrap(), []);
        assert_eq!(timers.pop_due(at(50), 10).await.unwrap(), [entry(1, 2, 50)]);
    }

    #[tokio::test]
    async fn a_removed_run_does_not_come_back() {
        let timers = MemoryTimers::new();
        timers.add(&[entry(1, 1, 10)]).await.unwrap();
        timers.remove(run(1)).await.unwrap();
        timers.remove(run(2)).await.unwrap();
        assert_eq!(timers.next_due().await.unwrap(), None);
        assert_eq!(timers.pending().await.unwrap(), 0);
    }

    proptest! {
        /// Whatever is added, replaced and removed: each live run comes out once, at its last
        /// due time, in order.
        #[test]
        fn every_live_run_comes_out_exactly_once(
            changes in prop::collection::vec((0u8..20, prop::option::of(0i64..100)), 1..200),
            step in 1usize..7,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let timers = MemoryTimers::new();
                let mut truth = std::collections::BTreeMap::new();
                for (seq, (n, due)) in changes.into_iter().enumerate() {
                    match due {
                        Some(due) => {
                            timers.add(&[entry(n, seq as u32, due)]).await.unwrap();
                            truth.insert(run(n), due);
                        }
                        None => {
                            timers.remove(run(n)).await.unwrap();
                            truth.remove(&run(n));
                        }
                    }
                }
                let mut seen = Vec::new();
                for now in 0..100 {
                    loop {
                        let due = timers.pop_due(at(now), step).await.unwrap();
                        if due.is_empty() {
                            break;
                        }
                        prop_assert!(due.iter().all(|e| e.due_at == at(now)));
                        seen.extend(due.into_iter().map(|e| (e.run, now)));
                    }
                }
                let mut expected: Vec<_> = truth.into_iter().collect();
                expected.sort_by_key(|(run, due)| (*due, *run));
                prop_assert_eq!(seen, expected);
                Ok(())
            })?;
        }
    }
}
