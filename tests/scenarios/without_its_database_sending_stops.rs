//! The database is cut off in the middle of a campaign (G-12): sending stops at once but for what
//! has passed its final commit, at most one message for each open connection; when the database is
//! back, sending goes on by itself, nothing is lost and nothing arrives twice.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use parcours_testkit::pg::TempDatabase;
use parcours_tests::{
    fault::{proxy::Proxy, supervisor::Supervisor},
    scaled,
};

use crate::campaign::{Campaign, House, user};

const CONNECTIONS: usize = 8;
/// For how long the database is away: longer than a frozen transaction is left open, and than a
/// message may wait between final commit and DATA.
const AWAY: Duration = Duration::from_secs(8);
/// How often the sender may knock at a database that refuses it, in all that time: for its queue,
/// for the records of what had left, for everything else that looks now and then.
const KNOCKS_MOST: usize = 400;

/// The same server through the proxy.
fn through(url: &str) -> (Proxy, String) {
    let rest = url.split_once("://").expect("a URL").1;
    let authority = rest.split(['/', '?']).next().expect("a host");
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((_, socket)) = url.split_once("?host=") {
        // A server of the test's own, on a Unix socket.
        let proxy = Proxy::to(format!("{socket}/.s.PGSQL.5432")).unwrap();
        let base = url.split_once("?host=").expect("just seen").0.replacen(
            host,
            &proxy.address().to_string(),
            1,
        );
        return (proxy, base);
    }
    let proxy = Proxy::to(host).unwrap();
    let url = url.replacen(host, &proxy.address().to_string(), 1);
    (proxy, url)
}

fn cut_off(how: &str, away: impl Fn(&Proxy), back: impl Fn(&Proxy)) {
    let messages = scaled(400, 5_000);
    let server = tokio::runtime::Runtime::new().unwrap();
    let database = server.block_on(TempDatabase::new()).unwrap();
    let (proxy, url) = through(database.url());
    let (front, sender) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut sender = Supervisor::postgres(sender.path(), &url);
    let house = House { connections: CONNECTIONS, dkim: None, rate: None, provider: None };
    let supervisor = Supervisor::postgres(front.path(), database.url());
    let mut campaign = Campaign::new(supervisor, "gateway,worker,consent", &house);
    campaign.subscribe(messages);
    campaign.everybody("Hello");
    sender.start("delivery").unwrap();
    campaign.arrived(messages / 5);

    away(&proxy);
    let (cut, before) = (Instant::now(), campaign.sink.count());
    let more = campaign.sink.wait_for(before + CONNECTIONS + 1);
    let more = campaign.runtime.block_on(async { tokio::time::timeout(AWAY, more).await });
    assert!(more.is_err(), "more than one message for each connection left without the database");
    let leaving: Vec<Duration> = campaign.sink.received()[before..]
        .iter()
        .map(|mail| mail.accepted.saturating_duration_since(cut))
        .collect();
    back(&proxy);
    let (again, stood) = (Instant::now(), before + leaving.len());
    campaign.arrived(stood + 1);
    let resumed = again.elapsed();
    campaign.until_quiet();

    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    for mail in campaign.sink.received() {
        *arrived.entry(user(&mail)).or_default() += 1;
    }
    println!(
        "{how}: {} of {messages} had arrived; {} more within {:?} (already leaving, at most \
         {CONNECTIONS}), then none for {AWAY:?}; {resumed:?} after its return sending went on; \
         {} arrived, {} twice, {} unknown",
        before,
        leaving.len(),
        leaving.iter().max().copied().unwrap_or_default(),
        arrived.len(),
        arrived.values().filter(|times| **times > 1).count(),
        campaign.messages("unknown").len(),
    );
    let knocks = proxy.refused();
    assert!(knocks < KNOCKS_MOST, "a database that is away was asked {knocks} times");
    assert_eq!(arrived.len(), messages, "none is lost");
    assert!(arrived.values().all(|times| *times == 1), "none is doubled");
    assert!(campaign.messages("unknown").is_empty());
}

#[test]
fn its_packets_are_dropped() {
    cut_off("packets dropped", Proxy::freeze, Proxy::thaw);
}

#[test]
fn its_connections_are_cut() {
    let away = |proxy: &Proxy| {
        proxy.refuse(true);
        proxy.reset();
    };
    cut_off("connections reset and refused", away, |proxy| proxy.refuse(false));
}
