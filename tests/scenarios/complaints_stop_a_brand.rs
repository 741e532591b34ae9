//! Reports of a mailbox provider's feedback loop stop a brand's marketing, the operator is told, and
//! a command lets it go on: the whole way through the product.

use parcours_tests::Server;
use serde_json::{Value, json};

use crate::{
    api::{self, Api},
    ground::{Ground, on_both},
};

on_both!(complaints_stop_a_brand_until_a_person_has_looked);

const DOCUMENTS: &str = "apiVersion: parcours/v1
kind: Brand
name: loud
organisation: house
display_name: Loud
controller: {name: Loud SARL, contact: dpo@loud.example}
postal_address: 1 rue des Essais, Lyon
public_url: http://localhost:8080
time_zone: Europe/Paris
locale: en-GB
defaults: {sender: shop}
---
apiVersion: parcours/v1
kind: Sender
name: shop
from: {name: Loud, address: hello@loud.example}
transport: {kind: mailbox}
---
apiVersion: parcours/v1
kind: Topic
name: news
title: News
purpose: To tell what is new
---
apiVersion: parcours/v1
kind: Template
name: hello
subject: Hello
html: |
  <p>Hello.</p>
  <p><a href=\"{{ unsubscribe_url }}\">Leave</a></p>
---
apiVersion: parcours/v1
kind: Journey
name: welcome
entry: {event: Visit, reentry: always}
steps:
  - id: mail
    send: {template: hello, topic: news}
";

/// How many outcomes decide.
const SAMPLE: usize = 10;

fn welcome(api: &Api, user: &str) {
    let email = format!("{user}@example.org");
    api.post("/v1/identify", &json!({"userId": user, "traits": {"email": email}}));
    let found = api.get(&format!("/v1/contacts?user_id={user}"));
    let id = found["items"][0]["id"].as_str().expect("a contact").to_owned();
    let yes = json!({"facts": [{"kind": "given", "topic": "news", "source": "test"}]});
    api.post(&format!("/v1/contacts/{id}/consents"), &yes);
    api.post("/v1/track", &json!({"userId": user, "event": "Visit"}));
}

/// A report as a feedback loop sends it by mail, about a message of the brand.
fn report(message: &str) -> String {
    format!(
        "From: <staff@isp.example>\r\nTo: <fbl@loud.example>\r\nSubject: FW: Hello\r\nMIME-Version: \
         1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=\"part\"\r\n\r\n\
         --part\r\nContent-Type: text/plain\r\n\r\nAn abuse report.\r\n\r\n--part\r\nContent-Type: \
         message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: Loop/1.0\r\nVersion: \
         1\r\n\r\n--part\r\nContent-Type: message/rfc822\r\n\r\nFrom: <hello@loud.example>\r\n\
         Message-ID: <{message}@loud.example>\r\nSubject: Hello\r\n\r\nHello.\r\n--part--\r\n"
    )
}

fn send_report(server: &Server, key: &str, message: &str) -> (u16, Value) {
    let url = format!("{}/v1/complaints", server.url);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let request = reqwest::Client::new().post(url).bearer_auth(key);
        let request = request.header("content-type", "message/rfc822").body(report(message));
        let answer = request.send().await.expect("the server answers");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    })
}

fn complaints_stop_a_brand_until_a_person_has_looked(ground: Ground) {
    let server = ground.start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), DOCUMENTS).unwrap();
    let brand = api::brand_of(&server, ground.data.path(), folder.path(), "loud");
    let api = Api::new(&server, &brand.admin_key);
    let command = |words: &[&str]| server.command(ground.data.path(), words);
    let said = command(&["breaker", "set", "--brand", "loud", "--sample", &SAMPLE.to_string()]);
    assert!(said.unwrap().contains("of at least 10 messages"));

    let users: Vec<String> = (0..SAMPLE).map(|n| format!("u{n}")).collect();
    users.iter().for_each(|user| welcome(&api, user));
    let sent = api::until("all are sent", || {
        let sent = api.all("/v1/messages?status=sent");
        (sent.len() == SAMPLE).then_some(sent)
    });
    let id = |n: usize| sent[n]["id"].as_str().expect("an id");
    for n in 0..3 {
        let (status, answer) = send_report(&server, &brand.admin_key, id(n));
        assert_eq!((status, &answer["message"]), (201, &json!(id(n))), "{answer}");
        assert!(answer["suppression"].is_string(), "{answer}");
        // A loop that reports it again says nothing new.
        let (status, again) = send_report(&server, &brand.admin_key, id(n));
        assert_eq!((status, &again["suppression"]), (201, &Value::Null), "{again}");
        let stopped = &api.get("/v1/breaker")["stopped"];
        assert_eq!(stopped.is_null(), n < 2, "after {} complaints: {stopped}", n + 1);
    }
    let stopped = &api.get("/v1/breaker")["stopped"];
    assert_eq!((&stopped["stops"], &stopped["cause"]), (&json!("marketing"), &json!("complaints")));
    assert_eq!(stopped["counts"]["complained"], json!(3));
    let contact = sent[0]["contact"].as_str().expect("a contact");
    let standing = api.get(&format!("/v1/contacts/{contact}/consents"));
    assert_eq!(standing["address_suppressed"], json!(true), "who complained is left alone");

    welcome(&api, "late");
    let waiting = api::until("the next message is asked for", || {
        let waiting = api.all("/v1/messages?status=queued");
        (waiting.len() == 1).then_some(waiting)
    });
    let attention = &api.get("/v1/status")["attention"];
    assert_eq!(attention[0]["code"], json!("breaker"), "{attention}");
    let detail = json!("marketing is stopped: 3 complaints of 10 messages");
    assert_eq!(attention[0]["detail"], detail);
    assert!(command(&["status", "--brand", "loud"]).is_err(), "scripts are told");
    let shown = command(&["breaker", "--brand", "loud"]).unwrap();
    assert!(shown.contains("marketing is stopped since"), "{shown}");
    let (_, metrics) = Api::new(&server, "").send("GET", "/metrics", None);
    let counted = |name: &str| metrics.lines().any(|line| line.starts_with(name));
    assert!(counted("parcours_breaker_trips_total{cause=\"complaints\""), "{metrics}");
    assert_eq!(api.all("/v1/messages?status=queued"), waiting, "nothing left meanwhile");

    let said = command(&["breaker", "reset", "--brand", "loud"]).unwrap();
    assert!(said.contains("it sends again"), "{said}");
    api::until_quiet(&api);
    assert_eq!(api.all("/v1/messages?status=sent").len(), SAMPLE + 1);
}
