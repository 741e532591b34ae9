//! What can reach a contact: a client event, a timer, or an inbox row. Nothing else.

pub use parcours_domain::EventKind;
use parcours_domain::{
    Channel, ContactId, EventId, MessageId, RunId, SendOutcome, StepId, Timestamp,
    consent::{FactKind, Scope},
    value::Properties,
};
use serde::{Deserialize, Serialize};

use crate::state::{EntryRecord, RunState};

/// One accepted client event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventInput {
    /// Its record's id.
    pub id: EventId,
    /// How it came.
    pub kind: EventKind,
    /// The track event's name; of page and screen events the page's name; otherwise empty.
    pub name: String,
    /// What conditions see as `event.*`: track and page properties, or group traits.
    pub properties: Properties,
    /// Attributes to set on the contact (identify traits); null removes.
    pub traits: Properties,
    /// The client's own time, as data.
    pub occurred_at: Option<Timestamp>,
}

/// One input to the interpreter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// A client event.
    Event(EventInput),
    /// A timer came due.
    Timer {
        /// Whose.
        run: RunId,
        /// Which of the run's timers; an older number is stale and does nothing.
        seq: u32,
    },
    /// A message ended.
    Outcome {
        /// Which message.
        message: MessageId,
        /// The run that asked for it.
        run: RunId,
        /// The step that asked for it.
        step: StepId,
        /// How it ended.
        outcome: SendOutcome,
        /// Stable word for why, when not sent.
        reason: Option<String>,
    },
    /// A link of a message was followed (first time for this link and message).
    Click {
        /// Which message.
        message: MessageId,
        /// The run that asked for it.
        run: RunId,
        /// The step that asked for it.
        step: StepId,
        /// Where the link led.
        url: String,
    },
    /// A consent fact was recorded.
    ConsentChanged {
        /// On which channel.
        channel: Channel,
        /// What was said.
        kind: FactKind,
        /// About what.
        scope: Scope,
    },
    /// An anonymous contact became this one: its attributes (these fill gaps, never overwrite),
    /// live runs and entry records move here.
    Absorbed(Box<Absorbed>),
}

/// What an absorbed anonymous contact brings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Absorbed {
    /// The contact that is no more.
    pub from: ContactId,
    /// Its attributes.
    pub attributes: Properties,
    /// Its live runs, ids unchanged.
    pub runs: Vec<RunState>,
    /// Its entry records.
    pub entries: Vec<EntryRecord>,
}
