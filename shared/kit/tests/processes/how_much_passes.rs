//! How many events pass one stream over loopback, when the worker does nothing.

use std::time::Duration;

use parcours_domain::ContactId;
use parcours_kit::{
    route::{Asked, Peer as _},
    rpc::{Link, LinkSettings},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::stage::{Process, SHARDS, events, limits, secret};

/// Prints figures; run by hand, best with `--release`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn events_a_second() {
    let process = Process::start(0..SHARDS);
    let link = Link::new(&process.address, LinkSettings::new(secret(), limits()));
    for (asks, contacts) in [(2_000_usize, 1_u128), (2_000, 10), (400, 100), (40, 1_000)] {
        let of = |n| events(ContactId(Uuid::from_u128(n)), [format!("m-{n}")]);
        let batch: Vec<_> = (0..contacts).map(of).collect();
        let batch: Vec<_> = batch.iter().collect();
        let began = Instant::now();
        let callers = (0..16).map(|_| async {
            for _ in 0..asks / 16 {
                let asked = link.ask(&batch, Duration::from_secs(20)).await;
                assert!(matches!(asked, Asked::Answered(_)), "{asked:?}");
            }
        });
        futures::future::join_all(callers).await;
        let took = began.elapsed().as_secs_f64();
        let passed = (asks / 16 * 16) as f64 * contacts as f64;
        println!("{contacts:>5} contacts an ask: {:>9.0} events/s", passed / took);
    }
}
