//! The Journey document as written: entry, endings, steps in a list.
//!
//! The stored form is the written form: what [`JourneyDocument`] serialises to can be read again
//! as a document.

use std::collections::BTreeMap;

use parcours_domain::{Name, SendOutcome, StepId, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    calendar::{TimeOfDay, Weekday},
    duration::{Duration, Offset},
    plain_value,
};

/// Names that a step cannot have, because jumps give them a meaning.
pub const RESERVED_STEP_IDS: [&str; 4] = ["end", "exit", "continue", "next_year"];

/// The jump target that ends the run as finished.
pub const END: &str = "end";

/// A journey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JourneyDocument {
    /// Its name within the brand.
    pub name: Name,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// How contacts come in.
    pub entry: EntryDocument,
    /// What ends a run wherever it stands.
    #[serde(default)]
    pub exits: Vec<EndingDocument>,
    /// The same, but counted as success.
    #[serde(default)]
    pub goals: Vec<EndingDocument>,
    /// Where runs begin; the first step when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StepId>,
    /// The steps.
    pub steps: Vec<StepDocument>,
}

/// Which events are meant: exactly one of these keys is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventMatch {
    /// A track event with this name.
    Event(String),
    /// A page view with this name; `*` for any.
    Page(String),
    /// A screen view with this name; `*` for any.
    Screen(String),
    /// Attributes arrived; always `*`.
    Identify(String),
    /// A group call; always `*`.
    Group(String),
}

/// How contacts come in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryDocument {
    /// On which event.
    #[serde(flatten)]
    pub on: EventMatch,
    /// Condition over `contact` and `event`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Who is meant: condition over `contact`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Path whose value tells runs of one contact apart (`event.cart_id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether a contact may come again.
    #[serde(default)]
    pub reentry: Reentry,
}

/// Whether a contact may enter again, counted from the last entry under the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reentry {
    /// Once only.
    #[default]
    Never,
    /// Whenever no run is live.
    Always,
    /// After this long.
    After(Duration),
}

impl Serialize for Reentry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => serializer.serialize_str("never"),
            Self::Always => serializer.serialize_str("always"),
            Self::After(after) => serializer.collect_str(after),
        }
    }
}
impl<'de> Deserialize<'de> for Reentry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a re-entry rule"))
    }
}

impl Reentry {
    /// From `never`, `always` or a duration.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "never" => Some(Self::Never),
            "always" => Some(Self::Always),
            _ => text.parse().ok().map(Self::After),
        }
    }
}

/// An exit or a goal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndingDocument {
    /// Its name, shown as what ended the run.
    pub id: Name,
    /// On which event.
    #[serde(flatten)]
    pub on: EventMatch,
    /// Condition over `contact`, `event` and `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Path that must equal the run's key (`event.cart_id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepDocument {
    /// The author's id, stable across versions.
    pub id: StepId,
    /// What it does: exactly one of these keys is written.
    #[serde(flatten)]
    pub action: ActionDocument,
    /// Where to go on; the step below when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<StepId>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionDocument {
    /// Lets time pass.
    Wait(WaitDocument),
    /// Lets one of several things happen, or time run out.
    WaitFor(WaitForDocument),
    /// Chooses by condition.
    Branch(BranchDocument),
    /// Chooses by lot, the same each time.
    Split(SplitDocument),
    /// Asks for a message.
    Send(SendDocument),
    /// Changes attributes of the contact.
    Set(BTreeMap<String, SetValue>),
    /// Ends the run.
    Exit(ExitDocument),
}

/// How time passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WaitDocument {
    /// This long.
    For {
        /// Exact span.
        #[serde(rename = "for")]
        span: Duration,
    },
    /// Until a time of day.
    Until {
        /// Which.
        until: UntilDocument,
    },
    /// Until a date, plus or minus an offset.
    Date(DateWaitDocument),
}

/// A time of day, on some days of the week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UntilDocument {
    /// Local time.
    pub time: TimeOfDay,
    /// On which days; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekday: Vec<Weekday>,
}

/// A date attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateWaitDocument {
    /// Path of the date: `contact.…` or `run.…`.
    pub date: String,
    /// Before or after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// Local time on that day; the date's own time, or 09:00 when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeOfDay>,
    /// When there is no date: `continue` (the default), `exit`, `end` or a step.
    #[serde(default = "word_continue")]
    pub if_missing: Name,
    /// When it is past: `continue` (the default), `exit`, `end`, `next_year` or a step.
    #[serde(default = "word_continue")]
    pub if_past: Name,
}
