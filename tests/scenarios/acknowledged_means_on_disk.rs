//! A kill proves nothing about fsync: what was written is in the kernel. So it is looked at what
//! reached the disk: of batches that are sent one after the other, each has a sync (SQLite) or a
//! flush of the log (PostgreSQL) between question and answer.

use crate::witness::{Ground, Spans, Stage, order};

const BATCHES: usize = 50;
/// Runs stay in their first wait, so that nothing but the batches is written.
const SPANS: Spans = Spans { pause: 3_600, listen: 3_600 };

fn each_waits_for_the_disk(ground: &Ground) {
    let stage = Stage::new(ground, 1, SPANS);
    let client = stage.client();
    let (syncs, mut before) = (stage.syncs(), stage.flushed());
    for n in 0..BATCHES {
        let items = [order("u0", &format!("a{n}")), order("u0", &format!("b{n}"))];
        assert_eq!(stage.runtime.block_on(client.batch(&items)), Some(200));
        let now = stage.flushed();
        assert!(now > before, "batch {n} was acknowledged before anything was on disk");
        before = now;
    }
    // PostgreSQL publishes its count now and then.
    let wanted = i64::try_from(BATCHES).unwrap();
    stage.until_seen("a sync for each batch", || stage.syncs() - syncs >= wanted);
    println!("{BATCHES} batches acknowledged, {} syncs", stage.syncs() - syncs);
}

#[test]
fn on_sqlite() {
    each_waits_for_the_disk(&Ground::Sqlite);
}

#[test]
fn on_postgres() {
    each_waits_for_the_disk(&Ground::Postgres);
}
