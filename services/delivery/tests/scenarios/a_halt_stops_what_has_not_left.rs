//! A halt, of a brand or of the install, holds everything that has not passed its final commit, and
//! nothing is lost by it.

use parcours_domain::SendOutcome;
use parcours_kit::Clock as _;
use parcours_store::Backend;
use parcours_testkit::on_both_backends;
use parcours_testkit::smtp_sink::{At, Gate, Rule, SmtpSink};

use crate::stage::{Stage, Wanted};

on_both_backends!(
    here: a_halt_at_rcpt_holds_the_message_until_it_is_lifted,
    a_halted_install_sends_nothing_of_any_brand,
);

async fn a_halt_at_rcpt_holds_the_message_until_it_is_lifted(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let contact = stage.subscriber("anna").await;
    let gate = Gate::default();
    sink.rule(Rule::hold(At::Rcpt, &gate).times(1));

    let id = stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    gate.reached(1).await;
    let admin = stage.store.admin();
    admin.halt_brand(stage.tenant, "test", stage.clock.now()).await.unwrap();
    gate.open();
    stage.settle().await;
    assert_eq!(stage.message(id).await.status, "queued");
    assert!(sink.received().is_empty());

    admin.unhalt_brand(stage.tenant).await.unwrap();
    stage.settle().await;
    stage.assert_ended(id, SendOutcome::Sent, None).await;
}

async fn a_halted_install_sends_nothing_of_any_brand(on: Backend) {
    let stage = Stage::running(on).await;
    let contact = stage.subscriber("anna").await;
    let admin = stage.store.admin();
    admin.halt_install("test", stage.clock.now()).await.unwrap();
    let marketing = stage.enqueue(&Wanted::marketing(contact)).await;
    let order = stage.enqueue(&Wanted::transactional(contact)).await;
    stage.settle().await;
    for id in [marketing, order] {
        assert_eq!(stage.message(id).await.status, "queued");
    }
    admin.unhalt_install().await.unwrap();
    stage.settle().await;
    for id in [marketing, order] {
        stage.assert_ended(id, SendOutcome::Sent, None).await;
    }
}
