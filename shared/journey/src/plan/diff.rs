//! What changed between two versions of a journey, step by step.

use parcours_domain::StepId;
use serde::Serialize;

use super::{Plan, PlanStep};

/// What changed between two versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepDiff {
    /// Steps that are new.
    pub added: Vec<StepId>,
    /// Steps that are gone.
    pub removed: Vec<StepId>,
    /// Steps with the same body under another id: from, to.
    pub renamed: Vec<(StepId, StepId)>,
    /// Steps whose body differs.
    pub changed: Vec<StepId>,
}

/// What changed from `old` to `new`. A step that vanished and a new one with the same body are one
/// renamed step; counted once each, in the author's order.
#[must_use]
pub fn diff(old: &Plan, new: &Plan) -> StepDiff {
    let mut diff = StepDiff::default();
    let mut gone: Vec<(&StepId, &PlanStep)> = old
        .order
        .iter()
        .filter(|id| !new.steps.contains_key(*id))
        .filter_map(|id| old.steps.get_key_value(id))
        .collect();
    for (id, step) in new.order.iter().filter_map(|id| new.steps.get_key_value(id)) {
        match old.steps.get(id) {
            Some(before) if before == step => {}
            Some(_) => diff.changed.push(id.clone()),
            None => match gone.iter().position(|(_, body)| *body == step) {
                Some(at) => {
                    let (from, _) = gone.remove(at);
                    diff.renamed.push((from.clone(), id.clone()));
                }
                None => diff.added.push(id.clone()),
            },
        }
    }
    diff.removed = gone.into_iter().map(|(id, _)| id.clone()).collect();
    diff
}
