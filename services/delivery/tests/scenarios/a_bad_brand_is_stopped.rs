//! A brand whose mail is refused is stopped after a few, keeps what has not left, and burns nobody
//! else; a person lets it go on.

use parcours_domain::{
    MessageId, SendOutcome, TenantId,
    breaker::{BreakerRules, Cause, Stops},
};
use parcours_kit::Clock as _;
use parcours_store::Backend;
use parcours_testkit::on_both_backends;
use parcours_testkit::smtp_sink::{At, Rule, SmtpSink};

use crate::stage::{Stage, Wanted};

on_both_backends!(
    here: a_refused_brand_is_stopped_and_another_flows_on,
    a_list_that_bounces_is_stopped,
    what_is_marketing_by_now_waits_with_the_marketing,
);

/// How many outcomes decide.
const SAMPLE: u32 = 20;

/// What may leave beyond those that decide: a message on each connection, and what passes its final
/// commit while the outcomes of a group wait for theirs.
const BEYOND: usize = 60;

async fn watched(stage: &Stage) {
    let rules = BreakerRules { sample: Some(SAMPLE), ..BreakerRules::default() };
    stage.store.admin().set_breaker(stage.tenant, &rules).await.unwrap();
}

/// A sender over the sink, and so many messages by it to a contact each.
async fn campaign(stage: &Stage, sink: &SmtpSink, count: usize) -> Vec<MessageId> {
    watched(stage).await;
    stage.smtp_sender(sink.port(), 2).await;
    let mut messages = Vec::with_capacity(count);
    for n in 0..count {
        let contact = stage.subscriber(&format!("reader{n}")).await;
        messages.push(stage.enqueue(&Wanted::marketing(contact).by("smtp")).await);
    }
    messages
}

async fn with_status(stage: &Stage, messages: &[MessageId], status: &str) -> usize {
    let mut found = 0;
    for id in messages {
        found += usize::from(stage.message(*id).await.status == status);
    }
    found
}

async fn stopped(stage: &Stage, tenant: TenantId) -> Option<(Stops, Cause)> {
    let breaker = stage.store.for_tenant(tenant).breaker().await.unwrap();
    breaker.stopped.map(|stopped| (stopped.stops, stopped.cause))
}

async fn a_refused_brand_is_stopped_and_another_flows_on(on: Backend) {
    let (refusing, taking) = (SmtpSink::start().await.unwrap(), SmtpSink::start().await.unwrap());
    refusing.rule(Rule::reply(At::Dot, "554 5.7.1 this looks like spam"));
    let mut stage = Stage::new(on).await;
    let bad = campaign(&stage, &refusing, 300).await;
    let bad_brand = stage.as_another_brand("books").await;
    let good = campaign(&stage, &taking, 100).await;
    stage.start();
    stage.settle().await;

    let good_brand = std::mem::replace(&mut stage.tenant, bad_brand);
    let refused = with_status(&stage, &bad, SendOutcome::Failed.as_str()).await;
    println!("{refused} of {} were refused before the brand was stopped", bad.len());
    assert!(refused >= SAMPLE as usize, "{refused}");
    assert!(refused <= SAMPLE as usize + BEYOND, "{refused}");
    assert_eq!(with_status(&stage, &bad, "queued").await, bad.len() - refused, "the rest waits");
    let trip = Some((Stops::Marketing, Cause::Refusals));
    assert_eq!((stopped(&stage, bad_brand).await, stopped(&stage, good_brand).await), (trip, None));
    assert_eq!(taking.count(), 100, "the other brand's are all there");

    let contact = stage.contact("buyer").await;
    let order = stage.enqueue(&Wanted::transactional(contact)).await;
    stage.settle().await;
    stage.assert_ended(order, SendOutcome::Sent, None).await;
    stage.tenant = good_brand;
    assert_eq!(with_status(&stage, &good, SendOutcome::Sent.as_str()).await, good.len());

    stage.tenant = bad_brand;
    refusing.clear_rules();
    let admin = stage.store.admin();
    assert!(admin.reset_breaker(bad_brand, stage.clock.now()).await.unwrap());
    stage.settle().await;
    let left = with_status(&stage, &bad, SendOutcome::Sent.as_str()).await;
    assert_eq!((left, refusing.count()), (bad.len() - refused, bad.len() - refused));
}

async fn a_list_that_bounces_is_stopped(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let mut stage = Stage::new(on).await;
    let messages = campaign(&stage, &sink, 150).await;
    for n in (0..150).step_by(4) {
        let recipient = format!("reader{n}@example.org");
        sink.rule(Rule::reply(At::Rcpt, "550 5.1.1 no such user").to(&recipient));
    }
    stage.start();
    stage.settle().await;
    assert_eq!(stopped(&stage, stage.tenant).await, Some((Stops::Marketing, Cause::Bounces)));
    let waiting = with_status(&stage, &messages, "queued").await;
    assert!(waiting >= 150 - SAMPLE as usize - BEYOND, "{waiting}");
}

async fn what_is_marketing_by_now_waits_with_the_marketing(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    sink.rule(Rule::reply(At::Dot, "554 5.7.1 this looks like spam").times(SAMPLE as usize));
    let mut stage = Stage::new(on).await;
    campaign(&stage, &sink, SAMPLE as usize).await;
    stage.start();
    stage.settle().await;
    assert!(stopped(&stage, stage.tenant).await.is_some());
    // Asked for as transactional, of a topic that is marketing: consent is there, and still it waits.
    let contact = stage.subscriber("late").await;
    let wanted = Wanted { topic: "news", ..Wanted::transactional(contact) };
    let message = stage.enqueue(&wanted).await;
    stage.settle().await;
    assert_eq!(stage.message(message).await.status, "queued");
    stage.store.admin().reset_breaker(stage.tenant, stage.clock.now()).await.unwrap();
    stage.advance(parcours_domain::Millis::minutes(2));
    stage.settle().await;
    stage.assert_ended(message, SendOutcome::Sent, None).await;
}
