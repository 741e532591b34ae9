//! A former owner, and a Redis that is emptied, killed, frozen, restored from an old dump or short
//! of memory: nothing comes out that is not due, nobody waits long, and the loss is noticed.

use std::time::{Duration, Instant};

use parcours_domain::Timestamp;
use parcours_queue::{QueueError, RedisTimers, TimerIndex as _};
use parcours_testkit::redis::{RedisServer, TempRedis};

use crate::ground::{SHARDS, ask, at, due, entry, link, run, timers, times};

const INSTALL: &str = "i";

fn index(server: &RedisServer) -> RedisTimers {
    RedisTimers::new(link(server.url()), INSTALL, SHARDS)
}

async fn build(index: &RedisTimers, epoch: i64) {
    assert!(index.begin(1, epoch).await.unwrap());
    index.add(&[entry(1, 1, 10), entry(2, 1, 20)]).await.unwrap();
    assert!(index.finish(1, epoch).await.unwrap());
}

/// Asks until it answers; the link rests after a failure.
async fn until_it_answers(index: &RedisTimers) {
    let begun = Instant::now();
    while index.unbuilt(&[]).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "Redis does not come back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_former_owner_changes_nothing() {
    let Some(redis) = TempRedis::new("a_former_owner_changes_nothing").unwrap() else { return };
    let (former, present) = (timers(&redis), timers(&redis));
    build(&former, 1).await;
    assert!(present.begin(1, 2).await.unwrap());
    present.add(&[entry(3, 1, 10)]).await.unwrap();

    assert_eq!(former.add(&[entry(3, 9, 500), entry(4, 1, 10)]).await, Err(QueueError::NotInHand));
    assert_eq!(due(&former, 1_000).await, []);
    former.remove(entry(3, 1, 10).tenant, entry(3, 1, 10).contact, &[run(3)]).await.unwrap();
    assert!(!former.finish(1, 1).await.unwrap());
    assert!(!former.begin(1, 1).await.unwrap());
    assert!(!former.built(1, 1).await.unwrap());

    assert!(!present.built(1, 2).await.unwrap(), "only its owner says when it is whole");
    assert!(present.finish(1, 2).await.unwrap());
    assert_eq!(present.pending().await.unwrap(), 1);
    assert_eq!(due(&present, 10).await, [(run(3), 1)]);
}

#[tokio::test]
async fn time_is_what_the_caller_says() {
    let Some(redis) = TempRedis::new("time_is_what_the_caller_says").unwrap() else { return };
    let index = timers(&redis);
    assert!(index.begin(1, 1).await.unwrap());
    // Long ago by every clock of this machine, and still to come by the product's.
    index.add(&[entry(1, 1, 5_000)]).await.unwrap();
    assert_eq!(due(&index, 4_999).await, []);
    let far = i64::from(u32::MAX) * 1_000;
    index.add(&[entry(2, 1, far)]).await.unwrap();
    assert_eq!(due(&index, far - 1).await, [(run(1), 1)]);
    assert_eq!(index.next_due().await.unwrap(), Some(Timestamp::from_millis(far)));
    assert_eq!(due(&index, far).await, [(run(2), 1)]);
}

#[tokio::test]
async fn an_emptied_redis_is_noticed_and_built_again() {
    let Some(server) = RedisServer::start("an_emptied_redis_is_noticed").unwrap() else { return };
    let index = index(&server);
    build(&index, 3).await;
    ask::<()>(server.url(), &["FLUSHALL"]).await;
    assert!(!index.built(1, 3).await.unwrap());
    assert_eq!(index.add(&[entry(3, 1, 10)]).await, Err(QueueError::NotInHand));
    assert_eq!(due(&index, 1_000).await, []);
    build(&index, 3).await;
    assert!(index.built(1, 3).await.unwrap());
    assert_eq!(due(&index, 1_000).await, [(run(1), 1), (run(2), 1)]);
}

#[tokio::test]
async fn an_old_dump_is_noticed_although_its_mark_says_whole() {
    let Some(mut server) = RedisServer::start("an_old_dump_is_noticed").unwrap() else { return };
    let index = index(&server);
    build(&index, 3).await;
    ask::<()>(server.url(), &["SAVE"]).await;
    assert_eq!(due(&index, 10).await, [(run(1), 1)]);
    index.add(&[entry(7, 1, 10)]).await.unwrap();
    server.kill().unwrap();
    server.start_again().unwrap();
    until_it_answers(&index).await;
    // The dump is there: one timer too many, one too few.
    assert_eq!(index.pending().await.unwrap(), 2);
    assert!(!index.built(1, 3).await.unwrap(), "a server's earlier life");
    // And so it is to a worker that comes new.
    let fresh = RedisTimers::new(link(server.url()), INSTALL, SHARDS);
    assert!(!fresh.built(1, 3).await.unwrap());
    build(&index, 3).await;
    assert!(index.built(1, 3).await.unwrap());
}

#[tokio::test]
async fn a_dump_of_a_half_built_index_cannot_be_finished() {
    let Some(mut server) = RedisServer::start("a_dump_of_a_half_built").unwrap() else { return };
    let index = index(&server);
    assert!(index.begin(1, 3).await.unwrap());
    ask::<()>(server.url(), &["SAVE"]).await;
    index.add(&[entry(1, 1, 10)]).await.unwrap();
    server.kill().unwrap();
    server.start_again().unwrap();
    until_it_answers(&index).await;
    assert!(!index.finish(1, 3).await.unwrap(), "what was added after the dump is missing");
}

#[tokio::test]
async fn an_evicted_index_is_noticed() {
    let Some(redis) = TempRedis::new("an_evicted_index_is_noticed").unwrap() else { return };
    let index = timers(&redis);
    for part in ["timers", "mark"] {
        build(&index, 3).await;
        assert!(index.built(1, 3).await.unwrap());
        let key = format!("{{p:{}:1}}:1:{part}", redis.install());
        assert_eq!(ask::<i64>(redis.url(), &["DEL", &key]).await, 1);
        assert!(!index.built(1, 3).await.unwrap(), "without {part}");
        if part == "timers" {
            // One entry makes the set anew, without the others.
            index.add(&[entry(3, 1, 30)]).await.unwrap();
            assert!(!index.built(1, 3).await.unwrap(), "what was evicted is missing");
        }
    }
    // An index with nothing in it is whole all the same.
    build(&index, 3).await;
    assert_eq!(due(&index, 1_000).await.len(), 2);
    assert!(index.built(1, 3).await.unwrap());
}

#[tokio::test]
async fn a_lost_entry_makes_the_index_unbuilt() {
    let Some(mut server) = RedisServer::start("a_lost_entry_makes").unwrap() else { return };
    let index = index(&server);
    build(&index, 3).await;
    server.freeze().unwrap();
    assert_eq!(index.add(&[entry(3, 1, 10)]).await, Err(QueueError::Unavailable));
    server.thaw().unwrap();
    until_it_answers(&index).await;
    assert!(!index.built(1, 3).await.unwrap());
    build(&index, 3).await;
    assert!(index.built(1, 3).await.unwrap());
}

#[tokio::test]
async fn a_dead_or_frozen_redis_keeps_nobody_waiting() {
    let Some(mut server) = RedisServer::start("a_dead_or_frozen_redis").unwrap() else { return };
    let index = index(&server);
    build(&index, 3).await;
    let patience = times().connect + times().response + Duration::from_secs(2);
    for frozen in [true, false] {
        if frozen { server.freeze() } else { server.kill() }.unwrap();
        let begun = Instant::now();
        let all = (0..50).map(|_| index.pop_due(at(1_000), 10));
        let all = futures::future::join_all(all).await;
        assert!(all.iter().all(|answer| *answer == Err(QueueError::Unavailable)));
        assert!(begun.elapsed() < patience, "fifty callers waited {:?}", begun.elapsed());
        let begun = Instant::now();
        // Most of these come in the rest after a failure.
        for _ in 0..1_000 {
            assert_eq!(index.add(&[entry(3, 1, 10)]).await, Err(QueueError::Unavailable));
        }
        assert!(begun.elapsed() < patience, "a thousand calls took {:?}", begun.elapsed());
        if frozen { server.thaw() } else { server.start_again() }.unwrap();
        until_it_answers(&index).await;
        build(&index, 3).await;
        assert!(index.built(1, 3).await.unwrap());
    }
}

#[tokio::test]
async fn a_start_without_redis_is_possible_and_it_is_used_once_it_is_there() {
    let Some(mut server) = RedisServer::start("a_start_without_redis").unwrap() else { return };
    server.kill().unwrap();
    let index = index(&server);
    assert_eq!(index.begin(1, 3).await, Err(QueueError::Unavailable));
    assert_eq!(index.next_due().await, Ok(None));
    server.start_again().unwrap();
    until_it_answers(&index).await;
    build(&index, 3).await;
    assert_eq!(due(&index, 20).await.len(), 2);
}

#[tokio::test]
async fn a_redis_without_memory_is_as_good_as_none() {
    let Some(server) = RedisServer::start("a_redis_without_memory").unwrap() else { return };
    let index = index(&server);
    build(&index, 3).await;
    ask::<()>(server.url(), &["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(index.add(&[entry(3, 1, 10)]).await, Err(QueueError::Unavailable));
    ask::<()>(server.url(), &["CONFIG", "SET", "maxmemory", "0"]).await;
    until_it_answers(&index).await;
    assert!(!index.built(1, 3).await.unwrap());
    build(&index, 3).await;
    assert_eq!(due(&index, 20).await.len(), 2);
}
