//! What a million timers cost in Redis and in memory, and how fast they go in and out. Run by hand,
//! in a release build.

use std::{sync::Arc, time::Instant};

use parcours_domain::{ContactId, RunId, TenantId, shard_of};
use parcours_queue::{MemoryTimers, RedisTimers, TimerEntry, TimerIndex};
use parcours_testkit::redis::RedisServer;
use uuid::Uuid;

use crate::ground::{ask, at, link};

const TIMERS: u128 = 1_000_000;
const SHARDS: u16 = 256;
const DUE: i64 = 1_790_000_000_000;

/// Ids as they are: a few brands, random contacts and runs, a month of due times.
fn timer(n: u128) -> TimerEntry {
    let mixed = |salt: u128| {
        (n + 1).wrapping_mul(salt | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    };
    TimerEntry {
        tenant: TenantId(Uuid::from_u128(n % 100)),
        contact: ContactId(Uuid::from_u128(mixed(7))),
        run: RunId(Uuid::from_u128(mixed(11))),
        seq: (n % 5) as u32,
        due_at: at(DUE + (n % 2_592_000) as i64 * 1_000),
    }
}

/// Builds all shards, page by page as a worker does; timers a second.
async fn build(index: &dyn TimerIndex) -> f64 {
    let mut shards = vec![Vec::new(); usize::from(SHARDS)];
    for entry in (0..TIMERS).map(timer) {
        shards[usize::from(shard_of(entry.contact, SHARDS))].push(entry);
    }
    let begun = Instant::now();
    for (shard, entries) in (0..SHARDS).zip(&shards) {
        assert!(index.begin(shard, 1).await.unwrap());
        for page in entries.chunks(1_000) {
            index.add(page).await.unwrap();
        }
        assert!(index.finish(shard, 1).await.unwrap());
    }
    TIMERS as f64 / begun.elapsed().as_secs_f64()
}

/// Pops everything, a thousand at a time; timers a second.
async fn pop(index: &dyn TimerIndex) -> f64 {
    let (begun, mut popped) = (Instant::now(), 0);
    while popped < TIMERS {
        popped += index.pop_due(at(i64::MAX), 1_000).await.unwrap().len() as u128;
    }
    TIMERS as f64 / begun.elapsed().as_secs_f64()
}

/// Memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

async fn redis_bytes(url: &str) -> u64 {
    let info: String = ask(url, &["INFO", "memory"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test]
#[ignore = "figures, by hand"]
async fn figures_of_a_million_timers() {
    let memory = MemoryTimers::with_shards(SHARDS);
    let before = resident();
    let in_memory = build(&memory).await;
    // The pages that the build was fed from are given back before the second reading.
    let bytes = resident().saturating_sub(before) / TIMERS as u64;
    let out = pop(&memory).await;
    println!("memory: at most {bytes} B a timer, {in_memory:.0} in/s, {out:.0} out/s");

    let Some(server) = RedisServer::start("figures").unwrap() else { return };
    let redis: Arc<dyn TimerIndex> =
        Arc::new(RedisTimers::new(link(server.url()), "figures", SHARDS));
    let before = redis_bytes(server.url()).await;
    let built = build(&*redis).await;
    let bytes = (redis_bytes(server.url()).await - before) / TIMERS as u64;
    let seconds = TIMERS as f64 / built;
    println!("redis: {bytes} B a timer, built in {seconds:.1} s ({built:.0}/s)");
    let begun = Instant::now();
    let all: Vec<(u16, i64)> = (0..SHARDS).map(|shard| (shard, 1)).collect();
    assert_eq!(redis.unbuilt(&all).await.unwrap(), []);
    println!("redis: {SHARDS} shards found whole in {:?}", begun.elapsed());
    println!("redis: {:.0} out/s", pop(&*redis).await);
}
