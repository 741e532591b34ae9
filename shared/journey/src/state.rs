//! Where one contact stands: attributes, live runs, entry records. One versioned binary blob.

use std::collections::BTreeMap;

use parcours_domain::{
    Handle, MessageId, Name, RunId, SendOutcome, StepId, Timestamp, value::Properties,
};
use serde::{Deserialize, Serialize};

/// The most bytes an encoded state may have; beyond it a step is refused with a typed error.
pub const STATE_BYTES_MAX: usize = 64 * 1024;

/// First byte of an encoded state.
const STATE_VERSION: u8 = 1;

/// Everything the interpreter knows of a contact between two inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContactState {
    /// The contact's random handle: what splits hash.
    pub handle: Handle,
    /// `contact.*`.
    pub attributes: Properties,
    /// Live runs, ordered by id.
    pub runs: Vec<RunState>,
    /// When this contact last entered each (journey, key), ordered by journey and key hash.
    pub entries: Vec<EntryRecord>,
}

/// The last entry into one journey under one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryRecord {
    /// The journey.
    pub journey: Name,
    /// First 8 bytes of SHA-256 of the run key ("" when the journey has none).
    pub key_hash: [u8; 8],
    /// When.
    pub at: Timestamp,
}

/// One live run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Its id; survives absorption and version change.
    pub id: RunId,
    /// The journey's name.
    pub journey: Name,
    /// The published version it entered and stays on.
    pub version: u32,
    /// The run key's text ("" when the journey has none).
    pub key: String,
    /// When it entered.
    pub entered_at: Timestamp,
    /// The step it stands on.
    pub step: StepId,
    /// What it waits for there.
    pub status: RunStatus,
    /// Number of the live timer; grows with each timer set.
    pub timer_seq: u32,
    /// When the live timer is due.
    pub wakes_at: Timestamp,
    /// `run.*` for conditions and templates: the entry event's properties.
    pub data: Properties,
    /// How often each send step ran: the occurrence in the send key.
    pub occurrences: BTreeMap<StepId, u32>,
    /// The last message of each send step, how it ended, whether a link was followed.
    pub sends: BTreeMap<StepId, SendState>,
    /// The arm taken at each split.
    pub arms: BTreeMap<StepId, Name>,
}

/// What became of a send step's last message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendState {
    /// The message.
    pub message: MessageId,
    /// How it ended, once known.
    pub outcome: Option<SendOutcome>,
    /// Whether any link was followed.
    pub clicked: bool,
}

/// Whether a live run waits or is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunStatus {
    /// Waits with exactly one live timer.
    Waiting(Waiting),
    /// Its timer came due while the journey was paused; it comes back on resume.
    Held(Waiting),
}

/// What a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waiting {
    /// A duration or a time of day.
    Time,
    /// A date attribute; recomputed when the attribute or the zone changes.
    Date,
    /// One of several events, or the limit.
    Events,
    /// The outcome of a send (the timer is the safety net).
    Outcome,
}

/// An encoded state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The blob begins with a version this build does not know.
    #[error("contact state has version {0}, this build reads version 1")]
    Version(u8),
    /// The blob is damaged.
    #[error("contact state is damaged: {0}")]
    Damaged(#[from] postcard::Error),
    /// The encoded state would be larger than [`STATE_BYTES_MAX`].
    #[error("contact state would take {0} bytes; at most 65536 are stored")]
    TooLarge(usize),
}

impl ContactState {
    /// The state of a contact that nothing happened to yet.
    #[must_use]
    pub const fn new(handle: Handle) -> Self {
        Self { handle, attributes: Properties::new(), runs: Vec::new(), entries: Vec::new() }
    }

    /// Version byte, then postcard.
    ///
    /// # Errors
    /// `TooLarge` beyond [`STATE_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        let bytes = postcard::to_extend(self, vec![STATE_VERSION])?;
        if bytes.len() > STATE_BYTES_MAX {
            Err(StateError::TooLarge(bytes.len()))
        } else {
            Ok(bytes)
        }
    }

    /// Reads what [`ContactState::encode`] wrote.
    ///
    /// # Errors
    /// `Version` or `Damaged`.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        match bytes.split_first() {
            Some((&STATE_VERSION, rest)) => Ok(postcard::from_bytes(rest)?),
            Some((&version, _)) => Err(StateError::Version(version)),
            None => Err(StateError::Version(0)),
        }
    }

    /// The live run with this id.
    #[must_use]
    pub fn run(&self, id: RunId) -> Option<&RunState> {
        self.runs.iter().find(|run| run.id == id)
    }
}
