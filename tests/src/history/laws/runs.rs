//! Laws of runs: each delay fires once and in time, and nothing is left lying.

use crate::history::{
    HeldRun, Wait,
    finding::{Finding, Kind},
    index::{Index, counted},
};

/// Every run with every step of its journey that waits for time.
fn waits<'a>(index: &'a Index<'_>) -> impl Iterator<Item = (&'a HeldRun, &'a Wait)> {
    index.history.held.runs.iter().flat_map(|run| {
        let journey = index.journeys.get(run.journey.as_str());
        journey.into_iter().flat_map(move |j| j.waits.iter().map(move |wait| (run, wait)))
    })
}

/// A finished run has waited exactly once at each step that waits; what waited and went on was
/// woken by its timer exactly once, or by an event where that is allowed.
pub(super) fn timers_fire_once(index: &Index<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (run, Wait { step, until_event, .. }) in waits(index) {
        let set = index.said(run, step, "waits").count();
        let fired = index.said(run, step, "woke").count();
        let finished = run.status == "finished";
        let about = |what: &str| format!("run {} at {step}: {what}", run.id);
        findings.extend(counted(set, usize::from(finished), 1, || about("timer set")));
        let stands_there = run.step == *step && !finished;
        let most = set.min(1);
        let least = if stands_there || *until_event { 0 } else { most };
        findings.extend(counted(fired, least, most, || about("timer fired")));
        if *until_event {
            let went_on = index.said(run, step, "branched").count();
            let least = if stands_there { 0 } else { most };
            findings.extend(counted(went_on, least, most, || about("went on")));
        }
    }
    findings
}

/// Each timer that fired: when it was set, and when it fired.
pub(in crate::history) fn fired<'a>(
    index: &'a Index<'_>,
) -> impl Iterator<Item = (&'a HeldRun, &'a Wait, [i64; 2])> {
    waits(index).filter_map(|(run, wait)| {
        let first = |what| index.said(run, &wait.step, what).map(|line| line.at).min();
        Some((run, wait, [first("waits")?, first("woke")?]))
    })
}

/// A timer fires not before its time, and not long after it.
pub(super) fn timers_keep_time(index: &Index<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (run, Wait { step, span_ms, .. }, [set, fired]) in fired(index) {
        let after = fired - set;
        let about = || format!("run {} at {step}: woke after {after} of {span_ms} ms", run.id);
        if after < *span_ms {
            findings.push(Finding::new(Kind::Early, about()));
        } else if after > span_ms + index.history.promises.late_ms {
            findings.push(Finding::new(Kind::Late, about()));
        }
    }
    findings
}

/// A run under way has a timer, and a timer has a run under way.
pub(super) fn live_runs_have_a_timer(index: &Index<'_>) -> Vec<Finding> {
    let held = &index.history.held;
    let live = held.runs.iter().filter(|run| run.live);
    let stuck = live.filter_map(|run| {
        let timers = index.timers.get(run.id.as_str()).map_or(0, Vec::len);
        counted(timers, 1, 1, || format!("timer of run {}, which waits at {}", run.id, run.step))
    });
    let idle = held.timers.iter().filter_map(|timer| {
        let dead = !index.run.get(timer.run.as_str()).is_some_and(|run| run.live);
        let about = || format!("timer of run {}, which is not under way", timer.run);
        dead.then(|| Finding::new(Kind::Unresolved, about()))
    });
    stuck.chain(idle).collect()
}

/// Nothing that could have been worked on still waits.
pub(super) fn nothing_waits(index: &Index<'_>) -> Vec<Finding> {
    let held = &index.history.held;
    let limit = held.asked_at - index.history.promises.late_ms;
    let timers = held.timers.iter().filter(|timer| !timer.on_hold && timer.due_at < limit);
    let timers = timers.map(|timer| format!("timer of run {}, due at {}", timer.run, timer.due_at));
    let inputs = held.inbox.iter().map(|input| ("inbox row", input));
    let inputs = inputs.chain(held.queue.iter().map(|input| ("queued message", input)));
    let inputs = inputs.filter(|(_, input)| input.since < limit);
    let inputs =
        inputs.map(|(what, input)| format!("{what} {} since {}", input.about, input.since));
    timers.chain(inputs).map(|about| Finding::new(Kind::Late, about)).collect()
}
