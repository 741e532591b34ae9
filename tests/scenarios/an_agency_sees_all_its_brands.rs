//! What happened in each brand, for whoever runs several: the same numbers by the API and by the
//! command, on either database.

use parcours_tests::fault::supervisor::ALL_ROLES;
use serde_json::{Value, json};

use crate::{
    api::Api,
    witness::{Ground, Spans, Stage, order},
};

fn rolls_up(ground: &Ground) {
    let stage = Stage::new(ground, 1, Spans { pause: 1, listen: 1 });
    let (client, items) = (stage.client(), [order("u0", "one"), order("u0", "two")]);
    assert_eq!(stage.runtime.block_on(client.batch(&items)), Some(200));
    assert!(stage.is_quiet());
    let url = stage.supervisor.url(ALL_ROLES).unwrap();
    let agency = Api::at(&url, &stage.supervisor.admin_key);
    agency.post("/v1/brands", &json!({"organisation": "test", "name": "quiet"}));
    let create = ["key", "create", "--brand", "quiet", "--scopes", "ingest"];
    let said = stage.supervisor.command(ALL_ROLES, &create).unwrap();
    let key = said.lines().last().unwrap().trim();
    Api::at(&url, key).post("/v1/track", &json!({"userId": "other", "event": "Seen"}));
    let seen = agency.get("/v1/rollup");
    let counted = json!({
        "events": 3, "runs_entered": 2, "runs_finished": 2, "messages": 4, "messages_sent": 4,
    });
    let mut total = counted.clone();
    total["events"] = json!(4);
    assert_eq!(seen["total"], total, "{seen}");
    let brands: Vec<_> = seen["brands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["name"], &one["counts"]))
        .collect();
    assert_eq!(brands, [(&json!("quiet"), &json!({"events": 1})), (&json!("shop"), &counted)]);
    // Midnight may come between.
    let days = seen["days"].as_array().unwrap();
    let events = |day: &Value| day["counts"]["events"].as_i64().unwrap_or(0);
    assert_eq!(days.iter().map(events).sum::<i64>(), 4);

    let said = stage.supervisor.command(ALL_ROLES, &["rollup", "--days", "2"]).unwrap();
    let line = |name: &str| {
        let line = said.lines().find(|line| line.contains(name)).unwrap_or_default();
        line.split(|c: char| !c.is_ascii_digit())
            .filter(|n| !n.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let lines = ["test/quiet", "test/shop", "all"].map(line);
    let shown = ["1 0 0 0 0 0 0 0 0", "3 0 2 4 4 0 0 0 0", "4 0 2 4 4 0 0 0 0"];
    assert_eq!(lines, shown, "{said}");

    // A brand sees itself.
    let own = stage.api().get("/v1/rollup?days=400");
    assert_eq!(own["brands"].as_array().map(Vec::len), Some(1));
    assert_eq!(own["total"], counted);
    let (status, problem) = stage.api().send("GET", "/v1/rollup?days=0", None);
    assert_eq!(status, 422, "{problem}");
}

#[test]
fn on_sqlite() {
    rolls_up(&Ground::Sqlite);
}

#[test]
fn on_postgres() {
    rolls_up(&Ground::Postgres);
}
