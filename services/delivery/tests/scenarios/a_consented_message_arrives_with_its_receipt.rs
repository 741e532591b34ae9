//! Who agreed gets the message, with a way out that needs no address, and the record says why.

use parcours_domain::SendOutcome;
use parcours_store::Backend;
use parcours_testkit::on_both_backends;

use crate::stage::{Stage, Wanted, header};

on_both_backends!(
    here: a_consented_message_arrives_with_its_receipt,
    clicks_are_counted_once_the_brand_says_so,
    thousands_arrive_once_each,
);

async fn a_consented_message_arrives_with_its_receipt(on: Backend) {
    let stage = Stage::running(on).await;
    let contact = stage.subscriber("anna").await;
    let id = stage.enqueue(&Wanted::marketing(contact)).await;
    stage.settle().await;

    stage.assert_ended(id, SendOutcome::Sent, None).await;
    let receipt: serde_json::Value =
        serde_json::from_str(&stage.message(id).await.receipt.unwrap()).unwrap();
    assert_eq!(receipt["verdict"], "cleared");
    assert_eq!(receipt["ground"], "consent");
    assert!(receipt["fact"].is_string());
    assert_eq!(receipt["purpose"], "to send news");

    let mail = stage.mail(id).await.unwrap();
    let out = header(&mail, "List-Unsubscribe").unwrap();
    assert!(out.starts_with("<https://m.shop.example/u/") && out.ends_with('>'), "{out}");
    assert!(!out.contains("anna") && !out.contains('@'));
    assert_eq!(header(&mail, "List-Unsubscribe-Post").unwrap(), "List-Unsubscribe=One-Click");
    assert_eq!(header(&mail, "Message-ID").unwrap(), format!("<{id}@shop.example>"));
    assert!(header(&mail, "List-Id").unwrap().starts_with("<news."));
    assert_eq!(header(&mail, "Feedback-ID").unwrap().split(':').count(), 4);
    assert!(mail.contains("shop.example/new"), "links lead where they say");
    assert!(!mail.contains("/c/"), "clicks are counted only when the brand says so");
}

async fn clicks_are_counted_once_the_brand_says_so(on: Backend) {
    let stage = Stage::running(on).await;
    stage.brand(serde_json::json!({"clicks": "on"})).await;
    let contact = stage.subscriber("anna").await;
    let id = stage.enqueue(&Wanted::marketing(contact)).await;
    stage.settle().await;
    let mail = stage.mail(id).await.unwrap();
    assert!(mail.contains("m.shop.example/c/"), "{mail}");
    let why = stage.store.for_tenant(stage.tenant).message_why(id).await.unwrap().unwrap();
    assert_eq!(why.links.len(), 1);
    assert_eq!(why.links[0].url, "https://shop.example/new");
    assert_eq!(why.attempts.len(), 1);
    assert_eq!(why.attempts[0].result, "sent");
}

async fn thousands_arrive_once_each(on: Backend) {
    let stage = Stage::running(on).await;
    let contact = stage.subscriber("anna").await;
    let mut ids = Vec::new();
    for _ in 0..600 {
        ids.push(stage.enqueue(&Wanted::marketing(contact)).await);
    }
    stage.settle().await;
    for id in ids {
        stage.assert_ended(id, SendOutcome::Sent, None).await;
    }
}
