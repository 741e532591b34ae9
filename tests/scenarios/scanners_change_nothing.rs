//! A mail scanner follows every link of a thousand mails: nobody is unsubscribed, no token is
//! burnt, and all that is recorded is one click for each link and message fetched by GET.
//!
//! Then one-click posts, in both encodings, do what the scanner could not; and tokens that are
//! bent, cut short or taken from elsewhere all get the same answer.

use std::collections::BTreeSet;

use mail_parser::MessageParser;
use parcours_tests::{Server, scaled};
use serde_json::{Value, json};

use crate::{
    api::{self, Api},
    rows,
};

/// As many as the promise says, or ten times as many.
fn mails_count() -> usize {
    scaled(1_000, 10_000)
}

/// The links of one mail, as paths on the server.
struct Mail {
    click: String,
    unsubscribe: String,
}

fn paths(raw: &[u8]) -> Mail {
    let message = MessageParser::default().parse(raw).expect("a message");
    let html = message.body_html(0).expect("an HTML part");
    let path = |start: &str| {
        let link = html
            .split("href=\"")
            .skip(1)
            .filter_map(|rest| rest.split_once('"'))
            .find_map(|(url, _)| url.find(start).and_then(|at| url.get(at..)));
        link.expect("the link is there").to_owned()
    };
    Mail { click: path("/c/"), unsubscribe: path("/u/") }
}

/// [`mails_count`] customers with consent, each with a letter in the mailbox.
fn a_thousand_mails(server: &Server, brand: &api::Brand) -> Vec<Mail> {
    let api = Api::new(server, &brand.admin_key);
    let ids: Vec<usize> = (0..mails_count()).collect();
    for chunk in ids.chunks(100) {
        let identify: Vec<Value> = chunk
            .iter()
            .map(|n| {
                json!({"type": "identify", "userId": format!("u{n}"), "messageId": format!("i{n}"),
                "traits": {"email": format!("u{n}@disques.example"), "first_name": "Zoé"}})
            })
            .collect();
        api.post("/v1/batch", &json!({"batch": identify}));
        for n in chunk {
            let found = api.get(&format!("/v1/contacts?user_id=u{n}"));
            let id = found["items"][0]["id"].as_str().expect("the contact");
            let facts =
                json!({"facts": [{"kind": "given", "topic": "conseils", "source": "test"}]});
            api.post(&format!("/v1/contacts/{id}/consents"), &facts);
        }
        let orders: Vec<Value> = chunk
            .iter()
            .map(|n| {
                json!({"type": "track", "event": "Order Completed", "userId": format!("u{n}"),
                "messageId": format!("o{n}"), "properties": {"quantity": 1}})
            })
            .collect();
        api.post("/v1/batch", &json!({"batch": orders}));
    }
    let letters = api::until("every letter is in the mailbox", || {
        let letters = api.all("/v1/mailbox");
        (letters.len() == mails_count()).then_some(letters)
    });
    letters
        .iter()
        .map(|letter| {
            let id = letter["message"].as_str().or(letter["id"].as_str()).expect("an id");
            let (status, raw) = api.send("GET", &format!("/v1/mailbox/{id}"), None);
            assert_eq!(status, 200);
            paths(raw.as_bytes())
        })
        .collect()
}

#[test]
fn a_thousand_mails_scanned_then_unsubscribed() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let brand = api::brand(&server, data.path());
    let mails = a_thousand_mails(&server, &brand);
    let web = Api::new(&server, "");
    api::until_quiet(&Api::new(&server, &brand.admin_key));

    let before = rows::all(data.path());
    for mail in &mails {
        for method in ["HEAD", "OPTIONS"] {
            web.visit(method, &mail.click, None);
            web.visit(method, &mail.unsubscribe, None);
        }
        assert_eq!(web.visit("GET", &mail.unsubscribe, None).status, 200);
    }
    let after = rows::all(data.path());
    assert_eq!(rows::changed(&before, &after).into_iter().collect::<Vec<_>>(), vec![]);

    for _ in 0..2 {
        for mail in &mails {
            let answer = web.visit("GET", &mail.click, None);
            assert_eq!(answer.status, 302);
            assert_eq!(answer.location.as_deref(), Some("https://lesillon.example/carnet"));
        }
    }
    api::until_quiet(&Api::new(&server, &brand.admin_key));
    let after = rows::all(data.path());
    let changed: BTreeSet<String> = rows::changed(&before, &after).into_keys().collect();
    for untouched in ["consent_fact", "consent_head", "address", "leaf_pending", "send_queue"] {
        assert!(!changed.contains(untouched), "{untouched} changed: {changed:?}");
    }
    let clicked = |rows: &rows::Rows| {
        rows["message_link"].iter().filter(|row| !row.contains("clicked_at=NULL")).count()
    };
    assert_eq!((clicked(&before), clicked(&after)), (0, mails.len()));

    // The tokens still work, in both encodings, twice with the same end.
    for (n, mail) in mails.iter().enumerate() {
        let body = if n % 2 == 0 { api::URLENCODED } else { api::MULTIPART };
        for _ in 0..2 {
            let answer = web.visit("POST", &mail.unsubscribe, Some(body));
            assert_eq!((answer.status, answer.location), (200, None));
        }
    }
    let facts = rows::all(data.path())["consent_fact"].clone();
    let withdrawn = facts.iter().filter(|row| row.contains("kind='withdrawn'")).count();
    assert_eq!(withdrawn, mails.len(), "one fact for each, though each was posted twice");
    println!(
        "{} mails: scanned, clicked twice, unsubscribed twice; no other row moved",
        mails.len()
    );
}

#[test]
fn bent_tokens_get_one_answer() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let web = Api::new(&server, "");
    let unknown = web.visit("GET", "/u/AAAA", None);
    assert_eq!(unknown.status, 404);
    // A token of the right length and form that nobody signed.
    let forged = "AQEB".to_owned() + &"A".repeat(88);
    for path in [format!("/u/{forged}"), format!("/c/{forged}"), "/c/x".into(), "/u/%00".into()] {
        for (method, body) in [("GET", None), ("POST", Some(api::URLENCODED))] {
            if path.starts_with("/c/") && method == "POST" {
                continue;
            }
            let answer = web.visit(method, &path, body);
            assert_eq!((answer.status, &answer.body), (404, &unknown.body), "{method} {path}");
        }
    }
}
