//! Quotas as a brand meets them: what is too much is refused with its own code, the rest goes on, and
//! another brand does not notice.

#![expect(clippy::unwrap_used, reason = "what cannot happen here ends the test")]

mod support;

use std::time::{Duration, Instant};

use parcours_domain::{CpuShare, TenantId};
use parcours_store::{KeyKind, KeyScope};
use parcours_testkit::store::temp_contact;
use serde_json::{Value as Json, json};
use support::{Client, Desk, NOW, call};

const ALL: [KeyScope; 4] = KeyScope::ALL;

/// A desk, its brand's key, and the key of another brand.
async fn two_brands() -> (Desk, Client, String, String) {
    let desk = Desk::new().await;
    let app = desk.app().await;
    let other = desk.store.admin().create_brand("ailleurs", "autre", NOW.parse().unwrap()).await;
    let own = desk.key(&ALL).await;
    let other = desk.key_of(Some(other.unwrap()), KeyKind::Secret, &ALL).await;
    (desk, app, own, other)
}

/// Sets the brand's quotas as whoever runs the install does.
async fn set(desk: &Desk, app: &Client, quotas: &Json) -> Json {
    let key = desk.key_of(None, KeyKind::Secret, &[KeyScope::Admin]).await;
    let request = call("PUT", "/v1/quotas").key(&key).header("parcours-brand", "sillon");
    request.json(quotas).send(app).await.is(200)
}

fn items(count: usize, user: &str) -> Json {
    let one = |n| json!({"type": "track", "event": "Seen", "userId": format!("{user}{n}"), "messageId": format!("{user}-{n}")});
    json!({"batch": (0..count).map(one).collect::<Vec<_>>()})
}

#[actix_web::test]
async fn events_beyond_the_quota_are_refused_whole_with_429_before_anything_is_done() {
    let (desk, app, own, other) = two_brands().await;
    set(&desk, &app, &json!({"events": "10/day burst 10"})).await;
    let batch =
        |key: &str, count, user: &str| call("POST", "/v1/batch").key(key).json(&items(count, user));
    assert_eq!(batch(&own, 8, "a").send(&app).await.is(200)["accepted"], 8);
    let refused = batch(&own, 3, "b").send(&app).await;
    refused.is_problem(429, "events_quota");
    // A day's tenth is 8,640 s, and one event is missing.
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!((8_600..=8_640).contains(&wait), "{wait}");
    assert_eq!(desk.worker.applied.lock().unwrap().len(), 8, "nothing of it was taken");
    let one = json!({"type": "track", "event": "Seen", "userId": "d"});
    let ours = json!({"type": "track", "event": "Seen", "user_id": "d"});
    for (path, body) in [("/v1/track", &one), ("/v1/events", &ours)] {
        call("POST", path).key(&own).json(body).send(&app).await.is(200);
    }
    for (path, body) in
        [("/v1/track", &one), ("/v1/identify", &one), ("/v1/batch", &one), ("/v1/events", &ours)]
    {
        let refused = call("POST", path).key(&own).json(body).send(&app).await;
        refused.is_problem(429, "events_quota");
    }
    assert_eq!(batch(&other, 100, "x").send(&app).await.is(200)["accepted"], 100);
    // Without a quota of its own it has that of the install, which is none.
    set(&desk, &app, &json!({})).await;
    assert_eq!(batch(&own, 2_000, "f").send(&app).await.is(200)["accepted"], 2_000);
}

#[actix_web::test]
async fn the_install_has_a_quota_for_brands_without_one_of_their_own() {
    let mut desk = Desk::new().await;
    desk.state.limits.events = "2/day burst 2".parse().ok();
    let (app, key) = (desk.app().await, desk.key(&ALL).await);
    let batch = |count, user: &str| call("POST", "/v1/batch").key(&key).json(&items(count, user));
    batch(2, "a").send(&app).await.is(200);
    batch(1, "b").send(&app).await.is_problem(429, "events_quota");
    let shown = call("GET", "/v1/quotas").key(&key).send(&app).await.is(200);
    assert_eq!(shown["events_in_force"], "2/day burst 2");
    assert_eq!(shown["quotas"], json!({}));
    set(&desk, &app, &json!({"events": "none"})).await;
    batch(1, "b").send(&app).await.is(200);
}

#[actix_web::test]
async fn a_brand_reads_its_quotas_and_only_those_above_it_set_them() {
    let (desk, app, own, other) = two_brands().await;
    let wanted =
        json!({"events": "5/s burst 50", "contacts": 7, "sends_per_day": 9, "template_cpu": 20});
    let own_put = call("PUT", "/v1/quotas").key(&own).json(&wanted).send(&app).await;
    own_put.is_problem(403, "reach_required");
    let set_now = set(&desk, &app, &wanted).await;
    assert_eq!(set_now["quotas"], wanted);
    let shown = async |key: &str| call("GET", "/v1/quotas").key(key).send(&app).await.is(200);
    assert_eq!(shown(&own).await, set_now);
    assert_eq!(shown(&other).await["quotas"], json!({}));
    let admin = desk.key_of(None, KeyKind::Secret, &[KeyScope::Admin]).await;
    let bad = |body: Json| {
        call("PUT", "/v1/quotas").key(&admin).header("parcours-brand", "sillon").json(&body)
    };
    bad(json!({"events": "often"})).send(&app).await.is_problem(422, "invalid_value");
    bad(json!({"contacts": -1})).send(&app).await.is_problem(400, "wrong_type");
    bad(json!({"template_cpu": 0})).send(&app).await.is_problem(422, "invalid_value");
    bad(json!({"template_cpu": 6401})).send(&app).await.is_problem(422, "invalid_value");
    bad(json!({"storage": 1})).send(&app).await.is_problem(400, "unknown_field");
    assert_eq!(shown(&own).await, set_now, "nothing of them was set");
}

#[actix_web::test]
async fn beyond_the_quota_of_contacts_the_known_go_on_and_others_are_set_aside() {
    let (desk, app, own, other) = two_brands().await;
    set(&desk, &app, &json!({"contacts": 3})).await;
    let batch =
        |key: &str, count, user: &str| call("POST", "/v1/batch").key(key).json(&items(count, user));
    let answer = batch(&own, 5, "a").send(&app).await.is(200);
    assert_eq!(answer["accepted"], 3, "{answer}");
    let aside = answer["set_aside"].as_array().unwrap();
    assert_eq!(aside.iter().map(|one| &one["code"]).collect::<Vec<_>>(), ["contacts_quota"; 2]);
    let event = |user: &str| json!({"type": "track", "event": "Seen", "user_id": user});
    let one = |user: &str| call("POST", "/v1/events").key(&own).json(&event(user));
    one("a0").send(&app).await.is(200);
    one("a4").send(&app).await.is_problem(403, "contacts_quota");
    assert_eq!(batch(&other, 5, "a").send(&app).await.is(200)["accepted"], 5);
    let shown = call("GET", "/v1/quotas").key(&own).send(&app).await.is(200);
    assert_eq!(shown["used"]["contacts"], 3);
    // What was set aside applies once there is room.
    set(&desk, &app, &json!({"contacts": 4})).await;
    let kept = call("GET", "/v1/quarantine").key(&own).send(&app).await.is(200);
    let requeue = |n: usize| {
        let id = kept["items"][n]["id"].as_str().unwrap();
        call("POST", &format!("/v1/quarantine/{id}/requeue")).key(&own)
    };
    requeue(0).send(&app).await.is(200);
    requeue(1).send(&app).await.is_problem(422, "contacts_quota");
}

const JOURNEY: &str = "apiVersion: parcours/v1\nkind: Journey\nname: NAME\nentry: {event: Order}\n\
                       steps:\n  - id: rest\n    wait: {for: 1d}\n";

#[actix_web::test]
async fn one_journey_more_is_refused_and_an_archived_one_makes_room() {
    let (desk, app, own, other) = two_brands().await;
    set(&desk, &app, &json!({"journeys": 2})).await;
    let publish = |key: &str, names: &[&str]| {
        let file = |name: &&str| json!({"name": format!("{name}.yaml"), "source": JOURNEY.replace("NAME", name)});
        let files: Vec<_> = names.iter().map(file).collect();
        call("POST", "/v1/documents").key(key).json(&json!({"files": files}))
    };
    publish(&own, &["one", "two", "three"]).send(&app).await.is_problem(403, "journeys_quota");
    publish(&own, &["one", "two"]).send(&app).await.is(200);
    publish(&own, &["one", "two"]).send(&app).await.is(200);
    publish(&own, &["three"]).send(&app).await.is_problem(403, "journeys_quota");
    publish(&other, &["one", "two", "three"]).send(&app).await.is(200);
    let turn = |name: &str, way: &str| {
        call("POST", &format!("/v1/journeys/{name}/{way}")).key(&own).json(&json!({}))
    };
    turn("one", "archive").send(&app).await.is(200);
    publish(&own, &["three"]).send(&app).await.is(200);
    turn("one", "resume").send(&app).await.is_problem(403, "journeys_quota");
    turn("two", "pause").send(&app).await.is(200);
    turn("two", "resume").send(&app).await.is(200);
    let shown = call("GET", "/v1/quotas").key(&own).send(&app).await.is(200);
    assert_eq!(shown["used"]["journeys"], 2);
}

#[actix_web::test]
async fn previews_take_of_the_share_of_templates() {
    let (desk, app, own, other) = two_brands().await;
    set(&desk, &app, &json!({"template_cpu": 1})).await;
    let contact = temp_contact(&desk.store.for_tenant(desk.tenant), "anna").await.unwrap();
    // As much as one rendering may take.
    let source = "apiVersion: parcours/v1\nkind: Template\nname: hello\nlanguage: en\nsubject: Hello\n\
                  html: |\n  {% for a in run.items %}{% for b in run.items %}{% endfor %}{% endfor %}\n";
    let preview = |key: &str| {
        let data = json!({"items": vec![1; 1_000]});
        let wanted = json!({"contact": contact.0, "source": source, "data": data});
        call("POST", "/v1/templates/hello/preview").key(key).json(&wanted)
    };
    preview(&own).send(&app).await.is(200);
    // What a second brings is no longer all there.
    let (store, share) = (desk.store.for_tenant(desk.tenant), CpuShare::new(1).unwrap());
    let second = Duration::from_millis(10);
    assert!(!store.charge_templates(share, second, Instant::now()).await.unwrap().is_zero());
    store.charge_templates(share, 80 * second, Instant::now()).await.unwrap();
    let refused = preview(&own).send(&app).await;
    refused.is_problem(429, "templates_quota");
    let seconds: u32 = refused.header("retry-after").parse().unwrap();
    assert!(seconds >= 79, "{seconds}");
    preview(&other).send(&app).await.is_problem(404, "not_found");
    set(&desk, &app, &json!({})).await;
    preview(&own).send(&app).await.is(200);
}

#[actix_web::test]
async fn a_day_that_is_used_up_takes_no_message_before_the_next() {
    let (desk, app, own, _) = two_brands().await;
    set(&desk, &app, &json!({"sends_per_day": 2})).await;
    let wanted = json!({"contact": uuid::Uuid::nil(), "template": "receipt", "topic": "orders"});
    let send = |key: &str| {
        call("POST", "/v1/messages").key(&own).header("idempotency-key", key).json(&wanted)
    };
    let tenant: TenantId = desk.tenant;
    let day = desk.clock_day();
    let store = desk.store.for_tenant(tenant);
    assert_eq!(store.lease_sends(day, 1).await.unwrap(), Some(1));
    send("a").send(&app).await.is_problem(422, "unknown_document");
    assert_eq!(store.lease_sends(day, 5).await.unwrap(), Some(1));
    let refused = send("b").send(&app).await;
    refused.is_problem(429, "sends_quota");
    assert_eq!(refused.header("retry-after"), "43200", "it is noon");
    assert_eq!(store.lease_sends(day + 1, 5).await.unwrap(), Some(2));
}
