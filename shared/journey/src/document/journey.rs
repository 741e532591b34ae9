//! The Journey document as written: entry, endings, steps in a list.
//!
//! The stored form is the written form: what [`JourneyDocument`] serialises to can be read again
//! as a document.
//!
//! ```yaml
//! apiVersion: parcours/v1
//! kind: Journey
//! name: cart
//! entry:
//!   event: Cart Updated            # or page: NAME, screen: NAME, identify: any, group: any;
//!                                  # NAME may be "*" for pages and screens
//!   when: event.total >= 20        # over contact and event
//!   audience: contact.country in ["FR", "BE"]   # over contact
//!   key: event.cart_id             # one run for each cart
//!   reentry: always                # never (default), always, or 30d since the last entry
//! exits:                           # act at once, wherever the contact stands
//!   - {id: emptied, event: Cart Emptied, key: event.cart_id}
//! goals:                           # the same, counted as success; looked at first
//!   - {id: bought, event: Order Completed, key: event.cart_id, when: event.total > 0}
//! start: pause                     # the first step when absent
//! steps:
//!   - id: pause                    # the author's id, stable across versions
//!     wait: {for: 1h}              # exact; 3d, 36h, 90m, 1w, 1d12h
//!   - id: morning
//!     wait: {until: {time: "09:00", weekday: [mon, tue]}}   # strictly later than now
//!   - id: birthday
//!     wait:
//!       date: contact.birthday     # or run.…
//!       offset: -7d                # whole days are calendar days
//!       time: "10:00"
//!       if_missing: exit           # continue (default), exit, end or a step
//!       if_past: next_year         # the same, or next_year
//!   - id: which
//!     split:                       # sticky: follows from the contact's handle and the salt
//!       salt: spring               # default: the journey's name, `/`, the step's id
//!       arms: [{id: a, weight: 1, next: mail}, {id: b, weight: 1, next: end}]
//!   - id: mail
//!     send:
//!       template: cart
//!       topic: offers
//!       sender: shop               # default: the brand's
//!       on: {refused: end}         # with `on` the run waits here for the outcome
//!   - id: listen
//!     wait_for:
//!       events:
//!         - {id: clicked, clicked: mail, next: note}
//!         - {id: visited, page: "*", when: event.path == "/cart", next: note}
//!       limit: 2d
//!       timeout: end
//!   - id: note
//!     set: {hot: true, last_cart: {from: run.cart_id}, cold: null}
//!   - id: tier
//!     branch:
//!       cases: [{when: contact.orders >= 5, next: thanks}]
//!       default: end
//!   - id: thanks
//!     exit: {reason: vip}
//! ```
//!
//! Steps go on to the one below unless they say `next`; `next: end` finishes the run. `event` in
//! a step is the event that moved the run there in this very input, and nothing after a wait;
//! `run` is what the entry event brought. The rules for dates and zones stand in
//! [`crate::interpret`].

use std::collections::BTreeMap;

use parcours_domain::{Name, SendOutcome, StepId, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    calendar::{TimeOfDay, Weekday},
    duration::{Duration, Offset},
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
    #[serde(default)]
    pub if_missing: DateRule,
    /// When it is past: `continue` (the default), `exit`, `end`, `next_year` or a step.
    #[serde(default)]
    pub if_past: DateRule,
}

/// What to do when a date is missing or past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DateRule {
    /// Go on with the step's `next` at once.
    #[default]
    Continue,
    /// End the run as exited.
    Exit,
    /// Wait for the same day and month of the next year that is still to come.
    NextYear,
    /// End the run as finished, or go to this step.
    Go(StepId),
}

impl DateRule {
    /// From the written word; none when it is neither a known word nor a step id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "continue" => Some(Self::Continue),
            "exit" => Some(Self::Exit),
            "next_year" => Some(Self::NextYear),
            _ => text.parse().ok().map(Self::Go),
        }
    }
}
impl Serialize for DateRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Continue => "continue",
            Self::Exit => "exit",
            Self::NextYear => "next_year",
            Self::Go(step) => step.as_str(),
        })
    }
}
impl<'de> Deserialize<'de> for DateRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a date rule"))
    }
}

/// Waiting for events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitForDocument {
    /// What may happen; the first that does is taken.
    pub events: Vec<AwaitedDocument>,
    /// How long to wait at most.
    pub limit: Duration,
    /// Where to go when time runs out; the step's `next` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<StepId>,
}

/// One awaited thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedDocument {
    /// The branch's name.
    pub id: Name,
    /// What must happen.
    #[serde(flatten)]
    pub on: AwaitedMatch,
    /// Condition over `contact`, `event` and `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Where to go; the step's `next` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<StepId>,
}

/// What a `wait_for` step can wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AwaitedMatch {
    /// A link of the last message of this send step was followed, now or before.
    Clicked {
        /// The send step.
        clicked: StepId,
    },
    /// An event.
    On(EventMatch),
}

/// First match wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchDocument {
    /// In order.
    pub cases: Vec<CaseDocument>,
    /// When none matches; the step below when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<StepId>,
}

/// One case of a branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseDocument {
    /// Condition over `contact`, `event` and `run`.
    pub when: String,
    /// Where to go.
    pub next: StepId,
}

/// A weighted choice that falls the same way each time for one contact and salt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitDocument {
    /// Changed only to deal anew; the journey's name, `/` and the step id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// The arms.
    pub arms: Vec<ArmDocument>,
}

/// One arm of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmDocument {
    /// Its name.
    pub id: Name,
    /// Its share, relative to the sum of the weights.
    pub weight: u32,
    /// Where to go; the step below when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<StepId>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendDocument {
    /// The template.
    pub template: Name,
    /// The topic under which it is sent. A send without one is a problem found at publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Name>,
    /// The sender; the brand's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Name>,
    /// Where to go by outcome. When not empty, the run waits here for the outcome.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on: BTreeMap<SendOutcome, StepId>,
}

/// Where a new attribute value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum SetValue {
    /// This value.
    Value(Value),
    /// What stands at this path.
    From(String),
}

impl Serialize for SetValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.to_json().serialize(serializer),
            Self::From(path) => serde_json::json!({ "from": path }).serialize(serializer),
        }
    }
}
impl<'de> Deserialize<'de> for SetValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?;
        match json.get("from").and_then(serde_json::Value::as_str) {
            Some(path) => Ok(Self::From(path.to_owned())),
            None => Ok(Self::Value(Value::from_json(json))),
        }
    }
}

/// The end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitDocument {
    /// Shown as what ended the run; the step's id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
