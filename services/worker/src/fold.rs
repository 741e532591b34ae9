//! Many inputs of one contact into one draft of a commit. Pure but for the step function.
//!
//! Inputs apply in order; the draft holds the last state, all events, and of each run's rows and
//! timers the last word. An event whose key is known, or came earlier in the same fold, changes
//! nothing and is told so. A step that panics stops the fold before its input; what came before
//! it stands.

use std::{
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parcours_domain::{
    ContactId, EmailAddress, EventKey, InboxId, QuarantineId, RunId, TenantId, Timestamp,
    hash::sha256_head,
};
use parcours_journey::{
    ContactState, Effect, Input, RunRow, RunStatus, SendRequest, Step, TraceEntry,
    interpret::StepContext,
};
use parcours_queue::TimerEntry;
use parcours_wire::{AcceptedEvent, ItemOutcome};

use crate::{
    brand::Brand,
    durable::{KnownKey, NewEvent, NewQuarantine, StoredKey, TimerChange},
    item::{Item, event_id, event_input, stored_key},
    message::address_in,
    told::{self, Told},
    work::Place,
};

/// The interpreter, or in tests something that stands for it.
pub type StepFn = Arc<dyn Fn(ContactState, &Input, &StepContext<'_>) -> Step + Send + Sync>;

/// A contact between two commits, as the database has it.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub revision: i64,
    pub seq: i64,
    pub state: ContactState,
}

/// What a fold needs beside items and memory.
pub(crate) struct FoldContext<'a> {
    pub tenant: TenantId,
    pub contact: ContactId,
    pub brand: &'a Brand,
    pub step: &'a StepFn,
    pub now: Timestamp,
    /// Used keys, as far as they were looked up; the commit finds the others.
    pub known: &'a HashMap<StoredKey, KnownKey>,
}

/// What a fold made of its items.
#[derive(Debug)]
pub(crate) struct Fold {
    pub draft: Draft,
    pub settlement: Settlement,
    /// The item whose step panicked, when one did; items from it on are not in the draft.
    pub panicked: Option<usize>,
}

/// What becomes true, and is told, once the draft is committed.
#[derive(Debug, Default)]
pub(crate) struct Settlement {
    /// Outcomes.
    pub answers: Vec<(Place, ItemOutcome)>,
    /// Timers that were not due or are stale, to index again as they are.
    pub reindex: Vec<TimerEntry>,
    /// When the timers that were applied were due.
    pub fired: Vec<Timestamp>,
    /// Keys that are known from then on.
    pub accepted: HashMap<StoredKey, KnownKey>,
    /// What is told about it in traces.
    pub spans: Vec<Told>,
}

/// A commit in the making.
#[derive(Debug)]
pub(crate) struct Draft {
    pub state: ContactState,
    pub seq: i64,
    pub events: Vec<NewEvent>,
    pub runs: Vec<RunRow>,
    pub timers: BTreeMap<RunId, TimerChange>,
    pub sends: Vec<SendRequest>,
    pub trace: Vec<(String, TraceEntry)>,
    pub inbox_done: Vec<InboxId>,
    pub quarantine: Vec<NewQuarantine>,
    /// The address that became the contact's in this fold.
    pub email: Option<EmailAddress>,
    /// The contact had an address and has none any more.
    pub address_gone: bool,
    pub counters: BTreeMap<&'static str, i64>,
    changed: bool,
}

impl Draft {
    pub(crate) fn new(memory: &Memory) -> Self {
        Self {
            state: memory.state.clone(),
            seq: memory.seq,
            events: Vec::new(),
            runs: Vec::new(),
            timers: BTreeMap::new(),
            sends: Vec::new(),
            trace: Vec::new(),
            inbox_done: Vec::new(),
            quarantine: Vec::new(),
            email: None,
            address_gone: false,
            counters: BTreeMap::new(),
            changed: false,
        }
    }

    /// Whether there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        !self.changed
            && self.events.is_empty()
            && self.runs.is_empty()
            && self.timers.is_empty()
            && self.sends.is_empty()
            && self.inbox_done.is_empty()
            && self.quarantine.is_empty()
    }

    pub(crate) fn count(&mut self, name: &'static str, by: i64) {
        *self.counters.entry(name).or_default() += by;
    }

    /// Takes over a step's state and effects; of each run the last word stands, in the order in
    /// which it was said.
    fn take(&mut self, step: Step, cause: &str) {
        self.changed |= step.state != self.state;
        for effect in step.effects {
            match effect {
                Effect::Run(row) => {
                    self.runs.retain(|old| old.id != row.id);
                    self.runs.push(row);
                }
                Effect::SetTimer { run, seq, due_at } => {
                    if let Some(state) = step.state.run(run) {
                        let journey = state.journey.clone();
                        self.timers.insert(run, TimerChange::Set { run, journey, seq, due_at });
                    }
                }
                Effect::HoldTimer { run } => {
                    self.timers.insert(run, TimerChange::Hold { run });
                }
                Effect::CancelTimer { run } => {
                    self.timers.insert(run, TimerChange::Cancel { run });
                }
                Effect::Send(request) => self.sends.push(request),
            }
        }
        for entry in &step.trace {
            if entry.what == "entered" {
                self.count("runs_entered", 1);
            }
        }
        self.trace.extend(step.trace.into_iter().map(|entry| (cause.to_owned(), entry)));
        self.state = step.state;
    }
}

/// Folds items onto a contact's memory.
pub(crate) fn fold(memory: &Memory, items: &[Item], ctx: &FoldContext<'_>) -> Fold {
    let mut fold =
        Fold { draft: Draft::new(memory), settlement: Settlement::default(), panicked: None };
    for (index, item) in items.iter().enumerate() {
        if fold.apply(item, ctx).is_err() {
            fold.panicked = Some(index);
            break;
        }
    }
    fold.settle_address(memory);
    fold
}

/// The step panicked; nothing of its input is in the draft.
struct Panicked;

impl Fold {
    fn apply(&mut self, item: &Item, ctx: &FoldContext<'_>) -> Result<(), Panicked> {
        match item {
            Item::Event { event, place, row } => self.apply_event(event, *place, *row, ctx)?,
            Item::Timer { run, seq, entry, .. } => {
                self.apply_timer(*run, *seq, entry.as_ref(), ctx)?;
            }
            Item::Repair { run } => self.apply_repair(*run),
            Item::Inbox { row, input } => {
                self.step(input, &format!("inbox:{}", row.id), ctx)?;
                self.settlement.spans.extend(Told::outcome(input));
            }
            // These stand alone and never come here.
            Item::Absorb { .. } | Item::Unreadable { .. } => {}
        }
        self.draft.inbox_done.extend(item.row());
        Ok(())
    }

    fn apply_event(
        &mut self,
        event: &AcceptedEvent,
        place: Option<Place>,
        row: Option<InboxId>,
        ctx: &FoldContext<'_>,
    ) -> Result<(), Panicked> {
        let key = stored_key(event);
        let known = self.settlement.accepted.get(&key).or_else(|| ctx.known.get(&key));
        if let Some(known) = known.copied() {
            let returns = known.set_aside && row.is_some();
            if known.body_hash != event.body_hash {
                self.conflict(event, place, ctx);
                return Ok(());
            }
            if !returns {
                self.settlement.answers.extend(place.map(|place| (place, repeat_of(&known))));
                return Ok(());
            }
        }
        let id = event_id(ctx.tenant, event);
        let before = self.draft.trace.len();
        self.step(&event_input(id, event), &format!("event:{id}"), ctx)?;
        let lines = self.draft.trace.get(before..).unwrap_or_default();
        told::event(id, lines, &mut self.settlement.spans);
        self.draft.seq += 1;
        self.draft.events.push(new_event(id, self.draft.seq, (event, row.is_some())));
        self.draft.count("events", 1);
        self.settlement
            .accepted
            .insert(key, KnownKey { event: id, body_hash: event.body_hash, set_aside: false });
        self.settlement.answers.extend(place.map(|place| (place, ItemOutcome::Applied(id))));
        Ok(())
    }

    /// The key was used with another body: nothing applies, and the body is kept where people can
    /// look at it. It is kept under a key of its own, so that a client's retries add nothing.
    fn conflict(&mut self, event: &AcceptedEvent, place: Option<Place>, ctx: &FoldContext<'_>) {
        let day = event.day.as_stored().to_be_bytes();
        let tenant = ctx.tenant.bytes();
        let cause = [b"conflict".as_slice(), &tenant, &event.key.0, &day, &event.body_hash];
        self.draft.quarantine.push(NewQuarantine {
            id: QuarantineId::v7(event.received_at, sha256_head(&cause)),
            origin: "event",
            code: DUPLICATE_ID.to_owned(),
            detail: "the messageId was used earlier with another body".to_owned(),
            payload: crate::payload::SetAside::event(event).encode(),
            key: Some(EventKey(sha256_head(&cause))),
            body_hash: Some(event.body_hash),
        });
        self.draft.count("set_aside", 1);
        self.settlement.answers.extend(place.map(|place| (place, ItemOutcome::Conflict)));
    }

    /// A timer applies only when its time has come and it is the run's present one. A row whose
    /// run is gone is cancelled; an older number gives way to the one in the state.
    fn apply_timer(
        &mut self,
        run: RunId,
        seq: u32,
        entry: Option<&TimerEntry>,
        ctx: &FoldContext<'_>,
    ) -> Result<(), Panicked> {
        if let Some(early) = entry.filter(|entry| entry.due_at > ctx.now) {
            self.settlement.reindex.push(*early);
            return Ok(());
        }
        let Some(state) = self.draft.state.run(run) else {
            self.draft.timers.insert(run, TimerChange::Cancel { run });
            return Ok(());
        };
        if state.timer_seq != seq {
            let waits = matches!(state.status, RunStatus::Waiting(_));
            self.settlement.reindex.extend(waits.then_some(TimerEntry {
                tenant: ctx.tenant,
                contact: ctx.contact,
                run,
                seq: state.timer_seq,
                due_at: state.wakes_at,
            }));
            return Ok(());
        }
        let due_at = state.wakes_at;
        let told = Told::timer((run, seq), &state.step, due_at);
        self.step(&Input::Timer { run, seq }, &format!("timer:{run}"), ctx)?;
        self.settlement.fired.push(due_at);
        self.settlement.spans.extend(told);
        Ok(())
    }

    /// A live run's timer row is set again as the state has it.
    fn apply_repair(&mut self, run: RunId) {
        let Some(state) = self.draft.state.run(run) else { return };
        let change = TimerChange::Set {
            run,
            journey: state.journey.clone(),
            seq: state.timer_seq,
            due_at: state.wakes_at,
        };
        self.draft.timers.entry(run).or_insert(change);
        self.draft.count("runs_repaired", 1);
    }

    fn step(&mut self, input: &Input, cause: &str, ctx: &FoldContext<'_>) -> Result<(), Panicked> {
        let context = StepContext {
            tenant: ctx.tenant,
            plans: &ctx.brand.book,
            brand_zone: &ctx.brand.zone,
            now: ctx.now,
        };
        let state = self.draft.state.clone();
        let step = catch_unwind(AssertUnwindSafe(|| (ctx.step)(state, input, &context)))
            .map_err(|_| Panicked)?;
        self.draft.take(step, cause);
        Ok(())
    }

    /// Which address the contact has after the fold, when it is another than before. Only the
    /// state tells: what an input says that did not apply (a repeat, a conflict) counts nothing.
    fn settle_address(&mut self, memory: &Memory) {
        let (old, new) = (&memory.state.attributes, &self.draft.state.attributes);
        if old.get("email") == new.get("email") {
            return;
        }
        let (before, after) = (address_in(old), address_in(new));
        if after != before {
            self.draft.address_gone = after.is_none();
            self.draft.email = after;
        }
    }
}

/// Code of an event whose messageId was used with another body.
pub(crate) const DUPLICATE_ID: &str = "duplicate_id_other_body";

/// Code told for a repeat of an event that waits in quarantine.
const SET_ASIDE: &str = parcours_wire::worker::set_aside::EARLIER;

fn repeat_of(known: &KnownKey) -> ItemOutcome {
    if known.set_aside {
        let detail = "this messageId was set aside earlier; it applies once it is requeued";
        ItemOutcome::SetAside { code: SET_ASIDE, detail: detail.to_owned() }
    } else {
        ItemOutcome::Duplicate(known.event)
    }
}

fn new_event(
    id: parcours_domain::EventId,
    seq: i64,
    (event, requeued): (&AcceptedEvent, bool),
) -> NewEvent {
    NewEvent {
        id,
        seq,
        kind: event.kind,
        name: event.name.clone(),
        message_id: event.message_id.clone(),
        key: event.key,
        day: event.day.as_stored(),
        body_hash: event.body_hash,
        occurred_at: event.occurred_at,
        received_at: event.received_at,
        body: event.body.clone(),
        requeued,
    }
}
