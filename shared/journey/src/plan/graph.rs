//! The shape of a plan: which steps lead where, and which do so without letting time pass.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::StepId;

use super::{AwaitedOn, Fallback, Next, PastRule, Plan, PlanStep, WaitUntil};

/// Whether taking an edge needs an input from outside: a timer, an event, an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// The run arrives in the same input.
    Instant,
    /// The run waits first.
    Later,
}

impl PlanStep {
    /// Where a run can go from here, in a fixed order; with repeats.
    fn edges(&self) -> Vec<(Pace, &Next)> {
        match self {
            Self::Wait(wait) => {
                let mut edges = vec![(Pace::Later, &wait.next)];
                match &wait.until {
                    WaitUntil::Span(_) | WaitUntil::TimeOfDay { .. } => {}
                    WaitUntil::Date(date) => {
                        edges.extend(fallback(&date.if_missing));
                        match &date.if_past {
                            PastRule::Fallback(rule) => edges.extend(fallback(rule)),
                            PastRule::NextYear => {}
                        }
                    }
                }
                edges
            }
            Self::WaitFor(wait) => {
                let awaited = wait.events.iter().map(|awaited| match &awaited.on {
                    AwaitedOn::Event(_) => (Pace::Later, &awaited.next),
                    // The click may have happened before the run arrived.
                    AwaitedOn::Clicked(_) => (Pace::Instant, &awaited.next),
                });
                awaited.chain([(Pace::Later, &wait.timeout)]).collect()
            }
            Self::Branch(branch) => {
                let cases = branch.cases.iter().map(|case| (Pace::Instant, &case.next));
                cases.chain([(Pace::Instant, &branch.default)]).collect()
            }
            Self::Split(split) => split.arms.iter().map(|arm| (Pace::Instant, &arm.next)).collect(),
            Self::Send(send) if send.on.is_empty() => vec![(Pace::Instant, &send.next)],
            Self::Send(send) => {
                let outcomes = send.on.values().map(|next| (Pace::Later, next));
                outcomes.chain([(Pace::Later, &send.next)]).collect()
            }
            Self::Set(set) => vec![(Pace::Instant, &set.next)],
            Self::Exit(_) => Vec::new(),
        }
    }
}

fn fallback(rule: &Fallback) -> Option<(Pace, &Next)> {
    match rule {
        Fallback::Go(next) => Some((Pace::Instant, next)),
        Fallback::Exit => None,
    }
}

fn successors(plan: &Plan, id: &StepId, instant_only: bool) -> Vec<StepId> {
    let Some(step) = plan.steps.get(id) else { return Vec::new() };
    let wanted = |pace: Pace| !instant_only || pace == Pace::Instant;
    let edges = step.edges().into_iter().filter(|(pace, _)| wanted(*pace));
    edges
        .filter_map(|(_, next)| match next {
            Next::Step(id) => Some(id.clone()),
            Next::End => None,
        })
        .collect()
}

/// Steps that no run can reach, in the author's order.
pub(super) fn unreachable(plan: &Plan) -> Vec<StepId> {
    let mut seen = BTreeSet::new();
    let mut ahead = vec![plan.start.clone()];
    while let Some(id) = ahead.pop() {
        if seen.insert(id.clone()) {
            ahead.extend(successors(plan, &id, false));
        }
    }
    plan.order.iter().filter(|id| !seen.contains(*id)).cloned().collect()
}

/// One step (the first in the author's order) of each group of steps that a run could go round in
/// for ever without waiting, with the steps of the group.
pub(super) fn loops_without_wait(plan: &Plan) -> Vec<(StepId, Vec<StepId>)> {
    let reach: BTreeMap<&StepId, BTreeSet<StepId>> =
        plan.order.iter().map(|id| (id, reachable_instantly(plan, id))).collect();
    let mut told = BTreeSet::new();
    let mut loops = Vec::new();
    for id in &plan.order {
        if told.contains(id) || !reach.get(id).is_some_and(|set| set.contains(id)) {
            continue;
        }
        let back = |other: &StepId| reach.get(other).is_some_and(|set| set.contains(id));
        let there = |other: &StepId| reach.get(id).is_some_and(|set| set.contains(other));
        let group: Vec<_> =
            plan.order.iter().filter(|other| there(other) && back(other)).cloned().collect();
        told.extend(group.iter().cloned());
        loops.push((id.clone(), group));
    }
    loops
}

fn reachable_instantly(plan: &Plan, from: &StepId) -> BTreeSet<StepId> {
    let mut seen = BTreeSet::new();
    let mut ahead = successors(plan, from, true);
    while let Some(id) = ahead.pop() {
        if seen.insert(id.clone()) {
            ahead.extend(successors(plan, &id, true));
        }
    }
    seen
}
