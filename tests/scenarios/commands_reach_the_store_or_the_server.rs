//! Commands work without a server, by opening the store themselves; with a server they speak to
//! it; and when another process has the store they say who, and what to do.

use parcours_tests::{Server, parcours};
use serde_json::{Value, json};

use crate::{api::Api, ground::Ground};

const BRAND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../services/node/demo/brand");

#[test]
fn a_folder_is_published_and_looked_at_both_ways() {
    let data = tempfile::tempdir().unwrap();
    let alone = |arguments: &[&str]| {
        let output = parcours(data.path()).args(arguments).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said + &String::from_utf8_lossy(&output.stderr))
    };
    assert_eq!(alone(&["validate", BRAND]), (true, "10 documents, no problems\n".to_owned()));
    let (well, said) = alone(&["apply", BRAND]);
    assert!(well && said.contains("published Journey deuxieme-achat version 1"), "{said}");
    let (_, said) = alone(&["diff", BRAND]);
    assert!(said.contains("unchanged Template merci"), "{said}");
    let key = |arguments: &[&str]| {
        let (well, said) = alone(arguments);
        assert!(well, "{said}");
        said.lines().find(|line| line.starts_with("sk_")).expect("a key").to_owned()
    };
    let install = key(&["key", "create"]);
    let ingest = key(&["key", "create", "--brand", "sillon", "--scopes", "ingest"]);

    let mut server = Server::start(data.path()).unwrap();
    let (well, said) = alone(&["apply", BRAND]);
    assert!(!well && said.contains("held by process") && said.contains("PARCOURS_URL"), "{said}");

    server.admin_key = install;
    let said = server.command(data.path(), &["apply", BRAND]).unwrap();
    assert!(said.contains("unchanged Journey deuxieme-achat version 1"), "{said}");
    let order = json!({"userId": "u1", "event": "Order Completed", "properties": {"quantity": 1}});
    Api::new(&server, &ingest).post("/v1/track", &order);
    let show = ["contact", "show", "user:u1", "--brand", "sillon"];
    let shown: Value = serde_json::from_str(&server.command(data.path(), &show).unwrap()).unwrap();
    let journeys: Vec<&Value> =
        shown["runs"].as_array().unwrap().iter().map(|run| &run["journey"]).collect();
    assert_eq!(journeys.len(), 2, "{shown:#}");
    assert!(shown["timeline"].as_array().is_some_and(|timeline| timeline.len() > 2));

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    server.command(data.path(), &["export", folder, "--brand", "sillon"]).unwrap();
    let said = server.command(data.path(), &["diff", folder]).unwrap();
    assert!(!said.contains("changed J") || said.contains("unchanged J"), "{said}");
    assert!(
        !said.lines().any(|line| line.starts_with("changed") || line.starts_with("new")),
        "{said}"
    );
}

#[test]
fn the_schema_is_made_by_a_command() {
    let ground = Ground::postgres();
    let migrate = || {
        let output = ground.command().arg("migrate").output().expect("the binary starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = migrate();
    assert!(first.starts_with("schema v") && first.contains(" of install "), "{first}");
    assert_eq!(ground.number("SELECT count(*) FROM worker"), 0, "it was no worker");
    let server = ground.start();
    assert_eq!(migrate(), first, "beside a server, too");
    assert!(!server.admin_key.is_empty(), "the first key is for who starts first");
}
