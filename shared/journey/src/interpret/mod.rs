//! The interpreter: `(plans, state, input, now) -> step`. Total and deterministic.
//!
//! The order inside one event, always the same:
//! 1. attributes are set (null removes);
//! 2. goals, then exits, of every live run, wherever it stands, also while its journey is paused;
//! 3. `wait_for` steps of the runs that are left;
//! 4. waits that depend on a changed attribute or zone get a new timer, in this same step;
//! 5. entries, in the order of the journeys' names.
//!
//! **Waiting means exactly one live timer.** Each move of a run that leaves it waiting gives it a
//! new timer number; a timer with an older number does nothing.
//!
//! **Pause freezes, it never ejects.** No contact enters a paused journey and none of its runs
//! moves on. A timer that comes due is held. What a frozen run waits for (an event, a click, an
//! outcome) and gets is remembered and acted on when it is resumed. Goals and exits still end
//! runs, since a purchase ends the reason to write.
//!
//! **Dates.** A wait on a date follows its attribute and zone.
//!
//! | case | rule |
//! |---|---|
//! | zone | the contact's attribute `timezone` when it names an IANA zone, then the brand's, then UTC |
//! | daylight-saving gap | a time that the clock skips is taken as much later as the gap is long: 02:30 becomes 03:30 |
//! | daylight-saving fold | of a time that comes twice, the first |
//! | time of day | the next one strictly later than now |
//! | date forms | `2026-03-29`; `2026-03-29T10:00:00` in the zone; RFC 3339 with an offset |
//! | time of a date | the step's `time`, else the date's own, else 09:00 |
//! | offset | whole days are calendar days in the zone, the rest is exact |
//! | missing date | absent, null or not one of the forms: `if_missing`, by default the step's `next` at once |
//! | past date | not later than now, offset included: `if_past`, by default the step's `next` at once |
//! | 29 February | with `next_year`, 28 February in years without one |
//! | changed date or zone | the run gets a new timer in the same step, by the same rules as on arrival |
//!
//! A run whose plan is not at hand stays where it is. A run that would move more than
//! [`MOVES_MAX`] times in one input fails; publishing refuses what could do so.

mod absorb;
mod branch;
mod dates;
mod ending;
mod entry;
mod exit;
mod row;
mod send;
mod set;
mod split;
mod wait;
mod wait_for;
mod walk;

use parcours_domain::{MessageId, RunId, SendOutcome, StepId, TenantId, Timestamp};

use crate::{
    effect::Step,
    input::{EventInput, Input},
    plan::PlanBook,
    state::{ContactState, RunStatus, Waiting},
};
use walk::Walk;

/// The most moves of all runs of one contact in one input.
pub const MOVES_MAX: u32 = 1_000;

/// What a step needs beside state and input.
#[derive(Clone, Copy, Debug)]
pub struct StepContext<'a> {
    /// The brand.
    pub tenant: TenantId,
    /// Its plans.
    pub plans: &'a PlanBook,
    /// Its IANA zone, for contacts without one.
    pub brand_zone: &'a str,
    /// Product time.
    pub now: Timestamp,
}

/// Applies one input.
#[must_use]
pub fn step(state: ContactState, input: &Input, ctx: &StepContext<'_>) -> Step {
    let mut walk = Walk::new(state, *ctx);
    match input {
        Input::Event(event) => apply_event(&mut walk, event),
        Input::Timer { run, seq } => apply_timer(&mut walk, *run, *seq),
        Input::Outcome { message, run, step, outcome, reason: _ } => {
            apply_outcome(&mut walk, *run, &Said { message: *message, step }, *outcome);
        }
        Input::Click { message, run, step, url: _ } => {
            apply_click(&mut walk, *run, &Said { message: *message, step });
        }
        // No step of the language listens to consent; the gate reads it when a message leaves.
        Input::ConsentChanged { .. } => {}
        Input::Absorbed(absorbed) => absorb::apply(&mut walk, absorbed),
    }
    dates::follow(&mut walk);
    walk.finish()
}

fn apply_event<'a>(walk: &mut Walk<'a>, event: &'a EventInput) {
    for (name, value) in &event.traits {
        walk.set_attribute(name, value.clone());
    }
    walk.event = Some(&event.properties);
    ending::apply(walk, event);
    wait_for::event(walk, event);
    dates::follow(walk);
    entry::apply(walk, event);
}

fn apply_timer(walk: &mut Walk<'_>, id: RunId, seq: u32) {
    let Some(run) = walk.state.run(id).cloned() else { return };
    if run.timer_seq != seq {
        walk.trace(&run, "stale_timer", "");
        return;
    }
    if walk.ctx.now < run.wakes_at {
        walk.keep_timer(&run);
        return;
    }
    let Some(plan) = walk.plan_of(&run) else {
        walk.postpone(id);
        return;
    };
    if walk.is_paused(&run) {
        walk.hold(id);
        return;
    }
    let waiting = match run.status {
        RunStatus::Waiting(waiting) | RunStatus::Held(waiting) => waiting,
    };
    walk.move_run(id, plan, |walk, run, step| {
        walk.trace(run, "woke", "");
        match waiting {
            Waiting::Time | Waiting::Date => wait::wake(walk, run, step),
            Waiting::Events => wait_for::wake(walk, run, step),
            Waiting::Outcome => send::wake(walk, run, step),
        }
    });
}

/// Which message of which send step something is said about.
struct Said<'a> {
    message: MessageId,
    step: &'a StepId,
}

fn apply_outcome(walk: &mut Walk<'_>, id: RunId, said: &Said<'_>, outcome: SendOutcome) {
    let Some(run) = walk.run_mut(id) else { return };
    match run.sends.get_mut(said.step) {
        Some(send) if send.message == said.message && send.outcome.is_none() => {
            send.outcome = Some(outcome);
        }
        Some(_) | None => return,
    }
    let run = run.clone();
    walk.trace_at(&run, Some(said.step), "outcome", outcome.as_str());
    let waits_here = run.step == *said.step && run.waiting() == Waiting::Outcome;
    if waits_here && !walk.freeze(&run) {
        let Some(plan) = walk.plan_of(&run) else { return };
        walk.move_run(id, plan, send::wake);
    }
}

fn apply_click(walk: &mut Walk<'_>, id: RunId, said: &Said<'_>) {
    let Some(run) = walk.run_mut(id) else { return };
    match run.sends.get_mut(said.step) {
        Some(send) if send.message == said.message && !send.clicked => send.clicked = true,
        Some(_) | None => return,
    }
    let run = run.clone();
    walk.trace_at(&run, Some(said.step), "clicked", "");
    if run.waiting() != Waiting::Events {
        return;
    }
    let Some(plan) = walk.plan_of(&run) else { return };
    let awaited = plan.steps.get(&run.step).and_then(|step| wait_for::clicked(step, &run));
    if awaited.is_some() && !walk.freeze(&run) {
        walk.move_run(id, plan, wait_for::wake);
    }
}
