//! Hints reach whom they concern, soon and without anybody waiting for them.

use std::{collections::BTreeSet, sync::Arc};

use parcours_wire::{DeliveryApi as _, WorkerApi as _};

use super::world::{SHARDS, World, contact_in, router, tenant};
use crate::route::Hint;

#[tokio::test(start_paused = true)]
async fn a_wake_goes_to_the_owner_and_plans_to_all() {
    let world = Arc::new(World::default());
    let (own, other) = (world.process(1), world.process(2));
    own.hold(0..4);
    world.say(0..4, Some(&own), 1);
    world.say(4..SHARDS, Some(&other), 1);
    let router = router(&world, Some(&own));
    let (near, far) = (contact_in(2), contact_in(6));
    for _ in 0..100 {
        router.wake(tenant(), far);
    }
    router.wake(tenant(), near);
    router.plans_changed(tenant());
    let (wake, plans) = (Hint::Wake(tenant(), far), Hint::Plans(tenant()));
    assert_eq!(other.heard(2).await, BTreeSet::from([wake, plans]));
    assert_eq!(other.hints.lock().unwrap().len(), 2, "the same wake waits once");
    let near = Hint::Wake(tenant(), near);
    assert_eq!(*own.hints.lock().unwrap(), [near, plans], "at once, and not by itself");
}

#[tokio::test(start_paused = true)]
async fn a_wake_follows_a_shard_that_moved_although_nobody_says_so() {
    let world = Arc::new(World::default());
    let (old, new) = (world.process(1), world.process(2));
    world.say(0..SHARDS, Some(&old), 1);
    let router = router(&world, None);
    let contact = contact_in(1);
    router.wake(tenant(), contact);
    old.heard(1).await;
    world.say(0..SHARDS, Some(&new), 2);
    // Wakes are not answered, so the map is looked at again now and then.
    tokio::time::advance(std::time::Duration::from_secs(6)).await;
    router.wake(tenant(), contact);
    new.heard(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_goes_to_everybody_who_may_deliver() {
    let world = Arc::new(World::default());
    let (own, other) = (world.process(1), world.process(2));
    world.say(0..4, Some(&own), 1);
    world.say(4..SHARDS, Some(&other), 1);
    let router = router(&world, Some(&own));
    router.hint(tenant(), 7);
    let lane = Hint::Lane(tenant(), 7);
    assert_eq!(other.heard(1).await, BTreeSet::from([lane]));
    assert_eq!(*own.hints.lock().unwrap(), [lane], "once");
}

#[tokio::test(start_paused = true)]
async fn without_a_map_hints_are_dropped_and_nobody_waits() {
    let world = Arc::new(World::default());
    *world.down.lock().unwrap() = true;
    let router = router(&world, None);
    for n in 0..30_000 {
        router.wake(tenant(), super::world::contact(n));
    }
    router.plans_changed(tenant());
}
