//! The worker as a whole, on the test's own thread, against a store that does as told.

use std::{sync::Arc, time::Duration};

use parcours_domain::shard_of;
use parcours_kit::clock::ProductClock;
use parcours_queue::TimerEntry;
use parcours_wire::{AcceptedEvent, ContactEvents, ItemOutcome, WorkerApi as _};

use super::{WorkerHandle, start_on};
use crate::{
    config::WorkerConfig,
    double::{Double, SHARDS, TENANT, Trick, at, contact, event, parts, waiting_run},
    hosts::Hosts,
};

struct Bench {
    double: Arc<Double>,
    clock: Arc<ProductClock>,
    worker: WorkerHandle,
}

/// Periods so long that only events move anything.
fn config() -> WorkerConfig {
    WorkerConfig {
        idle_in_room: Duration::from_secs(3_600),
        sweep_period: Duration::from_secs(3_600),
        plans_period: Duration::from_secs(3_600),
        repair_period: Duration::from_secs(3_600),
        ..WorkerConfig::default()
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(config(), Double::new()).await
    }

    async fn with(config: WorkerConfig, double: Arc<Double>) -> Self {
        let clock = Arc::new(ProductClock::standing(at(10_000)));
        let worker = start_on(Hosts::here(), config, parts(&double, &clock)).await.unwrap();
        Self { double, clock, worker }
    }

    fn accept(
        &self,
        n: u8,
        events: Vec<AcceptedEvent>,
    ) -> impl Future<Output = Vec<ItemOutcome>> + use<> {
        let worker = self.worker.clone();
        let one = ContactEvents { tenant: TENANT, contact: contact(n), events };
        async move { worker.accept(vec![one]).await.pop().unwrap() }
    }

    /// Lets everything that can run do so.
    async fn turn(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    fn hold_commits(&self) {
        let semaphore = &self.double.commits_allowed;
        semaphore.forget_permits(semaphore.available_permits());
    }
}

#[actix::test]
async fn the_answer_comes_after_the_commit() {
    let bench = Bench::new().await;
    bench.hold_commits();
    let answer = actix::spawn(bench.accept(1, vec![event("a", "x")]));
    bench.double.commit_waiting.notified().await;
    bench.turn().await;
    assert!(!answer.is_finished());
    assert_eq!(bench.worker.in_flight(), 1);
    bench.double.commits_allowed.add_permits(1);
    assert!(matches!(answer.await.unwrap()[..], [ItemOutcome::Applied(_)]));
    bench.worker.settled().await;
    assert_eq!(bench.worker.in_flight(), 0);
}

#[actix::test]
async fn inputs_that_come_during_a_commit_wait_and_fold_into_the_next() {
    let bench = Bench::new().await;
    bench.hold_commits();
    let first = actix::spawn(bench.accept(1, vec![event("a", "a")]));
    bench.double.commit_waiting.notified().await;
    let later: Vec<_> = (0..20)
        .map(|i| actix::spawn(bench.accept(1, vec![event(&format!("m{i}"), &format!("e{i}"))])))
        .collect();
    bench.turn().await;
    bench.double.commits_allowed.add_permits(2);
    first.await.unwrap();
    for answer in later {
        assert!(matches!(answer.await.unwrap()[..], [ItemOutcome::Applied(_)]));
    }
    let sizes: Vec<_> = bench.double.inner().commits.iter().map(|c| c.events.len()).collect();
    assert_eq!(sizes, [1, 20]);
}

#[actix::test]
async fn a_full_mailbox_says_busy_and_loses_nothing_it_took() {
    let bench = Bench::with(WorkerConfig { mailbox: 8, ..config() }, Double::new()).await;
    bench.hold_commits();
    let first = actix::spawn(bench.accept(1, vec![event("a", "a")]));
    bench.double.commit_waiting.notified().await;
    let answers: Vec<_> = (0..30)
        .map(|i| actix::spawn(bench.accept(1, vec![event(&format!("m{i}"), "e")])))
        .collect();
    bench.turn().await;
    // Another contact has a mailbox of its own.
    let other = actix::spawn(bench.accept(2, vec![event("z", "z")]));
    bench.turn().await;
    bench.double.commits_allowed.add_permits(100);
    first.await.unwrap();
    assert!(matches!(other.await.unwrap()[..], [ItemOutcome::Applied(_)]));
    let mut busy = 0;
    for answer in answers {
        match answer.await.unwrap()[..] {
            [ItemOutcome::Busy(1)] => busy += 1,
            [ItemOutcome::Applied(_)] => {}
            ref other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.double.log(contact(1)).len(), 31 - busy);
    assert!((20..=22).contains(&busy), "{busy} of 30 were told to come again");
}

#[actix::test]
async fn the_worker_as_a_whole_takes_only_so_much() {
    let bench = Bench::with(WorkerConfig { in_flight_max: 3, ..config() }, Double::new()).await;
    bench.hold_commits();
    let first = actix::spawn(bench.accept(1, vec![event("a", "a"), event("b", "b")]));
    bench.double.commit_waiting.notified().await;
    let refused = bench.accept(2, vec![event("c", "c"), event("d", "d")]).await;
    assert_eq!(refused, [ItemOutcome::Busy(1), ItemOutcome::Busy(1)]);
    bench.double.commits_allowed.add_permits(100);
    first.await.unwrap();
    bench.worker.settled().await;
    let taken = bench.accept(2, vec![event("c", "c"), event("d", "d")]).await;
    assert!(matches!(taken[..], [ItemOutcome::Applied(_), ItemOutcome::Applied(_)]));
}

#[actix::test]
async fn an_idle_contact_leaves_memory_and_comes_back_from_the_store() {
    let config = WorkerConfig { idle_in_room: Duration::ZERO, ..config() };
    let bench = Bench::with(config, Double::new()).await;
    bench.accept(1, vec![event("a", "a")]).await;
    while bench.worker.counts().actors > 0 {
        tokio::task::yield_now().await;
    }
    bench.accept(1, vec![event("b", "b")]).await;
    assert_eq!(bench.double.log(contact(1)), ["a", "b"]);
    assert_eq!(bench.double.inner().loads, 2);
    assert_eq!(bench.worker.counts().actors_died, 0);
}

#[actix::test]
async fn contacts_stay_in_memory_while_there_is_room() {
    let config = WorkerConfig { idle_passivate: Duration::ZERO, active_contacts: 3, ..config() };
    let bench = Bench::with(config, Double::new()).await;
    for round in ["a", "b"] {
        for number in 1..=8 {
            bench.accept(number, vec![event(&format!("{round}{number}"), round)]).await;
            while bench.worker.counts().actors > 3 {
                tokio::task::yield_now().await;
            }
        }
    }
    // Three stayed for good; the five others came and left twice.
    assert_eq!(bench.double.inner().loads, 3 + 2 * 5);
}

#[actix::test]
async fn an_actor_that_dies_is_replaced_and_only_its_inputs_are_unanswered() {
    let bench = Bench::new().await;
    bench.accept(1, vec![event("a", "a")]).await;
    bench.double.trick(Trick::Panic);
    assert_eq!(bench.accept(1, vec![event("b", "b")]).await, [ItemOutcome::Unavailable]);
    let retry = bench.accept(1, vec![event("b", "b")]).await;
    assert!(matches!(retry[..], [ItemOutcome::Applied(_)]));
    assert_eq!(bench.double.log(contact(1)), ["a", "b"]);
    let counts = bench.worker.counts();
    assert_eq!((counts.actors_died, counts.actors, counts.in_flight), (1, 1, 0));
}

#[actix::test]
async fn a_timer_fires_once_when_its_time_has_come() {
    let bench = Bench::new().await;
    bench.accept(1, vec![event("a", "wait")]).await;
    assert_eq!(bench.worker.next_due().await, Some(at(11_000)));
    bench.clock.advance_to(at(10_999));
    bench.worker.poke();
    bench.turn().await;
    assert_eq!(bench.double.log(contact(1)), ["wait"]);
    bench.clock.advance_to(at(11_000));
    assert!(!bench.worker.quiet().await, "due work is not quiet");
    bench.worker.tick_timers();
    bench.worker.settled().await;
    assert_eq!(bench.double.log(contact(1)), ["wait", "timer"]);
    bench.worker.poke();
    bench.turn().await;
    bench.worker.settled().await;
    assert_eq!(bench.double.log(contact(1)), ["wait", "timer"]);
}

#[actix::test]
async fn timers_are_rebuilt_from_the_store_at_start() {
    let bench = Bench::new().await;
    bench.accept(1, vec![event("a", "wait")]).await;
    bench.worker.stop().await;
    let again = Bench::with(config(), Arc::clone(&bench.double)).await;
    assert_eq!(again.worker.next_due().await, Some(at(11_000)));
    again.clock.advance_to(at(11_000));
    again.worker.tick_timers();
    again.worker.settled().await;
    assert_eq!(again.double.log(contact(1)), ["wait", "timer"]);
}

#[actix::test]
async fn a_timer_that_the_index_lost_is_found_by_the_sweep() {
    let bench = Bench::new().await;
    bench.accept(1, vec![event("a", "wait")]).await;
    let timers = &bench.worker.inner.loops.deps.timers;
    timers.remove(TENANT, contact(1), &[waiting_run()]).await.unwrap();
    bench.clock.advance_to(at(20_000));
    bench.worker.poke();
    while bench.double.log(contact(1)).len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.double.log(contact(1)), ["wait", "timer"]);
}

#[actix::test]
async fn an_index_that_was_emptied_is_built_again_before_anything_is_due() {
    let soon = Duration::from_millis(5);
    let config = WorkerConfig { sweep_period: soon, ..config() };
    let bench = Bench::with(config, Double::new()).await;
    bench.accept(1, vec![event("a", "wait")]).await;
    let timers = &bench.worker.inner.loops.deps.timers;
    assert!(timers.begin(shard_of(contact(1), SHARDS), 1).await.unwrap());
    while bench.worker.next_due().await != Some(at(11_000)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.double.log(contact(1)), ["wait"]);
}

#[actix::test]
async fn a_timer_for_a_full_mailbox_is_not_lost() {
    let bench = Bench::with(WorkerConfig { in_flight_max: 1, ..config() }, Double::new()).await;
    bench.accept(1, vec![event("a", "wait")]).await;
    bench.worker.settled().await;
    bench.hold_commits();
    let busy = actix::spawn(bench.accept(2, vec![event("b", "b")]));
    bench.double.commit_waiting.notified().await;
    bench.clock.advance_to(at(11_000));
    bench.worker.tick_timers();
    bench.turn().await;
    bench.double.commits_allowed.add_permits(100);
    busy.await.unwrap();
    bench.worker.settled().await;
    assert_eq!(bench.double.log(contact(1)), ["wait", "timer"]);
}

#[actix::test]
async fn a_run_whose_timer_row_is_gone_gets_it_again() {
    let bench = Bench::new().await;
    bench.accept(1, vec![event("a", "wait")]).await;
    bench.worker.stop().await;
    bench.double.inner().timers.clear();
    let again = Bench::with(config(), Arc::clone(&bench.double)).await;
    while again.worker.next_due().await.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(again.double.inner().timers[&waiting_run()].0.due_at, at(11_000));
    again.clock.advance_to(at(11_000));
    again.worker.tick_timers();
    again.worker.settled().await;
    assert_eq!(again.double.log(contact(1)), ["wait", "timer"]);
}

#[actix::test]
async fn a_timer_that_was_left_held_is_taken_up_again() {
    let bench = Bench::new().await;
    bench.accept(1, vec![event("a", "wait")]).await;
    bench.worker.stop().await;
    bench.double.inner().timers.get_mut(&waiting_run()).unwrap().1 = true;
    let again = Bench::with(config(), Arc::clone(&bench.double)).await;
    again.clock.advance_to(at(11_000));
    while again.double.log(contact(1)).len() < 2 {
        again.worker.poke();
        tokio::task::yield_now().await;
    }
    assert_eq!(again.double.log(contact(1)), ["wait", "timer"]);
}

#[actix::test]
async fn rows_that_others_wrote_are_found_by_hint_and_by_sweep() {
    let bench = Bench::new().await;
    let reference = |n: u8| {
        let run = waiting_run();
        serde_json::json!({"message": run, "run": run, "step": "s", "link": n, "url": "https://e.org"})
    };
    bench.double.post(contact(1), 1, ("click", reference(1), None));
    bench.worker.wake(TENANT, contact(1));
    bench.worker.settled().await;
    assert_eq!(bench.double.log(contact(1)), ["click"]);
    bench.double.post(contact(1), 2, ("click", reference(2), None));
    bench.worker.poke();
    while bench.double.log(contact(1)).len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.double.log(contact(1)), ["click", "click"]);
}

#[actix::test]
async fn an_absorbed_contact_answers_with_the_other_and_leaves() {
    let bench = Bench::new().await;
    bench.accept(1, vec![event("a", "wait")]).await;
    bench.double.post(contact(1), 1, ("absorb", serde_json::json!({"into": contact(2)}), None));
    bench.worker.wake(TENANT, contact(1));
    bench.worker.settled().await;
    assert_eq!(bench.double.log(contact(2)), ["absorbed"], "the other was woken");
    let merged = bench.accept(1, vec![event("b", "b")]).await;
    assert_eq!(merged, [ItemOutcome::Merged(contact(2))]);
    bench.clock.advance_to(at(11_000));
    bench.worker.tick_timers();
    bench.worker.settled().await;
    assert_eq!(bench.double.log(contact(2)), ["absorbed", "timer"], "its run goes on");
}

#[actix::test]
async fn stopping_lets_what_was_accepted_come_to_its_end() {
    let bench = Bench::new().await;
    bench.hold_commits();
    let accepted = actix::spawn(bench.accept(1, vec![event("a", "a")]));
    bench.double.commit_waiting.notified().await;
    let worker = bench.worker.clone();
    let stopped = actix::spawn(async move { worker.stop().await });
    bench.turn().await;
    assert!(!stopped.is_finished());
    assert_eq!(bench.accept(1, vec![event("b", "b")]).await, [ItemOutcome::Moved]);
    bench.double.commits_allowed.add_permits(1);
    assert!(matches!(accepted.await.unwrap()[..], [ItemOutcome::Applied(_)]));
    stopped.await.unwrap();
    assert_eq!(bench.worker.counts().actors_died, 0);
}

#[test]
fn actors_live_on_threads_of_their_own_and_end_with_the_worker() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let double = Double::new();
        let clock = Arc::new(ProductClock::standing(at(10_000)));
        let worker = super::Worker::start_with(config(), parts(&double, &clock)).await.unwrap();
        let batch = (1..=40)
            .map(|n| ContactEvents {
                tenant: TENANT,
                contact: contact(n),
                events: vec![event(&format!("m{n}"), "x"), event(&format!("k{n}"), "y")],
            })
            .collect();
        for outcomes in worker.accept(batch).await {
            assert!(matches!(outcomes[..], [ItemOutcome::Applied(_), ItemOutcome::Applied(_)]));
        }
        assert_eq!(worker.counts().actors, 40);
        worker.stop().await;
        assert_eq!(worker.counts().actors, 0);
        assert_eq!(double.log(contact(40)), ["x", "y"]);
    });
}

/// All shards but the one of contact 1.
fn others() -> impl Iterator<Item = u16> {
    let gone = shard_of(contact(1), SHARDS);
    (0..SHARDS).filter(move |shard| *shard != gone)
}

#[actix::test]
async fn a_shard_that_goes_takes_its_contacts_along() {
    let bench = Bench::new().await;
    bench.accept(2, vec![event("z", "z")]).await;
    bench.double.commit_waiting.notified().await;
    bench.hold_commits();
    let first = actix::spawn(bench.accept(1, vec![event("a", "a")]));
    bench.double.commit_waiting.notified().await;
    let waiting = actix::spawn(bench.accept(1, vec![event("b", "b"), event("c", "c")]));
    bench.turn().await;
    bench.double.hold(others(), 1);
    while bench.worker.counts().actors == 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.accept(1, vec![event("d", "d")]).await, [ItemOutcome::Moved]);
    bench.worker.wake(TENANT, contact(1));
    assert_eq!(bench.worker.counts().actors, 1, "nothing brings it back");
    // What is being committed ends as the store says; what waits was not begun.
    bench.double.commits_allowed.add_permits(100);
    assert!(matches!(first.await.unwrap()[..], [ItemOutcome::Applied(_)]));
    assert_eq!(waiting.await.unwrap(), [ItemOutcome::Moved, ItemOutcome::Moved]);
    let other = bench.accept(2, vec![event("y", "y")]).await;
    assert!(matches!(other[..], [ItemOutcome::Applied(_)]));
    bench.worker.settled().await;
    assert_eq!(
        (bench.double.log(contact(1)), bench.worker.counts().actors_died),
        (vec!["a".to_owned()], 0)
    );
}

#[actix::test]
async fn a_full_mailbox_of_a_shard_that_goes_is_answered() {
    let bench = Bench::with(WorkerConfig { mailbox: 4, ..config() }, Double::new()).await;
    bench.hold_commits();
    let first = actix::spawn(bench.accept(1, vec![event("a", "a")]));
    bench.double.commit_waiting.notified().await;
    let answers: Vec<_> = (0..10)
        .map(|i| actix::spawn(bench.accept(1, vec![event(&format!("m{i}"), "e")])))
        .collect();
    bench.turn().await;
    bench.double.hold(others(), 1);
    while bench.worker.counts().actors > 0 {
        tokio::task::yield_now().await;
    }
    bench.double.commits_allowed.add_permits(100);
    assert!(matches!(first.await.unwrap()[..], [ItemOutcome::Applied(_)]));
    for answer in answers {
        let answer = answer.await.unwrap();
        assert!(matches!(answer[..], [ItemOutcome::Moved | ItemOutcome::Busy(_)]), "{answer:?}");
    }
    bench.worker.settled().await;
    assert_eq!(bench.double.log(contact(1)), ["a"]);
}

#[actix::test]
async fn timers_go_with_their_shard_and_come_back_with_it() {
    let bench = Bench::new().await;
    bench.accept(1, vec![event("a", "wait")]).await;
    bench.double.hold(others(), 1);
    while bench.worker.next_due().await.is_some() {
        tokio::task::yield_now().await;
    }
    // One that comes late finds no index to go to, and does not fire.
    let (tenant, contact_id) = (TENANT, contact(1));
    let left =
        TimerEntry { tenant, contact: contact_id, run: waiting_run(), seq: 1, due_at: at(11_000) };
    bench.worker.inner.loops.deps.timers.add(&[left]).await.unwrap_err();
    bench.clock.advance_to(at(20_000));
    bench.worker.tick_timers();
    bench.worker.settled().await;
    assert_eq!(bench.double.log(contact(1)), ["wait"]);
    bench.double.hold(0..SHARDS, 3);
    while bench.double.log(contact(1)).len() < 2 {
        tokio::task::yield_now().await;
    }
    bench.worker.settled().await;
    assert_eq!(bench.double.log(contact(1)), ["wait", "timer"]);
    assert!(matches!(bench.accept(1, vec![event("b", "b")]).await[..], [ItemOutcome::Applied(_)]));
}
