//! Laws of events: applied once, in order, each starting its run.

use std::collections::{BTreeMap, HashMap};

use crate::history::{
    Answer, HeldEvent,
    finding::{Finding, Kind},
    index::{Index, counted},
};

/// An acknowledged event is applied exactly once; one without an answer at most once; one that was
/// refused or set aside not at all; and nothing is applied that nobody sent.
pub(super) fn applied_once(index: &Index<'_>) -> Vec<Finding> {
    let aside = &index.history.held.set_aside;
    let sent = index.history.events.iter().flat_map(|event| {
        let key = (event.brand.as_str(), event.message_id.as_str());
        let applied = index.applied.get(&key).map_or(0, Vec::len);
        let kept = aside.iter().filter(|(b, m)| (b.as_str(), m.as_str()) == key).count();
        let ((least, most), (kept_least, kept_most)) = match event.answer {
            Answer::Acknowledged => ((1, 1), (0, 0)),
            Answer::SetAside => ((0, 0), (1, 1)),
            Answer::Refused => ((0, 0), (0, 0)),
            Answer::Unknown => ((0, 1), (0, 1)),
        };
        let about = |what: &str| {
            format!("event {} of {} ({}) {what}", event.message_id, event.user, event.brand)
        };
        [
            counted(applied, least, most, || about("applied")),
            counted(kept, kept_least, kept_most, || about("set aside")),
        ]
    });
    let unsent = index.applied.iter().filter(|(key, _)| !index.sent.contains_key(*key));
    let unsent = unsent.map(|((brand, message), _)| {
        Some(Finding::new(Kind::Unresolved, format!("event {message} ({brand}): nobody sent it")))
    });
    sent.chain(unsent).flatten().collect()
}

/// What a client sent after it had an answer comes after what the answer was for; the items of a
/// request come in their order; and one user is one contact.
pub(super) fn in_order(index: &Index<'_>) -> Vec<Finding> {
    let mut of_user: BTreeMap<(&str, &str), Vec<(&HeldEvent, _)>> = BTreeMap::new();
    for (key, held) in &index.applied {
        let Some(sent) = index.sent.get(key) else { continue };
        let list = of_user.entry((&sent.brand, &sent.user)).or_default();
        list.extend(held.iter().map(|event| (*event, *sent)));
    }
    let mut findings = Vec::new();
    for ((brand, user), mut list) in of_user {
        if list.iter().any(|(event, _)| event.contact != list[0].0.contact) {
            let about = format!("user {user} ({brand}) is more than one contact");
            findings.push(Finding::new(Kind::Doubled, about));
            continue;
        }
        // Two with one number are a finding of their own; here they stand as they were sent.
        list.sort_by_key(|(event, sent)| (event.seq, sent.request, sent.place));
        // An event may not stand before one whose answer its client had when it sent it; so the
        // latest sending moment so far tells.
        let mut latest = (i64::MIN, "");
        let mut last_of: HashMap<u64, (usize, &str)> = HashMap::new();
        for (event, sent) in list {
            let id = event.message_id.as_str();
            if sent.answered_at.is_some_and(|answered| answered < latest.0) {
                let about = format!(
                    "user {user} ({brand}): {} stands before {id}, whose answer came before it was sent",
                    latest.1
                );
                findings.push(Finding::new(Kind::OutOfOrder, about));
            }
            latest = latest.max((sent.at, id));
            let before = last_of.insert(sent.request, (sent.place, id));
            if let Some((_, earlier)) = before.filter(|(place, _)| *place > sent.place) {
                let about = format!("user {user} ({brand}): {earlier} stands before {id}");
                findings.push(Finding::new(Kind::OutOfOrder, about));
            }
        }
    }
    findings
}

/// A contact's events are numbered from 1 without gaps, and its state knows the last number.
pub(super) fn numbered_without_gaps(index: &Index<'_>) -> Vec<Finding> {
    let mut numbers: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in &index.history.held.events {
        numbers.entry(&event.contact).or_default().push(event.seq);
    }
    let states = &index.history.held.contacts;
    let last: HashMap<&str, i64> = states.iter().map(|one| (one.id.as_str(), one.seq)).collect();
    let mut findings = Vec::new();
    for (contact, mut seqs) in numbers {
        seqs.sort_unstable();
        let (count, found) = (i64::try_from(seqs.len()).unwrap_or(i64::MAX), seqs.len());
        seqs.dedup();
        if seqs.len() < found {
            let about = format!("contact {contact}: a number in its order of acceptance");
            findings.push(Finding::new(Kind::Doubled, about));
        } else if seqs.first() != Some(&1) || seqs.last() != Some(&count) {
            let about = format!("contact {contact}: events {seqs:?} are not 1 to {count}");
            findings.push(Finding::new(Kind::Lost, about));
        }
        if last.get(contact) != seqs.last() {
            let about = format!(
                "contact {contact}: its state knows event {:?}, the last one is {:?}",
                last.get(contact),
                seqs.last()
            );
            findings.push(Finding::new(Kind::Unresolved, about));
        }
    }
    findings
}

/// An applied event that starts a run has started exactly one.
pub(super) fn started_once(index: &Index<'_>) -> Vec<Finding> {
    let starting = index.history.events.iter().filter_map(|event| {
        let (journey, key) = event.starts.as_ref()?;
        let applied =
            index.applied.contains_key(&(event.brand.as_str(), event.message_id.as_str()));
        let runs = index.runs.get(&(event.brand.as_str(), journey.as_str(), key.as_str()));
        let due = usize::from(applied);
        counted(runs.map_or(0, Vec::len), due, due, || {
            format!("run of {journey} for event {} of {}", event.message_id, event.user)
        })
    });
    starting.collect()
}
