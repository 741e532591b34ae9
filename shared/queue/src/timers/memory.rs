//! The timer index in the memory of one process.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use parcours_domain::{ContactId, RunId, TenantId, Timestamp, shard_of};

use super::{TimerEntry, TimerIndex};
use crate::QueueError;

/// The index in this process's memory.
#[derive(Debug)]
pub struct MemoryTimers {
    shards: u16,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    order: BTreeSet<(Timestamp, RunId, u16)>,
    held: HashMap<u16, Held>,
}

#[derive(Debug, Default)]
struct Held {
    epoch: i64,
    built: bool,
    entries: HashMap<RunId, TimerEntry>,
}

impl Inner {
    /// False: the shard is not in hand.
    fn add(&mut self, shard: u16, entry: TimerEntry) -> bool {
        let Some(held) = self.held.get_mut(&shard) else { return false };
        if let Some(old) = held.entries.get(&entry.run) {
            if old.seq > entry.seq {
                return true;
            }
            self.order.remove(&(old.due_at, old.run, shard));
        }
        self.order.insert((entry.due_at, entry.run, shard));
        held.entries.insert(entry.run, entry);
        true
    }

    fn remove(&mut self, shard: u16, run: RunId) -> Option<TimerEntry> {
        let entry = self.held.get_mut(&shard)?.entries.remove(&run)?;
        self.order.remove(&(entry.due_at, run, shard));
        Some(entry)
    }

    fn pop_due(&mut self, now: Timestamp, max: usize) -> Vec<TimerEntry> {
        let due: Vec<(u16, RunId)> = self
            .order
            .iter()
            .take_while(|(at, ..)| *at <= now)
            .take(max)
            .map(|(_, run, shard)| (*shard, *run))
            .collect();
        due.into_iter().filter_map(|(shard, run)| self.remove(shard, run)).collect()
    }

    fn let_go(&mut self, shard: u16) {
        for entry in self.held.remove(&shard).unwrap_or_default().entries.values() {
            self.order.remove(&(entry.due_at, entry.run, shard));
        }
    }
}

impl Default for MemoryTimers {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryTimers {
    /// An empty index of one shard, number 0, that is in hand and built: for a process that has all
    /// contacts and will always have them.
    #[must_use]
    pub fn new() -> Self {
        let whole = Held { built: true, ..Held::default() };
        let inner = Inner { held: HashMap::from([(0, whole)]), ..Inner::default() };
        Self { shards: 1, inner: Mutex::new(inner) }
    }

    /// An index of so many shards, none of which is in hand.
    #[must_use]
    pub fn with_shards(shards: u16) -> Self {
        Self { shards, inner: Mutex::default() }
    }

    /// No code runs under this lock that can panic half-way, so a poisoned lock is still whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TimerIndex for MemoryTimers {
    async fn begin(&self, shard: u16, epoch: i64) -> Result<bool, QueueError> {
        let mut inner = self.lock();
        if inner.held.get(&shard).is_some_and(|held| held.epoch > epoch) {
            return Ok(false);
        }
        inner.let_go(shard);
        inner.held.insert(shard, Held { epoch, ..Held::default() });
        Ok(true)
    }

    async fn finish(&self, shard: u16, epoch: i64) -> Result<bool, QueueError> {
        let mut inner = self.lock();
        let held = inner.held.get_mut(&shard).filter(|held| held.epoch == epoch);
        Ok(held.map(|held| held.built = true).is_some())
    }

    async fn unbuilt(&self, shards: &[(u16, i64)]) -> Result<Vec<(u16, i64)>, QueueError> {
        let inner = self.lock();
        let built = |(shard, epoch): &(u16, i64)| {
            inner.held.get(shard).is_some_and(|held| held.built && held.epoch == *epoch)
        };
        Ok(shards.iter().copied().filter(|shard| !built(shard)).collect())
    }

    async fn drop_shard(&self, shard: u16) {
        self.lock().let_go(shard);
    }

    async fn add(&self, entries: &[TimerEntry]) -> Result<(), QueueError> {
        let mut inner = self.lock();
        let mut all = true;
        for entry in entries {
            all &= inner.add(shard_of(entry.contact, self.shards), *entry);
        }
        if all { Ok(()) } else { Err(QueueError::NotInHand) }
    }

    async fn pop_due(&self, now: Timestamp, max: usize) -> Result<Vec<TimerEntry>, QueueError> {
        Ok(self.lock().pop_due(now, max))
    }

    async fn remove(
        &self,
        _tenant: TenantId,
        contact: ContactId,
        runs: &[RunId],
    ) -> Result<(), QueueError> {
        let mut inner = self.lock();
        for run in runs {
            inner.remove(shard_of(contact, self.shards), *run);
        }
        Ok(())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, QueueError> {
        Ok(self.lock().order.first().map(|(at, ..)| *at))
    }

    async fn pending(&self) -> Result<usize, QueueError> {
        Ok(self.lock().order.len())
    }

    async fn pending_due(&self, now: Timestamp) -> Result<usize, QueueError> {
        Ok(self.lock().order.iter().take_while(|(at, ..)| *at <= now).count())
    }
}
