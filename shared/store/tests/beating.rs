//! The worker's sign of life: written every second, obeyed when it is refused or overdue.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use parcours_testkit::on_both_backends;

on_both_backends!(
    a_beat_goes_on_and_keeps_the_product_time,
    a_start_knows_the_highest_time_that_was_seen,
    a_worker_that_was_declared_dead_commits_nothing_more,
);

mod checks {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
        time::{Duration, Instant},
    };

    use parcours_domain::Timestamp;
    use parcours_store::{Backend, CommitOutcome, Store, StoreConfig};
    use parcours_testkit::store::{TempPlace, temp_brand, temp_contact, temp_store};

    use super::common::*;

    /// How long something that must happen may take on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Looks until the number is at least this.
    async fn until(place: &TempPlace, sql: &str, least: i64) {
        let begun = Instant::now();
        while count(place, sql).await < least {
            assert!(begun.elapsed() < PATIENCE, "{sql} stays below {least}");
            tokio::task::yield_now().await;
        }
    }

    const HIGH_WATER: &str = "SELECT max(high_water) FROM worker WHERE dead_at IS NULL";

    pub async fn a_beat_goes_on_and_keeps_the_product_time(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let time = Arc::new(AtomicI64::new(5_000));
        let told = Arc::clone(&time);
        store.follow_time(move || Timestamp::from_millis(told.load(Ordering::SeqCst)));
        until(&store.place, "SELECT beat FROM worker", 2).await;
        until(&store.place, HIGH_WATER, 5_000).await;
        // A clock that goes back does not take the mark with it.
        time.store(1_000, Ordering::SeqCst);
        until(&store.place, "SELECT beat FROM worker", 4).await;
        assert_eq!(count(&store.place, HIGH_WATER).await, 5_000);
    }

    pub async fn a_start_knows_the_highest_time_that_was_seen(backend: Backend) {
        let place = TempPlace::new(backend).await.unwrap();
        let store = Store::open(place.config()).await.unwrap();
        assert_eq!(store.high_water().as_millis(), 0);
        store.follow_time(|| Timestamp::from_millis(7_000));
        until(&place, HIGH_WATER, 7_000).await;
        store.close().await;
        let store = Store::open(place.config()).await.unwrap();
        assert_eq!(store.high_water().as_millis(), 7_000);
        assert_eq!(count(&place, "SELECT min(high_water) FROM shard").await, 7_000);
        store.close().await;
        // It outlives the rows of the workers that saw it.
        execute(&place, "DELETE FROM worker").await;
        let store = Store::open(place.config()).await.unwrap();
        assert_eq!(store.high_water().as_millis(), 7_000);
        if backend == Backend::Postgres {
            let config = StoreConfig { worker_role: false, ..place.config() };
            let other = Store::open(config).await.unwrap();
            assert_eq!(other.high_water().as_millis(), 0, "for the worker only");
            other.close().await;
        }
    }

    pub async fn a_worker_that_was_declared_dead_commits_nothing_more(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        let commit = event_commit(&store, (tenant, contact), 0, "m1");
        execute(&store.place, "UPDATE worker SET dead_at = 1").await;
        tokio::time::timeout(PATIENCE, store.declared_dead()).await.expect("it is told");
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Moved);
        assert_eq!(count(&store.place, "SELECT count(*) FROM event").await, 0);
    }
}

/// The beat cannot be written because somebody holds the worker's row; longer than the deadline,
/// nothing is committed; afterwards all goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_beat_is_overdue_waits_with_its_commits() {
    use common::*;
    use parcours_store::{Backend, CommitOutcome};
    use parcours_testkit::store::{temp_brand, temp_contact, temp_store};
    use sqlx::Connection as _;

    let store = temp_store(Backend::Postgres).await.unwrap();
    let tenant = temp_brand(&store, "one").await.unwrap();
    let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
    let mut outside = store.place.database().unwrap().connect().await.unwrap();
    let mut holding = outside.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM worker FOR UPDATE").execute(&mut *holding).await.unwrap();
    let begun = std::time::Instant::now();
    let mut revision = 0;
    let overdue = loop {
        let commit = state_commit(&store, (tenant, contact), revision);
        match store.committer().commit(commit).await {
            CommitOutcome::Done => revision += 1,
            other => break other,
        }
        assert!(begun.elapsed().as_secs() < 60, "it never stops");
    };
    assert_eq!(overdue, CommitOutcome::Unknown);
    // The beat before was sent at most a second before the row was held.
    assert!(begun.elapsed().as_millis() >= 2_400, "{:?}", begun.elapsed());
    let again = state_commit(&store, (tenant, contact), revision);
    assert_eq!(store.committer().commit(again.clone()).await, CommitOutcome::Unknown);
    assert_eq!(load(&store, tenant, contact).await.revision, revision, "nothing was done");
    holding.rollback().await.unwrap();
    let begun = std::time::Instant::now();
    while store.committer().commit(again.clone()).await != CommitOutcome::Done {
        assert!(begun.elapsed().as_secs() < 60, "it goes on once its beat is taken");
    }
}
