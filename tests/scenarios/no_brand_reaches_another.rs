//! Walls between brands, route by route: what is another brand's looks like what does not exist, a
//! key does no more than its scopes say, and a revoked one does nothing.
//!
//! The routes are those of the server's own OpenAPI document; one that has no row here fails, so
//! none can be added without saying who may call it.

use std::collections::BTreeMap;

use parcours_tests::Server;
use serde_json::{Value, json};

use crate::{
    api::{self, Api},
    ground::{Ground, on_both},
};

use Scope::{Admin, Ingest, Manage, Open, Read};

on_both!(what_is_anothers_looks_like_what_does_not_exist);
on_both!(every_route_asks_for_its_scope_and_a_live_key);

/// The scope that a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Open,
    Ingest,
    Read,
    Manage,
    Admin,
}

/// Every operation and its scope. Its path's variables are filled from [`Own`].
const ROWS: [(&str, &str, Scope); 67] = [
    ("GET", "/livez", Open),
    ("GET", "/readyz", Open),
    ("GET", "/metrics", Open),
    ("GET", "/openapi.json", Open),
    ("POST", "/v1/identify", Ingest),
    ("POST", "/v1/track", Ingest),
    ("POST", "/v1/page", Ingest),
    ("POST", "/v1/screen", Ingest),
    ("POST", "/v1/group", Ingest),
    ("POST", "/v1/alias", Ingest),
    ("POST", "/v1/batch", Ingest),
    ("POST", "/v1/events", Ingest),
    ("GET", "/v1/brands", Read),
    ("POST", "/v1/brands", Admin),
    ("GET", "/v1/organisations", Read),
    ("GET", "/v1/quotas", Read),
    ("PUT", "/v1/quotas", Admin),
    ("GET", "/v1/breaker", Read),
    ("PUT", "/v1/breaker", Admin),
    ("POST", "/v1/breaker/reset", Admin),
    ("GET", "/v1/keys", Admin),
    ("POST", "/v1/keys", Admin),
    ("DELETE", "/v1/keys/{id}", Admin),
    ("GET", "/v1/contacts", Read),
    ("GET", "/v1/contacts/{id}", Read),
    ("GET", "/v1/contacts/{id}/timeline", Read),
    ("GET", "/v1/contacts/{id}/consents", Read),
    ("POST", "/v1/contacts/{id}/consents", Manage),
    ("POST", "/v1/complaints", Manage),
    ("GET", "/v1/documents", Read),
    ("POST", "/v1/documents", Manage),
    ("PUT", "/v1/documents", Manage),
    ("POST", "/v1/documents/validate", Read),
    ("POST", "/v1/documents/diff", Read),
    ("GET", "/v1/documents/export", Read),
    ("GET", "/v1/documents/{kind}/{name}", Read),
    ("GET", "/v1/documents/{kind}/{name}/versions", Read),
    ("POST", "/v1/journeys/copy", Admin),
    ("POST", "/v1/journeys/{name}/pause", Manage),
    ("POST", "/v1/journeys/{name}/resume", Manage),
    ("POST", "/v1/journeys/{name}/archive", Manage),
    ("POST", "/v1/templates/{name}/preview", Read),
    ("POST", "/v1/templates/{name}/test", Manage),
    ("GET", "/v1/runs", Read),
    ("GET", "/v1/runs/{id}", Read),
    ("GET", "/v1/messages", Read),
    ("POST", "/v1/messages", Manage),
    ("GET", "/v1/messages/{id}", Read),
    ("GET", "/v1/messages/{id}/why", Read),
    ("GET", "/v1/mailbox", Read),
    ("GET", "/v1/mailbox/{message}", Read),
    ("GET", "/v1/quarantine", Read),
    ("GET", "/v1/quarantine/{id}", Read),
    ("DELETE", "/v1/quarantine/{id}", Manage),
    ("POST", "/v1/quarantine/{id}/requeue", Manage),
    ("GET", "/v1/secrets", Read),
    ("PUT", "/v1/secrets/{name}", Manage),
    ("DELETE", "/v1/secrets/{name}", Manage),
    ("POST", "/v1/secrets/{name}/generate", Admin),
    ("GET", "/v1/sending", Admin),
    ("POST", "/v1/sending/release", Admin),
    ("GET", "/v1/status", Read),
    ("GET", "/v1/rollup", Read),
    ("POST", "/v1/halt", Admin),
    ("POST", "/v1/unhalt", Admin),
    ("POST", "/v1/install/halt", Admin),
    ("POST", "/v1/install/unhalt", Admin),
];

/// Routes whose name is the caller's to give: with another's name they make something of their own.
const NAMES_ONES_OWN: [(&str, &str); 3] = [
    ("PUT", "/v1/secrets/{name}"),
    ("DELETE", "/v1/secrets/{name}"),
    ("POST", "/v1/secrets/{name}/generate"),
];

const NOBODY: &str = "0197f6a0-0000-7000-8000-000000000000";
const NOTHING: &str = "no-such-name";

/// A brand's documents; names differ from brand to brand by `{x}`.
const DOCUMENTS: &str = "apiVersion: parcours/v1
kind: Brand
name: {x}
organisation: {o}
display_name: Brand {x}
controller: {name: Brand SARL, contact: dpo@brand.example}
postal_address: 1 rue des Essais, Lyon
public_url: http://localhost:8080
time_zone: Europe/Paris
locale: en-GB
defaults: {sender: shop}
test_addresses: [team@brand.example]
---
apiVersion: parcours/v1
kind: Sender
name: shop
from: {name: Brand, address: hello@brand.example}
transport: {kind: mailbox}
---
apiVersion: parcours/v1
kind: Topic
name: orders
title: Orders
purpose: To tell what happens to an order
class: transactional
---
apiVersion: parcours/v1
kind: Template
name: hello-{x}
subject: Hello
html: |
  <p>Hello.</p>
  <p><a href=\"{{ unsubscribe_url }}\">Leave</a></p>
---
apiVersion: parcours/v1
kind: Journey
name: welcome-{x}
entry: {event: Order}
steps:
  - id: mail
    send: {template: hello-{x}, topic: orders}
  - id: rest
    wait: {for: 300d}
";

/// Three brands, two of one organisation, on one server.
struct Town {
    ground: Ground,
    server: Server,
}

/// What a brand has, as a path's variables.
struct Own {
    contact: String,
    run: String,
    message: String,
    quarantined: String,
    key: String,
}

impl Town {
    fn new(ground: Ground) -> Self {
        let server = ground.start();
        for (brand, organisation) in [("one", "house"), ("sister", "house"), ("other", "away")] {
            let folder = tempfile::tempdir().unwrap();
            let text = DOCUMENTS.replace("{x}", brand).replace("{o}", organisation);
            std::fs::write(folder.path().join("all.yaml"), text).unwrap();
            let folder = folder.path().to_str().unwrap();
            server.command(ground.data.path(), &["apply", folder]).unwrap();
        }
        Self { ground, server }
    }

    fn key(&self, brand: &str, scopes: &str) -> String {
        let words = ["key", "create", "--brand", brand, "--scopes", scopes];
        let said = self.server.command(self.ground.data.path(), &words).unwrap();
        said.lines().last().expect("the key is the last line").trim().to_owned()
    }

    fn of(&self, brand: &str) -> Api {
        Api::new(&self.server, &self.key(brand, "ingest,read,manage,admin"))
    }

    /// Gives the brand one of everything.
    fn furnish(&self, api: &Api) -> Own {
        api.post("/v1/identify", &json!({"userId": "zoe", "traits": {"email": "zoe@example.org"}}));
        api.post("/v1/track", &json!({"userId": "zoe", "event": "Order"}));
        api.post("/v1/track", &json!({"userId": "zoe"}));
        api.send("PUT", "/v1/secrets/treasure", Some(&json!({"value": "gold"})));
        let first = |path: &str, member: &str| {
            api::until(path, || {
                let items = api.get(path);
                items["items"][0][member].as_str().map(str::to_owned)
            })
        };
        let own = Own {
            contact: first("/v1/contacts?user_id=zoe", "id"),
            run: first("/v1/runs?status=waiting", "id"),
            message: first("/v1/mailbox", "message"),
            quarantined: first("/v1/quarantine", "id"),
            key: api.get("/v1/keys")["items"][0]["id"].as_str().unwrap().to_owned(),
        };
        api::until("the message's outcome has come back to its run", || {
            let numbers = api.get("/v1/status")["brands"][0]["numbers"].clone();
            let quiet = ["inbox_live", "queue_ready", "queue_claimed", "queue_leaving"];
            quiet.iter().all(|number| numbers[number] == json!(0)).then_some(())
        });
        own
    }
}

impl Own {
    /// The path with this brand's things in it.
    fn fill(&self, path: &str) -> String {
        let id = match path.split('/').nth(2) {
            Some("contacts") => &self.contact,
            Some("runs") => &self.run,
            Some("messages") => &self.message,
            Some("quarantine") => &self.quarantined,
            Some("keys") => &self.key,
            _ => NOBODY,
        };
        let name = match path.split('/').nth(2) {
            Some("templates") => "hello-one",
            Some("secrets") => "treasure",
            _ => "welcome-one",
        };
        fill(path, id, &self.message, name)
    }

    /// Everything that the brand can read of itself, but for what a look at it changes.
    fn sight(&self, api: &Api) -> BTreeMap<String, (u16, String)> {
        let volatile = ["/v1/keys", "/v1/rollup", "/v1/status", "/v1/sending", "/v1/brands"];
        ROWS.into_iter()
            .filter(|(method, path, scope)| {
                *method == "GET" && *scope != Open && !volatile.contains(path)
            })
            .map(|(_, path, _)| (path.to_owned(), api.send("GET", &self.fill(path), None)))
            .collect()
    }
}

fn fill(path: &str, id: &str, message: &str, name: &str) -> String {
    path.replace("{kind}", "Journey")
        .replace("{name}", name)
        .replace("{id}", id)
        .replace("{message}", message)
}

/// A body that the route takes, about this contact where it is about one.
fn body(path: &str, contact: &str) -> Value {
    match path {
        "/v1/contacts/{id}/consents" => {
            json!({"facts": [{"kind": "withdrawn", "source": "test"}]})
        }
        "/v1/templates/{name}/preview" => json!({"contact": contact}),
        "/v1/templates/{name}/test" => json!({"contact": contact, "to": "team@brand.example"}),
        "/v1/secrets/{name}" => json!({"value": "lead"}),
        "/v1/journeys/copy" => json!({"journey": NOTHING, "from": NOTHING, "to": NOTHING}),
        _ => json!({}),
    }
}

/// Sends it under an Idempotency-Key of its own where that is asked for; GET and DELETE without body.
fn ask(api: &Api, method: &str, path: &str, body: &Value) -> (u16, String) {
    static ASKED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let key = ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
    let bare = method == "GET" || method == "DELETE";
    api.send_with(&[("Idempotency-Key", &key)], method, path, (!bare).then_some(body))
}

fn what_is_anothers_looks_like_what_does_not_exist(ground: Ground) {
    let town = Town::new(ground);
    let mine = town.of("one");
    let own = town.furnish(&mine);
    let before = own.sight(&mine);
    let mine_id = mine.get("/v1/brands")["items"][0]["id"].as_str().unwrap().to_owned();
    for (path, (status, body)) in &before {
        assert_eq!(*status, 200, "{path} shows something: {body}");
    }
    for stranger in ["sister", "other"] {
        let theirs = town.of(stranger);
        let fresh = theirs.send("POST", "/v1/identify", Some(&json!({"userId": "own"}))).0;
        assert_eq!(fresh, 200);
        let found = theirs.get("/v1/contacts?user_id=own");
        let contact = found["items"][0]["id"].as_str().unwrap().to_owned();
        for (method, path, _) in ROWS.into_iter().filter(|(_, path, _)| path.contains('{')) {
            let there = ask(&theirs, method, &own.fill(path), &body(path, &contact));
            if NAMES_ONES_OWN.contains(&(method, path)) {
                continue;
            }
            let nowhere = fill(path, NOBODY, NOBODY, NOTHING);
            let nowhere = ask(&theirs, method, &nowhere, &body(path, &contact));
            let unknown = there.0 == 404 || there.1.contains("unknown_document");
            assert!(unknown, "{stranger}: {method} {path}: {} {}", there.0, there.1);
            assert_eq!(there, nowhere, "{stranger}: {method} {path}");
        }
        let theirs_too = format!("hello-{stranger}");
        let about = |contact: &str| {
            let preview = format!("/v1/templates/{theirs_too}/preview");
            let test = format!("/v1/templates/{theirs_too}/test");
            let sent = json!({"contact": contact, "template": theirs_too, "topic": "orders"});
            let to = json!({"contact": contact, "to": "team@brand.example"});
            [
                ask(&theirs, "POST", &preview, &json!({"contact": contact})),
                ask(&theirs, "POST", &test, &to),
                ask(&theirs, "POST", "/v1/messages", &sent),
            ]
        };
        assert_eq!(about(&own.contact), about(NOBODY), "{stranger}");
        assert!(about(&own.contact).iter().all(|(status, _)| *status == 404), "{stranger}");
        assert!(about(&contact).iter().all(|(status, _)| *status < 300), "{stranger}");
        complains_of_nothing(&theirs, stranger, &own.message);
        for list in ["/v1/runs?contact=", "/v1/messages?contact="] {
            let of = |contact: &str| theirs.send("GET", &format!("{list}{contact}"), None);
            assert_eq!(of(&own.contact), of(NOBODY), "{stranger} {list}");
            assert_eq!(of(&own.contact).0, 200, "{stranger} {list}");
        }
        for brand in ["one", "house/one", mine_id.as_str()] {
            copies_nothing(&theirs, stranger, brand);
        }
        let named = |brand: &str| {
            let (status, said) =
                theirs.send_with(&[("Parcours-Brand", brand)], "GET", "/v1/contacts", None);
            (status, said.replace(&format!("\\\"{brand}\\\""), "BRAND"))
        };
        assert_eq!(named("one"), named(NOTHING), "{stranger}");
        assert_eq!(named("one").0, 403, "{stranger}");
    }
    assert_eq!(own.sight(&mine), before, "what strangers did changed nothing here");
}

/// Another brand's message and person are as unknown as any.
fn complains_of_nothing(theirs: &Api, stranger: &str, message: &str) {
    let complain = |body: Value| ask(theirs, "POST", "/v1/complaints", &body);
    let nothing = complain(json!({"message": NOBODY}));
    assert_eq!(nothing.0, 404, "{stranger}");
    assert_eq!(complain(json!({"message": message})), nothing, "{stranger}");
    assert_eq!(complain(json!({"email": "zoe@example.org"})), nothing, "{stranger}");
}

/// Another brand is neither one to copy from nor one to copy to, by whatever name.
fn copies_nothing(theirs: &Api, stranger: &str, brand: &str) {
    let copy = |from: &str, to: &str| {
        let wanted = json!({"journey": "welcome-one", "from": from, "to": to});
        ask(theirs, "POST", "/v1/journeys/copy", &wanted)
    };
    let (out, into) = (copy(brand, stranger), copy(stranger, brand));
    assert_eq!((out.0, into.0), (404, 404), "{stranger} {brand}");
    assert_eq!(out, copy(NOTHING, stranger), "{stranger} {brand}");
    assert_eq!(into, copy(stranger, NOTHING), "{stranger} {brand}");
}

fn every_route_asks_for_its_scope_and_a_live_key(ground: Ground) {
    let town = Town::new(ground);
    let document = town.of("one").get("/openapi.json");
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            let known = ROWS.into_iter().any(|(m, p, _)| m == method && p == path);
            assert!(known, "{method} {path} has no row: say which scope it asks for");
        }
    }
    let keys: Vec<(Scope, Api)> = [(Ingest, "ingest"), (Read, "read"), (Manage, "manage")]
        .map(|(scope, word)| (scope, Api::new(&town.server, &town.key("one", word))))
        .into();
    let admin = town.of("one");
    let revoked = town.key("one", "ingest,read,manage,admin");
    let listed = admin.get("/v1/keys");
    let prefix_of = |key: &Value| key["prefix"].as_str().unwrap().to_owned();
    let found = listed["items"].as_array().unwrap().iter();
    let found = found.clone().find(|key| revoked.starts_with(&prefix_of(key))).unwrap();
    let path = format!("/v1/keys/{}", found["id"].as_str().unwrap());
    assert_eq!(admin.send("DELETE", &path, None).0, 200);
    let revoked = Api::new(&town.server, &revoked);

    for (method, path, asked) in ROWS.into_iter().filter(|(_, _, scope)| *scope != Open) {
        let filled = fill(path, NOBODY, NOBODY, NOTHING);
        let segment = asked == Ingest && path != "/v1/events";
        let (status, said) = ask(&revoked, method, &filled, &body(path, NOBODY));
        assert_eq!(status, 401, "revoked: {method} {path}: {said}");
        for (scope, api) in &keys {
            let (status, said) = ask(api, method, &filled, &body(path, NOBODY));
            let enough = *scope == asked || (asked == Read && *scope == Manage);
            let refused = status == 401 || said.contains("scope_required");
            assert_eq!(!enough, refused, "{scope:?}: {method} {path}: {status} {said}");
            if !enough {
                let wanted = if segment { 401 } else { 403 };
                assert_eq!(status, wanted, "{scope:?}: {method} {path}: {said}");
            }
        }
    }
}
