//! Two worker processes on one PostgreSQL: they share the contacts; when one is killed, frozen, or
//! told to stop, the other has all of them within the stated time; a frozen one that wakes up ends
//! by itself.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use parcours_tests::fault::process::Process;

use crate::ground::Ground;

/// How long something may take for which no time is stated.
const PATIENCE: Duration = Duration::from_secs(60);
/// From a death to a successor.
const KILLED: Duration = Duration::from_secs(10);
/// From the wish to stop to a successor; twice the stated time, for a busy machine.
const STOPPED: Duration = Duration::from_secs(2);

const OWNERS: &str = "SELECT count(DISTINCT owner) FROM shard";
const LEAST: &str =
    "SELECT min(shards) FROM (SELECT count(*) AS shards FROM shard GROUP BY owner) AS counted";
/// Shards of one owner, when there is only one.
const OF_ONE: &str = "SELECT CASE WHEN count(DISTINCT owner) = 1 AND count(owner) = count(*) \
                      THEN 1 ELSE 0 END::bigint FROM shard";

fn until(ground: &Ground, sql: &str, wanted: i64) -> Duration {
    let begun = Instant::now();
    loop {
        let found = ground.number(sql);
        if found == wanted {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < PATIENCE, "{sql} is {found} and not {wanted}");
    }
}

fn command(ground: &Ground) -> Command {
    let mut command = ground.command();
    command.env("PARCOURS_ROLES", "worker").env("PARCOURS_RPC_SECRET", "5e".repeat(16));
    command.env("PARCOURS_RPC_LISTEN", "127.0.0.1:0");
    command
}

fn worker(ground: &Ground) -> Process {
    Process::start(&mut command(ground)).unwrap()
}

/// One that has half of the shards.
fn second(ground: &Ground) -> Process {
    let second = worker(ground);
    let shared = until(ground, LEAST, 128);
    assert_eq!(ground.number(OWNERS), 2);
    println!("two workers shared fairly after {shared:?}");
    second
}

#[test]
fn a_start_that_fails_leaves_nobody_behind() {
    let ground = Ground::postgres();
    let failed = command(&ground).env("PARCOURS_REDIS_URL", "nonsense").output().unwrap();
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && said.contains("PARCOURS_REDIS_URL"), "{said}");
    assert_eq!(ground.number("SELECT count(*) FROM worker WHERE dead_at IS NULL"), 0);
    assert_eq!(ground.number("SELECT count(owner) FROM shard"), 0, "its shards are free");
}

#[test]
fn the_other_goes_on_with_everything() {
    let ground = Ground::postgres();
    let first = worker(&ground);
    assert_eq!(ground.number(OF_ONE), 1, "alone it has all");
    let epochs = "SELECT CAST(sum(epoch) AS BIGINT) FROM shard";

    let mut killed = second(&ground);
    let before = ground.number(epochs);
    killed.kill().unwrap();
    let took = until(&ground, OF_ONE, 1);
    println!("killed: {took:?} to the successor");
    assert!(took < KILLED, "{took:?}");
    assert_eq!(ground.number(epochs), before + 128, "each of its shards was taken once");

    let mut frozen = second(&ground);
    frozen.freeze().unwrap();
    let took = until(&ground, OF_ONE, 1);
    println!("frozen: {took:?} to the successor");
    assert!(took < KILLED, "{took:?}");
    frozen.thaw().unwrap();
    let ended = frozen.ended().unwrap();
    assert_eq!(ended.code(), Some(1), "it says so and ends: {ended:?}");

    let mut stopped = second(&ground);
    let before = ground.number(epochs);
    let begun = Instant::now();
    let waiting = std::thread::spawn(move || stopped.stop().unwrap());
    until(&ground, OF_ONE, 1);
    let took = begun.elapsed();
    println!("stopped: {took:?} to the successor");
    assert!(took < STOPPED, "{took:?}");
    assert!(waiting.join().unwrap().success());
    assert_eq!(ground.number(epochs), before + 128);
    drop(first);
}
