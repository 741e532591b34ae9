//! Entries: who comes into a journey, and why not.
//!
//! One live run for each (contact, journey, key). An event that would start a second starts none.
//! Re-entry counts from the last entry under the same key, not from how that run ended.

use parcours_domain::{Name, RunId, Timestamp, hash::sha256_head};

use super::{ending::text_of_key, walk::Walk};
use crate::{
    condition::{Condition, Scope},
    document::journey::Reentry,
    input::EventInput,
    plan::{Plan, PlanStatus},
    state::{EntryRecord, RunState, RunStatus, Waiting},
};

/// The most live runs of one contact.
pub const LIVE_RUNS_MAX: usize = 100;

/// The most entry records of one contact; beyond it the oldest is forgotten.
pub const ENTRIES_MAX: usize = 300;

/// The most bytes of a run key.
pub const RUN_KEY_BYTES_MAX: usize = 200;

pub(super) fn apply(walk: &mut Walk<'_>, event: &EventInput) {
    let plans = walk.ctx.plans;
    for plan in plans.entered_by(event.kind, &event.name) {
        match admit(walk, plan, event) {
            Ok(key) => enter(walk, plan, event, key),
            Err(rule) => walk.trace_plan(plan, "not_entered", rule),
        }
    }
}

/// The run key, or the rule that refuses the entry.
fn admit(walk: &mut Walk<'_>, plan: &Plan, event: &EventInput) -> Result<String, &'static str> {
    if !holds(walk, plan, plan.entry.when.as_ref(), event) {
        return Err("when");
    }
    if !holds(walk, plan, plan.entry.audience.as_ref(), event) {
        return Err("audience");
    }
    if walk.ctx.plans.status(&plan.journey) != PlanStatus::Live {
        return Err("paused");
    }
    let key = run_key(walk, plan, event)?;
    if walk.live(&plan.journey, &key).is_some() {
        return Err("live_run");
    }
    let last = last_entry(walk, &plan.journey, &key);
    match (plan.entry.reentry, last) {
        (Reentry::Always, _) | (Reentry::Never | Reentry::After(_), None) => {}
        (Reentry::Never, Some(_)) => return Err("reentry_never"),
        (Reentry::After(span), Some(at)) => {
            if walk.ctx.now < at + span.millis() {
                return Err("reentry_too_soon");
            }
        }
    }
    if walk.state.runs.len() >= LIVE_RUNS_MAX {
        return Err("too_many_runs");
    }
    Ok(key)
}

fn holds(
    walk: &mut Walk<'_>,
    plan: &Plan,
    condition: Option<&Condition>,
    event: &EventInput,
) -> bool {
    let Some(condition) = condition else { return true };
    let mut missing = Vec::new();
    let holds = condition.holds(&entry_scope(walk, event), &mut missing);
    for path in missing {
        walk.trace_plan(plan, "missing", &path);
    }
    holds
}

fn entry_scope<'b>(walk: &'b Walk<'_>, event: &'b EventInput) -> Scope<'b> {
    Scope { contact: Some(&walk.state.attributes), event: Some(&event.properties), run: None }
}

fn run_key(walk: &Walk<'_>, plan: &Plan, event: &EventInput) -> Result<String, &'static str> {
    let Some(path) = &plan.entry.key else { return Ok(String::new()) };
    let key = entry_scope(walk, event).at(path).and_then(text_of_key).ok_or("key_missing")?;
    if key.len() > RUN_KEY_BYTES_MAX { Err("key_too_long") } else { Ok(key) }
}

/// What stands for a run key in entry records.
#[must_use]
pub fn key_hash(key: &str) -> [u8; 8] {
    sha256_head::<8>(&[key.as_bytes()])
}

fn last_entry(walk: &Walk<'_>, journey: &Name, key: &str) -> Option<Timestamp> {
    let hash = key_hash(key);
    let found = walk
        .state
        .entries
        .binary_search_by(|entry| (&entry.journey, &entry.key_hash).cmp(&(journey, &hash)));
    found.ok().and_then(|at| walk.state.entries.get(at)).map(|entry| entry.at)
}

fn enter(walk: &mut Walk<'_>, plan: &Plan, event: &EventInput, key: String) {
    let head = sha256_head(&[
        &walk.state.handle.0,
        plan.journey.as_str().as_bytes(),
        key.as_bytes(),
        &event.id.bytes(),
    ]);
    // A journey that asks for a key and always lets in again would only fill the records.
    if plan.entry.key.is_none() || plan.entry.reentry != Reentry::Always {
        record(walk, plan, &key);
    }
    let run = RunState {
        id: RunId::started_by(event.id, head),
        journey: plan.journey.clone(),
        version: plan.version,
        key,
        entered_at: walk.ctx.now,
        step: plan.start.clone(),
        status: RunStatus::Waiting(Waiting::Time),
        timer_seq: 0,
        wakes_at: walk.ctx.now,
        data: event.properties.clone(),
        occurrences: std::collections::BTreeMap::new(),
        sends: std::collections::BTreeMap::new(),
        arms: std::collections::BTreeMap::new(),
    };
    walk.start(run, plan);
}

fn record(walk: &mut Walk<'_>, plan: &Plan, key: &str) {
    let at = walk.ctx.now;
    if let Reentry::After(span) = plan.entry.reentry {
        let journey = &plan.journey;
        walk.state
            .entries
            .retain(|entry| entry.journey != *journey || at < entry.at + span.millis());
    }
    merge(walk, EntryRecord { journey: plan.journey.clone(), key_hash: key_hash(key), at });
}

/// Adds an entry record; the later of two under one key stays.
pub(super) fn merge(walk: &mut Walk<'_>, record: EntryRecord) {
    let entries = &mut walk.state.entries;
    let place = entries.binary_search_by(|entry| {
        (&entry.journey, &entry.key_hash).cmp(&(&record.journey, &record.key_hash))
    });
    match place {
        Ok(at) => {
            if let Some(entry) = entries.get_mut(at) {
                entry.at = entry.at.max(record.at);
            }
        }
        Err(at) => entries.insert(at, record),
    }
    if entries.len() > ENTRIES_MAX {
        let oldest = entries.iter().enumerate().min_by_key(|(_, entry)| entry.at);
        if let Some((at, _)) = oldest {
            entries.remove(at);
        }
    }
}
