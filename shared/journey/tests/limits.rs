//! What keeps one contact's state small.

mod everything;

use std::sync::Arc;

use everything::Everything;
use parcours_domain::{Handle, Millis, TenantId, Timestamp, Value, value::Properties};
use parcours_journey::{
    ContactState, Document, EventInput, EventKind, Input, PlanBook, PlanStatus, StepContext,
    compile, parse_documents, step,
};

/// Sends one event a minute with a key of its own each time; answers the state and the last trace.
fn many(steps: &str, events: u32) -> (ContactState, Vec<String>) {
    let source = format!(
        "apiVersion: parcours/v1\nkind: Journey\nname: orders\n\
         entry: {{event: order, key: event.id}}\nsteps: [{steps}]"
    );
    let documents = parse_documents(&source, "").unwrap_or_default();
    let Some(Document::Journey(journey)) = documents.first() else { panic!("a journey") };
    let Ok(plan) = compile(journey, 1, &Everything) else { panic!("a plan") };
    let plans = PlanBook::new(vec![(Arc::new(plan), PlanStatus::Live)], Vec::new());
    let mut state = ContactState::new(Handle([1; 16]));
    let mut trace = Vec::new();
    for n in 0..events {
        let ctx = StepContext {
            tenant: TenantId::from(uuid::Uuid::nil()),
            plans: &plans,
            brand_zone: "UTC",
            now: Timestamp::EPOCH + Millis::minutes(i64::from(n)),
        };
        let input = Input::Event(EventInput {
            id: uuid::Uuid::from_u128(u128::from(n)).into(),
            kind: EventKind::Track,
            name: "order".to_owned(),
            properties: Properties::from([("id".to_owned(), Value::Int(i64::from(n)))]),
            traits: Properties::new(),
            occurred_at: None,
        });
        let done = step(state, &input, &ctx);
        trace = done.trace.iter().map(|entry| format!("{} {}", entry.what, entry.detail)).collect();
        state = done.state;
    }
    (state, trace)
}

#[test]
fn a_contact_has_at_most_a_hundred_live_runs() {
    let (state, trace) = many("{id: a, wait: {for: 30d}}", 101);
    assert_eq!(state.runs.len(), 100);
    assert_eq!(trace, ["not_entered too_many_runs"]);
    assert!(state.encode().is_ok());
}

#[test]
fn the_oldest_entry_records_are_forgotten_first() {
    let (state, trace) = many("{id: a, exit: {}}", 320);
    assert_eq!(state.entries.len(), 300);
    let oldest = state.entries.iter().map(|entry| entry.at).min();
    assert_eq!(oldest, Some(Timestamp::EPOCH + Millis::minutes(20)));
    assert_eq!(trace.first().map(String::as_str), Some("entered "));
}
