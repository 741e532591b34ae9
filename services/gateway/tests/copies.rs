//! Copying a journey from brand to brand: what goes with it, what has to be there, what is never
//! touched unasked, and whose key may.

#![expect(clippy::unwrap_used, reason = "what cannot happen here ends the test")]

mod support;

use parcours_domain::TenantId;
use parcours_store::{KeyKind, KeyScope, NewApiKey};
use serde_json::{Value as Json, json};
use support::{Answer, Client, Desk, NOW, call};

/// A brand that has everything of its own, and nothing to send.
const OWN: &str = r#"
apiVersion: parcours/v1
kind: Brand
name: {x}
organisation: maison
display_name: Brand {x}
controller: { name: Maison SARL, contact: privacy@maison.example }
postal_address: 12 rue des Disquaires, Lyon
public_url: http://localhost:8080
time_zone: Europe/Paris
locale: fr-FR
defaults: { sender: shop }
---
apiVersion: parcours/v1
kind: Sender
name: shop
from: { name: Brand, address: hello@{x}.example }
transport: { kind: mailbox }
---
apiVersion: parcours/v1
kind: Topic
name: advice
title: Advice of {x}
purpose: To recommend what {x} has
"#;

const JOURNEY: &str = r#"
apiVersion: parcours/v1
kind: Template
name: thanks
subject: Thank you
html: <p>Thank you.</p><p><a href="{{ unsubscribe_url }}">No more</a></p>
---
apiVersion: parcours/v1
kind: Template
name: other
subject: Not part of it
html: <p>Hello.</p>
---
apiVersion: parcours/v1
kind: Journey
name: welcome
entry: { event: Order Completed }
steps:
  - id: pause
    wait: { for: 3d }
  - id: thank
    send: { template: thanks, topic: advice }
  - id: again
    send: { template: thanks, topic: advice }
"#;

/// Two brands of an organisation, one of another, and a key of the first one's organisation.
struct Agency {
    desk: Desk,
    app: Client,
    sister: TenantId,
    key: String,
}

impl Agency {
    async fn new() -> Self {
        let desk = Desk::new().await;
        let app = desk.app().await;
        let admin = desk.store.admin();
        let now = NOW.parse().unwrap();
        let sister = admin.create_brand("maison", "sister", now).await.unwrap();
        admin.create_brand("away", "stranger", now).await.unwrap();
        let organisation = admin.brand(desk.tenant).await.unwrap().unwrap().organisation;
        let new = NewApiKey {
            organisation: Some(organisation),
            tenant: None,
            kind: KeyKind::Secret,
            scopes: [KeyScope::Admin].into(),
            label: "agency".into(),
            expires_at: None,
        };
        let made = admin.create_key(&new, parcours_kit::machine_now()).await.unwrap();
        let agency = Self { app, sister, key: made.1.expose().to_owned(), desk };
        agency.apply("sillon", &OWN.replace("{x}", "sillon")).await.is(200);
        agency.apply("sillon", JOURNEY).await.is(200);
        agency
    }

    async fn apply(&self, brand: &str, source: &str) -> Answer {
        let request = call("POST", "/v1/documents").key(&self.key);
        let request = request.header("parcours-brand", brand);
        request.header("content-type", "application/yaml").bytes(source).send(&self.app).await
    }

    async fn copy(&self, more: Json) -> Answer {
        self.copy_as(&self.key, more).await
    }

    async fn copy_as(&self, key: &str, more: Json) -> Answer {
        let mut body = json!({ "journey": "welcome", "from": "sillon", "to": "sister" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call("POST", "/v1/journeys/copy").key(key).json(&body).send(&self.app).await
    }

    async fn documents(&self, brand: &str) -> Json {
        let list = call("GET", "/v1/documents/export").key(&self.key);
        list.header("parcours-brand", brand).send(&self.app).await.is(200)
    }
}

fn changes(answer: &Json) -> Vec<String> {
    let lines = answer["documents"].as_array().unwrap().iter();
    let text = |one: &Json, member: &str| one[member].as_str().unwrap().to_owned();
    lines
        .map(|one| format!("{} {} {}", text(one, "change"), text(one, "kind"), text(one, "name")))
        .collect()
}

fn codes(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let errors = body["errors"].as_array().unwrap().iter();
    errors.map(|error| error["code"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn a_journey_goes_with_its_templates_and_nothing_else() {
    let agency = Agency::new().await;
    agency.apply("sister", &OWN.replace("{x}", "sister")).await.is(200);
    let before = agency.documents("sister").await;
    agency.desk.worker.plans_changed.lock().unwrap().clear();
    let dry = agency.copy(json!({ "dry_run": true })).await.is(200);
    assert_eq!(changes(&dry), ["new Template thanks", "new Journey welcome"]);
    assert_eq!((&dry["copied"], &dry["status"]), (&json!(false), &json!("live")));
    assert_eq!(agency.documents("sister").await, before, "a dry run changes nothing");
    assert!(agency.desk.worker.plans_changed.lock().unwrap().is_empty());

    let done = agency.copy(json!({})).await.is(200);
    assert_eq!((&done["copied"], changes(&done)), (&json!(true), changes(&dry)));
    assert!(done["documents"].as_array().unwrap().iter().all(|one| one["version"] == 1));
    let told = agency.desk.worker.plans_changed.lock().unwrap().clone();
    assert_eq!(told, [agency.sister], "who runs journeys is told");
    let (own, there) = (agency.documents("sillon").await, agency.documents("sister").await);
    let source = |of: &Json, name: &str| {
        let files = of["files"].as_array().unwrap().clone();
        files.into_iter().find(|file| file["name"] == name).map(|file| file["source"].clone())
    };
    for name in ["journey.welcome.json", "template.thanks.json"] {
        assert_eq!(source(&own, name), source(&there, name));
        assert!(source(&there, name).is_some(), "{name}");
    }
    assert_eq!(source(&there, "template.other.json"), None, "the journey does not send it");
    let topic = source(&there, "topic.advice.json").unwrap().to_string();
    assert!(
        topic.contains("Advice of sister"),
        "what people said yes to is the brand's own: {topic}"
    );

    let again = agency.copy(json!({})).await.is(200);
    assert_eq!(changes(&again), ["unchanged Template thanks", "unchanged Journey welcome"]);
    assert!(again["documents"].as_array().unwrap().iter().all(|one| one["version"] == 1));
    call("POST", "/v1/journeys/welcome/pause")
        .key(&agency.key)
        .header("parcours-brand", "sister")
        .send(&agency.app)
        .await
        .is(200);
    assert_eq!(agency.copy(json!({})).await.is(200)["status"], "paused", "and it stays so");
}

#[actix_web::test]
async fn all_that_is_missing_is_told_at_once_and_nothing_is_copied() {
    let agency = Agency::new().await;
    let nothing = agency.copy(json!({})).await;
    nothing.is_problem(422, "missing_in_target");
    assert_eq!(codes(&nothing), ["missing_brand_document", "missing_topic"]);
    let errors = nothing.json()["errors"].clone();
    assert_eq!(errors[1]["path"], "steps[1].send.topic");
    assert!(
        errors
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["help"] != "" && one["file"] == "Journey welcome")
    );

    let no_sender = OWN.replace("{x}", "sister").replace("defaults: { sender: shop }", "");
    let no_sender = no_sender.replace("advice", "orders") + "class: transactional\n";
    agency.apply("sister", &no_sender).await.is(200);
    let own_sender = JOURNEY.replace(
        "again\n    send: { template: thanks,",
        "again\n    send: { template: thanks, sender: second,",
    );
    let second = "\napiVersion: parcours/v1\nkind: Sender\nname: second\nfrom: { name: B, address: b@b.example }\ntransport: { kind: mailbox }\n---";
    agency.apply("sillon", &format!("{second}{own_sender}")).await.is(200);
    let missing = agency.copy(json!({ "dry_run": true })).await;
    missing.is_problem(422, "missing_in_target");
    assert_eq!(codes(&missing), ["missing_topic", "missing_default_sender", "missing_sender"]);

    // A sender whose password was never set is as good as none; a topic of another class asks for
    // another consent.
    let smtp = OWN.replace("{x}", "sister").replace(
        "transport: { kind: mailbox }",
        "transport: { kind: smtp, host: mail.example, port: 465, security: tls, username: u, password: { secret: relay } }",
    );
    agency.apply("sister", &(smtp + "class: transactional\n")).await.is(200);
    let other = "apiVersion: parcours/v1\nkind: Template\nname: thanks\nsubject: Other\nhtml: <p>Other</p>\n";
    agency.apply("sister", other).await.is(200);
    let missing = agency.copy(json!({})).await;
    missing.is_problem(422, "missing_in_target");
    let all = ["other_topic", "missing_secret", "missing_sender", "differs"];
    assert_eq!(codes(&missing), all, "conflicts are told with them");
    let there = agency.documents("sister").await.to_string();
    assert!(!there.contains("journey.welcome.json") && there.contains("Other"), "{there}");
}

#[actix_web::test]
async fn what_differs_there_is_a_conflict_with_two_ways_out() {
    let agency = Agency::new().await;
    agency.apply("sister", &OWN.replace("{x}", "sister")).await.is(200);
    let own = JOURNEY.replace("Thank you.", "Merci.").replace("welcome", "local");
    agency.apply("sister", &own).await.is(200);
    let before = agency.documents("sister").await;
    let refused = agency.copy(json!({})).await;
    refused.is_problem(409, "copy_conflict");
    assert_eq!(codes(&refused), ["differs"]);
    let said = refused.json()["errors"][0].clone();
    let message = said["message"].as_str().unwrap();
    assert!(message.contains("version 1") && message.contains("html"), "{message}");
    assert!(message.contains("sent by journey local"), "who else sends it: {message}");
    for way in ["--replace", "--template", "`templates`"] {
        assert!(said["help"].as_str().unwrap().contains(way), "{said}");
    }
    assert_eq!(agency.documents("sister").await, before, "all or nothing");
    let dry = agency.copy(json!({ "dry_run": true })).await.is(200);
    assert_eq!(changes(&dry), ["changed Template thanks", "new Journey welcome"]);

    let renamed = json!({ "as": "welcome-2", "templates": { "thanks": "thanks-2" } });
    let done = agency.copy(renamed.clone()).await.is(200);
    assert_eq!(changes(&done), ["new Template thanks-2", "new Journey welcome-2"]);
    let again = agency.copy(renamed).await.is(200);
    assert_eq!(changes(&again), ["unchanged Template thanks-2", "unchanged Journey welcome-2"]);
    let journey = agency.documents("sister").await.to_string();
    assert!(
        journey.contains("\\\"template\\\": \\\"thanks-2\\\""),
        "its steps send the renamed one"
    );

    let replaced = agency.copy(json!({ "replace": true })).await.is(200);
    assert_eq!(changes(&replaced), ["changed Template thanks", "new Journey welcome"]);
    assert_eq!(replaced["documents"][0]["version"], 2);
    // A template that another journey of that brand could not send is refused, as when it is applied.
    let plain = JOURNEY.replace("<p><a href=\"{{ unsubscribe_url }}\">No more</a></p>", "");
    let orders =
        OWN.replace("{x}", "sillon").replace("advice", "orders") + "class: transactional\n";
    agency.apply("sillon", &orders).await.is(200);
    agency.apply("sister", &orders.replace("sillon", "sister")).await.is(200);
    agency.apply("sillon", &plain.replace("topic: advice", "topic: orders")).await.is(200);
    let broken = agency.copy(json!({ "replace": true })).await;
    broken.is_problem(422, "invalid_documents");
    assert!(codes(&broken).contains(&"no_unsubscribe_link".to_owned()));
}

#[actix_web::test]
async fn a_brand_beyond_the_organisation_is_as_unknown_as_one_that_is_not() {
    let agency = Agency::new().await;
    agency.apply("sister", &OWN.replace("{x}", "sister")).await.is(200);
    let install = agency.desk.key_of(None, KeyKind::Secret, &[KeyScope::Admin]).await;
    let brand = agency.desk.key(&[KeyScope::Admin]).await;
    for (key, whose) in [(&agency.key, "organisation"), (&install, "install"), (&brand, "brand")] {
        let to = |name: &'static str| agency.copy_as(key, json!({ "to": name }));
        let (stranger, nobody) = (to("stranger").await, to("nobody").await);
        stranger.is_problem(404, "not_found");
        assert_eq!(stranger.text(), nobody.text(), "{whose}");
        let id = agency.desk.store.admin().brands(None).await.unwrap();
        let id = id.iter().find(|brand| brand.name == "stranger").unwrap().tenant;
        assert_eq!(
            agency.copy_as(key, json!({ "to": id.0 })).await.text(),
            nobody.text(),
            "{whose}"
        );
    }
    let from = |key: String, name: &'static str| {
        let agency = &agency;
        async move { agency.copy_as(&key, json!({ "from": name })).await }
    };
    let (stranger, nobody) =
        (from(agency.key.clone(), "stranger").await, from(agency.key.clone(), "nobody").await);
    stranger.is_problem(404, "not_found");
    assert_eq!(stranger.text(), nobody.text());
    // A brand's own key does not reach its sister; within its brand it makes a second one.
    assert_eq!(
        agency.copy_as(&brand, json!({})).await.text(),
        agency.copy_as(&brand, json!({ "to": "nobody" })).await.text()
    );
    let own = agency.copy_as(&brand, json!({ "to": "sillon", "as": "twin" })).await.is(200);
    assert_eq!(changes(&own), ["unchanged Template thanks", "new Journey twin"]);
    agency.copy_as(&install, json!({})).await.is(200);

    agency.copy(json!({ "journey": "nothing" })).await.is_problem(404, "not_found");
    agency.copy(json!({ "templates": { "other": "x" } })).await.is_problem(422, "invalid_value");
    let manage = agency.desk.key(&[KeyScope::Manage]).await;
    agency.copy_as(&manage, json!({})).await.is_problem(403, "scope_required");
}

#[actix_web::test]
async fn a_quota_of_journeys_holds_for_copies() {
    let agency = Agency::new().await;
    agency.apply("sister", &OWN.replace("{x}", "sister")).await.is(200);
    let quotas = call("PUT", "/v1/quotas").key(&agency.key).header("parcours-brand", "sister");
    quotas.json(&json!({ "journeys": 1 })).send(&agency.app).await.is(200);
    agency.copy(json!({})).await.is(200);
    agency.copy(json!({})).await.is(200);
    agency.copy(json!({ "as": "second" })).await.is_problem(403, "journeys_quota");
}
