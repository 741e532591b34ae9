//! `parcours roundtrip` goes from an event to a mail, unsubscribes, sees the next mail refused, and
//! says so step by step; when something is missing it ends in time and says what, where and what to do.

use std::time::{Duration, Instant};

use parcours_tests::Server;
use serde_json::json;

use crate::{
    api::Api,
    ground::{Ground, on_both},
};

on_both!(it_goes_all_the_way_and_again);
on_both!(what_is_missing_is_said_in_time);

const STEPS: [&str; 8] =
    ["brand", "documents", "event", "journey", "mail", "unsubscribe", "refusal", "evidence"];

/// What it said on its two streams; whether it went well.
fn roundtrip(ground: &Ground, server: &Server, key: &str, more: &[&str]) -> (bool, String, String) {
    let mut command = parcours_tests::parcours(ground.data.path());
    command.env("PARCOURS_URL", &server.url).env("PARCOURS_KEY", key);
    let output = command.arg("roundtrip").args(more).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// The steps that were done.
fn steps(said: &str) -> Vec<&str> {
    let lines = said.lines().filter(|line| line.ends_with(" s") && !line.starts_with("works"));
    lines.filter_map(|line| line.split(' ').next()).collect()
}

fn it_goes_all_the_way_and_again(ground: Ground) {
    let server = ground.start();
    let install = Api::new(&server, &server.admin_key);
    for time in 1..=2 {
        let (well, said, error) = roundtrip(&ground, &server, &server.admin_key, &[]);
        assert!(well, "time {time}: {said}{error}");
        assert_eq!(steps(&said), STEPS);
        assert!(said.lines().last().unwrap().starts_with("works, in "), "{said}");
        let brands = install.get("/v1/brands");
        assert_eq!(brands["items"].as_array().unwrap().len(), 1, "one brand, used again: {brands}");
    }
    let counted = install.get("/v1/rollup")["total"].clone();
    assert_eq!((&counted["messages_sent"], &counted["messages_refused"]), (&json!(2), &json!(2)));
    assert_eq!(install.get("/v1/status")["total"]["queue_ready"], 0, "nothing is left lying");
    let of = [("Parcours-Brand", "parcours/parcours-roundtrip")];
    let (_, said) = install.send_with(&of, "GET", "/v1/contacts?user_id=roundtrip", None);
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "one person, used again: {said}");

    // An organisation's key has the brand in its own organisation; a brand's key is not enough.
    let key = |reach: &str| {
        let wanted = json!({"reach": reach, "scopes": ["admin", "ingest"], "label": "test"});
        let (_, said) = install.send_with(&of, "POST", "/v1/keys", Some(&wanted));
        let made: serde_json::Value = serde_json::from_str(&said).unwrap();
        made["secret"].as_str().unwrap().to_owned()
    };
    let agency = key("organisation");
    let (well, said, error) =
        roundtrip(&ground, &server, &agency, &["--organisation", "not-this-one"]);
    assert!(well, "{said}{error}");
    assert_eq!(install.get("/v1/brands")["items"].as_array().unwrap().len(), 1);
    let (well, _, error) = roundtrip(&ground, &server, &key("brand"), &[]);
    assert!(!well && error.contains("failed at brand") && error.contains("key create"), "{error}");
}

fn what_is_missing_is_said_in_time(ground: Ground) {
    let server =
        Server::start_with(ground.command().env("PARCOURS_ROLES", "gateway,worker,consent"));
    let server = server.unwrap();
    let key = server.admin_key.clone();
    let begun = Instant::now();
    let (well, said, error) = roundtrip(&ground, &server, &key, &["--within", "4"]);
    assert!(!well && steps(&said) == STEPS[..4], "{said}{error}");
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    let expected = ["failed at mail", "is still queued", "what to do", "the delivery role running"];
    assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    // Nobody is written to when delivery comes back: the person has been unsubscribed.
    let server = {
        server.kill().unwrap();
        ground.start()
    };
    let api = Api::new(&server, &key);
    crate::api::until("the message of before is refused", || {
        (api.get("/v1/rollup")["total"]["messages_refused"] == 1).then_some(())
    });
    assert_eq!(api.get("/v1/rollup")["total"]["messages_sent"], json!(null));

    let (well, said, error) = roundtrip(&ground, &server, &key, &["--links", "http://127.0.0.1:1"]);
    assert!(!well && steps(&said) == STEPS[..5], "{said}{error}");
    assert!(error.contains("failed at unsubscribe") && error.contains("--links"), "{error}");
    assert!(!error.contains("/u/"), "a person's link is in no log: {error}");
    api.post("/v1/install/halt", &json!({"reason": "test"}));
    let (well, _, error) = roundtrip(&ground, &server, &key, &["--within", "4"]);
    assert!(
        !well && error.contains("failed at mail") && error.contains("install_halted"),
        "{error}"
    );
    api.post("/v1/install/unhalt", &json!({}));
    let (well, said, error) = roundtrip(&ground, &server, &key, &[]);
    assert!(well, "{said}{error}");
    let (well, _, error) = roundtrip(&ground, &server, "sk_wrong", &["--within", "4"]);
    assert!(
        !well && error.contains("failed at brand") && error.contains("unauthorised"),
        "{error}"
    );
}
