//! The API as a stranger, a key with too little scope and a careless client meet it.

#![expect(clippy::unwrap_used, reason = "what cannot happen here ends the test")]

mod support;

use data_encoding::BASE64;
use parcours_gateway::openapi;
use parcours_store::{KeyKind, KeyScope};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value as Json, json};
use support::{Desk, NOW, call};

const SEGMENT: [&str; 7] =
    ["/v1/identify", "/v1/track", "/v1/page", "/v1/screen", "/v1/group", "/v1/alias", "/v1/batch"];

const OPEN: [&str; 4] = ["/livez", "/readyz", "/metrics", "/openapi.json"];

/// Every operation of the document: method, path with ids filled in, its description.
fn operations() -> Vec<(String, String, Json)> {
    let document: Json = serde_json::from_str(openapi::json()).unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let filled = path
            .replace("{kind}", "Journey")
            .replace("{name}", "some-name")
            .replace("{id}", "0197f6a0-0000-7000-8000-000000000000")
            .replace("{message}", "0197f6a0-0000-7000-8000-000000000000");
        for (method, operation) in methods.as_object().unwrap() {
            found.push((method.to_uppercase(), filled.clone(), operation.clone()));
        }
    }
    found
}

#[actix_web::test]
async fn every_route_of_the_document_refuses_a_stranger() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    let operations = operations();
    assert!(operations.len() > 40, "{}", operations.len());
    for (method, path, operation) in operations {
        let answer = call(&method, &path).json(&json!({})).send(&app).await;
        if OPEN.contains(&path.as_str()) {
            answer.is(200);
        } else {
            answer.is_problem(401, "unauthorised");
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"parcours\", Bearer");
            assert!(operation["security"].is_array(), "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn every_route_of_the_document_exists_and_takes_no_other_method() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    for (method, path, _) in operations() {
        for other in ["TRACE", "PATCH", "OPTIONS"] {
            if other == "OPTIONS" && SEGMENT.contains(&path.as_str()) {
                continue;
            }
            let answer = call(other, &path).send(&app).await;
            answer.is_problem(405, "method_not_allowed");
            assert!(answer.header("allow").contains(&method), "{path} {}", answer.header("allow"));
        }
    }
    for path in ["/", "/v1", "/v1/nothing", "/v2/batch", "/v1/contacts/"] {
        call("GET", path).send(&app).await.is_problem(404, "unknown_route");
    }
}

#[test]
fn the_document_is_openapi_3_1_and_describes_every_response() {
    let document: Json = serde_json::from_str(openapi::json()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for (method, path, operation) in operations() {
        assert!(operation["summary"].is_string(), "{method} {path}");
        assert!(operation["operationId"].is_string(), "{method} {path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let described = response["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(described, "{method} {path} {status}");
        }
    }
    let text = document.to_string();
    let known = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(known.contains_key(name), "{name} is not described");
    }
    let ids =
        operations().into_iter().map(|(_, _, operation)| operation["operationId"].to_string());
    let all: Vec<_> = ids.collect();
    let mut unique = all.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), all.len(), "operation ids repeat: {all:?}");
}

#[actix_web::test]
async fn no_column_of_the_database_can_be_set_by_naming_it() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    let admin = desk.key(&[KeyScope::Admin]).await;
    let schema = include_str!("../../../shared/store/src/migration/v1.sql");
    let columns = ["tenant_id", "organisation_id", "revision", "handle", "hash", "published_by"];
    for column in columns {
        assert!(schema.contains(&format!("  {column} ")), "{column}");
    }
    for (method, path, operation) in operations() {
        if SEGMENT.contains(&path.as_str()) || operation["requestBody"].is_null() {
            continue;
        }
        for column in columns {
            let answer = call(&method, &path)
                .key(&admin)
                .header("idempotency-key", "k")
                .json(&json!({ column: "x" }))
                .send(&app)
                .await;
            answer.is_problem(400, "unknown_field");
            assert_eq!(answer.json()["field"], column, "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn a_key_does_what_its_scopes_say_and_no_more() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    let ingest = desk.key(&[KeyScope::Ingest]).await;
    let read = desk.key(&[KeyScope::Read]).await;
    let manage = desk.key(&[KeyScope::Manage]).await;
    let public = desk.key_of(Some(desk.tenant), KeyKind::Public, &[KeyScope::Admin]).await;
    for (key, path, status) in [
        (&read, "/v1/contacts", 200),
        (&manage, "/v1/contacts", 200),
        (&ingest, "/v1/contacts", 403),
        (&public, "/v1/contacts", 403),
        (&manage, "/v1/keys", 403),
        (&read, "/v1/brands", 200),
    ] {
        assert_eq!(call("GET", path).key(key).send(&app).await.status, status, "{path}");
    }
    let halt = json!({ "reason": "test" });
    for key in [&ingest, &read, &manage, &public] {
        call("POST", "/v1/halt")
            .key(key)
            .json(&halt)
            .send(&app)
            .await
            .is_problem(403, "scope_required");
    }
    let admin = desk.key(&[KeyScope::Admin]).await;
    call("POST", "/v1/install/halt")
        .key(&admin)
        .json(&halt)
        .send(&app)
        .await
        .is_problem(403, "reach_required");
    call("POST", "/v1/halt").key(&admin).json(&halt).send(&app).await.is(200);
    let brands = call("GET", "/v1/brands").key(&read).send(&app).await.is(200);
    assert_eq!(brands["items"][0]["halt_reason"], "test");
    call("POST", "/v1/unhalt").key(&admin).send(&app).await.is(200);
    let brands = call("GET", "/v1/brands").key(&read).send(&app).await.is(200);
    assert!(brands["items"][0].get("halted_at").is_none());
}

#[actix_web::test]
async fn one_brand_never_reaches_another() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    let other =
        desk.store.admin().create_brand("maison", "autre", NOW.parse().unwrap()).await.unwrap();
    let ours = desk.key(&[KeyScope::Admin, KeyScope::Ingest]).await;
    let theirs = desk.key_of(Some(other), KeyKind::Secret, &[KeyScope::Admin]).await;
    let event = json!({ "type": "track", "user_id": "u", "event": "e" });
    let made = call("POST", "/v1/events").key(&ours).json(&event).send(&app).await.is(200);
    let contact = made["contact"].as_str().unwrap();
    let path = format!("/v1/contacts/{contact}");
    call("GET", &path).key(&ours).send(&app).await.is(200);
    call("GET", &path).key(&theirs).send(&app).await.is_problem(404, "not_found");
    let by_id = call("GET", "/v1/contacts?user_id=u").key(&theirs).send(&app).await.is(200);
    assert_eq!(by_id["items"], json!([]));
    let header = call("GET", &path).key(&theirs).header("parcours-brand", "sillon");
    header.send(&app).await.is_problem(403, "unknown_brand");
    let keys = call("GET", "/v1/keys").key(&ours).send(&app).await.is(200);
    let id = keys["items"][0]["id"].as_str().unwrap();
    let path = format!("/v1/keys/{id}");
    call("DELETE", &path).key(&theirs).send(&app).await.is_problem(404, "not_found");
    let brand = json!({ "name": "third" });
    call("POST", "/v1/brands")
        .key(&ours)
        .json(&brand)
        .send(&app)
        .await
        .is_problem(403, "reach_required");
}

#[actix_web::test]
async fn an_install_key_names_its_brand() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    let key = desk.key_of(None, KeyKind::Secret, &[KeyScope::Admin]).await;
    call("GET", "/v1/contacts").key(&key).send(&app).await.is_problem(400, "brand_required");
    for name in ["sillon", "maison/sillon", &desk.tenant.to_string()] {
        call("GET", "/v1/contacts")
            .key(&key)
            .header("parcours-brand", name)
            .send(&app)
            .await
            .is(200);
    }
    let brand = json!({ "organisation": "maison", "name": "autre" });
    let made = call("POST", "/v1/brands").key(&key).json(&brand).send(&app).await.is(201);
    let again = call("POST", "/v1/brands").key(&key).json(&brand).send(&app).await.is(201);
    assert_eq!(made["id"], again["id"]);
    let twice = json!({ "organisation": "atelier", "name": "sillon" });
    call("POST", "/v1/brands").key(&key).json(&twice).send(&app).await.is(201);
    // Until the name is asked for again it may be remembered for seconds; a fresh gateway is not.
    let fresh = desk.app().await;
    let ambiguous = call("GET", "/v1/contacts").key(&key).header("parcours-brand", "sillon");
    ambiguous.send(&fresh).await.is_problem(403, "unknown_brand");
}

#[actix_web::test]
async fn a_repeated_write_is_answered_as_before_and_its_secret_is_shown_once() {
    let desk = Desk::new().await;
    let (app, admin) = (desk.app().await, desk.key(&[KeyScope::Admin]).await);
    let wanted = json!({ "label": "shop", "scopes": ["ingest"] });
    let create = |body: Json| {
        call("POST", "/v1/keys").key(&admin).header("idempotency-key", "first").json(&body)
    };
    let made = create(wanted.clone()).send(&app).await.is(201);
    let secret = made["secret"].as_str().unwrap().to_owned();
    let again = create(wanted).send(&app).await.is(201);
    assert_eq!(again["key"]["id"], made["key"]["id"]);
    assert!(again.get("secret").is_none());
    let other = create(json!({ "label": "other", "scopes": ["ingest"] })).send(&app).await;
    other.is_problem(409, "idempotency_conflict");
    let keys = call("GET", "/v1/keys").key(&admin).send(&app).await;
    assert_eq!(keys.is(200)["items"].as_array().unwrap().len(), 2);
    assert!(!keys.text().contains(&secret));
    let event = json!({ "userId": "u", "event": "e" });
    call("POST", "/v1/track").key(&secret).json(&event).send(&app).await.is(200);
    let path = format!("/v1/keys/{}", made["key"]["id"].as_str().unwrap());
    call("DELETE", &path).key(&admin).send(&app).await.is(200);
    call("POST", "/v1/track")
        .key(&secret)
        .json(&event)
        .send(&app)
        .await
        .is_problem(401, "unauthorised");
    let bad = call("DELETE", &path).key(&admin).header("idempotency-key", "with space");
    bad.send(&app).await.is_problem(400, "bad_idempotency_key");
}

#[actix_web::test]
async fn what_failed_may_be_tried_again_under_its_key() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Ingest]).await);
    let event = json!({ "type": "track", "user_id": "u", "event": "e" });
    let send = || call("POST", "/v1/events").key(&key).header("idempotency-key", "k").json(&event);
    desk.worker.script(support::Script::Unavailable);
    send().send(&app).await.is_problem(503, "unavailable");
    desk.worker.script(support::Script::Normal);
    let done = send().send(&app).await.is(200);
    assert_eq!(send().send(&app).await.is(200), done);
    assert_eq!(desk.worker.names(), ["e"]);
}

#[actix_web::test]
async fn a_secret_is_never_shown() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Manage]).await);
    let put = |value: &str| {
        let body = json!({ "value": value });
        call("PUT", "/v1/secrets/smtp").key(&key).header("idempotency-key", value).json(&body)
    };
    let answer = put("hunter2").send(&app).await;
    assert_eq!(answer.is(200), json!({ "name": "smtp", "version": 1 }));
    assert_eq!(put("hunter3").send(&app).await.is(200)["version"], 2);
    let list = call("GET", "/v1/secrets").key(&key).send(&app).await.is(200);
    assert_eq!(list, json!({ "items": [{ "name": "smtp", "version": 2 }] }));
    let stored = desk.store.for_tenant(desk.tenant);
    let opened = stored.open_secret(&"smtp".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(opened.0.as_slice(), b"hunter3");
    call("DELETE", "/v1/secrets/smtp").key(&key).send(&app).await.is(200);
    call("DELETE", "/v1/secrets/smtp").key(&key).send(&app).await.is_problem(404, "not_found");
}

#[actix_web::test]
async fn a_dkim_key_is_made_stored_and_replaced_only_when_told() {
    let desk = Desk::new().await;
    let (app, admin) = (desk.app().await, desk.key(&[KeyScope::Admin]).await);
    let stored = desk.store.for_tenant(desk.tenant);
    let make = || call("POST", "/v1/secrets/dkim/generate").key(&admin);
    let first = make().header("idempotency-key", "once").send(&app).await;
    let made = first.is(200);
    assert_eq!((&made["name"], &made["version"]), (&json!("dkim"), &json!(1)));
    assert_eq!(made["algorithm"], "ed25519");
    let held = stored.open_secret(&"dkim".parse().unwrap()).await.unwrap().unwrap().0;
    assert!(!first.text().contains(std::str::from_utf8(&held).unwrap()));
    let pair = Ed25519KeyPair::from_pkcs8(&BASE64.decode(&held).unwrap()).unwrap();
    let public = BASE64.encode(pair.public_key().as_ref());
    assert_eq!(made["dns_txt"], format!("v=DKIM1; k=ed25519; p={public}"));

    assert_eq!(make().header("idempotency-key", "once").send(&app).await.is(200), made);
    make().send(&app).await.is_problem(409, "secret_exists");
    make().json(&json!({ "replace": false })).send(&app).await.is_problem(409, "secret_exists");
    make().bytes("replace").send(&app).await.is_problem(415, "unsupported_media_type");
    let same = stored.open_secret(&"dkim".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((same.0, same.1), (held, 1));
    let other = make().json(&json!({ "replace": true })).send(&app).await.is(200);
    assert_eq!(other["version"], 2);
    assert_ne!(other["dns_txt"], made["dns_txt"]);

    let manage = desk.key(&[KeyScope::Manage]).await;
    let refused = call("POST", "/v1/secrets/new/generate").key(&manage).send(&app).await;
    refused.is_problem(403, "scope_required");
}

#[actix_web::test]
async fn pages_of_any_origin_may_send_events_and_call_nothing_else() {
    const ORIGIN: &str = "access-control-allow-origin";
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.public_key().await);
    for path in SEGMENT {
        let asked = call("OPTIONS", path)
            .header("origin", "https://shop.example")
            .header("access-control-request-method", "POST")
            .send(&app)
            .await;
        assert_eq!((asked.status, asked.body.len()), (204, 0), "{path}");
        for (name, value) in [
            (ORIGIN, "*"),
            ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", "authorization, content-type, content-encoding"),
            ("access-control-max-age", "86400"),
            ("access-control-allow-credentials", ""),
        ] {
            assert_eq!(asked.header(name), value, "{path} {name}");
        }
        let taken = call("POST", path).key(&key).json(&json!({ "userId": "u" })).send(&app).await;
        assert_eq!((taken.status, taken.header(ORIGIN)), (200, "*"), "{path}");
        let refused = call("POST", path).json(&json!({})).send(&app).await;
        assert_eq!((refused.status, refused.header(ORIGIN)), (401, "*"), "{path}");
    }
    let admin = desk.key(&[KeyScope::Admin]).await;
    for (method, path, _) in operations() {
        if !SEGMENT.contains(&path.as_str()) {
            for method in [method.as_str(), "OPTIONS"] {
                let asked =
                    call(method, &path).key(&admin).header("origin", "https://shop.example");
                assert_eq!(asked.send(&app).await.header(ORIGIN), "", "{method} {path}");
            }
        }
    }
}

#[actix_web::test]
async fn consent_is_recorded_as_said_or_refused_with_the_member_at_fault() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Manage, KeyScope::Ingest]).await);
    let event = json!({ "type": "track", "user_id": "u", "event": "e" });
    let made = call("POST", "/v1/events").key(&key).json(&event).send(&app).await.is(200);
    let path = format!("/v1/contacts/{}/consents", made["contact"].as_str().unwrap());
    let fact = json!({ "kind": "given", "topic": "news", "source": "checkout" });
    let body = json!({ "facts": [fact] });
    let answer = call("POST", &path).key(&key).json(&body).send(&app).await.is(201);
    assert_eq!(answer["facts"].as_array().unwrap().len(), 1);
    assert_eq!(desk.consent.recorded.lock().unwrap()[0].source, "checkout");
    for (member, value) in [
        ("kind", json!("agreed")),
        ("topic", json!("Not A Name")),
        ("channel", json!("sms")),
        ("email", json!("nobody")),
        ("source", json!("")),
        ("wording", json!("x".repeat(300))),
    ] {
        let mut wrong = fact.clone();
        wrong[member] = value;
        let answer =
            call("POST", &path).key(&key).json(&json!({ "facts": [wrong] })).send(&app).await;
        answer.is_problem(422, "invalid_value");
        assert_eq!(answer.json()["field"], member);
    }
    call("POST", &path)
        .key(&key)
        .json(&json!({ "facts": [] }))
        .send(&app)
        .await
        .is_problem(422, "invalid_value");
    let standing = call("GET", &path).key(&key).send(&app).await.is(200);
    assert_eq!(standing["channel"], "email");
}

#[actix_web::test]
async fn careless_reads_get_precise_answers() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Manage]).await);
    for (method, path, status, code) in [
        ("GET", "/v1/contacts/not-an-id", 404, "not_found"),
        ("GET", "/v1/contacts/0197f6a0-0000-7000-8000-000000000000", 404, "not_found"),
        ("GET", "/v1/messages/0197f6a0-0000-7000-8000-000000000000/why", 404, "not_found"),
        ("GET", "/v1/contacts?limit=many", 400, "bad_query"),
        ("GET", "/v1/contacts?colour=red", 400, "bad_query"),
        ("GET", "/v1/contacts?cursor=nonsense", 400, "bad_cursor"),
        ("GET", "/v1/contacts?email=nobody", 422, "invalid_value"),
        ("GET", "/v1/documents/Nothing/x", 422, "invalid_value"),
        ("POST", "/v1/journeys/nothing/pause", 404, "not_found"),
    ] {
        call(method, path).key(&key).send(&app).await.is_problem(status, code);
    }
    let text =
        call("POST", "/v1/messages").key(&key).header("content-type", "text/plain").bytes("x");
    text.send(&app).await.is_problem(415, "unsupported_media_type");
    let large = call("POST", "/v1/messages").key(&key).header("content-type", "application/json");
    large.bytes(vec![b' '; 2_000_000]).send(&app).await.is_problem(413, "body_too_large");
}

#[actix_web::test]
async fn lists_come_in_pages_that_neither_skip_nor_repeat() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Read, KeyScope::Ingest]).await);
    let item = |n: usize| json!({ "type": "track", "userId": format!("u{n}"), "event": "e" });
    let items: Vec<Json> = (0..25).map(item).collect();
    call("POST", "/v1/batch").key(&key).json(&json!({ "batch": items })).send(&app).await.is(200);
    let (mut seen, mut path) = (Vec::new(), "/v1/contacts?limit=10".to_owned());
    loop {
        let page = call("GET", &path).key(&key).send(&app).await.is(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()));
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/contacts?limit=10&cursor={next}"),
            None => break,
        }
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((count, seen.len()), (25, 25));
}

#[actix_web::test]
async fn the_browsable_page_needs_nothing_from_elsewhere() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    assert_eq!(call("GET", "/docs").send(&app).await.header("location"), "/docs/");
    for path in ["/docs/", "/docs/swagger-initializer.js", "/docs/swagger-ui-bundle.js"] {
        let answer = call("GET", path).send(&app).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
    }
    let index = call("GET", "/docs/").send(&app).await.text();
    assert!(!index.contains("//"), "{index}");
    let start = call("GET", "/docs/swagger-initializer.js").send(&app).await.text();
    assert!(start.contains("/openapi.json"), "{start}");
    call("GET", "/docs/nothing.js").send(&app).await.is_problem(404, "not_found");
    let metrics = call("GET", "/metrics").send(&app).await;
    assert!(metrics.text().contains("parcours_ingest_items_total"));
}

#[actix_web::test]
async fn a_process_that_starts_or_drains_wants_no_traffic() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    desk.state.readiness.set(parcours_kit::health::Phase::Draining);
    call("GET", "/readyz").send(&app).await.is_problem(503, "not_ready");
    call("GET", "/livez").send(&app).await.is(200);
}
