//! Goals and exits: they act at once, wherever the contact stands, also while frozen.

use parcours_domain::Value;

use super::{row::End, walk::Walk};
use crate::{condition::Path, input::EventInput, plan::Ending, state::RunState};

/// Goals before exits: a run that could end either way has reached its goal.
pub(super) fn apply(walk: &mut Walk<'_>, event: &EventInput) {
    if !walk.ctx.plans.listens(event.kind, &event.name) {
        return;
    }
    for id in walk.run_ids() {
        let Some(run) = walk.state.run(id).cloned() else { continue };
        let Some(plan) = walk.plan_of(&run) else { continue };
        let goal = plan.goals.iter().find(|goal| ends(walk, goal, &run, event));
        let end = match goal {
            Some(goal) => Some(End { status: "goal", by: goal.id.to_string() }),
            None => plan
                .exits
                .iter()
                .find(|exit| ends(walk, exit, &run, event))
                .map(|exit| End { status: "exited", by: exit.id.to_string() }),
        };
        if let Some(end) = end {
            walk.end(id, end);
        }
    }
}

fn ends(walk: &mut Walk<'_>, ending: &Ending, run: &RunState, event: &EventInput) -> bool {
    ending.on.matches(event.kind, &event.name)
        && ending.key.as_ref().is_none_or(|key| {
            let here = key_text(walk, run, key);
            here.as_deref() == Some(run.key.as_str())
        })
        && ending.when.as_ref().is_none_or(|when| walk.holds(when, run))
}

fn key_text(walk: &mut Walk<'_>, run: &RunState, path: &Path) -> Option<String> {
    let text = walk.scope(run).at(path).and_then(text_of_key);
    if text.is_none() {
        walk.trace(run, "missing", &path.to_string());
    }
    text
}

/// A run key as text: of texts, numbers and truth values; not of empty text.
pub(super) fn text_of_key(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}
