//! `wait_for`: one of several things, or time runs out.
//!
//! A click counts also when it came before the run did. What happens while the run is frozen is
//! remembered in `arms` under this step and acted on at resume.

use parcours_domain::Name;

use super::walk::{Move, Walk};
use crate::{
    input::EventInput,
    plan::{Awaited, AwaitedOn, PlanStep, WaitFor},
    state::{RunState, Waiting},
};

pub(super) fn arrive(walk: &mut Walk<'_>, run: &mut RunState, step: &WaitFor) -> Move {
    run.arms.remove(&run.step);
    match already_clicked(step, run) {
        Some(awaited) => take(walk, run, awaited),
        None => Move::Wait(Waiting::Events, walk.ctx.now + step.limit.millis()),
    }
}

/// Something was remembered, or a link was followed, or time ran out.
pub(super) fn wake(walk: &mut Walk<'_>, run: &mut RunState, step: &PlanStep) -> Move {
    let PlanStep::WaitFor(step) = step else { return Move::Misfit };
    let remembered: Option<Name> = run.arms.remove(&run.step);
    let named = remembered.and_then(|id| step.events.iter().find(|awaited| awaited.id == id));
    match named.or_else(|| already_clicked(step, run)) {
        Some(awaited) => take(walk, run, awaited),
        None => {
            walk.trace(run, "branched", "timeout");
            Move::Go(step.timeout.clone())
        }
    }
}

fn take(walk: &mut Walk<'_>, run: &RunState, awaited: &Awaited) -> Move {
    walk.trace(run, "branched", awaited.id.as_str());
    Move::Go(awaited.next.clone())
}

/// The branch of the step that a click of the run's messages has opened.
pub(super) fn clicked<'a>(step: &'a PlanStep, run: &RunState) -> Option<&'a Awaited> {
    match step {
        PlanStep::WaitFor(step) => already_clicked(step, run),
        PlanStep::Wait(_)
        | PlanStep::Branch(_)
        | PlanStep::Split(_)
        | PlanStep::Send(_)
        | PlanStep::Set(_)
        | PlanStep::Exit(_) => None,
    }
}

fn already_clicked<'a>(step: &'a WaitFor, run: &RunState) -> Option<&'a Awaited> {
    step.events.iter().find(|awaited| match &awaited.on {
        AwaitedOn::Clicked(send) => run.sends.get(send).is_some_and(|send| send.clicked),
        AwaitedOn::Event(_) => false,
    })
}

/// Offers an event to every run that waits for one. A run that moves on and waits again is not
/// offered the same event twice.
pub(super) fn event(walk: &mut Walk<'_>, event: &EventInput) {
    if !walk.ctx.plans.listens(event.kind, &event.name) {
        return;
    }
    for id in walk.run_ids() {
        let Some(run) = walk.state.run(id).cloned() else { continue };
        if run.waiting() != Waiting::Events {
            continue;
        }
        let Some(plan) = walk.plan_of(&run) else { continue };
        let Some(PlanStep::WaitFor(step)) = plan.steps.get(&run.step) else { continue };
        let Some(awaited) = first_match(walk, &run, step, event) else { continue };
        if run.arms.contains_key(&run.step) {
            continue;
        }
        if walk.freeze(&run) {
            if let Some(frozen) = walk.run_mut(id) {
                frozen.arms.insert(run.step.clone(), awaited.id.clone());
            }
            walk.trace(&run, "remembered", awaited.id.as_str());
        } else {
            walk.move_run(id, plan, |walk, run, _| take(walk, run, awaited));
        }
    }
}

fn first_match<'a>(
    walk: &mut Walk<'_>,
    run: &RunState,
    step: &'a WaitFor,
    event: &EventInput,
) -> Option<&'a Awaited> {
    step.events.iter().find(|awaited| match &awaited.on {
        AwaitedOn::Event(on) => {
            on.matches(event.kind, &event.name)
                && awaited.when.as_ref().is_none_or(|when| walk.holds(when, run))
        }
        AwaitedOn::Clicked(_) => false,
    })
}
