//! What a step asks the outside to do, in the same commit as the state it leaves.

use parcours_domain::{MessageId, Name, RunId, StepId, Timestamp, value::Properties};
use serde::{Deserialize, Serialize};

use crate::state::ContactState;

/// The result of one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The state afterwards.
    pub state: ContactState,
    /// What must be committed with it, in order.
    pub effects: Vec<Effect>,
    /// What happened and why, for "why" and for tests.
    pub trace: Vec<TraceEntry>,
}

/// One thing to commit with the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The run's queryable projection, to insert or overwrite by run id.
    Run(RunRow),
    /// The run's one live timer: replaces an earlier one of the same run.
    SetTimer {
        /// Whose.
        run: RunId,
        /// Its number.
        seq: u32,
        /// When.
        due_at: Timestamp,
    },
    /// The run's timer came due while its journey was paused: mark the row held.
    HoldTimer {
        /// Whose.
        run: RunId,
    },
    /// The run has no timer any more.
    CancelTimer {
        /// Whose.
        run: RunId,
    },
    /// A message is wanted.
    Send(SendRequest),
}

/// The `run` row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// The run.
    pub id: RunId,
    /// The journey.
    pub journey: Name,
    /// The version it is on.
    pub version: u32,
    /// The run key ("" when the journey has none).
    pub key: String,
    /// `waiting`, `held`, `finished`, `goal`, `exited` or `failed`; the first two are live.
    pub status: &'static str,
    /// Where it stands or ended.
    pub step: StepId,
    /// When it entered.
    pub entered_at: Timestamp,
    /// When it wakes, while live.
    pub wakes_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Which exit, goal or end step ended it, or why it failed.
    pub ended_by: Option<String>,
}

/// A message that a send step wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendRequest {
    /// Its id, derived from the send key: the same through every retry and replay.
    pub message: MessageId,
    /// The run that asks.
    pub run: RunId,
    /// Its journey.
    pub journey: Name,
    /// Its version.
    pub version: u32,
    /// The step that asks.
    pub step: StepId,
    /// How often this step has asked in this run, from 1.
    pub occurrence: u32,
    /// First 16 bytes of SHA-256 over (run, step, occurrence): unique per brand.
    pub send_key: [u8; 16],
    /// The template's name; the version is the head at commit.
    pub template: Name,
    /// The topic under which it is sent.
    pub topic: Name,
    /// The sender, when the step names one; otherwise the brand's default.
    pub sender: Option<Name>,
    /// Not before.
    pub not_before: Timestamp,
    /// `run.*` for the template.
    pub data: Properties,
}

/// One line of "what happened and why". Holds ids and author-given names, never values of
/// attributes or events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// The run it is about; none when an entry was refused.
    pub run: Option<RunId>,
    /// The journey it is about.
    pub journey: Name,
    /// Its version.
    pub version: u32,
    /// The step it is about, when it is about one.
    pub step: Option<StepId>,
    /// A stable word: `entered`, `not_entered`, `waits`, `woke`, `branched`, `split`, `sent`,
    /// `set`, `finished`, `exited`, `goal`, `held`, `stale_timer`, `missing`, ...
    pub what: String,
    /// Detail: the branch taken, the rule that refused, the attribute that was missing.
    pub detail: String,
}
