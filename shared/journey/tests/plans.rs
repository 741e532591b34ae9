//! Plans as stored, compared and looked up.

#![expect(clippy::unwrap_used, reason = "what surrounds a test may end it too")]

mod everything;

use std::{path::Path, sync::Arc};

use everything::Everything;
use parcours_domain::Name;
use parcours_journey::{
    Document, EventKind, Plan, PlanBook, PlanStatus, compile, parse_documents,
    plan::{PlanError, diff},
};

fn plan(source: &str, version: u32) -> Plan {
    let documents = parse_documents(source, "").unwrap();
    let Some(Document::Journey(journey)) = documents.first() else { panic!("a journey") };
    compile(journey, version, &Everything).unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)).unwrap()
}

/// Stored plans are read for as long as a run uses them: this file never changes. A new shape of
/// the plan gets a new semantics number and a new file.
#[test]
fn the_first_stored_plan_reads_as_it_was_written() {
    let golden = read("golden/plan_semantics_1.json");
    let made = plan(&read("problems/journey_clean.yaml"), 3);
    assert_eq!(String::from_utf8(made.encode().unwrap()).unwrap(), golden.trim());
    assert_eq!(Plan::decode(golden.trim().as_bytes()).unwrap(), made);
}

#[test]
fn a_plan_of_other_semantics_is_refused_by_number() {
    let golden = read("golden/plan_semantics_1.json");
    let newer = golden.replacen("\"semantics\":1", "\"semantics\":2", 1);
    assert!(matches!(Plan::decode(newer.as_bytes()), Err(PlanError::Semantics(2))));
    assert!(matches!(Plan::decode(b"{"), Err(PlanError::Damaged(_))));
}

fn journey(steps: &str) -> String {
    format!(
        "apiVersion: parcours/v1\nkind: Journey\nname: j\nentry: {{event: go}}\nsteps:\n{steps}"
    )
}

#[test]
fn a_diff_tells_renamed_from_removed_steps() {
    let old = plan(
        &journey(
            "  - {id: a, wait: {for: 1d}, next: b}\n  - {id: b, set: {x: 1}, next: c}\n  \
             - {id: c, wait: {for: 2d}, next: d}\n  - {id: d, exit: {}}\n",
        ),
        1,
    );
    let new = plan(
        &journey(
            "  - {id: a, wait: {for: 1d}, next: bb}\n  - {id: bb, set: {x: 1}, next: c}\n  \
             - {id: c, wait: {for: 3d}, next: e}\n  - {id: e, exit: {reason: other}}\n",
        ),
        2,
    );
    let found = diff(&old, &new);
    let names = |ids: &[Name]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(names(&found.added), "e");
    assert_eq!(names(&found.removed), "d");
    assert_eq!(names(&found.changed), "a c");
    let renamed: Vec<_> = found.renamed.iter().map(|(a, b)| format!("{a}>{b}")).collect();
    assert_eq!(renamed, ["b>bb"]);
    assert_eq!(diff(&old, &old), parcours_journey::plan::StepDiff::default());
}

#[test]
fn a_book_knows_what_concerns_an_event() {
    let source = |name: &str, entry: &str| {
        format!(
            "apiVersion: parcours/v1\nkind: Journey\nname: {name}\nentry: {entry}\n\
             exits: [{{id: x, event: bought}}]\nsteps: [{{id: a, wait: {{for: 1d}}}}]"
        )
    };
    let plan = |name: &str, entry: &str, version| Arc::new(plan(&source(name, entry), version));
    let book = PlanBook::new(
        vec![
            (plan("any", "{page: \"*\"}", 1), PlanStatus::Live),
            (plan("one", "{page: home}", 2), PlanStatus::Paused),
            (plan("gone", "{page: home}", 1), PlanStatus::Archived),
            (plan("star", "{event: \"*\"}", 1), PlanStatus::Live),
        ],
        vec![plan("one", "{page: old}", 1)],
    );
    let enters = |kind, name: &str| -> Vec<String> {
        book.entered_by(kind, name).iter().map(|plan| plan.journey.to_string()).collect()
    };
    assert_eq!(enters(EventKind::Page, "home"), ["any", "one"]);
    assert_eq!(enters(EventKind::Page, "old"), ["any"]);
    assert_eq!(enters(EventKind::Page, "*"), ["any"]);
    assert_eq!(enters(EventKind::Track, "home"), Vec::<String>::new());
    assert_eq!(enters(EventKind::Track, "*"), ["star"]);
    assert!(book.listens(EventKind::Track, "bought"));
    assert!(!book.listens(EventKind::Page, "bought"));
    let one: Name = "one".parse().unwrap();
    assert_eq!(book.plan(&one, 1).map(|plan| plan.version), Some(1));
    assert_eq!(book.plan(&one, 2).map(|plan| plan.version), Some(2));
    assert_eq!(book.plan(&one, 3), None);
    assert_eq!(book.status(&one), PlanStatus::Paused);
}
