//! `set`: attributes of the contact, from written values or from what an event brought.
//!
//! A source that is not there leaves the attribute as it is, and the trace says so.

use parcours_domain::Value;

use super::walk::{Move, Walk};
use crate::{
    plan::{SetStep, Source},
    state::RunState,
};

pub(super) fn arrive(walk: &mut Walk<'_>, run: &RunState, step: &SetStep) -> Move {
    // All sources are read before anything is set, so that their order does not matter.
    let read: Vec<(&String, Option<Value>)> = step
        .values
        .iter()
        .map(|(attribute, source)| match source {
            Source::Value(value) => (attribute, Some(value.clone())),
            Source::Path(path) => (attribute, walk.scope(run).at(path).cloned()),
        })
        .collect();
    for (attribute, value) in read {
        match (value, step.values.get(attribute)) {
            (Some(value), _) => {
                walk.set_attribute(attribute, value);
                walk.trace(run, "set", attribute);
            }
            (None, Some(Source::Path(path))) => walk.trace(run, "missing", &path.to_string()),
            (None, Some(Source::Value(_)) | None) => {}
        }
    }
    Move::Go(step.next.clone())
}
