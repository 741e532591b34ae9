//! Who owns a shard: what this process holds, and the check that every commit makes.
//!
//! Cast: [`Ownership`] is what this process believes; the `keeper` looks at workers and shards,
//! takes what nobody has and hands over what is too much; `plan` decides, purely; `rows` asks the
//! database, which has the last word.
//!
//! What always holds: an epoch only grows; a commit by an incarnation that no longer owns the
//! shard, or under an older epoch, changes nothing; a dead incarnation never returns; a shard that
//! is handed over was sealed first, and its commits under way have ended or been given up; a new
//! owner's time is not below the highest that any owner before it has seen.

mod held;
mod keeper;
mod plan;
pub(crate) mod rows;
mod times;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use parcours_domain::Timestamp;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::{
    db::{Tx, in_rows},
    error::{Cause, StoreError},
    pulse::Pulse,
    side::sql::{Sql, vals},
};

pub use held::{HeldShards, ShardOwner};
pub(crate) use keeper::{Keeper, KeeperParts};
pub use times::ShardTimes;

/// What this process owns.
pub(crate) struct Ownership {
    incarnation: Uuid,
    /// By shard id; empty when this is no worker.
    slots: Mutex<Vec<Slot>>,
    /// The slots that take work, for those who follow them.
    held: watch::Sender<Arc<HeldShards>>,
    /// Told when the last commit under way of a sealed shard has ended.
    given_back: Notify,
    /// The highest product time that an owner before this one has seen.
    high_water: AtomicI64,
    pulse: Arc<Pulse>,
}

/// One shard, as this process sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The epoch under which it is mine.
    epoch: Option<i64>,
    /// It is being handed over: what is under way may end, nothing begins.
    sealed: bool,
    /// Commits handed over and not answered.
    under_way: usize,
}

/// Which shards a transaction may write to.
pub(crate) struct Locked {
    /// Mine, and mine until the transaction ends.
    pub(crate) mine: BTreeSet<u16>,
    /// Believed mine; the database says otherwise.
    pub(crate) refused: BTreeSet<u16>,
}

impl Ownership {
    pub(crate) fn new(
        incarnation: Uuid,
        shards: u16,
        (pulse, high_water): (Arc<Pulse>, i64),
    ) -> Self {
        Self {
            incarnation,
            slots: Mutex::new(vec![Slot::default(); usize::from(shards)]),
            held: watch::Sender::new(Arc::default()),
            given_back: Notify::new(),
            high_water: AtomicI64::new(high_water),
            pulse,
        }
    }

    pub(crate) fn none(incarnation: Uuid) -> Self {
        Self::new(incarnation, 0, (Arc::new(Pulse::new(None)), 0))
    }

    pub(crate) fn high_water(&self) -> Timestamp {
        Timestamp::from_millis(self.high_water.load(Ordering::SeqCst))
    }

    pub(crate) const fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Whether this worker's beat is recent enough to commit anything; asked right before COMMIT.
    pub(crate) fn may_commit(&self) -> Result<(), StoreError> {
        if self.pulse.is_fresh() { Ok(()) } else { Err(StoreError::Unavailable(Cause::Late)) }
    }

    pub(crate) const fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    /// Which shards take work, as it changes.
    pub(crate) fn held(&self) -> watch::Receiver<Arc<HeldShards>> {
        self.held.subscribe()
    }

    /// A commit to this shard begins; none: the shard is not mine, or being handed over.
    pub(crate) fn enter(self: &Arc<Self>, shard: u16) -> Option<UnderWay> {
        let mut slots = self.slots();
        let slot = slots.get_mut(usize::from(shard))?;
        if slot.epoch.is_none() || slot.sealed {
            return None;
        }
        slot.under_way += 1;
        Some(UnderWay { ownership: Arc::clone(self), shard })
    }

    /// Locks these shards against a change of owner; those that come back are mine, and what does
    /// not is let go of.
    pub(crate) async fn lock(&self, tx: &Tx, shards: &BTreeSet<u16>) -> Result<Locked, StoreError> {
        let believed = self.believed(shards);
        let mut locked = Locked {
            mine: BTreeSet::new(),
            refused: believed.iter().map(|(shard, _)| *shard).collect(),
        };
        if believed.is_empty() || self.pulse.is_lost() {
            return Ok(locked);
        }
        let sql = Sql::default().text("SELECT id FROM shard WHERE (id, epoch) IN ");
        let keys = believed.iter().map(|(shard, epoch)| vals![i64::from(*shard), *epoch]);
        let rows = in_rows(sql, keys)
            .text(" AND owner = ")
            .arg(self.incarnation)
            .text(" ORDER BY id")
            .lock(tx, "FOR SHARE")
            .all(tx)
            .await?;
        for row in rows {
            let id: i64 = row.get("id")?;
            let id = u16::try_from(id).map_err(|_| StoreError::Damaged("shard.id"))?;
            locked.refused.remove(&id);
            locked.mine.insert(id);
        }
        let refused: Vec<_> =
            believed.into_iter().filter(|(shard, _)| locked.refused.contains(shard)).collect();
        if !refused.is_empty() {
            self.lose(&refused, "a commit was refused");
        }
        Ok(locked)
    }

    fn believed(&self, shards: &BTreeSet<u16>) -> Vec<(u16, i64)> {
        let slots = self.slots();
        let epoch = |shard: &u16| slots.get(usize::from(*shard)).and_then(|slot| slot.epoch);
        shards.iter().filter_map(|shard| Some((*shard, epoch(shard)?))).collect()
    }

    /// These are mine now, whatever was before; the time that their owners have seen.
    fn gain(&self, shards: &[(u16, i64)], high_water: i64) {
        self.high_water.fetch_max(high_water, Ordering::SeqCst);
        self.change(|slots| {
            for (shard, epoch) in shards {
                if let Some(slot) = slots.get_mut(usize::from(*shard)) {
                    (slot.epoch, slot.sealed) = (Some(*epoch), false);
                }
            }
        });
    }

    /// These are another's: nothing more is taken for them, unless they were taken again since.
    fn lose(&self, shards: &[(u16, i64)], reason: &'static str) {
        tracing::warn!(shards = shards.len(), reason, "shards are another worker's now");
        self.forget(shards);
    }

    fn forget(&self, shards: &[(u16, i64)]) {
        self.change(|slots| {
            for (shard, epoch) in shards {
                if let Some(slot) = slots.get_mut(usize::from(*shard))
                    && slot.epoch == Some(*epoch)
                {
                    (slot.epoch, slot.sealed) = (None, false);
                }
            }
        });
    }

    /// This incarnation was declared dead: it never commits again.
    pub(crate) fn lose_all(&self) {
        self.pulse.lose();
        self.change(|slots| {
            for slot in slots {
                (slot.epoch, slot.sealed) = (None, false);
            }
        });
    }

    /// From now on nothing begins in these shards.
    fn seal(&self, which: impl Fn(u16) -> bool) {
        self.change(|slots| {
            for (shard, slot) in (0_u16..).zip(slots) {
                slot.sealed |= slot.epoch.is_some() && which(shard);
            }
        });
    }

    /// Shards that are mine, with their epochs, sealed or not.
    fn mine(&self, sealed: bool) -> Vec<(u16, i64)> {
        let slots = self.slots();
        let wanted = (0_u16..).zip(&*slots).filter(|(_, slot)| slot.sealed == sealed);
        wanted.filter_map(|(shard, slot)| Some((shard, slot.epoch?))).collect()
    }

    /// Waits until nothing is under way in sealed shards, at most so long; whether it came to that.
    async fn drained(&self, within: Duration) -> bool {
        let drained = async {
            loop {
                let given_back = self.given_back.notified();
                tokio::pin!(given_back);
                given_back.as_mut().enable();
                if !self.slots().iter().any(|slot| slot.sealed && slot.under_way > 0) {
                    return;
                }
                given_back.await;
            }
        };
        tokio::time::timeout(within, drained).await.is_ok()
    }

    /// Changes the slots and tells those who follow them, in one, so that they hear of changes in
    /// the order in which these were made.
    fn change(&self, change: impl FnOnce(&mut [Slot])) {
        let mut slots = self.slots();
        change(&mut slots);
        let taking = (0_u16..).zip(&*slots).filter(|(_, slot)| !slot.sealed);
        let held: HeldShards =
            taking.filter_map(|(shard, slot)| Some((shard, slot.epoch?))).collect();
        self.held.send_if_modified(|present| {
            let changed = **present != held;
            if changed {
                *present = Arc::new(held);
            }
            changed
        });
    }

    /// No code runs under this lock that can panic half-way.
    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held.borrow().len();
        f.debug_struct("Ownership").field("held", &held).finish_non_exhaustive()
    }
}

/// A commit under way; its shard is not given back before this is dropped, or only after a wait.
pub(crate) struct UnderWay {
    ownership: Arc<Ownership>,
    shard: u16,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut slots = self.ownership.slots();
        let Some(slot) = slots.get_mut(usize::from(self.shard)) else { return };
        slot.under_way -= 1;
        if slot.sealed && slot.under_way == 0 {
            self.ownership.given_back.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Arc<Ownership> {
        let pulse = Arc::new(Pulse::new(None));
        let owner = Arc::new(Ownership::new(Uuid::from_u128(1), 4, (pulse, 0)));
        owner.gain(&[(0, 5), (1, 5), (3, 9)], 1_000);
        owner
    }

    #[test]
    fn work_begins_only_in_shards_that_are_held() {
        let owner = owner();
        let mut held = owner.held();
        assert_eq!(held.borrow_and_update().iter().collect::<Vec<_>>(), [(0, 5), (1, 5), (3, 9)]);
        assert!(owner.enter(0).is_some() && owner.enter(2).is_none() && owner.enter(4).is_none());
        owner.seal(|shard| shard == 0 || shard == 2);
        assert!(owner.enter(0).is_none() && owner.enter(1).is_some());
        assert_eq!(held.borrow_and_update().iter().collect::<Vec<_>>(), [(1, 5), (3, 9)]);
        // What was believed when the shard was held once more since says nothing.
        owner.forget(&[(3, 8), (1, 5)]);
        assert_eq!(held.borrow_and_update().iter().collect::<Vec<_>>(), [(3, 9)]);
        owner.seal(|_| false);
        assert!(!held.has_changed().unwrap(), "nothing to tell");
        owner.lose_all();
        assert!(held.borrow_and_update().is_empty() && owner.enter(3).is_none());
        assert!(owner.may_commit().is_err());
        assert_eq!(owner.high_water().as_millis(), 1_000);
    }

    #[tokio::test]
    async fn a_sealed_shard_is_drained_when_its_last_commit_has_ended() {
        let owner = owner();
        let (first, second) = (owner.enter(1).unwrap(), owner.enter(1).unwrap());
        let elsewhere = owner.enter(0).unwrap();
        owner.seal(|shard| shard == 1);
        assert!(!owner.drained(Duration::from_millis(1)).await);
        let waiting = tokio::spawn({
            let owner = Arc::clone(&owner);
            async move { owner.drained(Duration::from_secs(60)).await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        assert!(waiting.await.unwrap(), "what other shards do is nothing to it");
        drop(elsewhere);
    }
}
