//! `wait`: a duration, a time of day, or a date.

use super::{
    dates::{self, DateAnswer},
    walk::{Move, Walk},
};
use crate::{
    plan::{DateWait, Fallback, PastRule, PlanStep, Wait, WaitUntil},
    state::{RunState, Waiting},
};

pub(super) fn arrive(walk: &mut Walk<'_>, run: &RunState, step: &Wait) -> Move {
    let now = walk.ctx.now;
    match &step.until {
        WaitUntil::Span(span) => Move::Wait(Waiting::Time, now + span.millis()),
        WaitUntil::TimeOfDay { time, weekdays } => {
            let zone = dates::zone(walk);
            Move::Wait(Waiting::Time, dates::next_time_of_day(now, &zone, *time, weekdays))
        }
        WaitUntil::Date(date) => decide(walk, run, date),
    }
}

/// What a date wait does, given the date as it is now.
pub(super) fn decide(walk: &mut Walk<'_>, run: &RunState, date: &DateWait) -> Move {
    match dates::answer(walk, run, date) {
        DateAnswer::Due(due_at) => Move::Wait(Waiting::Date, due_at),
        DateAnswer::Missing => {
            walk.trace(run, "missing", &date.path.to_string());
            instead(&date.if_missing, "date_missing")
        }
        DateAnswer::Past { next_year } => match &date.if_past {
            PastRule::NextYear => Move::Wait(Waiting::Date, next_year),
            PastRule::Fallback(rule) => {
                walk.trace(run, "date_past", "");
                instead(rule, "date_past")
            }
        },
    }
}

fn instead(rule: &Fallback, reason: &str) -> Move {
    match rule {
        Fallback::Go(next) => Move::Go(next.clone()),
        Fallback::Exit => Move::Exit(reason.to_owned()),
    }
}

/// The time has come. A date is looked at once more: it may have moved while the run was frozen.
pub(super) fn wake(walk: &mut Walk<'_>, run: &mut RunState, step: &PlanStep) -> Move {
    let PlanStep::Wait(step) = step else { return Move::Misfit };
    match &step.until {
        WaitUntil::Span(_) | WaitUntil::TimeOfDay { .. } => Move::Go(step.next.clone()),
        WaitUntil::Date(date) => match dates::answer(walk, run, date) {
            DateAnswer::Due(due_at) => Move::Wait(Waiting::Date, due_at),
            DateAnswer::Missing => decide(walk, run, date),
            DateAnswer::Past { .. } => Move::Go(step.next.clone()),
        },
    }
}
