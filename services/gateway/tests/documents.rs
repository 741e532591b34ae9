//! Documents: all problems at once, all or nothing, and what sends without consent only by an
//! admin key.

#![expect(clippy::unwrap_used, reason = "what cannot happen here ends the test")]

mod support;

use parcours_store::{KeyKind, KeyScope};
use serde_json::{Value as Json, json};
use support::{Client, Desk, call};

const BRAND: &str = r#"
apiVersion: parcours/v1
kind: Brand
name: sillon
organisation: maison
display_name: Le Sillon
controller: { name: Le Sillon SARL, contact: privacy@sillon.example }
postal_address: 12 rue des Disquaires, Lyon
public_url: http://localhost:8080
time_zone: Europe/Paris
locale: fr-FR
defaults: { sender: shop }
---
apiVersion: parcours/v1
kind: Sender
name: shop
from: { name: Le Sillon, address: hello@sillon.example }
transport: { kind: mailbox }
---
apiVersion: parcours/v1
kind: Topic
name: advice
title: Advice
purpose: To recommend records
"#;

const TEMPLATE: &str = r#"
apiVersion: parcours/v1
kind: Template
name: thanks
subject: "Thank you {{ contact.first_name }}"
fields: { contact.first_name: { default: you } }
html: |
  <p>Thank you.</p>
  <p><a href="{{ unsubscribe_url }}">No more</a></p>
"#;

const JOURNEY: &str = r#"
apiVersion: parcours/v1
kind: Journey
name: welcome
entry: { event: Order Completed, reentry: never }
steps:
  - id: pause
    wait: { for: 3d }
  - id: thank
    send: { template: thanks, topic: advice }
"#;

const ORDERS: &str = r#"
apiVersion: parcours/v1
kind: Topic
name: orders
title: Orders
purpose: To tell what happens to an order
class: transactional
"#;

fn files(sources: &[&str]) -> Json {
    let file =
        |(n, source): (usize, &&str)| json!({ "name": format!("{n}.yaml"), "source": source });
    json!({ "files": sources.iter().enumerate().map(file).collect::<Vec<_>>() })
}

async fn apply(app: &Client, key: &str, sources: &[&str]) -> support::Answer {
    call("POST", "/v1/documents").key(key).json(&files(sources)).send(app).await
}

fn codes(answer: &Json) -> Vec<String> {
    let errors = answer["errors"].as_array().unwrap().iter();
    errors.map(|error| error["code"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn a_set_is_published_whole_and_an_unchanged_one_keeps_its_versions() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Manage]).await);
    let body = apply(&app, &key, &[BRAND, TEMPLATE, JOURNEY]).await.is(200);
    let documents = body["documents"].as_array().unwrap();
    assert_eq!(documents.len(), 5);
    assert!(documents.iter().all(|one| one["version"] == 1 && one["changed"] == true));
    assert_eq!(*desk.worker.plans_changed.lock().unwrap(), [desk.tenant]);
    let body = apply(&app, &key, &[JOURNEY, TEMPLATE, BRAND]).await.is(200);
    assert!(body["documents"].as_array().unwrap().iter().all(|one| one["changed"] == false));

    let export = call("GET", "/v1/documents/export").key(&key).send(&app).await.is(200);
    assert_eq!(export["files"].as_array().unwrap().len(), 5);
    let again = call("PUT", "/v1/documents").key(&key).json(&export).send(&app).await.is(200);
    assert!(again["documents"].as_array().unwrap().iter().all(|one| one["changed"] == false));

    let yaml = call("POST", "/v1/documents").key(&key).header("content-type", "application/yaml");
    let longer = JOURNEY.replace("3d", "4d");
    let body = yaml.bytes(longer.clone()).send(&app).await.is(200);
    assert_eq!(body["documents"][0]["version"], 2);
    let one =
        call("GET", "/v1/documents/journey/welcome?version=1").key(&key).send(&app).await.is(200);
    assert_eq!((&one["version"], &one["body"]["kind"]), (&json!(1), &json!("Journey")));
    let versions = call("GET", "/v1/documents/journey/welcome/versions").key(&key);
    assert_eq!(versions.send(&app).await.is(200)["items"].as_array().unwrap().len(), 2);
}

#[actix_web::test]
async fn all_problems_of_all_documents_are_told_at_once_and_nothing_is_published() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Admin]).await);
    let template = TEMPLATE.replace("{{ contact.first_name }}", "{{ contact.first_name");
    let journey = JOURNEY.replace("topic: advice", "topic: nothing").replace("3d", "3 moons");
    let answer = apply(&app, &key, &[BRAND, &template, &journey]).await;
    answer.is_problem(422, "invalid_documents");
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    assert!(errors.iter().all(|one| one["file"].is_string() && one["help"] != ""), "{errors:?}");

    let other =
        BRAND.replace("name: sillon\n", "name: autre\n").replace("sender: shop", "sender: none");
    let unlinked = TEMPLATE.replace("{{ unsubscribe_url }}", "https://sillon.example");
    let lost = JOURNEY.replace("topic: advice", "topic: nothing");
    let twice = [other.as_str(), &unlinked, &lost, &JOURNEY.replace("welcome", "second"), ORDERS];
    let answer = apply(&app, &key, &twice).await;
    answer.is_problem(422, "invalid_documents");
    let found = codes(&answer.json());
    for code in ["other_brand", "unknown_sender", "unknown_topic", "no_unsubscribe_link"] {
        assert!(found.iter().any(|one| one == code), "{code} is not among {found:?}");
    }
    apply(&app, &key, &[JOURNEY, JOURNEY]).await.is_problem(422, "invalid_documents");
    let list = call("GET", "/v1/documents").key(&key).send(&app).await.is(200);
    assert_eq!(list["items"], json!([]));
}

#[actix_web::test]
async fn validating_and_comparing_change_nothing() {
    let desk = Desk::new().await;
    let (app, manage) = (desk.app().await, desk.key(&[KeyScope::Manage]).await);
    let read = desk.key(&[KeyScope::Read]).await;
    apply(&app, &manage, &[BRAND, TEMPLATE, JOURNEY]).await.is(200);
    let renamed = JOURNEY.replace("id: thank", "id: merci").replace("3d", "4d");
    let body = files(&[&renamed, &TEMPLATE.replace("Thank you.", "Thanks."), ORDERS]);
    let valid =
        call("POST", "/v1/documents/validate").key(&read).json(&body).send(&app).await.is(200);
    assert_eq!(valid, json!({ "valid": true, "documents": 3 }));
    let diff = call("POST", "/v1/documents/diff").key(&read).json(&body).send(&app).await.is(200);
    let of = |name: &str| {
        let documents = diff["documents"].as_array().unwrap();
        documents.iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!(of("orders")["change"], "new");
    assert_eq!(
        (&of("thanks")["change"], &of("thanks")["fields"]),
        (&json!("changed"), &json!(["html"]))
    );
    let steps = of("welcome")["steps"].clone();
    assert_eq!(steps["renamed"], json!([{ "from": "thank", "to": "merci" }]));
    assert_eq!(steps["changed"], json!(["pause"]));
    let list = call("GET", "/v1/documents").key(&read).send(&app).await.is(200);
    assert!(list["items"].as_array().unwrap().iter().all(|one| one["version"] == 1));
    apply(&app, &read, &[JOURNEY]).await.is_problem(403, "scope_required");
}

#[actix_web::test]
async fn only_an_admin_key_publishes_what_is_sent_without_consent() {
    let desk = Desk::new().await;
    let (app, manage) = (desk.app().await, desk.key(&[KeyScope::Manage]).await);
    let admin = desk.key(&[KeyScope::Admin]).await;
    apply(&app, &manage, &[BRAND, TEMPLATE]).await.is(200);
    apply(&app, &manage, &[ORDERS]).await.is_problem(403, "needs_admin_key");
    apply(&app, &admin, &[ORDERS]).await.is(200);

    let journey = JOURNEY.replace("topic: advice", "topic: orders");
    apply(&app, &manage, &[&journey]).await.is_problem(403, "needs_admin_key");
    apply(&app, &manage, &[JOURNEY]).await.is(200);
    apply(&app, &manage, &[&TEMPLATE.replace("Thank you.", "Thanks.")]).await.is(200);
    apply(&app, &admin, &[&journey]).await.is(200);
    // From now on the template is sent without consent too.
    apply(&app, &manage, &[TEMPLATE]).await.is_problem(403, "needs_admin_key");
    // What does not change needs no admin.
    apply(&app, &manage, &[ORDERS, &journey]).await.is(200);
}

#[actix_web::test]
async fn what_is_published_cannot_be_broken_from_around_it() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Admin]).await);
    apply(&app, &key, &[BRAND, TEMPLATE, JOURNEY]).await.is(200);
    let unlinked = TEMPLATE.replace("{{ unsubscribe_url }}", "https://sillon.example");
    let answer = apply(&app, &key, &[&unlinked]).await;
    answer.is_problem(422, "invalid_documents");
    assert_eq!(codes(&answer.json()), ["no_unsubscribe_link"]);
}

#[actix_web::test]
async fn a_journey_is_paused_resumed_and_archived() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Manage]).await);
    apply(&app, &key, &[BRAND, TEMPLATE, JOURNEY]).await.is(200);
    for (verb, status) in [("pause", "paused"), ("resume", "live"), ("archive", "archived")] {
        let path = format!("/v1/journeys/welcome/{verb}");
        let body = call("POST", &path).key(&key).send(&app).await.is(200);
        assert_eq!(body, json!({ "name": "welcome", "status": status }));
        let one = call("GET", "/v1/documents/Journey/welcome").key(&key).send(&app).await.is(200);
        assert_eq!(one["status"], status);
    }
    assert_eq!(desk.worker.plans_changed.lock().unwrap().len(), 4);
}

#[actix_web::test]
async fn a_transactional_message_is_queued_once() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    let key = desk.key(&[KeyScope::Manage, KeyScope::Ingest]).await;
    let admin = desk.key_of(Some(desk.tenant), KeyKind::Secret, &[KeyScope::Admin]).await;
    apply(&app, &key, &[BRAND, TEMPLATE]).await.is(200);
    apply(&app, &admin, &[ORDERS, &TEMPLATE.replace("thanks", "receipt")]).await.is(200);
    let event = json!({ "type": "track", "user_id": "u", "event": "e" });
    let made = call("POST", "/v1/events").key(&key).json(&event).send(&app).await.is(200);
    let wanted = json!({
        "contact": made["contact"], "template": "receipt", "topic": "orders", "data": { "total": 12 },
    });
    let send = |body: &Json| {
        call("POST", "/v1/messages").key(&key).header("idempotency-key", "order-1").json(body)
    };
    let without = call("POST", "/v1/messages").key(&key).json(&wanted).send(&app).await;
    without.is_problem(400, "idempotency_key_required");
    let refused = |member: &str, value: &str| {
        let mut body = wanted.clone();
        body[member] = json!(value);
        body
    };
    let wrong = [
        (refused("topic", "advice"), 422, "not_transactional"),
        (refused("topic", "nothing"), 422, "unknown_document"),
        (refused("template", "nothing"), 422, "unknown_document"),
        (refused("template", "thanks"), 403, "needs_admin_template"),
        (refused("sender", "nobody"), 422, "unknown_document"),
        (refused("contact", "0197f6a0-0000-7000-8000-000000000000"), 404, "not_found"),
    ];
    for (body, status, code) in &wrong {
        send(body).send(&app).await.is_problem(*status, code);
    }
    let first = send(&wanted).send(&app).await.is(201);
    let again = send(&wanted).send(&app).await.is(201);
    assert_eq!(first, again);
    let list = call("GET", "/v1/messages").key(&key).send(&app).await.is(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["origin"], "api");
    assert_eq!(desk.delivery.hints.lock().unwrap().len(), 1);
    let why = format!("/v1/messages/{}/why", first["id"].as_str().unwrap());
    let why = call("GET", &why).key(&key).send(&app).await.is(200);
    assert_eq!(why["message"]["class"], "transactional");
}

#[actix_web::test]
async fn the_demos_documents_are_without_problems() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Manage]).await);
    let brand = include_str!("../../node/demo/brand/brand.yaml")
        .replace("organisation: demo", "organisation: maison");
    let journeys = include_str!("../../node/demo/brand/journeys.yaml");
    let templates = include_str!("../../node/demo/brand/templates.yaml");
    apply(&app, &key, &[&brand, journeys, templates]).await.is(200);
}

#[actix_web::test]
async fn one_faulty_document_does_not_hide_what_is_wrong_between_the_others() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Admin]).await);
    let lost = JOURNEY.replace("topic: advice", "topic: nothing");
    let table: &[(&str, &[&str], &[&str])] = &[
        // The journey's own fault is told beside the other's; the template is not called missing.
        (
            "a template",
            &[&TEMPLATE.replace("subject:", "sujet:"), &lost, BRAND],
            &["missing_field", "unknown_field", "unknown_topic"],
        ),
        (
            "the topic itself",
            &["apiVersion: parcours/v1\nkind: Topic\nname: nothing\n", &lost],
            &["missing_field", "missing_field", "no_sender", "unknown_template"],
        ),
        // Nobody knows what the broken text would have been: nothing is called missing.
        ("broken text", &["apiVersion: [", &lost], &["yaml_syntax"]),
        // The brand's default sender may stand in what cannot be read.
        (
            "the brand",
            &[&BRAND.replace("locale:", "langue:"), TEMPLATE, JOURNEY],
            &["missing_field", "unknown_field"],
        ),
    ];
    for (what, sources, expected) in table {
        let answer = apply(&app, &key, sources).await;
        answer.is_problem(422, "invalid_documents");
        let mut found = codes(&answer.json());
        found.sort();
        assert_eq!(found, *expected, "{what}: {}", answer.text());
    }
}
