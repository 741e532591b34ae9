//! A missing field, a value that would break a header, a template that fails: each ends its own
//! message with a stable reason, and those beside it arrive.

use parcours_domain::{SendOutcome, Value, value::Properties};
use parcours_store::Backend;
use parcours_testkit::on_both_backends;

use crate::stage::{Stage, Wanted};

on_both_backends!(
    here: a_message_that_cannot_be_written_ends_alone,
    a_sender_that_is_not_published_fails_its_messages_only,
    a_template_that_would_never_end_fails_its_own_message,
);

async fn a_message_that_cannot_be_written_ends_alone(on: Backend) {
    let stage = Stage::running(on).await;
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

async fn a_template_that_would_never_end_fails_its_own_message(on: Backend) {
    let stage = Stage::running(on).await;
    let inner = "{% for a in run.items %}{% for b in run.items %}{% for c in run.items %}\
                 {% endfor %}{% endfor %}{% endfor %}";
    stage.template("endless", "Endless", &format!("<p>{inner}</p>")).await;
    let anna = stage.subscriber("anna").await;
    let items = Value::List(vec![Value::Int(1); 1_000]);
    let endless = Wanted {
        data: Properties::from([("items".to_owned(), items)]),
        ..Wanted::marketing(anna).template("endless")
    };
    let before = stage.enqueue(&Wanted::marketing(anna)).await;
    let endless = stage.enqueue(&endless).await;
    let behind = stage.enqueue(&Wanted::marketing(anna)).await;
    stage.settle().await;
    stage.assert_ended(endless, SendOutcome::Failed, Some("template_too_slow")).await;
    for id in [before, behind] {
        stage.assert_ended(id, SendOutcome::Sent, None).await;
    }
}

async fn a_sender_that_is_not_published_fails_its_messages_only(on: Backend) {
    let stage = Stage::running(on).await;
    let anna = stage.subscriber("anna").await;
    let nobody = stage.enqueue(&Wanted::marketing(anna).by("nobody")).await;
    let good = stage.enqueue(&Wanted::marketing(anna)).await;
    stage.settle().await;
    stage.assert_ended(nobody, SendOutcome::Failed, Some("no_sender")).await;
    stage.assert_ended(good, SendOutcome::Sent, None).await;
}
