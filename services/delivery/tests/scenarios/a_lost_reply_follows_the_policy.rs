//! The server takes the message and is gone before its reply is read: marketing is not sent again,
//! transactional is, under the same Message-ID; a brand can choose otherwise.

use parcours_domain::{Millis, SendOutcome};
use parcours_store::Backend;
use parcours_testkit::on_both_backends;
use parcours_testkit::smtp_sink::{Rule, SmtpSink};

use crate::stage::{Stage, Wanted, header};

on_both_backends!(
    here: marketing_is_unknown_and_not_sent_again,
    transactional_is_sent_again_under_the_same_message_id,
    a_brand_may_choose_at_least_once_for_marketing,
);

async fn marketing_is_unknown_and_not_sent_again(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let contact = stage.subscriber("anna").await;
    sink.rule(Rule::accept_and_hang_up().times(1));

    let id = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    stage.settle().await;
    stage.assert_ended(id, SendOutcome::Unknown, Some("reply_lost")).await;
    stage.advance(Millis::hours(12));
    stage.settle().await;
    assert_eq!(sink.received().len(), 1);
}

async fn transactional_is_sent_again_under_the_same_message_id(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let contact = stage.contact("anna").await;
    sink.rule(Rule::accept_and_hang_up().times(1));

    let id = stage.enqueue(&Wanted::transactional(contact).by("smtp")).await;
    stage.settle().await;
    assert_eq!(stage.message(id).await.status, "queued");
    stage.advance(Millis::minutes(2));
    stage.settle().await;
    stage.assert_ended(id, SendOutcome::Sent, None).await;

    let received = sink.received();
    let ids: Vec<_> = received
        .iter()
        .map(|mail| header(&String::from_utf8_lossy(&mail.raw), "Message-ID").unwrap())
        .collect();
    assert_eq!(ids, vec![format!("<{id}@shop.example>"); 2]);
    assert_eq!(received[0].mail_from, received[1].mail_from);
    let why = stage.store.for_tenant(stage.tenant).message_why(id).await.unwrap().unwrap();
    let results: Vec<_> = why.attempts.iter().map(|attempt| attempt.result.as_str()).collect();
    assert_eq!(results, ["unknown", "sent"]);
}

async fn a_brand_may_choose_at_least_once_for_marketing(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    stage.brand(serde_json::json!({"unknown_policy": {"marketing": "again"}})).await;
    let contact = stage.subscriber("anna").await;
    sink.rule(Rule::accept_and_hang_up().times(1));

    let id = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    stage.settle().await;
    stage.advance(Millis::minutes(2));
    stage.settle().await;
    stage.assert_ended(id, SendOutcome::Sent, None).await;
    assert_eq!(sink.received().len(), 2);
}
