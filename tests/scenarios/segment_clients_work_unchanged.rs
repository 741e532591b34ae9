//! Segment's own Python and Node clients, unmodified but for the host: everything lands once, a
//! replay with the same messageIds changes nothing, and one faulty item costs only itself.

use std::{path::Path, process::Command};

use parcours_kit::machine_now;
use parcours_tests::{Server, foreign, foreign_scripts};
use serde_json::{Value, json};

use crate::api::{self, Api};

const COUNT: usize = 250;

/// Runs a client twice with the same messageIds and times, as a retry has them, and looks at what
/// landed.
fn lands_once(prefix: &str, client: &dyn Fn(&Server, &str, &str) -> Command) {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let brand = api::brand(&server, data.path());
    let when = machine_now().to_string();
    for round in 1..=2 {
        let output = client(&server, &brand.ingest_key, &when).output().expect("the client starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let cried = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "round {round}: {said}{cried}");
    }
    let api = Api::new(&server, &brand.admin_key);
    let contact = api.get(&format!("/v1/contacts?user_id={prefix}-user"));
    let id = contact["items"][0]["id"].as_str().expect("one contact");
    let contact = api.get(&format!("/v1/contacts/{id}"));
    assert_eq!(contact["attributes"]["plan"], json!("vip"), "{contact}");
    let events: Vec<Value> = api
        .all(&format!("/v1/contacts/{id}/timeline"))
        .into_iter()
        .filter(|entry| entry["kind"] == json!("event"))
        .collect();
    assert_eq!(events.len(), COUNT + 4, "identify, page, screen, group and the tracks, once each");
    assert_eq!(api.all("/v1/quarantine").len(), 0, "nothing was set aside");
}

#[test]
fn the_python_client() {
    let Some(python) = foreign("py/bin/python", "the_python_client") else { return };
    lands_once("py", &|server, key, when| {
        let mut command = Command::new(&python);
        command.arg(foreign_scripts().join("segment_client.py"));
        command.args([&server.url, key, "py", &COUNT.to_string(), when]);
        command
    });
}

#[test]
fn the_node_client() {
    let Some(modules) = foreign("node/node_modules", "the_node_client") else { return };
    let package: &Path = modules.parent().expect("node/");
    lands_once("js", &|server, key, when| {
        let mut command = Command::new("node");
        command.arg(foreign_scripts().join("segment_client.mjs"));
        command.args([&server.url, key, "js", &COUNT.to_string(), when]).arg(package);
        command
    });
}

#[test]
fn one_faulty_item_among_a_hundred_costs_only_itself() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let brand = api::brand(&server, data.path());
    let ingest = Api::new(&server, &brand.ingest_key);
    let mut items: Vec<Value> = (0..100)
        .map(|n| json!({"type": "track", "event": "Thing", "userId": "u1", "messageId": format!("m{n}")}))
        .collect();
    items[41] = json!({"type": "track", "event": 7, "userId": "u1", "messageId": "m41"});
    for round in 1..=2 {
        let answer = ingest.post("/v1/batch", &json!({"batch": items}));
        let set_aside = answer["set_aside"].as_array().expect("a list");
        assert_eq!(set_aside.len(), 1, "round {round}: {answer}");
        assert_eq!(set_aside[0]["index"], json!(41));
        let landed = if round == 1 { "accepted" } else { "duplicates" };
        assert_eq!(answer[landed], json!(99), "round {round}: {answer}");
    }
    let api = Api::new(&server, &brand.admin_key);
    let id = api.get("/v1/contacts?user_id=u1")["items"][0]["id"].as_str().unwrap().to_owned();
    let timeline = api.all(&format!("/v1/contacts/{id}/timeline"));
    assert_eq!(timeline.iter().filter(|entry| entry["kind"] == json!("event")).count(), 99);
    assert_eq!(api.all("/v1/quarantine").len(), 1, "the faulty item, once");
}
