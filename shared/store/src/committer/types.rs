//! What an actor hands over to be committed, and what became of it.

use parcours_domain::{
    AddressHash, Channel, ContactId, EventId, EventKey, EventKind, InboxId, MessageClass,
    MessageId, Name, QuarantineId, RunId, StepId, TenantId, Timestamp,
};
use parcours_journey::RunRow;

/// One contact's step-chain: its last state and everything that goes with it.
#[derive(Clone, Debug)]
pub struct ContactCommit {
    /// The brand.
    pub tenant: TenantId,
    /// The contact.
    pub contact: ContactId,
    /// Its shard.
    pub shard: u16,
    /// The revision that the step started from; 0 when there was no state yet.
    pub read_revision: i64,
    /// The encoded state afterwards.
    pub state: Vec<u8>,
    /// Number of the last accepted event, afterwards.
    pub seq: i64,
    /// Product time of the step.
    pub now: Timestamp,
    /// Accepted events, in order of acceptance.
    pub events: Vec<NewEvent>,
    /// Projections of the runs that changed.
    pub runs: Vec<RunRow>,
    /// Changes of timers; the last one for a run counts.
    pub timers: Vec<TimerChange>,
    /// Wanted messages.
    pub sends: Vec<NewMessage>,
    /// What happened and why: cause, and entries as JSON.
    pub trace: Option<(String, String)>,
    /// Inbox rows that this step applied.
    pub inbox_done: Vec<InboxId>,
    /// Inbox rows for other contacts.
    pub inbox_new: Vec<NewInbox>,
    /// The contact's present address, when the step brought one.
    pub address: Option<NewAddress>,
    /// The contact has no e-mail address any more; nothing when the step brought one.
    pub address_gone: bool,
    /// This contact ends and becomes that one.
    pub absorbed_into: Option<ContactId>,
    /// Inputs that were set aside.
    pub quarantine: Vec<NewQuarantine>,
    /// Counter deltas.
    pub counters: Vec<(&'static str, i64)>,
}

impl ContactCommit {
    /// A commit of nothing but a state.
    #[must_use]
    pub const fn of_state(
        (tenant, contact, shard): (TenantId, ContactId, u16),
        (read_revision, seq): (i64, i64),
        state: Vec<u8>,
        now: Timestamp,
    ) -> Self {
        Self {
            tenant,
            contact,
            shard,
            read_revision,
            state,
            seq,
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

    /// Roughly how much this sends to the database.
    pub(super) fn bytes(&self) -> usize {
        let events: usize = self.events.iter().map(|event| 256 + event.body.len()).sum();
        let sends: usize = self.sends.iter().map(|send| 512 + send.data.len()).sum();
        let aside: usize = self.quarantine.iter().map(|row| 256 + row.payload.len()).sum();
        let inbox: usize =
            self.inbox_new.iter().map(|row| 256 + row.body.as_ref().map_or(0, Vec::len)).sum();
        let trace = self.trace.as_ref().map_or(0, |(_, body)| body.len());
        256 + self.state.len() + events + sends + aside + inbox + trace + 256 * self.runs.len()
    }
}

/// An accepted event.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// Its place in the contact's order of acceptance.
    pub seq: i64,
    /// How it came.
    pub kind: EventKind,
    /// Its name; may be empty.
    pub name: String,
    /// The messageId as sent.
    pub message_id: String,
    /// The de-duplication key.
    pub key: EventKey,
    /// The key's day as stored.
    pub day: i64,
    /// Hash of the body without what a retry changes.
    pub body_hash: [u8; 32],
    /// The client's own time.
    pub occurred_at: Option<Timestamp>,
    /// Product time of receipt.
    pub received_at: Timestamp,
    /// Canonical JSON.
    pub body: String,
    /// It comes back from quarantine, where its key may still be.
    pub requeued: bool,
}

/// A change of a run's one timer.
#[derive(Clone, Debug)]
pub enum TimerChange {
    /// Sets or replaces it.
    Set {
        /// Whose.
        run: RunId,
        /// The run's journey, for pausing.
        journey: Name,
        /// The timer's number.
        seq: u32,
        /// When.
        due_at: Timestamp,
    },
    /// Leaves the index of due timers until the journey is resumed.
    Hold {
        /// Whose.
        run: RunId,
    },
    /// Goes.
    Cancel {
        /// Whose.
        run: RunId,
    },
}

impl TimerChange {
    pub(super) const fn run(&self) -> RunId {
        match self {
            Self::Set { run, .. } | Self::Hold { run } | Self::Cancel { run } => *run,
        }
    }
}

/// A message that a run wants; skipped when its send key was used before.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its id.
    pub id: MessageId,
    /// Unique per brand.
    pub send_key: [u8; 16],
    /// The run that asks; none for messages asked for by other means.
    pub run: Option<RunId>,
    /// Its journey.
    pub journey: Option<Name>,
    /// Its version.
    pub journey_version: Option<u32>,
    /// The step that asks.
    pub step: Option<StepId>,
    /// How often the step has asked.
    pub occurrence: Option<u32>,
    /// `journey` or `api`.
    pub origin: &'static str,
    /// The template.
    pub template: Name,
    /// Its version.
    pub template_version: u32,
    /// The sender.
    pub sender: Name,
    /// The topic.
    pub topic: Name,
    /// The topic's class when it was enqueued.
    pub class: MessageClass,
    /// The channel.
    pub channel: Channel,
    /// Encoded data for the template.
    pub data: Vec<u8>,
    /// Not before, product time.
    pub not_before: Timestamp,
    /// Expires, product time.
    pub expires_at: Timestamp,
    /// Bucket of the recipient's domain.
    pub lane: i64,
}

/// An inbox row.
#[derive(Clone, Debug)]
pub struct NewInbox {
    /// The brand.
    pub tenant: TenantId,
    /// For whom.
    pub contact: ContactId,
    /// Names the cause: the same cause twice is one row.
    pub source: [u8; 16],
    /// Its kind.
    pub kind: &'static str,
    /// Ids and stable words, as JSON.
    pub ref_json: String,
    /// What is too large or too personal for `ref_json`.
    pub body: Option<Vec<u8>>,
}

/// The contact's present address on a channel.
#[derive(Clone, Debug)]
pub struct NewAddress {
    /// The channel.
    pub channel: Channel,
    /// Keyed hash.
    pub hmac: AddressHash,
    /// Version of the key.
    pub key_version: i64,
    /// The address, sealed.
    pub ciphertext: Vec<u8>,
}

/// An input that is set aside.
#[derive(Clone, Debug)]
pub struct NewQuarantine {
    /// Its id.
    pub id: QuarantineId,
    /// `ingest`, `event`, `timer` or `inbox`.
    pub origin: &'static str,
    /// Stable code.
    pub code: String,
    /// What was wrong, without values.
    pub detail: String,
    /// The input itself.
    pub payload: Vec<u8>,
    /// De-duplication key of an event.
    pub key: Option<EventKey>,
    /// Hash of an event's body.
    pub body_hash: Option<[u8; 32]>,
}

/// What became of one contact's commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is on disk.
    Done,
    /// An event key was used or set aside before: look the keys up, step again
    /// (in a batch the other user may have left too). Nothing was done.
    KeyConflict,
    /// The state moved, or an inbox row was applied already: load again. Nothing was done.
    Stale,
    /// The contact had ended and is that one now. Nothing was done.
    Merged(ContactId),
    /// The database refused it, alone. Nothing was done.
    Refused {
        /// SQLSTATE or SQLite's code.
        code: String,
        /// The table or constraint, when known.
        detail: String,
    },
    /// The shard belongs to another worker. Nothing was done.
    Moved,
    /// It may or may not have been done: forget the contact, load it before any further input.
    Unknown,
}
