//! A gateway, two workers and three senders share a Redis; in the middle of a campaign it is killed, and
//! later comes back empty. Everybody gets the message once, and all along the
//! brand sends no more than its rate, or a provider gets no more than its own.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use parcours_testkit::{pg::TempDatabase, redis::RedisServer};
use parcours_tests::{fault::supervisor::Supervisor, scaled};

use crate::campaign::{Campaign, House, Provider, user};

/// Messages a second, for all senders together.
const RATE: usize = 40;
const BRANDS: House = House { connections: 4, dkim: None, rate: Some("40/s"), provider: None };
const PROVIDERS: House = House {
    connections: 4,
    dkim: None,
    rate: None,
    provider: Some(Provider { name: "google", domain: "gmail.com", rate: "40/s" }),
};
/// The sink sees messages when they have arrived, later than they were let go: on a busy machine
/// half a second's worth comes close to the others. Three senders that did not know of one another
/// would send twice as much again every second.
const SPAN: Duration = Duration::from_secs(4);
const MOST: usize = 4 * RATE + RATE / 2;
const FRONT: &str = "gateway,consent";
const SENDERS: [&str; 3] = ["worker,delivery", "delivery,worker", "delivery"];

/// The most that arrived within any [`SPAN`].
fn fullest_span(arrivals: &[Instant]) -> usize {
    let within =
        |from: &Instant| arrivals.iter().filter(|at| **at >= *from && **at - *from < SPAN).count();
    arrivals.iter().map(within).max().unwrap_or(0)
}

#[test]
fn and_everybody_gets_it_once() {
    redis_is_lost(&BRANDS);
}

#[test]
fn nor_that_of_a_provider() {
    redis_is_lost(&PROVIDERS);
}

fn redis_is_lost(house: &House) {
    let Some(mut redis) = RedisServer::start("a_lost_redis_loosens_no_limit").unwrap() else {
        return;
    };
    let server = tokio::runtime::Runtime::new().unwrap();
    let database = server.block_on(TempDatabase::new()).unwrap();
    let data = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::postgres(data.path(), database.url())
        .with("PARCOURS_REDIS_URL", redis.url())
        .with("PARCOURS_RPC_SECRET", &"5e".repeat(16))
        .with("PARCOURS_RPC_LISTEN", "127.0.0.1:0");
    let mut campaign = Campaign::new(supervisor, FRONT, house);
    for sender in SENDERS {
        campaign.supervisor.start(sender).unwrap();
    }
    let messages = scaled(400, 4_000);
    campaign.subscribe(messages);
    campaign.everybody("Hello");
    campaign.arrived(messages / 4);
    redis.kill().unwrap();
    let (killed, before) = (Instant::now(), campaign.sink.count());
    campaign.arrived(messages * 3 / 4);
    let without = campaign.sink.count() - before;
    println!("{without} messages in {:?} without Redis", killed.elapsed());
    redis.start_again().unwrap();
    let mails = campaign.arrived(messages);
    campaign.until_quiet();

    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    for mail in campaign.sink.received() {
        *arrived.entry(user(&mail)).or_default() += 1;
    }
    let arrivals: Vec<Instant> = mails.iter().map(|mail| mail.accepted).collect();
    let fullest = fullest_span(&arrivals);
    println!("{} arrived; at most {fullest} within {SPAN:?}, at {RATE}/s", arrived.len());
    assert_eq!(arrived.len(), messages, "none is lost");
    assert!(arrived.values().all(|times| *times == 1), "none is doubled");
    assert!(fullest <= MOST, "{fullest} within {SPAN:?}");
}
