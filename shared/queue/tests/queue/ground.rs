//! Where the tests stand: ids, entries, links.

use std::{sync::Arc, time::Duration};

use parcours_domain::{ContactId, RunId, TenantId, Timestamp, shard_of};
use parcours_queue::{LinkTimes, RedisLink, RedisTimers, TimerEntry, TimerIndex as _};
use parcours_testkit::redis::TempRedis;
use uuid::Uuid;

pub const SHARDS: u16 = 4;
pub const TENANT: TenantId = TenantId(Uuid::from_u128(77));

pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub fn run(n: u8) -> RunId {
    RunId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(n)))
}

/// The first contact found that lives in the shard.
pub fn contact_in(shard: u16) -> ContactId {
    let mut contacts = (1..).map(|n| ContactId(Uuid::from_u128(n)));
    contacts.find(|contact| shard_of(*contact, SHARDS) == shard).unwrap()
}

/// Of a contact in shard 1.
pub fn entry(n: u8, seq: u32, due: i64) -> TimerEntry {
    TimerEntry { tenant: TENANT, contact: contact_in(1), run: run(n), seq, due_at: at(due) }
}

/// Short rests, so that a server that is back is noticed soon.
pub fn times() -> LinkTimes {
    LinkTimes { rest: Duration::from_millis(20), ..LinkTimes::default() }
}

pub fn link(url: &str) -> Arc<RedisLink> {
    Arc::new(RedisLink::new(url, times()).unwrap())
}

/// A process that sees the install's index.
pub fn timers(redis: &TempRedis) -> RedisTimers {
    RedisTimers::new(link(redis.url()), redis.install(), SHARDS)
}

/// Everything that is due at `now`, as (run, seq).
pub async fn due(timers: &RedisTimers, now: i64) -> Vec<(RunId, u32)> {
    let due = timers.pop_due(at(now), 1_000).await.unwrap();
    due.iter().map(|entry| (entry.run, entry.seq)).collect()
}

/// Asks Redis from outside.
pub async fn ask<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> T {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).query_async(&mut connection).await.unwrap()
}
