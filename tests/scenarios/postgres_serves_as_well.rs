//! The whole way on PostgreSQL: events in, a letter out, the server killed and started again; who
//! must be alone on the database is refused beside it and says so.

use std::process::Command;

use parcours_testkit::pg::TempDatabase;
use parcours_tests::{Server, parcours};
use serde_json::{Value, json};

use crate::api::{self, Api};

/// A command for a server on this database; `data` holds nothing of importance.
fn on(database: &TempDatabase, data: &std::path::Path) -> Command {
    let mut command = parcours(data);
    command.env("PARCOURS_DATABASE_URL", database.url()).env("PARCOURS_ROOT_KEY", "1f".repeat(32));
    command
}

#[test]
fn events_in_a_letter_out_through_a_kill() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(TempDatabase::new()).unwrap();
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(&mut on(&database, data.path())).unwrap();
    let brand = api::brand(&server, data.path());
    let items: Vec<Value> = (0..100)
        .map(|n| {
            json!({"type": "identify", "userId": format!("u{n}"), "messageId": format!("i{n}"),
            "traits": {"email": format!("u{n}@disques.example"), "first_name": "Léa"}})
        })
        .collect();
    let api = Api::new(&server, &brand.admin_key);
    assert_eq!(api.post("/v1/batch", &json!({ "batch": items }))["accepted"], json!(100));
    for n in 0..100 {
        let found = api.get(&format!("/v1/contacts?user_id=u{n}"));
        let id = found["items"][0]["id"].as_str().expect("the contact");
        let facts = json!({"facts": [{"kind": "given", "topic": "conseils", "source": "test"}]});
        api.post(&format!("/v1/contacts/{id}/consents"), &facts);
    }
    let orders: Vec<Value> = (0..100)
        .map(|n| {
            json!({"type": "track", "event": "Order Completed", "userId": format!("u{n}"),
            "messageId": format!("o{n}"), "properties": {"quantity": 2}})
        })
        .collect();
    assert_eq!(api.post("/v1/batch", &json!({ "batch": orders }))["accepted"], json!(100));

    // Killed while the letters are leaving; the mailbox never leaves one in doubt.
    server.kill().unwrap();
    let server = Server::start_with(&mut on(&database, data.path())).unwrap();
    let api = Api::new(&server, &brand.admin_key);
    assert_eq!(api.post("/v1/batch", &json!({ "batch": orders }))["duplicates"], json!(100));
    api::until("every letter is in the mailbox", || {
        (api.all("/v1/mailbox").len() == 100).then_some(())
    });
    let sent = api.all("/v1/messages?status=sent");
    assert_eq!(sent.len(), 100, "one message for each order, through the kill");

    let resume = ["restore", "--resume"];
    let second = on(&database, data.path()).args(resume).output().expect("the binary starts");
    let cried = String::from_utf8_lossy(&second.stderr);
    assert!(
        !second.status.success()
            && cried.contains("held by process")
            && cried.contains("PARCOURS_URL"),
        "{cried}"
    );
}
