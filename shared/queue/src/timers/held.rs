//! What a process knows of the shards in its hands without asking Redis.
//!
//! Only a shard's owner writes its index, so the owner knows when the first entry is due at the
//! earliest; what it knows is never later than the truth.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use parcours_domain::Timestamp;

/// The shards in hand.
#[derive(Debug, Default)]
pub(super) struct Hand {
    shards: Mutex<HashMap<u16, Held>>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    epoch: i64,
    /// No entry is due before; none: there is none.
    next: Option<Timestamp>,
    /// How often entries were added, so that an answer from before does not hide a later entry.
    added: u64,
    /// An entry may be missing.
    holed: bool,
}

/// A shard that gets its turn in a pop, and what was known of it before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub shard: u16,
    pub epoch: i64,
    pub most: usize,
    added: u64,
}

impl Hand {
    /// With an index that is empty.
    pub fn take(&self, shard: u16, epoch: i64) {
        self.shards().insert(shard, Held { epoch, next: None, added: 0, holed: false });
    }

    pub fn let_go(&self, shard: u16) {
        self.shards().remove(&shard);
    }

    pub fn epoch(&self, shard: u16) -> Option<i64> {
        self.shards().get(&shard).map(|held| held.epoch)
    }

    /// Whether it is in hand under this epoch and no entry is missing.
    pub fn is_whole(&self, shard: u16, epoch: i64) -> bool {
        self.shards().get(&shard).is_some_and(|held| held.epoch == epoch && !held.holed)
    }

    /// Entries were sent, the first of them due then; whether they arrived.
    pub fn added(&self, shard: u16, epoch: i64, (first, arrived): (Option<Timestamp>, bool)) {
        self.change(shard, epoch, |held| {
            held.next = held.next.into_iter().chain(first).min();
            held.added += 1;
            held.holed |= !arrived;
        });
    }

    /// The index is not there any more.
    pub fn emptied(&self, shard: u16, epoch: i64) {
        self.change(shard, epoch, |held| (held.next, held.holed) = (None, true));
    }

    /// After a pop the first entry is due at `next`, but for what was added meanwhile.
    pub fn popped(&self, turn: Turn, next: Option<Timestamp>) {
        self.change(turn.shard, turn.epoch, |held| {
            let kept = held.next.filter(|_| held.added != turn.added);
            held.next = next.into_iter().chain(kept).min();
        });
    }

    /// Shards that may have something due, the longest due first, at most `shards`, and an equal
    /// part of `most` for each.
    pub fn turns(&self, now: Timestamp, shards: usize, most: usize) -> Vec<Turn> {
        let held = self.shards();
        let mut due: Vec<(Timestamp, u16, Held)> = held
            .iter()
            .filter_map(|(shard, held)| Some((held.next?, *shard, *held)))
            .filter(|(next, ..)| *next <= now)
            .collect();
        due.sort_unstable_by_key(|(next, shard, _)| (*next, *shard));
        due.truncate(shards.min(most));
        let most = most.checked_div(due.len()).unwrap_or(0);
        let turn = |(_, shard, Held { epoch, added, .. })| Turn { shard, epoch, most, added };
        due.into_iter().map(turn).collect()
    }

    pub fn next(&self) -> Option<Timestamp> {
        self.shards().values().filter_map(|held| held.next).min()
    }

    /// All of them, or those that may have something due.
    pub fn numbers(&self, due_at: Option<Timestamp>) -> Vec<u16> {
        let wanted = |held: &Held| due_at.is_none_or(|now| held.next.is_some_and(|at| at <= now));
        let shards = self.shards();
        shards.iter().filter(|(_, held)| wanted(held)).map(|(shard, _)| *shard).collect()
    }

    fn change(&self, shard: u16, epoch: i64, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.shards().get_mut(&shard).filter(|held| held.epoch == epoch) {
            change(held);
        }
    }

    fn shards(&self) -> MutexGuard<'_, HashMap<u16, Held>> {
        // Nothing that holds the guard can panic half-way through a change.
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn an_entry_added_while_a_pop_was_under_way_is_not_forgotten() {
        let hand = Hand::default();
        hand.take(3, 1);
        hand.added(3, 1, (Some(at(10)), true));
        let [turn] = hand.turns(at(10), 16, 100)[..] else { panic!("one turn") };
        hand.added(3, 1, (Some(at(15)), true));
        hand.popped(turn, None);
        assert!(hand.next().is_some_and(|next| next <= at(15)));
        let [turn] = hand.turns(at(15), 16, 100)[..] else { panic!("one turn") };
        hand.popped(turn, Some(at(40)));
        assert_eq!(hand.next(), Some(at(40)));
    }

    #[test]
    fn the_longest_due_have_the_first_turns_and_share_what_is_asked_for() {
        let hand = Hand::default();
        for shard in 0..5_u16 {
            hand.take(shard, 1);
            hand.added(shard, 1, (Some(at(i64::from(10 - shard))), true));
        }
        let turns = hand.turns(at(9), 2, 7);
        let shown: Vec<(u16, usize)> = turns.iter().map(|turn| (turn.shard, turn.most)).collect();
        assert_eq!(shown, [(4, 3), (3, 3)]);
        assert_eq!(hand.turns(at(9), 16, 1).len(), 1);
        assert!(hand.turns(at(9), 16, 0).is_empty());
        assert_eq!(hand.numbers(Some(at(7))).len(), 2);
        assert_eq!(hand.numbers(None).len(), 5);
    }

    #[test]
    fn what_another_epoch_reports_changes_nothing() {
        let hand = Hand::default();
        hand.take(1, 2);
        hand.added(1, 1, (Some(at(1)), false));
        assert!(hand.is_whole(1, 2) && !hand.is_whole(1, 1));
        assert_eq!(hand.next(), None);
        hand.emptied(1, 2);
        assert!(!hand.is_whole(1, 2));
    }
}
