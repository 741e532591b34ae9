//! A withdrawal that was acknowledged before the final commit stops the message, however far it has
//! come; one that comes after it is too late for that message only.

use parcours_domain::{
    SendOutcome,
    consent::{FactKind, Scope},
};
use parcours_store::Backend;
use parcours_testkit::on_both_backends;
use parcours_testkit::smtp_sink::{At, Gate, Rule, SmtpSink};

use crate::stage::{Stage, Wanted, name};

on_both_backends!(
    here: a_withdrawal_at_rcpt_wins,
    a_new_opinion_about_something_else_only_makes_the_gate_look_again,
    a_withdrawal_after_the_final_commit_comes_too_late_for_this_message_only,
);

async fn a_withdrawal_at_rcpt_wins(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let contact = stage.subscriber("anna").await;
    let gate = Gate::default();
    sink.rule(Rule::hold(At::Rcpt, &gate));

    let id = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    gate.reached(1).await;
    stage.says(contact, FactKind::Withdrawn, Scope::Topic(name("news"))).await;
    gate.open();
    stage.settle().await;

    stage.assert_ended(id, SendOutcome::Refused, Some("withdrawn")).await;
    assert!(sink.received().is_empty());
}

async fn a_new_opinion_about_something_else_only_makes_the_gate_look_again(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let contact = stage.subscriber("anna").await;
    let gate = Gate::default();
    sink.rule(Rule::hold(At::Rcpt, &gate).times(1));

    let id = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    gate.reached(1).await;
    stage.says(contact, FactKind::Given, Scope::Topic(name("offers"))).await;
    gate.open();
    stage.settle().await;

    stage.assert_ended(id, SendOutcome::Sent, None).await;
    assert_eq!(sink.received().len(), 1);
    assert_eq!(stage.message(id).await.attempts, 1, "a second look is no second attempt");
}

async fn a_withdrawal_after_the_final_commit_comes_too_late_for_this_message_only(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let contact = stage.subscriber("anna").await;
    let gate = Gate::default();
    sink.rule(Rule::hold(At::Data, &gate).times(1));

    let leaving = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    gate.reached(1).await;
    stage.says(contact, FactKind::Withdrawn, Scope::AllMarketing).await;
    let next = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    gate.open();
    stage.settle().await;

    stage.assert_ended(leaving, SendOutcome::Sent, None).await;
    stage.assert_ended(next, SendOutcome::Refused, Some("withdrawn_all")).await;
    assert_eq!(sink.received().len(), 1);
}
