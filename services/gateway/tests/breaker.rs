//! A brand's breaker and complaints by HTTP: who reads, who sets, who lets go, and in which forms a
//! complaint comes.

#![expect(clippy::unwrap_used, reason = "what cannot happen here ends the test")]

mod support;

use parcours_store::{KeyKind, KeyScope, NewApiKey};
use parcours_wire::ComplaintAbout;
use serde_json::{Value as Json, json};
use support::{Call, Desk, call};

const ALL: [KeyScope; 4] = KeyScope::ALL;
const ID: &str = "0197f6a0-1234-7000-8000-000000000001";

/// An admin key of the organisation that the desk's brand is of.
async fn of_organisation(desk: &Desk) -> String {
    let admin = desk.store.admin();
    let brand = admin.brand(desk.tenant).await.unwrap().unwrap();
    let new = NewApiKey {
        organisation: Some(brand.organisation),
        tenant: None,
        kind: KeyKind::Secret,
        scopes: [KeyScope::Admin].into(),
        label: "maison".into(),
        expires_at: None,
    };
    let key = admin.create_key(&new, parcours_kit::machine_now()).await.unwrap().1;
    key.expose().to_owned()
}

#[actix_web::test]
async fn a_brand_reads_its_breaker_and_only_those_above_it_set_and_reset_it() {
    let desk = Desk::new().await;
    let (app, own, above) = (desk.app().await, desk.key(&ALL).await, of_organisation(&desk).await);
    let shown = call("GET", "/v1/breaker").key(&own).send(&app).await.is(200);
    let usual = json!({"complaints": "0.3%", "bounces": "10%", "refusals": "20%", "sample": 100});
    assert_eq!((&shown["limits"], &shown["set"]), (&usual, &json!({})));
    assert_eq!(shown["stopped"], Json::Null);
    let wanted = json!({"complaints": "0.1%", "sample": 50});
    let put = |key: &str| {
        call("PUT", "/v1/breaker").key(key).header("parcours-brand", "sillon").json(&wanted)
    };
    let refused = call("PUT", "/v1/breaker").key(&own).json(&wanted).send(&app).await;
    refused.is_problem(403, "reach_required");
    let set = put(&above).send(&app).await.is(200);
    assert_eq!(set["set"], wanted);
    let now = json!({"complaints": "0.1%", "bounces": "10%", "refusals": "20%", "sample": 50});
    assert_eq!(set["limits"], now);

    let reset = |key: &str| call("POST", "/v1/breaker/reset").key(key).json(&json!({}));
    reset(&own).send(&app).await.is_problem(403, "reach_required");
    let reset = reset(&above).header("parcours-brand", "sillon").send(&app).await.is(200);
    assert_eq!(reset, json!({"was_stopped": false}));
    let shown = call("GET", "/v1/breaker").key(&own).send(&app).await.is(200);
    assert!(shown["reset_at"].is_string() && shown["set"] == wanted, "{shown}");
}

#[actix_web::test]
async fn limits_that_are_none_are_refused_and_change_nothing() {
    let desk = Desk::new().await;
    let (app, above) = (desk.app().await, of_organisation(&desk).await);
    for (member, value) in [
        ("complaints", json!("0%")),
        ("bounces", json!("101%")),
        ("refusals", json!("a fifth")),
        ("sample", json!(0)),
    ] {
        let request = call("PUT", "/v1/breaker").key(&above).header("parcours-brand", "sillon");
        let refused = request.json(&json!({ member: value })).send(&app).await;
        refused.is_problem(422, "invalid_value");
    }
    let request = call("PUT", "/v1/quotas").key(&above).header("parcours-brand", "sillon");
    request.json(&json!({"weight": 101})).send(&app).await.is_problem(422, "invalid_value");
    let request = call("PUT", "/v1/quotas").key(&above).header("parcours-brand", "sillon");
    let set = request.json(&json!({"weight": 30})).send(&app).await.is(200);
    assert_eq!(set["quotas"], json!({"weight": 30}));
    let request = call("GET", "/v1/breaker").key(&above).header("parcours-brand", "sillon");
    assert_eq!(request.send(&app).await.is(200)["set"], json!({}));
}

fn report(kind: &str) -> String {
    format!(
        "--b1\r\nContent-Type: text/plain\r\n\r\nA complaint.\r\n--b1\r\nContent-Type: \
         message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nVersion: 1\r\nUser-Agent: L/1\r\n\r\n\
         --b1\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <{ID}@shop.example>\r\nSubject: \
         Hello\r\n\r\nHello\r\n--b1--\r\n"
    )
}

fn report_of(key: &str, content_type: &str, body: &str) -> Call {
    let request = call("POST", "/v1/complaints").key(key).bytes(body);
    request.header("content-type", content_type)
}

#[actix_web::test]
async fn a_complaint_comes_as_json_or_as_the_report_itself() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&ALL).await);
    let parts = "multipart/report; report-type=feedback-report; boundary=\"b1\"";
    let mail =
        format!("From: <fbl@isp.example>\r\nContent-Type: {parts}\r\n\r\n{}", report("abuse"));
    let json = |body: Json| ("application/json".to_owned(), body.to_string());
    for (content_type, body) in [
        json(json!({"message": ID, "source": "yahoo"})),
        json(json!({"email": "anna@example.org"})),
        ("message/rfc822".to_owned(), mail),
        (parts.to_owned(), report("abuse")),
    ] {
        let request = report_of(&key, &content_type, &body);
        request.send(&app).await.is(201);
    }
    let taken = std::mem::take(&mut *desk.consent.complaints.lock().unwrap());
    let about = taken.iter().map(|(about, source)| match about {
        ComplaintAbout::Message(message) => (message.to_string(), source.as_str()),
        ComplaintAbout::Address(address) => (address.expose().to_owned(), source.as_str()),
    });
    let ours = (ID.to_owned(), "feedback-loop");
    let anna = ("anna@example.org".to_owned(), "feedback-loop");
    assert_eq!(about.collect::<Vec<_>>(), [(ID.to_owned(), "yahoo"), anna, ours.clone(), ours]);
    for (content_type, body, status, code) in [
        ("application/json", json!({}).to_string(), 422, "invalid_value"),
        (
            "application/json",
            json!({"message": ID, "email": "a@b.example"}).to_string(),
            422,
            "invalid_value",
        ),
        (
            "application/json",
            json!({"message": ID, "source": " "}).to_string(),
            422,
            "invalid_value",
        ),
        ("application/json", json!({"address": "a@b.example"}).to_string(), 400, "unknown_field"),
        (parts, report("not-spam"), 422, "no_complaint"),
        ("message/rfc822", report("abuse"), 422, "no_feedback_report"),
        ("text/plain", report("abuse"), 415, "unsupported_media_type"),
    ] {
        let request = report_of(&key, content_type, &body);
        request.send(&app).await.is_problem(status, code);
    }
    assert!(desk.consent.complaints.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn a_report_under_one_key_is_taken_once() {
    let desk = Desk::new().await;
    let (app, key) = (desk.app().await, desk.key(&ALL).await);
    let report = |message: &str| {
        let body = json!({ "message": message });
        call("POST", "/v1/complaints").key(&key).header("idempotency-key", "one").json(&body)
    };
    let first = report(ID).send(&app).await.is(201);
    assert_eq!(report(ID).send(&app).await.is(201), first);
    assert_eq!(desk.consent.complaints.lock().unwrap().len(), 1);
    let other = "0197f6a0-1234-7000-8000-000000000002";
    report(other).send(&app).await.is_problem(409, "idempotency_conflict");
    let reader = desk.key(&[KeyScope::Read]).await;
    let refused = call("POST", "/v1/complaints").key(&reader).json(&json!({"message": ID}));
    refused.send(&app).await.is_problem(403, "scope_required");
}
