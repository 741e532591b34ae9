//! Two gateways without a worker, two workers on one PostgreSQL: an event goes to whichever process
//! owns its contact. A worker that stops in order is not noticed by clients; one that is killed
//! costs repeats, and nothing is lost or doubled.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use parcours_tests::{Server, fault::process::Process};
use serde_json::{Value, json};

use crate::{
    api::{self, Api},
    ground::Ground,
};

/// Longer than any take-over.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(ground: &Ground, roles: &str) -> Command {
    let mut command = ground.command();
    command.env("PARCOURS_ROLES", roles).env("PARCOURS_RPC_SECRET", "5e".repeat(16));
    command
}

fn worker(ground: &Ground) -> Process {
    let mut command = command(ground, "worker,delivery");
    Process::start(command.env("PARCOURS_RPC_LISTEN", "127.0.0.1:0")).unwrap()
}

/// Twenty events of twenty contacts.
fn batch(client: &str, round: usize) -> Value {
    let item = |n: usize| {
        let id = format!("{client}-{round}-{n}");
        json!({
            "type": "track", "event": "Visite", "userId": format!("user-{n}-{}", round % 10),
            "messageId": id, "timestamp": "2026-11-22T09:00:00Z", "properties": {"visite": id},
        })
    };
    json!({ "batch": (0..20).map(item).collect::<Vec<_>>() })
}

/// What a client did.
#[derive(Debug, Default)]
struct Sent {
    rounds: AtomicUsize,
    refused: AtomicUsize,
}

impl Sent {
    /// Sends until told to stop; a refused batch is repeated as it is.
    fn run(&self, api: &Api, client: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            let batch = batch(client, self.rounds.load(Ordering::SeqCst));
            let begun = Instant::now();
            loop {
                let (status, body) = api.send("POST", "/v1/batch", Some(&batch));
                if status == 200 {
                    break;
                }
                assert!(status == 503 || status == 429, "{status} {body}");
                assert!(begun.elapsed() < PATIENCE, "it is taken in the end");
                self.refused.fetch_add(1, Ordering::SeqCst);
            }
            self.rounds.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits for so many more rounds.
    fn rounds_more(&self, more: usize) {
        let (begun, wanted) = (Instant::now(), self.rounds.load(Ordering::SeqCst) + more);
        while self.rounds.load(Ordering::SeqCst) < wanted {
            assert!(begun.elapsed() < PATIENCE, "clients get on");
            thread::yield_now();
        }
    }

    fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

/// Waits until this many workers share the shards.
fn until_owners(ground: &Ground, wanted: i64) {
    let begun = Instant::now();
    while ground.number("SELECT count(DISTINCT owner) FROM shard") != wanted {
        assert!(begun.elapsed() < PATIENCE, "{wanted} owners");
    }
}

#[test]
fn through_a_stop_and_a_kill() {
    let ground = Ground::postgres();
    let data = ground.data.path();
    let first = Server::start_with(&mut command(&ground, "gateway,consent")).unwrap();
    let other = Process::start(&mut command(&ground, "gateway")).unwrap();
    let brand = api::brand_of(&first, data, &ground.visits(), "visites");
    let _stays = worker(&ground);
    let mut stopped = worker(&ground);
    until_owners(&ground, 2);
    let (stop, [one, two]) = (AtomicBool::new(false), [Sent::default(), Sent::default()]);
    thread::scope(|scope| {
        let apis = [Api::at(&first.url, &brand.ingest_key), Api::at(&other.url, &brand.ingest_key)];
        let [near, far] = apis;
        let (stop, one, two) = (&stop, &one, &two);
        scope.spawn(move || one.run(&near, "one", stop));
        scope.spawn(move || two.run(&far, "two", stop));
        // Let go of the clients whatever fails.
        let _end = End(stop);
        one.rounds_more(20);
        two.rounds_more(20);
        assert!(stopped.stop().unwrap().success());
        one.rounds_more(20);
        two.rounds_more(20);
        println!("refused through a graceful stop: {} and {}", one.refused(), two.refused());
        assert_eq!((one.refused(), two.refused()), (0, 0), "requests wait through a hand-over");
        let mut killed = worker(&ground);
        until_owners(&ground, 2);
        one.rounds_more(5);
        killed.kill().unwrap();
        until_owners(&ground, 1);
        one.rounds_more(20);
        two.rounds_more(20);
    });
    println!("refused through a kill: {} and {}", one.refused(), two.refused());
    let rounds = one.rounds.load(Ordering::SeqCst) + two.rounds.load(Ordering::SeqCst);
    let sent = i64::try_from(rounds * 20).unwrap();
    println!("{sent} events acknowledged");
    assert_eq!(ground.number("SELECT count(*) FROM event"), sent, "each once");
    assert_eq!(ground.number("SELECT count(DISTINCT message_id) FROM event"), sent);
    assert_eq!(ground.number("SELECT count(*) FROM run"), sent, "and each had its effect once");
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
