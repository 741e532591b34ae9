//! A provider that is slow, or that may be sent little, keeps its own messages waiting and nobody
//! else's, and gets no more than was said.

use std::time::{Duration, Instant};

use parcours_delivery::DeliveryConfig;
use parcours_domain::{ContactId, MessageId, Millis, SendOutcome};
use parcours_store::Backend;
use parcours_testkit::{
    on_both_backends,
    smtp_sink::{At, Gate, Received, Rule, SmtpSink},
};
use serde_json::{Value, json};

use crate::stage::{Stage, Wanted};

on_both_backends!(
    here: a_slow_provider_has_its_share_of_the_connections,
    a_provider_whose_rate_is_used_up_waits_alone,
    a_domain_without_a_lane_of_its_own_steps_aside,
    a_providers_rate_is_kept_and_used,
    a_backlog_that_waits_is_left_alone,
    a_receipt_does_not_wait_behind_a_campaign,
    what_an_older_version_queued_is_sent_and_counted,
    two_senders_over_one_server_share_its_limits,
);

/// The stage with a sender `smtp` over the sink and these limits, and the sink.
async fn stage(on: Backend, connections: u32, domains: Value) -> (Stage, SmtpSink) {
    let (mut stage, sink) = at_rest(on, connections, domains).await;
    stage.start();
    (stage, sink)
}

/// The same, but nothing leaves before it is started.
async fn at_rest(on: Backend, connections: u32, domains: Value) -> (Stage, SmtpSink) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::new(on).await;
    sender(&stage, "smtp", (sink.port(), connections), domains).await;
    (stage, sink)
}

async fn sender(stage: &Stage, name: &str, (port, connections): (u16, u32), domains: Value) {
    let transport = json!({
        "kind": "smtp", "host": "127.0.0.1", "port": port, "security": "none",
        "connections": connections,
    });
    stage.sender_with(name, transport, json!({ "domains": domains })).await;
}

async fn campaign(stage: &Stage, contacts: &[ContactId]) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for contact in contacts {
        ids.push(stage.enqueue(&Wanted::marketing(*contact).by("smtp")).await);
    }
    ids
}

fn to<'a>(mails: &'a [Received], domain: &'a str) -> impl Iterator<Item = &'a Received> {
    mails.iter().filter(move |mail| mail.rcpt[0].ends_with(&format!("@{domain}")))
}

/// Waits until so many have arrived under a domain; all that have arrived by then.
async fn arrived(sink: &SmtpSink, domain: &str, count: usize) -> Vec<Received> {
    let begun = Instant::now();
    loop {
        let mails = sink.received();
        if to(&mails, domain).count() >= count {
            return mails;
        }
        assert!(begun.elapsed().as_secs() < 60, "{} to {domain}", to(&mails, domain).count());
        tokio::task::yield_now().await;
    }
}

async fn a_slow_provider_has_its_share_of_the_connections(on: Backend) {
    let limits = json!([{"match": "google", "connections": 2}]);
    let (mut stage, sink) = at_rest(on, 4, limits).await;
    let gate = Gate::default();
    let slow = stage.subscribers("gmail.com", 12).await;
    for n in 0..12 {
        sink.rule(Rule::hold(At::Dot, &gate).to(&format!("u{n}@gmail.com")));
    }
    campaign(&stage, &slow).await;
    // All at once, so that nothing but the cap keeps them from all connections.
    stage.start();
    gate.reached(2).await;
    for domain in ["example.org", "outlook.com"] {
        campaign(&stage, &stage.subscribers(domain, 12).await).await;
        arrived(&sink, domain, 12).await;
        assert_eq!(sink.holding().len(), 2, "no third connection, however long it takes");
    }
    gate.open();
    let mails = arrived(&sink, "gmail.com", 12).await;
    assert_eq!(mails.len(), 36, "each once");
}

async fn a_provider_whose_rate_is_used_up_waits_alone(on: Backend) {
    let (stage, sink) = stage(on, 2, json!([{"match": "google", "rate": "2/h burst 3"}])).await;
    let limited = stage.subscribers("gmail.com", 20).await;
    let more = stage.subscribers("googlemail.com", 20).await;
    let ids = campaign(&stage, &[limited, more].concat()).await;
    for domain in ["example.org", "outlook.com"] {
        campaign(&stage, &stage.subscribers(domain, 20).await).await;
        arrived(&sink, domain, 20).await;
    }
    arrived(&sink, "gmail.com", 3).await;
    let mails = sink.received();
    let both = to(&mails, "gmail.com").count() + to(&mails, "googlemail.com").count();
    assert_eq!(both, 3, "both domains together, and no more than the burst");
    for id in ids {
        let row = stage.message(id).await;
        let is_sent = row.status == SendOutcome::Sent.as_str();
        assert!(is_sent || (row.status == "queued" && row.attempts == 0), "{row:?}");
    }
}

async fn a_domain_without_a_lane_of_its_own_steps_aside(on: Backend) {
    // They share a lane: the limited one comes first, and often.
    let limits = json!([{"match": "limited.example", "rate": "1/h burst 2"}]);
    let (mut stage, sink) = at_rest(on, 2, limits).await;
    let limited = stage.subscribers("limited.example", 60).await;
    campaign(&stage, &limited).await;
    stage.advance(Millis::seconds(1));
    let anna = stage.subscriber("anna").await;
    let lane = "a@limited.example".parse::<parcours_domain::EmailAddress>().unwrap();
    let wanted = Wanted::marketing(anna).by("smtp");
    let lane = lane.lane(wanted.class);
    for _ in 0..10 {
        stage.enqueue_in(lane, &wanted).await;
    }
    stage.start_with(DeliveryConfig { claim_most: 16, ..DeliveryConfig::default() });
    arrived(&sink, "limited.example", 2).await;
    let mails = arrived(&sink, "example.org", 10).await;
    assert_eq!(to(&mails, "limited.example").count(), 2);
}

async fn a_providers_rate_is_kept_and_used(on: Backend) {
    let (stage, sink) = stage(on, 4, json!([{"match": "google", "rate": "10/s burst 2"}])).await;
    let contacts = stage.subscribers("gmail.com", 22).await;
    let begun = Instant::now();
    let ids = campaign(&stage, &contacts).await;
    let mails = arrived(&sink, "gmail.com", 22).await;
    let took = mails[21].accepted - begun;
    // Two at once, then one every tenth of a second: the last is the twentieth of those.
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    stage.settle().await;
    assert_eq!(sink.count(), ids.len(), "each once");
}

async fn a_backlog_that_waits_is_left_alone(on: Backend) {
    let (mut stage, sink) = at_rest(on, 4, json!([{"match": "google", "rate": "20/s"}])).await;
    campaign(&stage, &stage.subscribers("gmail.com", 120).await).await;
    stage.start();
    // The first claim finds out; from then on no more is claimed than may leave within a second.
    arrived(&sink, "gmail.com", 50).await;
    let mut claimed = 0;
    while sink.count() < 90 {
        claimed = claimed.max(stage.delivery().in_flight());
        tokio::task::yield_now().await;
    }
    println!("{claimed} at once");
    assert!(claimed > 0 && claimed <= 40, "{claimed} at once");
}

async fn a_receipt_does_not_wait_behind_a_campaign(on: Backend) {
    let (stage, sink) = stage(on, 4, json!([{"match": "google", "rate": "4/s"}])).await;
    let contacts = stage.subscribers("gmail.com", 40).await;
    campaign(&stage, &contacts).await;
    arrived(&sink, "gmail.com", 2).await;
    stage.advance(Millis::seconds(1));
    let id = stage.enqueue(&Wanted::transactional(contacts[0]).by("smtp")).await;
    let begun = Instant::now();
    while stage.message(id).await.status != SendOutcome::Sent.as_str() {
        assert!(begun.elapsed().as_secs() < 60, "the receipt does not arrive");
        tokio::task::yield_now().await;
    }
    let before = sink.count();
    assert!(before < 30, "{before} of the campaign left first");
}

async fn what_an_older_version_queued_is_sent_and_counted(on: Backend) {
    let (stage, sink) = stage(on, 4, json!([{"match": "google", "rate": "1/h burst 4"}])).await;
    let contacts = stage.subscribers("gmail.com", 8).await;
    for (contact, lane) in contacts.iter().zip([0, 24, 63, 0, 24, 63, 64, 64]) {
        stage.enqueue_in(lane, &Wanted::marketing(*contact).by("smtp")).await;
    }
    for lane in [0, 24, 63] {
        let anna = stage.subscriber(&format!("anna{lane}")).await;
        stage.enqueue_in(lane, &Wanted::marketing(anna).by("smtp")).await;
    }
    arrived(&sink, "example.org", 3).await;
    let mails = arrived(&sink, "gmail.com", 4).await;
    assert_eq!(to(&mails, "gmail.com").count(), 4, "one limit, in whatever lanes they are");
}

async fn two_senders_over_one_server_share_its_limits(on: Backend) {
    let limits = || json!([{"match": "google", "rate": "1/h burst 4"}]);
    let (stage, sink) = stage(on, 2, limits()).await;
    sender(&stage, "other", (sink.port(), 2), limits()).await;
    let contacts = stage.subscribers("gmail.com", 8).await;
    for contact in &contacts {
        for sender in ["smtp", "other"] {
            stage.enqueue(&Wanted::marketing(*contact).by(sender)).await;
        }
    }
    let anna = stage.subscribers("example.org", 4).await;
    campaign(&stage, &anna).await;
    arrived(&sink, "example.org", 4).await;
    let mails = arrived(&sink, "gmail.com", 4).await;
    assert_eq!(to(&mails, "gmail.com").count(), 4);
}
