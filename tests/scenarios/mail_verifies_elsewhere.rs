//! A mail that left over SMTP is verified by a DKIM verifier that we did not write, under both
//! algorithms; the one-click header is inside the signatures; bodies and merge fields made to
//! break out stay one message.

use std::{path::Path, process::Command};

use mail_parser::MessageParser;
use parcours_testkit::smtp_sink::{Received, SmtpSink};
use parcours_tests::{Server, foreign, foreign_scripts};
use serde_json::{Value, json};

use crate::api::{self, Api};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// A brand that sends over SMTP to `port`, signing with both algorithms.
fn documents(port: u16) -> String {
    format!(
        r#"
apiVersion: parcours/v1
kind: Brand
name: shop
organisation: test
display_name: The Shop
controller: {{ name: The Shop Ltd, contact: privacy@shop.example }}
postal_address: 1 High Street, York
public_url: https://news.shop.example
time_zone: Europe/London
locale: en-GB
clicks: on
defaults: {{ sender: main }}
---
apiVersion: parcours/v1
kind: Sender
name: main
from: {{ name: "The Shop, Jr.", address: hello@shop.example }}
transport: {{ kind: smtp, host: 127.0.0.1, port: {port}, security: none }}
dkim:
  - {{ selector: r1, domain: shop.example, algorithm: rsa, key: {{ secret: dkim-rsa }} }}
  - {{ selector: e1, domain: shop.example, algorithm: ed25519, key: {{ secret: dkim-ed25519 }} }}
---
apiVersion: parcours/v1
kind: Topic
name: news
title: News
purpose: Telling you what is new
---
apiVersion: parcours/v1
kind: Template
name: hello
subject: "Hello {{{{ contact.first_name }}}}"
fields:
  contact.first_name: {{ default: there }}
  contact.note: {{ default: "" }}
html: |
  <html><body><p>{{{{ contact.note }}}}</p>
  <a href="https://shop.example/new">New</a> <a href="{{{{ unsubscribe_url }}}}">Stop</a></body></html>
---
apiVersion: parcours/v1
kind: Journey
name: greet
entry: {{ event: Hello }}
steps:
  - id: greet
    send: {{ template: hello, topic: news }}
"#
    )
}

struct Shop {
    _data: tempfile::TempDir,
    _server: Server,
    api: Api,
}

fn shop(port: u16) -> Shop {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    std::fs::write(data.path().join("shop.yaml"), documents(port)).unwrap();
    let file = data.path().join("shop.yaml");
    let brand = api::brand_of(&server, data.path(), &file, "shop");
    let api = Api::new(&server, &brand.admin_key);
    for name in ["dkim-rsa", "dkim-ed25519"] {
        let pem = std::fs::read_to_string(Path::new(FIXTURES).join(format!("{name}.pem"))).unwrap();
        let (status, body) =
            api.send("PUT", &format!("/v1/secrets/{name}"), Some(&json!({ "value": pem })));
        assert!(status < 300, "{status} {body}");
    }
    Shop { _data: data, _server: server, api }
}

/// A contact with these traits and consent; then the event that sends.
fn greet(shop: &Shop, user: &str, traits: &Value) {
    let mut traits = traits.clone();
    traits["email"] = format!("{user}@customers.example").into();
    let identify = json!({"type": "identify", "userId": user, "traits": traits});
    let answer = shop.api.post("/v1/batch", &json!({ "batch": [identify] }));
    assert_eq!(answer["set_aside"], json!([]), "{answer}");
    let found = shop.api.get(&format!("/v1/contacts?user_id={user}"));
    let id = found["items"][0]["id"].as_str().expect("the contact").to_owned();
    let facts = json!({"facts": [{"kind": "given", "topic": "news", "source": "test"}]});
    shop.api.post(&format!("/v1/contacts/{id}/consents"), &facts);
    let hello = json!({"type": "track", "event": "Hello", "userId": user});
    shop.api.post("/v1/batch", &json!({ "batch": [hello] }));
}

/// Runs the verifier on a message; what it printed, and whether all is well.
fn verify(python: &Path, raw: &[u8]) -> (String, bool) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message.eml");
    std::fs::write(&file, raw).unwrap();
    let output = Command::new(python)
        .arg(foreign_scripts().join("dkim_verify.py"))
        .arg(&file)
        .arg(Path::new(FIXTURES).join("dkim-records.json"))
        .output()
        .expect("the verifier starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (said + &String::from_utf8_lossy(&output.stderr), output.status.success())
}

fn received(runtime: &tokio::runtime::Runtime, sink: &SmtpSink, count: usize) -> Vec<Received> {
    runtime.block_on(sink.wait_for(count))
}

#[test]
fn both_signatures_verify_and_cover_the_one_click_header() {
    let Some(python) = foreign("py/bin/python", "both_signatures_verify") else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sink = runtime.block_on(SmtpSink::start()).unwrap();
    let shop = shop(sink.port());
    greet(&shop, "anne", &json!({"first_name": "Ännchen", "note": "a\n.\nb"}));
    let mail = received(&runtime, &sink, 1).remove(0);
    let (said, well) = verify(&python, &mail.raw);
    assert!(well && said.contains("rsa-sha256 ok") && said.contains("ed25519-sha256 ok"), "{said}");

    let text = String::from_utf8(mail.raw.clone()).expect("ASCII on the wire");
    let header = |name: &str| text.lines().find(|l| l.to_lowercase().starts_with(name)).is_some();
    assert!(
        header("list-unsubscribe: ") && header("list-unsubscribe-post: list-unsubscribe=one-click")
    );
    let without = text.replacen("List-Unsubscribe-Post: ", "X-Gone: ", 1);
    assert!(!verify(&python, without.as_bytes()).1, "stripping the header must break it");
    let second = format!("Subject: You won\r\n{text}");
    assert!(!verify(&python, second.as_bytes()).1, "a second Subject must break it");
    assert!(text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
}

#[test]
fn attempts_to_break_out_stay_one_message() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sink = runtime.block_on(SmtpSink::start()).unwrap();
    let shop = shop(sink.port());
    let notes =
        ["x\r\n.\r\nMAIL FROM:<evil@x.example>\r\n", "y\n.\nz", "bare\rreturn\r.\r", "..", "."];
    for (n, note) in notes.iter().enumerate() {
        greet(&shop, &format!("body{n}"), &json!({ "note": note }));
    }
    greet(&shop, "header", &json!({"first_name": "A\r\nBcc: everybody@x.example"}));
    let mails = received(&runtime, &sink, notes.len());
    api::until("the mail with a broken header is skipped", || {
        let page = shop.api.get("/v1/messages?status=skipped");
        (page["items"].as_array()?.len() == 1).then_some(())
    });
    assert_eq!(received(&runtime, &sink, notes.len()).len(), notes.len());
    for mail in &mails {
        assert_eq!(mail.rcpt.len(), 1);
        assert!(
            mail.mail_from.ends_with("@shop.example>") || mail.mail_from.ends_with("@shop.example")
        );
        let parsed = MessageParser::default().parse(&mail.raw).expect("a message");
        assert!(parsed.header_raw("Bcc").is_none());
        assert_eq!(
            parsed.headers().iter().filter(|h| h.name().eq_ignore_ascii_case("subject")).count(),
            1
        );
    }
}
