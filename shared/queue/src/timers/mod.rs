//! The timer index: which runs are due, ordered by moment, shard by shard.
//!
//! At most one entry stands for a run: adding a run again replaces its earlier entry, unless the
//! entry at hand carries a higher number (an old row read late must not undo a newer timer).
//! Entries leave when they are popped; whoever pops one is responsible for it until the row's own
//! commit, and the sweep over SQL is the net below. Nothing remembers what was popped.
//!
//! A shard's index is *in hand* from [`TimerIndex::begin`] on, under the epoch of the shard's owner,
//! and *built* once everything was added and [`TimerIndex::finish`] said so. What is not in hand
//! takes no entry and gives none, so a former owner changes nothing.

mod code;
mod held;
mod memory;
mod redis;
mod scripts;

use async_trait::async_trait;
use parcours_domain::{ContactId, RunId, TenantId, Timestamp};

pub use self::{memory::MemoryTimers, redis::RedisTimers};
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

/// An index over timers. A contact's shard is `shard_of(contact, shards)`, with as many shards as
/// the index was made for.
#[async_trait]
pub trait TimerIndex: Send + Sync {
    /// Takes a shard in hand under its owner's epoch, with an empty index that is not built. False:
    /// a later owner has begun it, and nothing was changed.
    async fn begin(&self, shard: u16, epoch: i64) -> Result<bool, QueueError>;
    /// Says that all of the shard's timers were added since it was begun. False: the index is not
    /// whole all the same (emptied or begun by another meanwhile, or an entry was lost on its way);
    /// begin again.
    async fn finish(&self, shard: u16, epoch: i64) -> Result<bool, QueueError>;
    /// Those of `shards` (with their epochs) whose index is not built, or is no longer whole. To be
    /// asked every now and then: the answer changes when the server was emptied, was replaced or
    /// came back with old data.
    async fn unbuilt(&self, shards: &[(u16, i64)]) -> Result<Vec<(u16, i64)>, QueueError>;
    /// The same for one shard.
    async fn built(&self, shard: u16, epoch: i64) -> Result<bool, QueueError> {
        Ok(self.unbuilt(&[(shard, epoch)]).await?.is_empty())
    }
    /// Lets go of a shard: its entries come out here no more.
    async fn drop_shard(&self, shard: u16);

    /// Adds or replaces, by run.
    ///
    /// On an error some of the entries may not be indexed; those of shards in hand that are, stay.
    async fn add(&self, entries: &[TimerEntry]) -> Result<(), QueueError>;
    /// Takes out at most `max` entries with `due_at <= now`, ordered by due time.
    async fn pop_due(&self, now: Timestamp, max: usize) -> Result<Vec<TimerEntry>, QueueError>;
    /// Forgets the entries of these runs of one contact, as far as there are any.
    async fn remove(
        &self,
        tenant: TenantId,
        contact: ContactId,
        runs: &[RunId],
    ) -> Result<(), QueueError>;
    /// When the first entry is due; never later than it is, perhaps earlier.
    async fn next_due(&self) -> Result<Option<Timestamp>, QueueError>;
    /// How many entries wait.
    async fn pending(&self) -> Result<usize, QueueError>;
    /// How many entries are due at `now`.
    async fn pending_due(&self, now: Timestamp) -> Result<usize, QueueError>;
}
