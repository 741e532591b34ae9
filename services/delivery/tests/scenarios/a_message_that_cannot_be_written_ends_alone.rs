//! A missing field, a value that would break a header, a template that fails: each ends its own
//! message with a stable reason, and those beside it arrive.

use parcours_domain::{SendOutcome, Value, value::Properties};

use crate::stage::{Stage, Wanted};

#[tokio::test]
async fn a_message_that_cannot_be_written_ends_alone() {
    let stage = Stage::running().await;
    stage.template("greeting", "Hello {{ contact.first_name }}", "<p>Hi</p>").await;
    stage.template("list", "List", "<p>{% for x in run.items %}{{ x.name }}{% endfor %}</p>").await;
    let anna = stage.subscriber("anna").await;
    let nameless = stage.contact_named("nameless", &[]).await;
    let evil = stage.contact_named("evil", &[("first_name", "x\r\nBcc: all@example.org")]).await;
    for contact in [nameless, evil] {
        let scope = parcours_domain::consent::Scope::Topic(crate::stage::name("news"));
        stage.says(contact, parcours_domain::consent::FactKind::Given, scope).await;
    }
    let greeting = |contact| Wanted::marketing(contact).template("greeting");
    let poisoned = Wanted {
        data: Properties::from([("items".to_owned(), Value::Int(7))]),
        ..Wanted::marketing(anna).template("list")
    };
    let missing = stage.enqueue(&greeting(nameless)).await;
    let injected = stage.enqueue(&greeting(evil)).await;
    let poisoned = stage.enqueue(&poisoned).await;
    let good = stage.enqueue(&greeting(anna)).await;
    stage.settle().await;

    stage.assert_ended(missing, SendOutcome::Skipped, Some("missing:contact.first_name")).await;
    stage.assert_ended(injected, SendOutcome::Skipped, Some("header_injection")).await;
    stage.assert_ended(poisoned, SendOutcome::Failed, Some("template_error")).await;
    stage.assert_ended(good, SendOutcome::Sent, None).await;
    let mail = stage.mail(good).await.unwrap();
    assert!(mail.contains("Subject: Hello Anna\r\n"), "{mail}");
}

#[tokio::test]
async fn a_sender_that_is_not_published_fails_its_messages_only() {
    let stage = Stage::running().await;
    let anna = stage.subscriber("anna").await;
    let nobody = stage.enqueue(&Wanted::marketing(anna).by("nobody")).await;
    let good = stage.enqueue(&Wanted::marketing(anna)).await;
    stage.settle().await;
    stage.assert_ended(nobody, SendOutcome::Failed, Some("no_sender")).await;
    stage.assert_ended(good, SendOutcome::Sent, None).await;
}
