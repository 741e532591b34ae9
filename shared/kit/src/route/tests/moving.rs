//! Shards move, owners stop, and events arrive once, or are said not to have.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use parcours_wire::{ItemOutcome, WorkerApi as _};
use tokio::time::Instant;

use super::world::{APPLIED, Mood, SHARDS, World, contact_in, crowd, events, router};

fn all_are(outcomes: &[Vec<ItemOutcome>], expected: &ItemOutcome) -> bool {
    outcomes.iter().flatten().all(|outcome| outcome == expected)
}

#[tokio::test(start_paused = true)]
async fn a_stale_map_costs_one_hop_and_everything_is_applied_once() {
    let world = Arc::new(World::default());
    let (old, new) = (world.process(1), world.process(2));
    old.hold(0..SHARDS);
    world.say(0..SHARDS, Some(&old), 1);
    let router = router(&world, None);
    assert!(all_are(&router.accept(crowd(100)).await, &APPLIED));
    // Half of the shards move; the router does not know.
    old.hold(0..4);
    new.hold(4..SHARDS);
    world.say(4..SHARDS, Some(&new), 2);
    let asks = old.asks();
    assert!(all_are(&router.accept(crowd(100)).await, &APPLIED));
    assert_eq!((old.asks() - asks, new.asks()), (1, 1), "one ask, one hop");
    assert_eq!(old.applied() + new.applied(), 200);
    assert_eq!(world.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_is_waited_for() {
    let world = Arc::new(World::default());
    let (old, new) = (world.process(1), world.process(2));
    world.say(0..SHARDS, Some(&old), 1);
    let router = Arc::new(router(&world, None));
    // Sealed: the directory still names the old owner, which takes nothing any more.
    let began = Instant::now();
    let request = tokio::spawn({
        let router = Arc::clone(&router);
        async move { router.accept(crowd(10)).await }
    });
    tokio::time::advance(Duration::from_millis(150)).await;
    world.say(0..SHARDS, None, 1);
    tokio::time::advance(Duration::from_millis(300)).await;
    new.hold(0..SHARDS);
    world.say(0..SHARDS, Some(&new), 2);
    assert!(all_are(&request.await.unwrap(), &APPLIED));
    assert_eq!((old.applied(), new.applied()), (0, 10));
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn with_no_owner_patience_ends() {
    let world = Arc::new(World::default());
    let router = router(&world, None);
    let began = Instant::now();
    assert!(all_are(&router.accept(crowd(10)).await, &ItemOutcome::Unavailable));
    assert_eq!(began.elapsed().as_secs(), 10);
    assert!(world.reads() <= 101, "reads keep their distance: {}", world.reads());
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_cannot_be_reached_is_waited_for_until_it_has_a_successor() {
    let world = Arc::new(World::default());
    let (dead, heir) = (world.process(1), world.process(2));
    dead.mood(Mood::Unreachable);
    world.say(0..SHARDS, Some(&dead), 1);
    let router = Arc::new(router(&world, None));
    let request = tokio::spawn({
        let router = Arc::clone(&router);
        async move { router.accept(crowd(10)).await }
    });
    tokio::time::advance(Duration::from_secs(6)).await;
    heir.hold(0..SHARDS);
    world.say(0..SHARDS, Some(&heir), 2);
    assert!(all_are(&request.await.unwrap(), &APPLIED));
    assert_eq!(heir.applied(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_moves_for_ever_is_given_up_after_three_hops() {
    let world = Arc::new(World::default());
    *world.restless.lock().unwrap() = true;
    let router = router(&world, None);
    let outcomes = router.accept(vec![events(contact_in(0), &["one"])]).await;
    assert!(all_are(&outcomes, &ItemOutcome::Unavailable));
    assert_eq!(world.reads(), 5, "the first owner, three others, and one that is not asked");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_said_and_never_repeated() {
    let world = Arc::new(World::default());
    let (old, new) = (world.process(1), world.process(2));
    old.hold(0..SHARDS);
    old.mood(Mood::LosesAnswers);
    world.say(0..SHARDS, Some(&old), 1);
    let router = router(&world, None);
    assert!(all_are(&router.accept(crowd(10)).await, &ItemOutcome::Unavailable));
    assert_eq!((old.asks(), old.applied()), (1, 10));
    old.hold([]);
    old.mood(Mood::Unreachable);
    new.hold(0..SHARDS);
    world.say(0..SHARDS, Some(&new), 2);
    assert!(all_are(&router.accept(crowd(10)).await, &APPLIED), "the next one goes on");
    assert_eq!(new.applied(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_silent_owner_holds_up_its_own_part_and_not_for_ever() {
    let world = Arc::new(World::default());
    let (well, silent) = (world.process(1), world.process(2));
    well.hold(0..4);
    silent.mood(Mood::Silent);
    world.say(0..4, Some(&well), 1);
    world.say(4..SHARDS, Some(&silent), 1);
    let router = router(&world, None);
    let began = Instant::now();
    let mixed = vec![events(contact_in(0), &["one"]), events(contact_in(5), &["one"])];
    let outcomes = router.accept(mixed).await;
    assert_eq!(outcomes, [[APPLIED], [ItemOutcome::Unavailable]]);
    assert_eq!(began.elapsed().as_secs(), 20);
    // Others do not wait for it.
    let began = Instant::now();
    assert_eq!(router.accept(vec![events(contact_in(1), &["two"])]).await, [[APPLIED]]);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_full_owner_says_busy_and_others_take_theirs() {
    let world = Arc::new(World::default());
    let (well, full) = (world.process(1), world.process(2));
    well.hold(0..4);
    full.mood(Mood::Busy);
    world.say(0..4, Some(&well), 1);
    world.say(4..SHARDS, Some(&full), 1);
    let router = router(&world, None);
    let mixed = vec![events(contact_in(5), &["one", "two"]), events(contact_in(0), &["one"])];
    let busy = ItemOutcome::Busy(1);
    assert_eq!(router.accept(mixed).await, [vec![busy.clone(), busy], vec![APPLIED]]);
    assert_eq!(full.asks(), 1, "it is the client that comes again");
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_moves_between_its_events_is_sent_on_with_the_rest_in_order() {
    let world = Arc::new(World::default());
    let (old, new) = (world.process(1), world.process(2));
    old.hold(0..SHARDS);
    old.mood(Mood::LeavesAfterOne);
    world.say(0..SHARDS, Some(&old), 1);
    let router = router(&world, None);
    let contact = contact_in(3);
    assert!(all_are(&router.accept(vec![events(contact, &["zero"])]).await, &APPLIED));
    new.hold(0..SHARDS);
    world.say(0..SHARDS, Some(&new), 2);
    let outcomes = router.accept(vec![events(contact, &["a", "b", "c"])]).await;
    assert_eq!(outcomes, [[APPLIED, APPLIED, APPLIED]]);
    assert_eq!(old.ids(), ["zero", "a"]);
    assert_eq!(new.ids(), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_that_meet_a_moved_shard_cost_one_read() {
    let world = Arc::new(World::default());
    let (old, new) = (world.process(1), world.process(2));
    old.hold(0..SHARDS);
    world.say(0..SHARDS, Some(&old), 1);
    let router = router(&world, None);
    router.accept(crowd(1)).await;
    old.hold([]);
    new.hold(0..SHARDS);
    world.say(0..SHARDS, Some(&new), 2);
    let requests = (0..100).map(|_| router.accept(crowd(3)));
    for outcomes in join_all(requests).await {
        assert!(all_are(&outcomes, &APPLIED));
    }
    assert_eq!(world.reads(), 2);
    assert_eq!(new.applied(), 300);
}

#[tokio::test(start_paused = true)]
async fn while_the_directory_is_down_the_last_map_counts() {
    let world = Arc::new(World::default());
    let owner = world.process(1);
    owner.hold(0..4);
    world.say(0..4, Some(&owner), 1);
    let router = router(&world, None);
    assert_eq!(router.accept(vec![events(contact_in(0), &["one"])]).await, [[APPLIED]]);
    *world.down.lock().unwrap() = true;
    let lost = router.accept(vec![events(contact_in(6), &["one"])]).await;
    assert_eq!(lost, [[ItemOutcome::Unavailable]], "of this shard nothing was ever known");
    assert_eq!(router.accept(vec![events(contact_in(1), &["one"])]).await, [[APPLIED]]);
}

#[tokio::test(start_paused = true)]
async fn a_process_asks_itself_while_it_holds_the_shard_and_others_when_it_does_not() {
    let world = Arc::new(World::default());
    let (own, other) = (world.process(1), world.process(2));
    own.hold(0..SHARDS);
    let router = Arc::new(router(&world, Some(&own)));
    assert!(all_are(&router.accept(crowd(10)).await, &APPLIED));
    assert_eq!((own.applied(), world.reads()), (10, 0), "no map is needed");
    // It hands everything over: first it takes nothing more, then the directory knows.
    world.say(0..SHARDS, Some(&own), 1);
    own.hold([]);
    let request = tokio::spawn({
        let router = Arc::clone(&router);
        async move { router.accept(crowd(10)).await }
    });
    tokio::time::advance(Duration::from_millis(250)).await;
    other.hold(0..SHARDS);
    world.say(0..SHARDS, Some(&other), 2);
    assert!(all_are(&request.await.unwrap(), &APPLIED));
    assert_eq!((own.applied(), other.applied()), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn who_has_a_successor_is_not_waited_for() {
    let world = Arc::new(World::default());
    let (cut_off, heir) = (world.process(1), world.process(2));
    cut_off.mood(Mood::Silent);
    world.say(0..SHARDS, Some(&cut_off), 1);
    let router = Arc::new(router(&world, None));
    let began = Instant::now();
    let request = tokio::spawn({
        let router = Arc::clone(&router);
        async move { router.accept(crowd(10)).await }
    });
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    assert!(!request.is_finished(), "while it is the owner it may take its time");
    heir.hold(0..SHARDS);
    world.say(0..SHARDS, Some(&heir), 2);
    assert!(all_are(&request.await.unwrap(), &ItemOutcome::Unavailable), "nobody knows");
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert!(all_are(&router.accept(crowd(10)).await, &APPLIED), "the next one goes on");
    assert!(world.reads() < 10, "{}", world.reads());
}
