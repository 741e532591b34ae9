//! One input of a contact, as it waits to be folded: an event, a timer, or an inbox row read into
//! what it means.
//!
//! Reading never fails: what cannot be read becomes an item of its own that goes to quarantine.

use parcours_domain::{ContactId, EventId, InboxId, RunId, TenantId, hash::sha256_head};
use parcours_journey::{Absorbed, EventInput, Input};
use parcours_queue::TimerEntry;
use parcours_store::{AbsorbRef, ClickRef, ConsentRef, OutcomeRef};
use parcours_wire::AcceptedEvent;
use serde::de::DeserializeOwned;

use crate::{
    durable::{InboxRow, StoredKey},
    payload::{self, SetAside},
    work::Place,
};

/// First byte of an `absorbed` row's body.
const ABSORBED_VERSION: u8 = 1;

/// One input.
#[derive(Debug)]
pub(crate) enum Item {
    /// A client event; one that comes back from quarantine has a row and no place.
    Event { event: Box<AcceptedEvent>, place: Option<Place>, row: Option<InboxId> },
    /// A timer.
    Timer { run: RunId, seq: u32, row: Option<InboxId>, entry: Option<TimerEntry> },
    /// A run whose timer row is missing.
    Repair { run: RunId },
    /// An inbox row that is an input to the interpreter.
    Inbox { row: InboxRow, input: Box<Input> },
    /// This contact ends and becomes another.
    Absorb { row: InboxRow, into: ContactId },
    /// An inbox row that this build cannot read.
    Unreadable { row: InboxRow, detail: String },
}

impl Item {
    /// Whether it is committed by itself, never folded.
    pub(crate) const fn stands_alone(&self) -> bool {
        match self {
            Self::Absorb { .. } | Self::Unreadable { .. } => true,
            Self::Event { .. } | Self::Timer { .. } | Self::Repair { .. } | Self::Inbox { .. } => {
                false
            }
        }
    }

    /// The inbox row that its commit consumes.
    pub(crate) const fn row(&self) -> Option<InboxId> {
        match self {
            Self::Event { row, .. } | Self::Timer { row, .. } => *row,
            Self::Repair { .. } => None,
            Self::Inbox { row, .. } | Self::Absorb { row, .. } | Self::Unreadable { row, .. } => {
                Some(row.id)
            }
        }
    }

    /// The de-duplication key, of an event.
    pub(crate) fn key(&self) -> Option<StoredKey> {
        match self {
            Self::Event { event, .. } => Some(stored_key(event)),
            Self::Timer { .. }
            | Self::Repair { .. }
            | Self::Inbox { .. }
            | Self::Absorb { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    /// Where it came from, in quarantine's words.
    pub(crate) const fn origin(&self) -> &'static str {
        match self {
            Self::Event { .. } => "event",
            Self::Timer { .. } | Self::Repair { .. } => "timer",
            Self::Inbox { .. } | Self::Absorb { .. } | Self::Unreadable { .. } => "inbox",
        }
    }

    /// What it looks like in quarantine.
    pub(crate) fn payload(&self) -> Vec<u8> {
        match self {
            Self::Event { event, .. } => SetAside::event(event),
            Self::Timer { run, seq, .. } => SetAside::Timer { run: *run, seq: *seq },
            Self::Repair { run } => SetAside::Timer { run: *run, seq: 0 },
            Self::Inbox { row, .. } | Self::Absorb { row, .. } | Self::Unreadable { row, .. } => {
                SetAside::inbox(row)
            }
        }
        .encode()
    }
}

pub(crate) fn stored_key(event: &AcceptedEvent) -> StoredKey {
    (event.key, event.day.as_stored())
}

/// An event's id: the receipt's moment, then bits of the key, so that one commit repeated by hand
/// or by a crash names the same record.
pub(crate) fn event_id(tenant: TenantId, event: &AcceptedEvent) -> EventId {
    let day = event.day.as_stored().to_be_bytes();
    EventId::v7(event.received_at, sha256_head(&[b"event", &tenant.bytes(), &event.key.0, &day]))
}

/// What the interpreter sees of an event.
pub(crate) fn event_input(id: EventId, event: &AcceptedEvent) -> Input {
    let mut traits = event.traits.clone();
    if let Some(email) = &event.email {
        traits.entry("email".to_owned()).or_insert_with(|| email.expose().into());
    }
    Input::Event(EventInput {
        id,
        kind: event.kind,
        name: event.name.clone(),
        properties: event.properties.clone(),
        traits,
        occurred_at: event.occurred_at,
    })
}

/// Reads an inbox row.
pub(crate) fn from_row(row: InboxRow) -> Item {
    match read(&row) {
        Ok(Meaning::Input(input)) => Item::Inbox { row, input: Box::new(input) },
        Ok(Meaning::Absorb(into)) => Item::Absorb { row, into },
        Ok(Meaning::Event(event)) => Item::Event { event, place: None, row: Some(row.id) },
        Ok(Meaning::Timer { run, seq }) => Item::Timer { run, seq, row: Some(row.id), entry: None },
        Err(fault) => Item::Unreadable { detail: fault.to_string(), row },
    }
}

enum Meaning {
    Input(Input),
    Absorb(ContactId),
    Event(Box<AcceptedEvent>),
    Timer { run: RunId, seq: u32 },
}

/// Why a row cannot be read.
#[derive(Debug, thiserror::Error)]
enum RowFault {
    #[error("inbox row of unknown kind")]
    Kind,
    #[error("inbox row without the body its kind needs")]
    Body,
    #[error("inbox row's reference is damaged")]
    Reference,
    #[error("what the absorbed contact brings is damaged or of another version")]
    Absorbed,
    #[error(transparent)]
    Payload(#[from] payload::PayloadError),
    #[error("a requeued input leads to another requeue")]
    Nested,
}

fn read(row: &InboxRow) -> Result<Meaning, RowFault> {
    Ok(match row.kind.as_str() {
        "outcome" => {
            let OutcomeRef { message, run, step, outcome, reason } = reference(row)?;
            Meaning::Input(Input::Outcome { message, run, step, outcome, reason })
        }
        "click" => {
            let ClickRef { message, run, step, url, .. } = reference(row)?;
            Meaning::Input(Input::Click { message, run, step, url })
        }
        "consent" => {
            let ConsentRef { channel, kind, scope, .. } = reference(row)?;
            Meaning::Input(Input::ConsentChanged { channel, kind, scope })
        }
        "absorb" => Meaning::Absorb(reference::<AbsorbRef>(row)?.into),
        "absorbed" => {
            let body = row.body.as_deref().ok_or(RowFault::Body)?;
            Meaning::Input(Input::Absorbed(Box::new(decode_absorbed(body)?)))
        }
        "requeue" => requeued(row)?,
        _ => return Err(RowFault::Kind),
    })
}

fn requeued(row: &InboxRow) -> Result<Meaning, RowFault> {
    let body = row.body.as_deref().ok_or(RowFault::Body)?;
    match SetAside::decode(body)? {
        SetAside::Event(event) => Ok(Meaning::Event(Box::new(event.accepted()?))),
        SetAside::Timer { run, seq } => Ok(Meaning::Timer { run, seq }),
        SetAside::Inbox { kind, .. } if kind == "requeue" => Err(RowFault::Nested),
        SetAside::Inbox { kind, reference, body } => {
            let body = payload::inbox_body(body)?;
            read(&InboxRow { kind, ref_json: reference, body, ..row.clone() })
        }
    }
}

fn reference<T: DeserializeOwned>(row: &InboxRow) -> Result<T, RowFault> {
    serde_json::from_str(&row.ref_json).map_err(|_| RowFault::Reference)
}

/// The body of an `absorbed` row: a version byte, then postcard.
pub(crate) fn encode_absorbed(absorbed: &Absorbed) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(absorbed, vec![ABSORBED_VERSION])
}

fn decode_absorbed(body: &[u8]) -> Result<Absorbed, RowFault> {
    match body.split_first() {
        Some((&ABSORBED_VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|_| RowFault::Absorbed)
        }
        Some(_) | None => Err(RowFault::Absorbed),
    }
}
