//! A brand sends what it may send in a day, and goes on the next day.

use parcours_domain::{
    Millis, Quotas,
    consent::{FactKind, Scope},
};
use parcours_kit::Clock as _;
use parcours_store::Backend;
use parcours_testkit::on_both_backends;

use crate::stage::{Stage, Wanted, name, sent};

on_both_backends!(
    here: a_days_quota_holds_what_is_more_until_the_next,
    what_is_refused_before_it_leaves_takes_nothing_of_the_day,
);

async fn may_send(stage: &Stage, most: u32) {
    let quotas = Quotas { sends_per_day: Some(most), ..Quotas::default() };
    stage.store.admin().set_quotas(stage.tenant, &quotas).await.unwrap();
}

/// What was taken of the day that is now.
async fn taken(stage: &Stage) -> u64 {
    let day = stage.clock.now().utc_day();
    stage.store.for_tenant(stage.tenant).sends_granted(day).await.unwrap()
}

async fn a_days_quota_holds_what_is_more_until_the_next(on: Backend) {
    let mut stage = Stage::new(on).await;
    may_send(&stage, 3).await;
    stage.start();
    let anna = stage.subscriber("anna").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(stage.enqueue(&Wanted::marketing(anna)).await);
    }
    assert_eq!(sent(&stage, &ids, 3).await, 3);
    assert!(!stage.delivery().quiet(), "there is work, and it waits");
    assert_eq!(taken(&stage).await, 3);
    // The next day; a process that begins in it asks at once.
    let mut stage = stage.restart().await;
    stage.advance(Millis::hours(16));
    assert_eq!(taken(&stage).await, 0);
    stage.start();
    assert_eq!(sent(&stage, &ids, 5).await, 5);
    assert_eq!(taken(&stage).await, 2);
}

async fn what_is_refused_before_it_leaves_takes_nothing_of_the_day(on: Backend) {
    let mut stage = Stage::new(on).await;
    may_send(&stage, 2).await;
    let (anna, bert) = (stage.subscriber("anna").await, stage.subscriber("bert").await);
    stage.says(bert, FactKind::Withdrawn, Scope::Topic(name("news"))).await;
    for _ in 0..5 {
        stage.enqueue(&Wanted::marketing(bert)).await;
    }
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(stage.enqueue(&Wanted::marketing(anna)).await);
    }
    stage.start();
    assert_eq!(sent(&stage, &ids, 2).await, 2);
}
