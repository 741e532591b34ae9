//! A sender that is warmed up sends its number of a day, whoever sends for it, and says of the others
//! why they wait.

use std::sync::Arc;

use parcours_domain::{Day, MessageId, Millis, Quotas, SendOutcome};
use parcours_kit::Clock as _;
use parcours_queue::MemoryTokens;
use parcours_store::Backend;
use parcours_testkit::on_both_backends;
use serde_json::json;

use crate::stage::{Stage, Wanted, name, sent};

on_both_backends!(
    here: a_days_number_is_kept_by_all_and_over_a_restart,
    other_senders_are_not_held_up,
    what_waits_for_a_permit_takes_nothing_of_a_day,
);

/// The stage, standing at nine in the morning, with a sender `new` whose first days are these.
async fn stage(on: Backend, days: &[u32]) -> Stage {
    let stage = Stage::new(on).await;
    let warm_up = json!({"warm_up": {"from": "2026-03-02", "days": days}});
    stage.sender_with("new", json!({"kind": "mailbox"}), warm_up).await;
    stage
}

async fn has_left(stage: &Stage, ids: &[MessageId]) -> usize {
    let mut count = 0;
    for id in ids {
        count += usize::from(stage.message(*id).await.status == SendOutcome::Sent.as_str());
    }
    count
}

async fn a_days_number_is_kept_by_all_and_over_a_restart(on: Backend) {
    let mut stage = stage(on, &[3, 5]).await;
    let anna = stage.subscriber("anna").await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(stage.enqueue(&Wanted::transactional(anna).by("new")).await);
    }
    let other = stage.another_delivery(Arc::new(MemoryTokens::new()));
    stage.start();
    // Whatever they may not send they have put off, so both become quiet.
    stage.settle().await;
    other.settled().await;
    assert_eq!(has_left(&stage, &ids).await, 3);

    let mut waits = 0;
    for id in &ids {
        let row = stage.message(*id).await;
        if row.status == "queued" {
            waits += 1;
            assert_eq!(row.not_before.to_string(), "2026-03-03T00:00:00.000Z");
            assert_eq!(row.attempts, 0, "it is no attempt of its own");
            let why = stage.store.for_tenant(stage.tenant).message_why(*id).await.unwrap().unwrap();
            let last = why.attempts.last().unwrap();
            assert_eq!((last.stage.as_str(), last.result.as_str()), ("judge", "warm_up"));
        }
    }
    assert_eq!(waits, 17);

    // A message that comes later on that day, to a process that has just begun.
    drop(other);
    let mut stage = stage.restart().await;
    ids.push(stage.enqueue(&Wanted::transactional(anna).by("new")).await);
    stage.start();
    stage.settle().await;
    assert_eq!(has_left(&stage, &ids).await, 3);

    stage.advance(Millis::hours(15));
    stage.settle().await;
    assert_eq!(has_left(&stage, &ids).await, 8, "the second day's");
    stage.advance(Millis::hours(24));
    stage.settle().await;
    assert_eq!(has_left(&stage, &ids).await, 21, "no more days, no more limits");
}

async fn other_senders_are_not_held_up(on: Backend) {
    let mut stage = stage(on, &[2]).await;
    let anna = stage.subscriber("anna").await;
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        new.push(stage.enqueue(&Wanted::marketing(anna).by("new")).await);
    }
    for _ in 0..10 {
        old.push(stage.enqueue(&Wanted::marketing(anna)).await);
    }
    stage.start();
    assert_eq!(sent(&stage, &old, 10).await, 10);
    stage.settle().await;
    assert_eq!(has_left(&stage, &new).await, 2);
}

async fn what_waits_for_a_permit_takes_nothing_of_a_day(on: Backend) {
    let mut stage = Stage::new(on).await;
    let quotas = Quotas { sends_per_day: Some(20), ..Quotas::default() };
    stage.store.admin().set_quotas(stage.tenant, &quotas).await.unwrap();
    let limits = json!({
        "warm_up": {"from": "2026-03-02", "days": [10]},
        "domains": [{"match": "google", "rate": "1/h burst 3"}],
    });
    stage.sender_with("new", json!({"kind": "mailbox"}), limits).await;
    let anna = stage.subscriber("anna@gmail.com").await;
    let mut ids = Vec::new();
    for _ in 0..15 {
        ids.push(stage.enqueue(&Wanted::marketing(anna).by("new")).await);
    }
    stage.start();
    stage.settle().await;
    assert_eq!(has_left(&stage, &ids).await, 3);
    let (store, day) = (stage.store.for_tenant(stage.tenant), Day::of(stage.clock.now()));
    assert_eq!(store.sends_granted(day.0).await.unwrap(), 3);
    let left = store.lease_sender_day(&name("new"), (day, 10), 100).await.unwrap();
    assert_eq!(left, 7);
}
