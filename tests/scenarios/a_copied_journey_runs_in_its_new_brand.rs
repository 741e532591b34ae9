//! An agency copies a journey from one of its brands to another: what is missing is said at once, what
//! would happen can be seen before, and afterwards the journey runs there, in that brand's own name.

use std::process::Command;

use parcours_tests::Server;
use serde_json::json;

use crate::{
    api::{Api, until},
    ground::{Ground, on_both},
};

on_both!(a_journey_is_copied_and_runs);

const OWN: &str = "apiVersion: parcours/v1
kind: Brand
name: {x}
organisation: house
display_name: Brand {x}
controller: {name: House SARL, contact: dpo@house.example}
postal_address: 1 rue des Essais, Lyon
public_url: http://localhost:8080
time_zone: Europe/Paris
locale: en-GB
defaults: {sender: shop}
---
apiVersion: parcours/v1
kind: Sender
name: shop
from: {name: Brand {x}, address: hello@{x}.example}
transport: {kind: mailbox}
---
apiVersion: parcours/v1
kind: Topic
name: news
title: News
purpose: To tell what is new at {x}
";

const JOURNEY: &str = "apiVersion: parcours/v1
kind: Template
name: hello
subject: Hello from {{ brand.name }}
html: <p>Hello.</p><p><a href=\"{{ unsubscribe_url }}\">Leave</a></p>
---
apiVersion: parcours/v1
kind: Journey
name: welcome
entry: {event: Order}
steps:
  - id: mail
    send: {template: hello, topic: news}
";

/// One agency with a brand that has the journey.
struct Agency {
    ground: Ground,
    server: Server,
}

impl Agency {
    fn apply(&self, source: &str, more: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("all.yaml"), source).unwrap();
        let command = [&["apply", folder.path().to_str().unwrap()], more].concat();
        self.server.command(self.ground.data.path(), &command).unwrap();
    }

    fn api(&self, brand: &str) -> Api {
        let words = ["key", "create", "--brand", brand];
        let said = self.server.command(self.ground.data.path(), &words).unwrap();
        Api::new(&self.server, said.lines().last().unwrap())
    }

    /// The command under the agency's key; whether it went well, and everything that it said.
    fn copy(&self, key: &str, more: &[&str]) -> (bool, String) {
        let mut command: Command = parcours_tests::parcours(self.ground.data.path());
        command.env("PARCOURS_URL", &self.server.url).env("PARCOURS_KEY", key);
        command.args(["copy", "welcome", "--from", "first"]).args(more);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), said + &String::from_utf8_lossy(&output.stderr))
    }
}

fn a_journey_is_copied_and_runs(ground: Ground) {
    let server = ground.start();
    let agency = Agency { ground, server };
    agency.apply(&format!("{}---\n{JOURNEY}", OWN.replace("{x}", "first")), &[]);
    let install = Api::new(&agency.server, &agency.server.admin_key);
    install.post("/v1/brands", &json!({"organisation": "house", "name": "second"}));
    install.post("/v1/brands", &json!({"organisation": "away", "name": "stranger"}));
    let wanted = json!({"reach": "organisation", "scopes": ["admin"], "label": "agency"});
    let of = [("Parcours-Brand", "house/first")];
    let (status, made) = install.send_with(&of, "POST", "/v1/keys", Some(&wanted));
    assert_eq!(status, 201, "{made}");
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let key = made["secret"].as_str().unwrap();

    let (well, said) = agency.copy(key, &["--to", "second"]);
    assert!(!well && said.contains("2 problems"), "{said}");
    assert!(said.contains("missing_brand_document") && said.contains("missing_topic"), "{said}");
    let (well, said) = agency.copy(key, &["--to", "stranger"]);
    assert!(!well && said.contains("not_found"), "{said}");

    agency.apply(&OWN.replace("{x}", "second"), &[]);
    let (well, said) = agency.copy(key, &["--to", "second", "--dry-run"]);
    assert_eq!((well, said.as_str()), (true, "new Template hello\nnew Journey welcome\n"));
    let (well, said) = agency.copy(key, &["--to", "second"]);
    let copied = "copied Template hello version 1\ncopied Journey welcome version 1\n";
    assert_eq!((well, said.as_str()), (true, copied));
    let (well, said) = agency.copy(key, &["--to", "second"]);
    assert!(well && said.contains("unchanged Journey welcome version 1"), "{said}");

    // It runs, for who said yes to this brand; the other brand's people and mail are not its own.
    let second = agency.api("second");
    second.post("/v1/identify", &json!({"userId": "zoe", "traits": {"email": "zoe@example.org"}}));
    let found = second.get("/v1/contacts?user_id=zoe");
    let contact = found["items"][0]["id"].as_str().unwrap().to_owned();
    let yes = json!({"facts": [{"kind": "given", "topic": "news", "source": "test"}]});
    second.post(&format!("/v1/contacts/{contact}/consents"), &yes);
    second.post("/v1/track", &json!({"userId": "zoe", "event": "Order"}));
    let mail = until("the message is in the mailbox", || {
        second.get("/v1/mailbox")["items"].as_array().unwrap().first().cloned()
    });
    assert_eq!(mail["subject"], "Hello from Brand second", "{mail}");
    let path = format!("/v1/mailbox/{}", mail["message"].as_str().unwrap());
    assert!(second.send("GET", &path, None).1.contains("hello@second.example"));
    assert_eq!(agency.api("first").get("/v1/mailbox")["items"], json!([]));

    // A text of the brand's own is not written over unasked.
    agency.apply(&JOURNEY.replace("<p>Hello.</p>", "<p>Bonjour.</p>"), &["--brand", "second"]);
    let (well, said) = agency.copy(key, &["--to", "second"]);
    assert!(!well && said.contains("differs") && said.contains("--replace"), "{said}");
    let (well, said) =
        agency.copy(key, &["--to", "second", "--template", "hello=hello-first", "--as", "other"]);
    assert!(well && said.contains("copied Template hello-first version 1"), "{said}");
    let (well, said) = agency.copy(key, &["--to", "second", "--replace"]);
    assert!(well && said.contains("replaced Template hello version 3"), "{said}");
}
