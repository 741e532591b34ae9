//! The Segment routes as existing clients meet them: nothing but 200, 401, 413, 429 and 503.

#![expect(clippy::unwrap_used, reason = "what cannot happen here ends the test")]

mod support;

use parcours_domain::shard_of;
use parcours_store::{
    Backend, CommitOutcome, ContactCommit, KeyKind, KeyScope, PageRequest, Store, StoreConfig,
};
use parcours_testkit::store::{TempPlace, TempStore};
use serde_json::{Value as Json, json};
use support::{Call, Client, Desk, NOW, Script, call, gzip};

fn batch(items: &[Json]) -> Json {
    json!({ "batch": items, "sentAt": NOW, "context": { "library": { "name": "test" } } })
}

fn track(id: &str, user: &str, name: &str) -> Json {
    json!({ "type": "track", "userId": user, "event": name, "messageId": id, "timestamp": NOW })
}

fn post(path: &str, key: &str, body: &Json) -> Call {
    call("POST", path).key(key).json(body)
}

async fn quarantined(desk: &Desk) -> Vec<(String, String)> {
    let page =
        desk.store.for_tenant(desk.tenant).quarantine(&PageRequest::first(500)).await.unwrap();
    let rows = page.items.into_iter();
    rows.map(|row| (row.code, String::from_utf8_lossy(&row.payload).into_owned())).collect()
}

#[actix_web::test]
async fn every_call_is_taken_with_either_way_of_sending_the_key() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    let basic = data_encoding::BASE64.encode(format!("{key}:").as_bytes());
    for (route, body) in [
        ("identify", json!({ "userId": "u", "traits": { "email": "a@b.example" } })),
        ("track", json!({ "userId": 7, "anonymousId": null, "event": "Order" })),
        ("page", json!({ "anonymousId": "v", "name": "Home" })),
        ("screen", json!({ "anonymousId": "v", "name": "Home" })),
        ("group", json!({ "userId": "u", "groupId": "g" })),
        ("alias", json!({ "userId": "u", "previousId": "v" })),
    ] {
        let path = format!("/v1/{route}");
        let answer = call("POST", &path)
            .header("authorization", &format!("Basic {basic}"))
            .header("content-encoding", "gzip")
            .header("content-type", "application/json")
            .bytes(gzip(body.to_string().as_bytes()))
            .send(&app)
            .await;
        assert_eq!(answer.is(200)["accepted"], 1, "{route}: {}", answer.text());
    }
    assert_eq!(desk.worker.applied.lock().unwrap().len(), 6);
}

#[actix_web::test]
async fn one_faulty_item_among_a_hundred_costs_only_itself() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    let mut items: Vec<Json> = (0..100)
        .map(|n| track(&format!("m{n}"), &format!("u{}", n % 7), &format!("e{n}")))
        .collect();
    items[41] = json!({ "type": "track", "event": "nobody" });
    let body = post("/v1/batch", &key, &batch(&items)).send(&app).await.is(200);
    assert_eq!((&body["accepted"], &body["duplicates"]), (&json!(99), &json!(0)));
    assert_eq!(body["set_aside"][0]["index"], 41);
    assert_eq!(body["set_aside"][0]["code"], "no_identity");
    assert_eq!(quarantined(&desk).await, [("no_identity".into(), items[41].to_string())]);

    let body = post("/v1/batch", &key, &batch(&items)).send(&app).await.is(200);
    assert_eq!((&body["accepted"], &body["duplicates"]), (&json!(0), &json!(99)));
    assert_eq!(quarantined(&desk).await.len(), 1, "the repeat is kept once");
    assert_eq!(desk.worker.applied.lock().unwrap().len(), 99);
}

#[actix_web::test]
async fn a_contacts_items_keep_the_order_of_the_request() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    let items: Vec<Json> = (0..40)
        .map(|n| track(&format!("m{n}"), &format!("u{}", n % 3), &format!("{n:02}")))
        .collect();
    post("/v1/batch", &key, &batch(&items)).send(&app).await.is(200);
    let applied = desk.worker.applied.lock().unwrap();
    for (contact, _) in applied.iter() {
        let own = applied.iter().filter(|(other, _)| other == contact);
        let names: Vec<_> = own.map(|(_, event)| event.name.clone()).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}

#[actix_web::test]
async fn the_same_id_with_another_body_is_listed_and_left_to_the_worker_to_keep() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    post("/v1/track", &key, &track("m", "u", "first")).send(&app).await.is(200);
    let body = post("/v1/track", &key, &track("m", "u", "other")).send(&app).await.is(200);
    assert_eq!(body["set_aside"][0]["code"], "duplicate_id_other_body");
    assert_eq!(body["accepted"], 0);
    assert!(quarantined(&desk).await.is_empty(), "the worker keeps it with its commit");
    assert_eq!(desk.worker.names(), ["first"]);
}

#[actix_web::test]
async fn a_body_that_cannot_be_read_is_kept_and_answered_with_200() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    let table: [(&str, &[u8], &str); 9] = [
        ("/v1/batch", b"", "malformed_json"),
        ("/v1/batch", b"{\"batch\":[{\"type\":\"tr", "malformed_json"),
        ("/v1/batch", b"[]", "no_batch"),
        ("/v1/batch", b"{}", "no_batch"),
        ("/v1/batch", b"{\"batch\":{}}", "no_batch"),
        ("/v1/track", b"", "malformed_json"),
        ("/v1/track", b"<xml/>", "malformed_json"),
        ("/v1/track", b"[1]", "not_an_object"),
        ("/v1/track", b"{\"userId\":\"\xff\"}", "invalid_utf8"),
    ];
    for (path, bytes, code) in table {
        let answer = call("POST", path).key(&key).bytes(bytes).send(&app).await;
        let body = answer.is(200);
        assert_eq!(body["set_aside"][0]["code"], code, "{path} {bytes:?} {body}");
        assert_eq!(body["success"], true);
    }
    let packed = call("POST", "/v1/batch").key(&key).header("content-encoding", "gzip");
    let body = packed.bytes(b"not gzip".to_vec()).send(&app).await.is(200);
    assert_eq!(body["set_aside"][0]["code"], "damaged_gzip");
    let kept = quarantined(&desk).await;
    assert!(kept.iter().any(|(code, payload)| code == "damaged_gzip" && payload == "not gzip"));
    assert!(kept.iter().any(|(_, payload)| payload == "<xml/>"));
    assert!(desk.worker.names().is_empty());
}

#[actix_web::test]
async fn when_anything_cannot_be_taken_the_whole_answer_says_come_again() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    let items = [track("a", "u", "a"), json!({ "type": "track" }), track("b", "v", "b")];
    desk.worker.script(Script::Busy(7));
    let answer = post("/v1/batch", &key, &batch(&items)).send(&app).await;
    answer.is_problem(429, "busy");
    assert_eq!(answer.header("retry-after"), "7");
    desk.worker.script(Script::Unavailable);
    let answer = post("/v1/batch", &key, &batch(&items)).send(&app).await;
    answer.is_problem(503, "unavailable");
    assert_ne!(answer.header("retry-after"), "");
    desk.worker.script(Script::Normal);
    let body = post("/v1/batch", &key, &batch(&items)).send(&app).await.is(200);
    assert_eq!((&body["accepted"], body["set_aside"].as_array().unwrap().len()), (&json!(2), 1));
}

#[actix_web::test]
async fn sizes_are_bounded_as_sent_and_unpacked() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    let large = vec![b' '; 5 * 1024 * 1024 + 1];
    let answer = call("POST", "/v1/batch").key(&key).bytes(large.clone()).send(&app).await;
    answer.is_problem(413, "body_too_large");
    let bomb = call("POST", "/v1/batch").key(&key).header("content-encoding", "gzip");
    bomb.bytes(gzip(&large)).send(&app).await.is_problem(413, "body_too_large");

    let item =
        |n: usize| json!({ "type": "track", "userId": (n % 50), "event": "e", "messageId": n });
    let items: Vec<Json> = (0..10_000).map(item).collect();
    let body = post("/v1/batch", &key, &batch(&items)).send(&app).await.is(200);
    assert_eq!(body["accepted"], 10_000);
    let items: Vec<Json> = (0..10_001).map(item).collect();
    post("/v1/batch", &key, &batch(&items)).send(&app).await.is_problem(413, "too_many_items");
    post("/v1/batch", &key, &batch(&[])).send(&app).await.is(200);
}

#[actix_web::test]
async fn every_refusal_of_a_key_is_a_401() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    let read = desk.key(&[KeyScope::Read]).await;
    let install = desk.key_of(None, KeyKind::Secret, &[KeyScope::Ingest]).await;
    let good = desk.key(&[KeyScope::Ingest]).await;
    let body = track("m", "u", "e");
    for bad in ["", "sk_nothing", &read, &install, &good.replace("sk_", "pk_"), &good[..20]] {
        post("/v1/track", bad, &body).send(&app).await.is_problem(401, "unauthorised");
    }
    let unknown = post("/v1/track", &install, &body).header("parcours-brand", "nobody");
    unknown.send(&app).await.is_problem(401, "unauthorised");
    let foreign = post("/v1/track", &good, &body).header("parcours-brand", "nobody");
    foreign.send(&app).await.is_problem(401, "unauthorised");
    let named = post("/v1/track", &install, &body).header("parcours-brand", "maison/sillon");
    assert_eq!(named.send(&app).await.is(200)["accepted"], 1);

    let admin = desk.store.admin();
    let keys = admin.api_keys(None, Some(desk.tenant)).await.unwrap();
    let revoked = keys.iter().find(|key| good.starts_with(&key.prefix)).unwrap();
    admin.revoke_key(revoked.id, parcours_kit::machine_now()).await.unwrap();
    post("/v1/track", &good, &body).send(&app).await.is(200);
    // A gateway that has not seen the key in the last seconds knows at once.
    let fresh = desk.app().await;
    post("/v1/track", &good, &body).send(&fresh).await.is_problem(401, "unauthorised");
}

#[actix_web::test]
async fn a_public_key_names_nobody_but_the_rest_of_its_batch_is_applied() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.public_key().await);
    let items = [
        json!({ "type": "page", "anonymousId": "v", "name": "Home" }),
        json!({ "type": "track", "anonymousId": "v", "userId": "u", "event": "e" }),
        json!({ "type": "identify", "anonymousId": "v", "traits": { "email": "a@b.example" } }),
        json!({ "type": "identify", "anonymousId": "v", "traits": { "plan": "x" } }),
    ];
    let body = post("/v1/batch", &key, &batch(&items)).send(&app).await.is(200);
    assert_eq!(body["accepted"], 2);
    for place in [0, 1] {
        assert_eq!(body["set_aside"][place]["code"], "needs_secret_key");
    }
    post("/v1/events", &key, &json!({ "type": "track", "user_id": "u", "event": "e" }))
        .send(&app)
        .await
        .is_problem(403, "needs_secret_key");
}

#[actix_web::test]
async fn an_absorbed_contact_is_followed_and_woken() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    let visit = json!({ "anonymousId": "v", "name": "Home" });
    post("/v1/page", &key, &visit).send(&app).await.is(200);
    post("/v1/track", &key, &track("m", "u", "e")).send(&app).await.is(200);
    let (visitor, person) = {
        let applied = desk.worker.applied.lock().unwrap();
        (applied[0].0, applied[1].0)
    };
    assert_ne!(visitor, person);
    let both = json!({ "userId": "u", "anonymousId": "v" });
    post("/v1/identify", &key, &both).send(&app).await.is(200);
    assert_eq!(*desk.worker.woken.lock().unwrap(), [visitor]);

    desk.worker.script(Script::Merged(person));
    post("/v1/track", &key, &track("n", "w", "late")).send(&app).await.is(200);
    let last = desk.worker.applied.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.0, last.1.name.as_str()), (person, "late"));
}

#[actix_web::test]
async fn an_absorption_in_another_process_costs_one_detour() {
    let place = TempPlace::new(Backend::Postgres).await.unwrap();
    let worker = Store::open(place.config()).await.unwrap();
    let beside = StoreConfig { worker_role: false, ..place.config() };
    let store = Store::open(beside).await.unwrap();
    let desk = Desk::over(TempStore { store, place }).await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    let visit = |name: &str| json!({ "anonymousId": "v", "name": name });
    post("/v1/page", &key, &visit("first")).send(&app).await.is(200);
    post("/v1/track", &key, &track("m", "u", "e")).send(&app).await.is(200);
    let last = || desk.worker.applied.lock().unwrap().last().cloned().unwrap();
    let person = last().0;
    let visitor = desk.worker.applied.lock().unwrap()[0].0;
    let owner = (desk.tenant, visitor, shard_of(visitor, worker.shards()));
    let mut end = ContactCommit::of_state(owner, (0, 0), b"any".to_vec(), NOW.parse().unwrap());
    end.absorbed_into = Some(person);
    assert_eq!(worker.committer().commit(end).await, CommitOutcome::Done);

    desk.worker.script(Script::Merged(person));
    post("/v1/page", &key, &visit("second")).send(&app).await.is(200);
    assert_eq!((last().0, last().1.name.as_str()), (person, "second"));
    desk.worker.script(Script::Normal);
    post("/v1/page", &key, &visit("third")).send(&app).await.is(200);
    assert_eq!((last().0, last().1.name.as_str()), (person, "third"), "nobody told it this time");
}

#[actix_web::test]
async fn an_alias_of_two_known_people_is_refused_and_recorded() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    post("/v1/track", &key, &track("a", "one", "e")).send(&app).await.is(200);
    post("/v1/track", &key, &track("b", "two", "e")).send(&app).await.is(200);
    let alias = json!({ "userId": "one", "previousId": "two" });
    let body = post("/v1/alias", &key, &alias).send(&app).await.is(200);
    assert_eq!(body["set_aside"][0]["code"], "known_contacts_differ");
    assert_eq!(quarantined(&desk).await[0].0, "known_contacts_differ");
}

#[actix_web::test]
async fn what_the_worker_set_aside_is_listed_and_not_kept_twice() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    desk.worker.script(Script::SetAside);
    let body = post("/v1/track", &key, &track("m", "u", "e")).send(&app).await.is(200);
    assert_eq!(body["set_aside"][0]["code"], "state_too_large");
    assert!(quarantined(&desk).await.is_empty());
}

#[actix_web::test]
async fn an_input_that_was_set_aside_is_taken_in_again_once_its_cause_is_gone() {
    let desk = Desk::new().await;
    let key = desk.key(&[KeyScope::Ingest, KeyScope::Manage]).await;
    let app = desk.app().await;
    let public = desk.public_key().await;
    let item = json!({ "userId": "u", "event": "late", "messageId": "m" });
    post("/v1/track", &public, &item).send(&app).await.is(200);
    post("/v1/track", &key, &json!({ "event": "nobody" })).send(&app).await.is(200);
    let list = call("GET", "/v1/quarantine").key(&key).send(&app).await.is(200);
    let of = |code: &str| {
        let items = list["items"].as_array().unwrap();
        items.iter().find(|item| item["code"] == code).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let path = format!("/v1/quarantine/{}/requeue", of("needs_secret_key"));
    let body = call("POST", &path).key(&key).send(&app).await.is(200);
    assert!(body["requeued_at"].is_string());
    call("POST", &path).key(&key).send(&app).await.is(200);
    assert_eq!(desk.worker.names(), ["late"]);

    let faulty = of("no_identity");
    let path = format!("/v1/quarantine/{faulty}/requeue");
    call("POST", &path).key(&key).send(&app).await.is_problem(422, "no_identity");
    let path = format!("/v1/quarantine/{faulty}");
    call("DELETE", &path).key(&key).send(&app).await.is(200);
    call("GET", &path).key(&key).send(&app).await.is_problem(404, "not_found");
}

/// The ids of what is set aside.
async fn ids(app: &Client, key: &str) -> Vec<String> {
    let list = call("GET", "/v1/quarantine").key(key).send(app).await.is(200);
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn a_requeue_whose_answer_was_lost_applies_once_though_the_item_has_no_id() {
    let desk = Desk::new().await;
    let key = desk.key(&[KeyScope::Ingest, KeyScope::Manage]).await;
    let (app, public) = (desk.app().await, desk.public_key().await);
    let item = json!({ "userId": "u", "event": "late" });
    post("/v1/track", &public, &item).send(&app).await.is(200);
    let path = format!("/v1/quarantine/{}/requeue", ids(&app, &key).await[0]);
    desk.worker.script(Script::Lost);
    call("POST", &path).key(&key).send(&app).await.is_problem(503, "unavailable");
    desk.worker.script(Script::Normal);
    let body = call("POST", &path).key(&key).send(&app).await.is(200);
    assert!(body["requeued_at"].is_string());
    assert_eq!(desk.worker.names(), ["late"]);
}

#[actix_web::test]
async fn a_requeued_input_whose_id_is_taken_stays_set_aside_and_is_kept_once() {
    let desk = Desk::new().await;
    let key = desk.key(&[KeyScope::Ingest, KeyScope::Manage]).await;
    let (app, public) = (desk.app().await, desk.public_key().await);
    let other = track("m", "u", "other");
    post("/v1/track", &public, &other).send(&app).await.is(200);
    post("/v1/track", &key, &track("m", "u", "first")).send(&app).await.is(200);
    let row = &ids(&app, &key).await[0];
    let path = format!("/v1/quarantine/{row}/requeue");
    let answer = call("POST", &path).key(&key).send(&app).await;
    answer.is_problem(422, "duplicate_id_other_body");
    let path = format!("/v1/quarantine/{row}");
    let kept = call("GET", &path).key(&key).send(&app).await.is(200);
    assert!(kept["requeued_at"].is_null(), "{kept}");
    post("/v1/track", &public, &other).send(&app).await.is(200);
    assert_eq!(quarantined(&desk).await.len(), 1, "the repeat is kept once");
    assert_eq!(desk.worker.names(), ["first"]);
}

#[actix_web::test]
async fn our_own_route_is_strict() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    let event =
        |name: &str| json!({ "type": "track", "user_id": "u", "event": name, "message_id": "m" });
    let first = post("/v1/events", &key, &event("a")).send(&app).await.is(200);
    assert_eq!(first["status"], "applied");
    let again = post("/v1/events", &key, &event("a")).send(&app).await.is(200);
    assert_eq!((&again["status"], &again["id"]), (&json!("duplicate"), &first["id"]));
    let other = post("/v1/events", &key, &event("b")).send(&app).await;
    other.is_problem(409, "duplicate_id_other_body");
    for (body, status, code) in [
        (json!({ "type": "track", "userId": "u", "event": "e" }), 400, "unknown_field"),
        (json!({ "type": "purchase", "user_id": "u" }), 422, "invalid_value"),
        (json!({ "type": "track", "event": "e" }), 422, "no_identity"),
        (json!({ "type": "track", "user_id": "u", "event": "e\u{0}" }), 400, "nul_character"),
        (
            json!({ "type": "track", "user_id": "u", "event": "e", "timestamp": "2020-01-01T00:00:00Z" }),
            422,
            "too_old",
        ),
    ] {
        post("/v1/events", &key, &body).send(&app).await.is_problem(status, code);
    }
    assert!(quarantined(&desk).await.is_empty());
}
