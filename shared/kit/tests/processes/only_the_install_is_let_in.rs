//! Without the install's secret nobody is listened to.

use std::time::Duration;

use parcours_kit::{
    route::{Asked, Hint, Peer as _},
    rpc::{Link, LinkSettings},
};

use super::stage::{APPLIED, Process, SHARDS, limits, one, secret, tenant};

const WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_refused_and_nothing_is_done() {
    let process = Process::start(0..SHARDS);
    let batch = one(3, "a");
    let batch: Vec<_> = batch.iter().collect();
    let stranger = LinkSettings::new("the-secret-of-another-one".parse().unwrap(), limits());
    let stranger = Link::new(&process.address, stranger);
    stranger.hint(Hint::Plans(tenant()));
    assert_eq!(stranger.ask(&batch, WITHIN).await, Asked::NotSent);
    assert_eq!(*process.shop.came.borrow(), 0, "the worker was not asked");
    let friend = Link::new(&process.address, LinkSettings::new(secret(), limits()));
    assert_eq!(friend.ask(&batch, WITHIN).await, Asked::Answered(vec![vec![APPLIED]]));
    assert!(process.shop.hints.borrow().is_empty(), "nor was the hint heard");
    let refused = parcours_kit::telemetry::render();
    let counted =
        |line: &str| line.starts_with("parcours_rpc_refused_total") && !line.ends_with(" 0");
    assert!(refused.lines().any(counted), "it is counted");
}
