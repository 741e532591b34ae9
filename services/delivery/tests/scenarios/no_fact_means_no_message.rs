//! Without a fact that permits it, nothing leaves on any path; transactional mail needs none.

use parcours_domain::{
    SendOutcome,
    consent::{FactKind, Scope},
};
use parcours_store::Backend;
use parcours_testkit::on_both_backends;

use crate::stage::{Stage, Wanted, name};

on_both_backends!(
    here: no_fact_means_no_message,
    a_topic_made_transactional_afterwards_frees_nothing,
);

async fn no_fact_means_no_message(on: Backend) {
    let stage = Stage::running(on).await;
    let stranger = stage.contact("stranger").await;
    let elsewhere = stage.contact("elsewhere").await;
    stage.says(elsewhere, FactKind::Given, Scope::Topic(name("offers"))).await;
    let gone = stage.subscriber("gone").await;
    stage.says(gone, FactKind::Withdrawn, Scope::Topic(name("news"))).await;
    let all = stage.subscriber("all").await;
    stage.says(all, FactKind::Withdrawn, Scope::AllMarketing).await;
    let objector = stage.subscriber("objector").await;
    stage.says(objector, FactKind::Objected, Scope::AllMarketing).await;

    let mut expected = Vec::new();
    for (contact, refusal) in [
        (stranger, "no_consent"),
        (elsewhere, "no_consent"),
        (gone, "withdrawn"),
        (all, "withdrawn_all"),
        (objector, "objected"),
    ] {
        expected.push((stage.enqueue(&Wanted::marketing(contact)).await, refusal));
    }
    let receipt = stage.enqueue(&Wanted::transactional(gone)).await;
    stage.settle().await;

    for (id, refusal) in expected {
        stage.assert_ended(id, SendOutcome::Refused, Some(refusal)).await;
        assert!(stage.mail(id).await.is_none());
        assert!(stage.message(id).await.receipt.unwrap().contains(refusal), "the record says why");
    }
    stage.assert_ended(receipt, SendOutcome::Sent, None).await;
}

async fn a_topic_made_transactional_afterwards_frees_nothing(on: Backend) {
    let stage = Stage::running(on).await;
    let stranger = stage.contact("stranger").await;
    let asked_as_marketing = Wanted { topic: "orders", ..Wanted::marketing(stranger) };
    let id = stage.enqueue(&asked_as_marketing).await;
    stage.settle().await;
    stage.assert_ended(id, SendOutcome::Refused, Some("no_consent")).await;
}
