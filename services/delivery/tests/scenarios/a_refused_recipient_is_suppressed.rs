//! A permanent refusal of the recipient suppresses the address for every class; a refusal for any
//! other cause fails the message and says nothing of the address.

use parcours_domain::SendOutcome;
use parcours_store::Backend;
use parcours_testkit::on_both_backends;
use parcours_testkit::smtp_sink::{At, Rule, SmtpSink};

use crate::stage::{Stage, Wanted};

on_both_backends!(
    here: a_refused_recipient_is_suppressed,
    policy_and_content_refusals_fail_the_message_only,
);

async fn a_refused_recipient_is_suppressed(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let contact = stage.subscriber("anna").await;
    sink.rule(Rule::reply(At::Rcpt, "550 5.1.1 no such user").to("anna@example.org").times(1));

    let first = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    stage.settle().await;
    stage.assert_ended(first, SendOutcome::Bounced, Some("smtp:5.1.1")).await;

    let next = stage.enqueue(&Wanted::transactional(contact).by("smtp")).await;
    stage.settle().await;
    stage.assert_ended(next, SendOutcome::Refused, Some("suppressed")).await;
    assert!(sink.received().is_empty());
}

async fn policy_and_content_refusals_fail_the_message_only(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let contact = stage.subscriber("anna").await;
    sink.rule(Rule::reply(At::Rcpt, "550 5.7.1 blocked").times(1));
    sink.rule(Rule::reply(At::Dot, "550 5.1.1 no such user").times(1));

    for reason in ["smtp:5.7.1", "smtp:5.1.1"] {
        let id = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
        stage.settle().await;
        stage.assert_ended(id, SendOutcome::Failed, Some(reason)).await;
    }
    let id = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    stage.settle().await;
    stage.assert_ended(id, SendOutcome::Sent, None).await;
}
