//! The README explains every metric that is exported and every member of the status, and nothing
//! that does not exist.

use std::collections::BTreeSet;

use parcours_domain::provider::PROVIDERS;
use parcours_kit::telemetry::METRICS;
use serde_json::Value;

const README: &str = include_str!("../../README.md");

/// The first cells of the tables below a heading, up to the next heading.
fn first_cells(heading: &str) -> String {
    let begin = README.find(&format!("\n{heading}\n")).expect("the heading is there");
    let body = README.get(begin + heading.len() + 2..).expect("it is followed by text");
    let end = body.find("\n#").unwrap_or(body.len());
    let lines = body.get(..end).expect("a part").lines();
    lines.filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect()
}

/// What stands between backticks, without labels in braces.
fn named(cells: &str) -> BTreeSet<String> {
    let odd = cells.split('`').enumerate().filter(|(place, _)| place % 2 == 1);
    odd.filter_map(|(_, name)| name.split('{').next()).map(str::to_owned).collect()
}

#[test]
fn every_metric() {
    let exported = METRICS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(named(&first_cells("### What the metrics mean")), exported);
}

#[test]
fn every_providers_pace() {
    let section = README.split("\n## ").find(|section| section.starts_with("At a pace")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut told: Vec<_> = rows
        .flat_map(|row| {
            let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
            let names = cells[0].replace('`', "");
            let pace = (cells[1].to_owned(), cells[2].to_owned());
            names.split(", ").map(|name| (name.to_owned(), pace.clone())).collect::<Vec<_>>()
        })
        .collect();
    let mut known: Vec<_> = PROVIDERS
        .iter()
        .map(|one| (one.name.to_owned(), (one.rate.to_string(), one.connections.to_string())))
        .collect();
    told.sort();
    known.sort();
    assert_eq!(told, known);
}

#[test]
fn every_member_of_the_status() {
    let document: Value = serde_json::from_str(parcours_gateway::openapi::json()).unwrap();
    let schemas = &document["components"]["schemas"];
    let members = |schema: &str| {
        let members = schemas[schema]["properties"].as_object().expect("an object").keys();
        members.cloned().collect::<BTreeSet<_>>()
    };
    let mut all = members("StatusAnswer");
    all.extend(members("Numbers"));
    // The members that only say whose numbers they are stand in the sentence beside.
    all.extend(["halted_at", "halt_reason", "stopped"].map(str::to_owned));
    assert_eq!(named(&first_cells("### What the numbers of `status` mean")), all);
    let section = README.get(README.find("### What the numbers").unwrap()..).unwrap();
    for (schema, cell) in
        [("Attention", "attention"), ("OldestWaiting", "oldest"), ("BrandNumbers", "total")]
    {
        let line = section.lines().find(|line| line.starts_with(&format!("| `{cell}`"))).unwrap();
        for member in members(schema) {
            let said = line.contains(&format!("`{member}`"))
                || (schema == "BrandNumbers" && member.starts_with("halt"));
            assert!(said, "{schema}.{member} is not in: {line}");
        }
    }
    for code in [
        "timers_late",
        "inbox_late",
        "queue_late",
        "quarantine",
        "unknown",
        "stuck",
        "brand_halted",
        "breaker",
        "install_halted",
    ] {
        assert!(section.contains(&format!("`{code}`")), "{code}");
    }
}
