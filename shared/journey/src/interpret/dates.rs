//! Dates, zones and clocks on the wall.
//!
//! The rules stand in the table of [`super`]; each has a script that shows it.

use jiff::{civil, tz::TimeZone};
use parcours_domain::{Millis, RunId, Timestamp, Value};

use super::{
    wait,
    walk::{Move, Walk},
};
use crate::{
    condition::Root,
    document::calendar::{TimeOfDay, Weekday},
    plan::{DateWait, PastRule, PlanStep, WaitUntil},
    state::{RunState, RunStatus, Waiting},
};

/// The attribute that names the contact's zone.
const ZONE_ATTRIBUTE: &str = "timezone";

/// What a date wait finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateAnswer {
    /// Later than now.
    Due(Timestamp),
    /// Not later than now; the first return of the day that is.
    Past { next_year: Timestamp },
    /// No date, or nothing that is one.
    Missing,
}

/// The contact's zone.
pub(super) fn zone(walk: &Walk<'_>) -> TimeZone {
    let own = walk.state.attributes.get(ZONE_ATTRIBUTE).and_then(Value::as_text);
    own.and_then(|name| TimeZone::get(name).ok())
        .or_else(|| TimeZone::get(walk.ctx.brand_zone).ok())
        .unwrap_or(TimeZone::UTC)
}

fn local(at: Timestamp, zone: &TimeZone) -> Option<civil::DateTime> {
    let moment = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    Some(moment.to_zoned(zone.clone()).datetime())
}

/// The moment of a local time; gaps and folds as the table says.
fn moment(at: civil::DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let moment = zone.to_ambiguous_timestamp(at).compatible().ok()?;
    Some(Timestamp::from_millis(moment.as_millisecond()))
}

/// The next such local time, strictly later than now.
pub(super) fn next_time_of_day(
    now: Timestamp,
    zone: &TimeZone,
    time: TimeOfDay,
    weekdays: &[Weekday],
) -> Timestamp {
    let fits = |date: civil::Date| {
        weekdays.is_empty() || weekdays.iter().any(|day| day.civil() == date.weekday())
    };
    let from = |today: civil::DateTime| {
        today.date().series(jiff::Span::new().days(1)).take(9).find_map(|date| {
            let at = moment(date.to_datetime(time.civil()), zone)?;
            (fits(date) && at > now).then_some(at)
        })
    };
    // Only a moment beyond the calendar's last year has no such time.
    local(now, zone).and_then(from).unwrap_or(now + Millis::days(1))
}

/// A date as an attribute holds it.
struct Written {
    date: civil::Date,
    time: Option<civil::Time>,
    /// The exact moment, when the attribute names one.
    moment: Option<Timestamp>,
}

fn parse(text: &str, zone: &TimeZone) -> Option<Written> {
    let text = text.trim();
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        let local = moment.to_zoned(zone.clone()).datetime();
        let moment = Some(Timestamp::from_millis(moment.as_millisecond()));
        return Some(Written { date: local.date(), time: Some(local.time()), moment });
    }
    if text.len() == 10 {
        let date = text.parse::<civil::Date>().ok()?;
        return Some(Written { date, time: None, moment: None });
    }
    let local = text.parse::<civil::DateTime>().ok()?;
    text.contains(['T', 't', ' ']).then(|| Written {
        date: local.date(),
        time: Some(local.time()),
        moment: None,
    })
}

/// What a date wait of this run finds now.
pub(super) fn answer(walk: &Walk<'_>, run: &RunState, wait: &DateWait) -> DateAnswer {
    let zone = zone(walk);
    let text = walk.scope(run).at(&wait.path).and_then(Value::as_text);
    let found = text.and_then(|text| parse(text, &zone)).and_then(|written| {
        let at = due(&written, written.date, wait, &zone)?;
        if at > walk.ctx.now {
            return Some(DateAnswer::Due(at));
        }
        let next_year = next_year(&written, wait, &zone, walk.ctx.now)?;
        Some(DateAnswer::Past { next_year })
    });
    found.unwrap_or(DateAnswer::Missing)
}

/// The moment of a wait whose day is `date`.
fn due(
    written: &Written,
    date: civil::Date,
    wait: &DateWait,
    zone: &TimeZone,
) -> Option<Timestamp> {
    if let (Some(moment), None) = (written.moment, wait.time)
        && date == written.date
        && wait.offset.days() == 0
    {
        return Some(moment + wait.offset.rest());
    }
    let time = wait.time.map(TimeOfDay::civil).or(written.time);
    let time = time.unwrap_or_else(|| TimeOfDay::MORNING.civil());
    let day = date.checked_add(jiff::Span::new().try_days(wait.offset.days()).ok()?).ok()?;
    Some(moment(day.to_datetime(time), zone)? + wait.offset.rest())
}

fn next_year(
    written: &Written,
    wait: &DateWait,
    zone: &TimeZone,
    now: Timestamp,
) -> Option<Timestamp> {
    // An offset may carry the moment ten years away from its day.
    let this_year = local(now, zone)?.year();
    (-11..=12_i16).find_map(|years| {
        let year = this_year.checked_add(years)?;
        let date = civil::Date::new(year, written.date.month(), written.date.day())
            .or_else(|_| civil::Date::new(year, 2, 28))
            .ok()?;
        due(written, date, wait, zone).filter(|at| *at > now)
    })
}

/// Gives every wait that depends on something that changed its new timer, until nothing changes
/// any more. Runs that go on instead may set attributes; the cap on moves ends that.
pub(super) fn follow(walk: &mut Walk<'_>) {
    while !walk.changed.is_empty() || !walk.unsettled.is_empty() {
        let changed = std::mem::take(&mut walk.changed);
        let unsettled = std::mem::take(&mut walk.unsettled);
        for id in walk.run_ids() {
            let Some(run) = walk.state.run(id).cloned() else { continue };
            let depends = |path_start: Option<&str>| {
                unsettled.contains(&id)
                    || changed.contains(ZONE_ATTRIBUTE)
                    || path_start.is_some_and(|name| changed.contains(name))
            };
            if !matches!(run.waiting(), Waiting::Time | Waiting::Date) {
                continue;
            }
            let Some(plan) = walk.ctx.plans.plan(&run.journey, run.version) else { continue };
            let Some(PlanStep::Wait(step)) = plan.steps.get(&run.step) else { continue };
            match &step.until {
                WaitUntil::Span(_) => {}
                WaitUntil::TimeOfDay { time, weekdays } if depends(None) => {
                    let at = next_time_of_day(walk.ctx.now, &zone(walk), *time, weekdays);
                    if at != run.wakes_at && run.status == RunStatus::Waiting(Waiting::Time) {
                        reschedule(walk, id, &run, at);
                    }
                }
                WaitUntil::TimeOfDay { .. } => {}
                WaitUntil::Date(date) if depends(first_part(date)) => {
                    follow_date(walk, id, &run, date);
                }
                WaitUntil::Date(_) => {}
            }
        }
    }
}

fn first_part(date: &DateWait) -> Option<&str> {
    match date.path.root {
        Root::Contact => date.path.parts.first().map(String::as_str),
        Root::Event | Root::Run => None,
    }
}

fn follow_date(walk: &mut Walk<'_>, id: RunId, run: &RunState, date: &DateWait) {
    let frozen = walk.is_paused(run) || matches!(run.status, RunStatus::Held(_));
    let found = answer(walk, run, date);
    if matches!(found, DateAnswer::Past { .. }) && run.wakes_at <= walk.ctx.now {
        // The date has simply come and its timer is on its way.
        return;
    }
    if frozen {
        match (found, &date.if_past) {
            (DateAnswer::Due(at), _) | (DateAnswer::Past { next_year: at }, PastRule::NextYear) => {
                if at != run.wakes_at {
                    reschedule(walk, id, run, at);
                }
            }
            // Looked at again when the run is resumed; until then its timer is due.
            (DateAnswer::Past { .. }, PastRule::Fallback(_)) | (DateAnswer::Missing, _) => {
                walk.freeze(run);
            }
        }
        return;
    }
    let plans = walk.ctx.plans;
    let Some(plan) = plans.plan(&run.journey, run.version) else { return };
    match wait::decide(walk, run, date) {
        Move::Wait(_, at) if at == run.wakes_at => {}
        Move::Wait(_, at) => reschedule(walk, id, run, at),
        decision @ (Move::Go(_) | Move::Exit(_) | Move::Misfit) => {
            walk.move_run(id, plan, |_, _, _| decision);
        }
    }
}

fn reschedule(walk: &mut Walk<'_>, id: RunId, run: &RunState, at: Timestamp) {
    walk.set_timer(id, at);
    walk.trace(run, "rescheduled", "");
}
