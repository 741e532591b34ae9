//! Beyond the written bounds the caller hears so at once, and nothing is done.

use std::time::Duration;

use parcours_kit::{
    route::{Asked, Peer as _},
    rpc::{Link, LinkSettings, RpcLimits},
};
use parcours_wire::ContactEvents;
use tokio::task::JoinHandle;

use super::stage::{APPLIED, SHARDS, Shop, contact_in, events, limits, one, open, secret};

const WITHIN: Duration = Duration::from_secs(20);

fn ask(link: &Link, batch: Vec<ContactEvents>) -> JoinHandle<Asked> {
    let link = link.clone();
    tokio::spawn(async move { link.ask(&batch.iter().collect::<Vec<_>>(), WITHIN).await })
}

/// Two asks that wait at the gate, and a third.
async fn third_of_two(caller: RpcLimits, callee: RpcLimits) {
    let shop = Shop::new(0..SHARDS);
    let server = open(&shop, callee).await;
    let link = Link::new(&server.address().to_string(), LinkSettings::new(secret(), caller));
    shop.gate(false);
    let two = [ask(&link, one(3, "a")), ask(&link, one(4, "b"))];
    shop.has_come(2).await;
    assert_eq!(ask(&link, one(5, "c")).await.unwrap(), Asked::Busy);
    shop.gate(true);
    for asked in two {
        assert_eq!(asked.await.unwrap(), Asked::Answered(vec![vec![APPLIED]]));
    }
    let again = ask(&link, one(5, "c")).await.unwrap();
    assert_eq!(again, Asked::Answered(vec![vec![APPLIED]]), "places come back");
    assert_eq!(shop.applied(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_with_all_its_asks_in_flight_is_told_busy() {
    third_of_two(RpcLimits { asks_max: 2, ..limits() }, limits()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_does_not_count_is_refused_by_the_callee() {
    third_of_two(limits(), RpcLimits { asks_max: 2, ..limits() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_in_flight_are_bounded_too() {
    let few = RpcLimits { bytes_max: 64 * 1024, ..limits() };
    let shop = Shop::new(0..SHARDS);
    let server = open(&shop, limits()).await;
    let link = Link::new(&server.address().to_string(), LinkSettings::new(secret(), few));
    shop.gate(false);
    let large = |name: &str| vec![events(contact_in(1), (0..200).map(|n| format!("{name}-{n}")))];
    let first = ask(&link, large("a"));
    shop.has_come(1).await;
    assert_eq!(ask(&link, large("b")).await.unwrap(), Asked::Busy);
    shop.gate(true);
    assert_eq!(first.await.unwrap(), Asked::Answered(vec![vec![APPLIED; 200]]));
    assert_eq!(shop.applied(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_nobody_may_send_is_not_sent_and_ends_no_stream() {
    let small = RpcLimits { message_bytes_max: 4 * 1024, ..limits() };
    let shop = Shop::new(0..SHARDS);
    let server = open(&shop, limits()).await;
    let link = Link::new(&server.address().to_string(), LinkSettings::new(secret(), small));
    shop.gate(false);
    let waiting = ask(&link, one(3, "a"));
    shop.has_come(1).await;
    let large = vec![events(contact_in(1), (0..200).map(|n| n.to_string()))];
    assert_eq!(ask(&link, large).await.unwrap(), Asked::Refused);
    shop.gate(true);
    assert_eq!(waiting.await.unwrap(), Asked::Answered(vec![vec![APPLIED]]));
}
