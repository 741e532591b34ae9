//! What is deferred comes again after a growing wait in product time, until it expires.

use parcours_domain::{Millis, SendOutcome};
use parcours_kit::Clock as _;
use parcours_store::Backend;
use parcours_testkit::on_both_backends;
use parcours_testkit::smtp_sink::{At, Rule, SmtpSink};

use crate::stage::{Stage, Wanted};

on_both_backends!(
    here: a_deferred_message_comes_again,
    a_server_that_is_not_there_lets_the_message_expire,
    a_connection_that_was_closed_while_idle_costs_nothing,
);

async fn a_deferred_message_comes_again(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let contact = stage.subscriber("anna").await;
    sink.rule(Rule::reply(At::Rcpt, "450 4.2.1 greylisted").times(1));

    let id = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    stage.settle().await;
    let row = stage.message(id).await;
    assert_eq!((row.status.as_str(), row.attempts), ("queued", 1));
    let wait = row.not_before - stage.clock.now();
    assert!(wait >= Millis::seconds(45) && wait <= Millis::seconds(75), "{wait:?}");
    stage.settle().await;
    assert!(sink.received().is_empty(), "not before its time");

    stage.advance(Millis::seconds(75));
    stage.settle().await;
    stage.assert_ended(id, SendOutcome::Sent, None).await;
    assert_eq!(sink.received().len(), 1);
}

async fn a_server_that_is_not_there_lets_the_message_expire(on: Backend) {
    let gone = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(gone.port(), 1).await;
    drop(gone);
    let contact = stage.subscriber("anna").await;
    let id = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    stage.settle().await;
    let row = stage.message(id).await;
    assert_eq!((row.status.as_str(), row.attempts), ("queued", 1));
    stage.advance(Millis::hours(24));
    stage.settle().await;
    stage.assert_ended(id, SendOutcome::Expired, Some("expired")).await;
}

async fn a_connection_that_was_closed_while_idle_costs_nothing(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let contact = stage.subscriber("anna").await;
    sink.rule(Rule::hang_up(At::MailFrom).message(1).times(1));
    for _ in 0..3 {
        let id = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
        stage.settle().await;
        stage.assert_ended(id, SendOutcome::Sent, None).await;
        assert_eq!(stage.message(id).await.attempts, 1);
    }
    assert_eq!(sink.connections(), 2);
}
