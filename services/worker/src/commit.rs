//! From a fold to the commit that carries it, and what is made known afterwards.

use parcours_domain::{ContactId, InboxId, QuarantineId, Timestamp, hash::sha256_head};
use parcours_journey::{Absorbed, ContactState, TraceEntry};
use parcours_store::StoreError;
use parcours_wire::ItemOutcome;
use serde::Serialize;

use crate::{
    brand::Brand,
    contact::{Contact, Why},
    durable::{ContactCommit, NewInbox, NewQuarantine, TimerChange},
    fold::{Draft, Fold, Memory, Settlement},
    item::{Item, encode_absorbed},
    message::{address_in, resolve},
};

/// A commit with everything that its outcome may ask for.
pub(crate) struct Prepared {
    pub commit: ContactCommit,
    /// What it applies, to be stepped again if need be.
    pub items: Vec<Item>,
    /// The contact as it was.
    pub before: Memory,
    /// The contact once it is committed; none when the contact ends with it.
    pub after: Option<Memory>,
    pub settlement: Settlement,
}

/// The state would be larger than what is stored.
pub(crate) struct TooLarge {
    pub items: Vec<Item>,
    pub detail: String,
}

/// What a committed commit makes known.
pub(crate) struct Publication {
    pub timers: Vec<TimerChange>,
    pub lanes: Vec<i64>,
    pub messages: usize,
    pub wakes: Vec<ContactId>,
    pub absorbed: bool,
}

impl Publication {
    pub(crate) fn of(commit: &ContactCommit) -> Self {
        let mut lanes: Vec<i64> = commit.sends.iter().map(|send| send.lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        Self {
            timers: commit.timers.clone(),
            lanes,
            messages: commit.sends.len(),
            wakes: commit.inbox_new.iter().map(|row| row.contact).collect(),
            absorbed: commit.absorbed_into.is_some(),
        }
    }
}

/// A commit that changes nothing yet.
fn blank(contact: &Contact, memory: &Memory, state: Vec<u8>, now: Timestamp) -> ContactCommit {
    ContactCommit {
        tenant: contact.tenant,
        contact: contact.contact,
        shard: contact.shard(),
        read_revision: memory.revision,
        state,
        seq: memory.seq,
        now,
        events: Vec::new(),
        runs: Vec::new(),
        timers: Vec::new(),
        sends: Vec::new(),
        trace: None,
        inbox_done: Vec::new(),
        inbox_new: Vec::new(),
        address: None,
        address_gone: false,
        absorbed_into: None,
        quarantine: Vec::new(),
        counters: Vec::new(),
    }
}

/// The commit of a fold.
pub(crate) async fn prepare(
    contact: &Contact,
    before: Memory,
    items: Vec<Item>,
    fold: Fold,
    (brand, now): (&Brand, Timestamp),
) -> Result<Result<Prepared, (Memory, TooLarge)>, StoreError> {
    let Fold { mut draft, settlement, .. } = fold;
    let state = match draft.state.encode() {
        Ok(state) => state,
        Err(error) => return Ok(Err((before, TooLarge { items, detail: error.to_string() }))),
    };
    let mut commit = blank(contact, &before, state, now);
    if let Some(email) = &draft.email {
        commit.address = Some(contact.deps().durable.address(contact.tenant, email).await?);
    }
    commit.address_gone = draft.address_gone;
    if !draft.sends.is_empty() {
        let address = address_in(&draft.state.attributes);
        let sends = std::mem::take(&mut draft.sends).into_iter();
        commit.sends = sends.map(|request| resolve(request, brand, address.as_ref())).collect();
    }
    count(&mut draft, commit.sends.len());
    commit.seq = draft.seq;
    commit.events = draft.events;
    commit.runs = draft.runs;
    commit.timers = draft.timers.into_values().collect();
    commit.trace = trace(draft.trace);
    commit.inbox_done = draft.inbox_done;
    commit.quarantine = draft.quarantine;
    commit.counters = draft.counters.into_iter().collect();
    let after = Some(Memory { revision: before.revision + 1, seq: draft.seq, state: draft.state });
    Ok(Ok(Prepared { commit, items, before, after, settlement }))
}

/// Counts what ended and what was asked for.
fn count(draft: &mut Draft, sends: usize) {
    let sends = i64::try_from(sends).unwrap_or(i64::MAX);
    if sends > 0 {
        draft.count("messages", sends);
    }
    for status in draft.runs.iter().map(|run| run.status).collect::<Vec<_>>() {
        match status {
            "finished" => draft.count("runs_finished", 1),
            "goal" => draft.count("runs_goal", 1),
            "exited" => draft.count("runs_exited", 1),
            "failed" => draft.count("runs_failed", 1),
            _ => {}
        }
    }
}

/// One line of trace with the input that caused it.
#[derive(Serialize)]
struct TraceLine<'a> {
    cause: &'a str,
    #[serde(flatten)]
    entry: &'a TraceEntry,
}

/// The trace row: the first cause, then every line with its own.
fn trace(lines: Vec<(String, TraceEntry)>) -> Option<(String, String)> {
    let (cause, _) = lines.first()?;
    let body: Vec<_> = lines.iter().map(|(cause, entry)| TraceLine { cause, entry }).collect();
    Some((cause.clone(), serde_json::to_string(&body).unwrap_or_default()))
}

/// The commit that ends an anonymous contact: what it has goes to the other's inbox.
pub(crate) fn absorb(
    contact: &Contact,
    before: Memory,
    items: Vec<Item>,
    into: ContactId,
    now: Timestamp,
) -> Result<Prepared, StoreError> {
    let state = encoded(&ContactState::new(before.state.handle))?;
    let mut commit = blank(contact, &before, state, now);
    let from = contact.contact;
    let absorbed = Absorbed {
        from,
        attributes: before.state.attributes.clone(),
        runs: before.state.runs.clone(),
        entries: before.state.entries.clone(),
    };
    let body =
        encode_absorbed(&absorbed).map_err(|_| StoreError::Damaged("contact_state.state"))?;
    commit.timers =
        before.state.runs.iter().map(|run| TimerChange::Cancel { run: run.id }).collect();
    commit.inbox_done = items.iter().filter_map(Item::row).collect();
    commit.inbox_new.push(NewInbox {
        tenant: contact.tenant,
        contact: into,
        source: sha256_head(&[b"absorbed", &from.bytes(), &into.bytes()]),
        kind: "absorbed",
        ref_json: serde_json::json!({ "from": from }).to_string(),
        body: Some(body),
    });
    commit.absorbed_into = Some(into);
    commit.counters.push(("contacts_absorbed", 1));
    Ok(Prepared { commit, items, before, after: None, settlement: Settlement::default() })
}

/// The commit that puts one input into quarantine and changes nothing else. Its inbox row goes
/// with it; its timer is held, so that it does not come again until somebody says so.
pub(crate) fn set_aside(
    contact: &Contact,
    before: Memory,
    items: Vec<Item>,
    why: &Why,
    now: Timestamp,
) -> Result<Prepared, StoreError> {
    let mut commit = blank(contact, &before, encoded(&before.state)?, now);
    let mut settlement = Settlement::default();
    for item in &items {
        commit.quarantine.push(quarantined(contact, item, why, now));
        commit.inbox_done.extend(item.row());
        commit.counters.push(("set_aside", 1));
        match item {
            Item::Timer { run, .. } => commit.timers.push(TimerChange::Hold { run: *run }),
            Item::Event { place: Some(place), .. } => {
                let detail = why.detail.clone();
                settlement.answers.push((*place, ItemOutcome::SetAside { code: why.code, detail }));
            }
            Item::Event { place: None, .. }
            | Item::Repair { .. }
            | Item::Inbox { .. }
            | Item::Absorb { .. }
            | Item::Unreadable { .. } => {}
        }
    }
    let after = Some(Memory { revision: before.revision + 1, ..before.clone() });
    Ok(Prepared { commit, items, before, after, settlement })
}

fn quarantined(contact: &Contact, item: &Item, why: &Why, now: Timestamp) -> NewQuarantine {
    let payload = item.payload();
    let row = item.row().map(InboxId::bytes).unwrap_or_default();
    let tail = sha256_head(&[&contact.contact.bytes(), &row, &payload]);
    let (key, body_hash) = match item {
        Item::Event { event, .. } => (Some(event.key), Some(event.body_hash)),
        Item::Timer { .. }
        | Item::Repair { .. }
        | Item::Inbox { .. }
        | Item::Absorb { .. }
        | Item::Unreadable { .. } => (None, None),
    };
    NewQuarantine {
        id: QuarantineId::v7(now, tail),
        origin: item.origin(),
        code: why.code.to_owned(),
        detail: why.detail.clone(),
        payload,
        key,
        body_hash,
    }
}

fn encoded(state: &ContactState) -> Result<Vec<u8>, StoreError> {
    state.encode().map_err(|_| StoreError::Damaged("contact_state.state"))
}
