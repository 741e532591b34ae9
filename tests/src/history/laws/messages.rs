//! Laws of messages: asked for once, at the sink once, and their outcomes known to their runs.

use std::collections::BTreeMap;

use crate::history::{
    HeldMessage,
    finding::{Finding, Kind},
    index::{Index, counted},
};

/// How a message may end without ever having been given to a transport.
const NEVER_LEFT: [&str; 5] = ["refused", "skipped", "expired", "cancelled", "bounced"];

/// A finished run has asked for each of its messages exactly once, and nothing has asked twice.
pub(super) fn asked_for_once(index: &Index<'_>) -> Vec<Finding> {
    let mut asked: BTreeMap<(&str, &str, i64), usize> = BTreeMap::new();
    for message in &index.history.held.messages {
        if let Some(run) = &message.run {
            *asked.entry((run, &message.step, message.occurrence)).or_default() += 1;
        }
    }
    let twice = asked.into_iter().filter_map(|((run, step, occurrence), count)| {
        counted(count, 1, 1, || format!("message {occurrence} of run {run} at {step}"))
    });
    let finished = index.history.held.runs.iter().filter(|run| run.status == "finished");
    let missing = finished.flat_map(|run| {
        let journey = index.journeys.get(run.journey.as_str());
        journey.into_iter().flat_map(|journey| &journey.sends).filter_map(|send| {
            let of_run = index.messages_of.get(run.id.as_str()).map_or(&[][..], Vec::as_slice);
            let count = of_run.iter().filter(|message| message.step == send.step).count();
            counted(count, 1, 1, || format!("messages of run {} at {}", run.id, send.step))
        })
    });
    twice.chain(missing).collect()
}

/// A recorded outcome reaches the run that asked exactly once, as it was recorded; a run that does
/// not wait for it may be over by then.
pub(super) fn outcomes_reach_their_run_once(index: &Index<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for run in &index.history.held.runs {
        for message in index.messages_of.get(run.id.as_str()).into_iter().flatten() {
            let heard: Vec<_> = index.said(run, &message.step, "outcome").collect();
            let journey = index.journeys.get(run.journey.as_str());
            let send = journey.and_then(|j| j.sends.iter().find(|send| send.step == message.step));
            let ended = message.status != "queued";
            let least = usize::from(ended && send.is_some_and(|send| send.awaited));
            let about = || format!("outcome of message {} at run {}", message.id, run.id);
            findings.extend(counted(heard.len(), least, usize::from(ended), about));
            if let Some(line) = heard.first().filter(|line| ended && line.detail != message.status)
            {
                let about = format!("{}: {}, recorded {}", about(), line.detail, message.status);
                findings.push(Finding::new(Kind::Unresolved, about));
            }
        }
    }
    findings
}

/// A message is at the sink exactly once if it is recorded as sent, at most once if its outcome is
/// unknown, and not at all if it never left; a lost reply that was followed by a repeat allows one
/// more. What is at the sink is recorded, and went to the address of its contact's user.
pub(super) fn at_the_sink_once(index: &Index<'_>) -> Vec<Finding> {
    let recorded = index.history.held.messages.iter().filter_map(|message| {
        let arrived = index.arrivals.get(message.id.as_str()).map_or(0, Vec::len);
        of_record(message, arrived)
    });
    let people = &index.history.people;
    let arrived = index.history.arrivals.iter().filter_map(|arrival| {
        let known = arrival.message.as_deref().and_then(|id| index.messages.get(id));
        let Some(message) = known else {
            let about = format!("message {:?} at the sink is recorded nowhere", arrival.message);
            return Some(Finding::new(Kind::Unresolved, about));
        };
        let (brand, user) = index.user_of.get(message.contact.as_str())?;
        let person = people.iter().find(|one| one.brand == *brand && one.user == *user)?;
        (person.address != arrival.recipient).then(|| {
            let about = format!("message {} for {user} went to another address", message.id);
            Finding::new(Kind::Unlawful, about)
        })
    });
    recorded.chain(arrived).chain(too_early(index)).collect()
}

fn of_record(message: &HeldMessage, arrived: usize) -> Option<Finding> {
    let HeldMessage { id, status, .. } = message;
    let more = message.sent_again;
    match status.as_str() {
        "sent" if arrived == 0 => {
            let about = format!("message {id} is recorded as sent and not at the sink");
            Some(Finding::new(Kind::Unresolved, about))
        }
        "sent" | "unknown" => {
            counted(arrived, 0, 1 + more, || format!("message {id} ({status}) at the sink"))
        }
        status if NEVER_LEFT.contains(&status) && arrived > more => {
            let about = format!("message {id} is recorded as {status} and at the sink");
            Some(Finding::new(Kind::Unlawful, about))
        }
        _ if arrived > more => {
            let about = format!("message {id} is recorded as {status} and at the sink");
            Some(Finding::new(Kind::Unresolved, about))
        }
        _ => None,
    }
}

/// By the clocks of client and sink: no message comes before the waits ahead of it can be over.
fn too_early(index: &Index<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for run in &index.history.held.runs {
        let Some(journey) = index.journeys.get(run.journey.as_str()) else { continue };
        let Some(start) = index.start_of(run) else { continue };
        for message in index.messages_of.get(run.id.as_str()).into_iter().flatten() {
            let Some(send) = journey.sends.iter().find(|send| send.step == message.step) else {
                continue;
            };
            let arrivals = index.arrivals.get(message.id.as_str()).into_iter().flatten();
            for after in arrivals.map(|arrival| arrival.at - start.at) {
                if after < send.least_ms {
                    let (id, least) = (&message.id, send.least_ms);
                    let about =
                        format!("message {id} came {after} ms after its event, not {least}");
                    findings.push(Finding::new(Kind::Early, about));
                }
            }
        }
    }
    findings
}
