//! What every timer index promises.

use std::{collections::BTreeMap, sync::Arc};

use parcours_domain::{RunId, shard_of};
use parcours_queue::{MemoryTimers, QueueError, TimerEntry, TimerIndex};
use parcours_testkit::redis::TempRedis;
use proptest::prelude::*;

use crate::ground::{SHARDS, TENANT, at, contact_in, entry, run, timers};

/// All shards in hand under epoch 1.
async fn in_hand(index: &dyn TimerIndex) {
    for shard in 0..SHARDS {
        assert!(index.begin(shard, 1).await.unwrap());
    }
}

async fn pop(index: &dyn TimerIndex, now: i64) -> Vec<TimerEntry> {
    index.pop_due(at(now), 10).await.unwrap()
}

async fn comes_out_in_order_of_moment_and_never_early(index: &dyn TimerIndex) {
    in_hand(index).await;
    index.add(&[entry(1, 1, 30), entry(2, 1, 10), entry(3, 1, 20)]).await.unwrap();
    assert_eq!(index.next_due().await.unwrap(), Some(at(10)));
    assert_eq!(pop(index, 9).await, []);
    assert_eq!(index.pending_due(at(20)).await.unwrap(), 2);
    assert_eq!(pop(index, 20).await, [entry(2, 1, 10), entry(3, 1, 20)]);
    assert_eq!(index.pending().await.unwrap(), 1);
    assert_eq!(index.next_due().await.unwrap(), Some(at(30)));
    assert_eq!(pop(index, 20).await, [], "each once");
}

async fn no_more_come_out_than_asked_for(index: &dyn TimerIndex) {
    in_hand(index).await;
    let of = |n: u8| TimerEntry { contact: contact_in(u16::from(n) % SHARDS), ..entry(n, 1, 5) };
    let entries: Vec<TimerEntry> = (0..100).map(of).collect();
    index.add(&entries).await.unwrap();
    assert_eq!(index.pending().await.unwrap(), 100);
    let mut seen = Vec::new();
    for _ in 0..15 {
        let due = index.pop_due(at(5), 7).await.unwrap();
        assert!(due.len() <= 7 && (due.len() == 7 || seen.len() >= 98), "{}", due.len());
        seen.extend(due.iter().map(|entry| entry.run));
    }
    seen.sort();
    assert_eq!(seen, (0..100).map(run).collect::<Vec<_>>());
}

async fn a_run_has_one_entry_and_an_old_row_does_not_undo_a_newer_timer(index: &dyn TimerIndex) {
    in_hand(index).await;
    // Numbers far apart, and on both sides of where their low bits begin again.
    for (older, newer) in [(1, 2), (2_047, 2_048), (2_048, 2_049), (5, 1 << 20), (7, u32::MAX)] {
        index.add(&[entry(1, older, 10), entry(1, newer, 50)]).await.unwrap();
        assert_eq!(pop(index, 49).await, [], "{older} {newer}");
        index.add(&[entry(1, older, 10)]).await.unwrap();
        assert_eq!(pop(index, 49).await, [], "{older} {newer}");
        index.add(&[entry(1, newer, 60)]).await.unwrap();
        assert_eq!(pop(index, 59).await, [], "the same timer at another moment");
        assert_eq!(pop(index, 60).await, [entry(1, newer, 60)]);
        assert_eq!(index.pending().await.unwrap(), 0);
    }
    index.add(&[entry(1, 9_999, 10)]).await.unwrap();
    assert_eq!(pop(index, 60).await, [entry(1, 9_999, 10)]);
    index.add(&[entry(1, 3, 10)]).await.unwrap();
    assert_eq!(pop(index, 60).await, [entry(1, 3, 10)], "what was popped is forgotten");
}

async fn a_removed_run_does_not_come_back(index: &dyn TimerIndex) {
    in_hand(index).await;
    index.add(&[entry(1, 1, 10), entry(2, 5_000, 10), entry(3, 1, 10)]).await.unwrap();
    index.remove(TENANT, contact_in(1), &[run(1), run(2), run(9)]).await.unwrap();
    assert_eq!(pop(index, 10).await, [entry(3, 1, 10)]);
    assert_eq!(index.pending().await.unwrap(), 0);
    index.add(&[entry(2, 1, 20)]).await.unwrap();
    assert_eq!(pop(index, 20).await, [entry(2, 1, 20)]);
}

async fn what_is_not_in_hand_takes_nothing_and_gives_nothing(index: &dyn TimerIndex) {
    assert_eq!(index.add(&[entry(1, 1, 10)]).await, Err(QueueError::NotInHand));
    assert!(index.begin(1, 1).await.unwrap());
    let elsewhere = TimerEntry { contact: contact_in(2), ..entry(2, 1, 10) };
    assert_eq!(index.add(&[entry(1, 1, 10), elsewhere]).await, Err(QueueError::NotInHand));
    assert_eq!(index.pending().await.unwrap(), 1, "the other one is indexed all the same");
    assert!(index.begin(2, 1).await.unwrap());
    index.add(&[elsewhere]).await.unwrap();
    index.drop_shard(1).await;
    assert_eq!(pop(index, 10).await, [elsewhere]);
    assert_eq!(index.next_due().await.unwrap(), None);
    assert_eq!(index.add(&[entry(1, 1, 10)]).await, Err(QueueError::NotInHand));
}

async fn an_index_is_built_once_it_is_finished_and_under_its_epoch(index: &dyn TimerIndex) {
    assert!(!index.built(1, 5).await.unwrap());
    assert!(!index.finish(1, 5).await.unwrap(), "it was never begun");
    assert!(index.begin(1, 5).await.unwrap());
    assert!(!index.built(1, 5).await.unwrap(), "it is being built");
    assert!(index.finish(1, 5).await.unwrap());
    assert!(index.built(1, 5).await.unwrap());
    assert!(!index.built(1, 6).await.unwrap(), "of another owner");
    assert_eq!(index.unbuilt(&[(1, 5), (2, 5)]).await.unwrap(), [(2, 5)]);
    assert!(!index.begin(1, 4).await.unwrap(), "an earlier owner");
}

async fn beginning_again_empties(index: &dyn TimerIndex) {
    assert!(index.begin(1, 5).await.unwrap());
    index.add(&[entry(1, 3_000, 10)]).await.unwrap();
    assert!(index.finish(1, 5).await.unwrap());
    assert!(index.begin(1, 6).await.unwrap());
    assert!(!index.built(1, 6).await.unwrap());
    assert_eq!(pop(index, 100).await, []);
    index.add(&[entry(1, 1, 20)]).await.unwrap();
    assert_eq!(pop(index, 100).await, [entry(1, 1, 20)], "no number is left from before");
}

macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(&MemoryTimers::with_shards(SHARDS)).await;
            })*
        }
        mod in_redis {
            use super::*;
            $(#[tokio::test]
            async fn $promise() {
                if let Some(redis) = TempRedis::new(stringify!($promise)).unwrap() {
                    super::$promise(&timers(&redis)).await;
                }
            })*
        }
    };
}

contract!(
    comes_out_in_order_of_moment_and_never_early,
    no_more_come_out_than_asked_for,
    a_run_has_one_entry_and_an_old_row_does_not_undo_a_newer_timer,
    a_removed_run_does_not_come_back,
    what_is_not_in_hand_takes_nothing_and_gives_nothing,
    an_index_is_built_once_it_is_finished_and_under_its_epoch,
    beginning_again_empties,
);

#[tokio::test]
async fn an_index_that_is_one_process_s_alone_needs_no_beginning() {
    let index = MemoryTimers::new();
    index.add(&[entry(1, 1, 10)]).await.unwrap();
    assert_eq!(pop(&index, 10).await, [entry(1, 1, 10)]);
}

type Changes = Vec<(u8, Option<i64>)>;

/// What came out when, and what should have.
async fn played(
    index: &dyn TimerIndex,
    (changes, step): (Changes, usize),
) -> [Vec<(i64, RunId)>; 2] {
    in_hand(index).await;
    let of = |n: u8| contact_in(u16::from(n) % SHARDS);
    let mut truth = BTreeMap::new();
    for (seq, (n, due)) in changes.into_iter().enumerate() {
        match due {
            Some(due) => {
                let entry = TimerEntry { contact: of(n), ..entry(n, seq as u32, due) };
                index.add(&[entry]).await.unwrap();
                truth.insert(run(n), due);
            }
            None => {
                index.remove(TENANT, of(n), &[run(n)]).await.unwrap();
                truth.remove(&run(n));
            }
        }
    }
    let mut seen = Vec::new();
    for now in 0..100 {
        loop {
            let due = index.pop_due(at(now), step).await.unwrap();
            assert!(due.iter().all(|entry| entry.due_at == at(now)));
            assert!(due.iter().all(|e| shard_of(e.contact, SHARDS) < SHARDS && e.tenant == TENANT));
            if due.is_empty() {
                break;
            }
            seen.extend(due.into_iter().map(|entry| (now, entry.run)));
        }
    }
    seen.sort();
    let mut expected: Vec<_> = truth.into_iter().map(|(run, due)| (due, run)).collect();
    expected.sort();
    [seen, expected]
}

/// Whatever is added, replaced and removed: each live run comes out once, at its last due time.
fn every_live_run_comes_out_exactly_once(cases: u32, index: impl FnOnce() -> Arc<dyn TimerIndex>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guard = runtime.enter();
    let index = index();
    drop(guard);
    let changes = prop::collection::vec((0u8..20, prop::option::of(0i64..100)), 1..200);
    let config = ProptestConfig { cases, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&(changes, 1usize..7), |plan| {
        let [seen, expected] = runtime.block_on(played(&*index, plan));
        prop_assert_eq!(seen, expected);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn every_live_run_comes_out_exactly_once_in_memory() {
    every_live_run_comes_out_exactly_once(256, || Arc::new(MemoryTimers::with_shards(SHARDS)));
}

#[test]
fn every_live_run_comes_out_exactly_once_in_redis() {
    if let Some(redis) = TempRedis::new("every_live_run_comes_out_exactly_once").unwrap() {
        every_live_run_comes_out_exactly_once(32, || Arc::new(timers(&redis)));
    }
}
