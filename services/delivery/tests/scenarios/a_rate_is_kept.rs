//! A rate of brand or sender lets its burst through and holds the rest, and holds nobody else.

use parcours_store::Backend;
use parcours_testkit::on_both_backends;

use crate::stage::{Stage, Wanted, sent};

on_both_backends!(
    here: a_senders_rate_holds_its_own_messages_only,
    a_brands_rate_holds_all_its_senders,
);

async fn a_senders_rate_holds_its_own_messages_only(on: Backend) {
    let stage = Stage::running(on).await;
    let mailbox = serde_json::json!({"kind": "mailbox"});
    stage.sender_with("slow", mailbox, serde_json::json!({"rate": "1/day burst 2"})).await;
    let anna = stage.subscriber("anna").await;
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        slow.push(stage.enqueue(&Wanted::marketing(anna).by("slow")).await);
        fast.push(stage.enqueue(&Wanted::marketing(anna)).await);
    }
    sent(&stage, &fast, 5).await;
    assert_eq!(sent(&stage, &slow, 2).await, 2);
}

async fn a_brands_rate_holds_all_its_senders(on: Backend) {
    let stage = Stage::running(on).await;
    stage.brand(serde_json::json!({"rate": "1/day burst 3"})).await;
    let anna = stage.subscriber("anna").await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(stage.enqueue(&Wanted::marketing(anna)).await);
    }
    assert_eq!(sent(&stage, &ids, 3).await, 3);
    assert!(!stage.delivery().quiet(), "there is work, and it waits");
}
