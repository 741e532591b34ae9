//! A kill proves nothing about fsync: what was written is in the kernel. So syncs are counted:
//! batches that are sent one after the other each have at least one between question and answer.

use crate::witness::{Ground, Spans, Stage, order};

const BATCHES: usize = 50;
/// Runs stay in their first wait, so that nothing but the batches is written.
const SPANS: Spans = Spans { pause: 3_600, listen: 3_600 };

#[test]
fn each_batch_on_sqlite_waits_for_a_sync() {
    let stage = Stage::new(&Ground::Sqlite, 1, SPANS);
    let client = stage.client();
    for n in 0..BATCHES {
        let before = stage.syncs();
        let items = [order("u0", &format!("a{n}")), order("u0", &format!("b{n}"))];
        assert_eq!(stage.runtime.block_on(client.batch(&items)), Some(200));
        assert!(stage.syncs() > before, "batch {n} was acknowledged without a sync");
    }
    println!("SQLite: {BATCHES} batches acknowledged, each after a sync");
}

/// The server publishes its count now and then, so it is read at the end.
#[test]
fn each_batch_on_postgres_waits_for_a_sync() {
    let stage = Stage::new(&Ground::Postgres, 1, SPANS);
    let client = stage.client();
    let before = stage.syncs();
    for n in 0..BATCHES {
        let items = [order("u0", &format!("a{n}")), order("u0", &format!("b{n}"))];
        assert_eq!(stage.runtime.block_on(client.batch(&items)), Some(200));
    }
    let wanted = before + i64::try_from(BATCHES).unwrap();
    stage.until("a sync for each batch", "SELECT wal_sync FROM pg_stat_wal", |now| now >= wanted);
    println!("PostgreSQL: {BATCHES} batches acknowledged, {} syncs", stage.syncs() - before);
}
