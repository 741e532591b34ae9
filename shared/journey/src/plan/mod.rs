//! Plans: what publishing makes of a journey document. Immutable, versioned, without source text.

mod book;
mod compile;
mod diff;
mod graph;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{Channel, MessageClass, Name, SendOutcome, StepId};
use serde::{Deserialize, Serialize};

pub use book::{PlanBook, PlanStatus};
pub use compile::compile;
pub use diff::{StepDiff, diff};

use crate::{
    condition::{Condition, Path},
    document::{
        calendar::{TimeOfDay, Weekday},
        duration::{Duration, Offset},
        journey::{EventMatch, Reentry},
    },
};

/// The language semantics that this build compiles to. The interpreter keeps every number that a
/// live run may still use.
pub const SEMANTICS: u32 = 1;

/// The most steps a journey may have.
pub const STEPS_MAX: usize = 200;

/// One published version of a journey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The language semantics it was compiled under.
    pub semantics: u32,
    /// The journey.
    pub journey: Name,
    /// The version.
    pub version: u32,
    /// How contacts come in.
    pub entry: Entry,
    /// What ends a run wherever it stands.
    pub exits: Vec<Ending>,
    /// The same, but counted as success; looked at before the exits.
    pub goals: Vec<Ending>,
    /// Where runs begin.
    pub start: StepId,
    /// The steps.
    pub steps: BTreeMap<StepId, PlanStep>,
    /// The steps' ids in the author's order.
    pub order: Vec<StepId>,
    /// What it uses.
    pub reads: Reads,
}

/// How contacts come in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// On which event.
    pub on: EventMatch,
    /// Condition over `contact` and `event`.
    pub when: Option<Condition>,
    /// Condition over `contact`.
    pub audience: Option<Condition>,
    /// What tells runs of one contact apart.
    pub key: Option<Path>,
    /// Whether a contact may come again.
    pub reentry: Reentry,
}

/// An exit or a goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Its name.
    pub id: Name,
    /// On which event.
    pub on: EventMatch,
    /// Condition over `contact`, `event` and `run`.
    pub when: Option<Condition>,
    /// What must equal the run's key.
    pub key: Option<Path>,
}

/// Where a run goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// To a step.
    Step(StepId),
    /// To its end, as finished.
    End,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanStep {
    /// Lets time pass.
    Wait(Wait),
    /// Lets one of several things happen, or time run out.
    WaitFor(WaitFor),
    /// Chooses by condition.
    Branch(Branch),
    /// Chooses by lot, the same each time.
    Split(Split),
    /// Asks for a message.
    Send(Send),
    /// Changes attributes of the contact.
    Set(SetStep),
    /// Ends the run.
    Exit(Exit),
}

/// Lets time pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Until when.
    pub until: WaitUntil,
    /// Then.
    pub next: Next,
}

/// Until when a wait lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitUntil {
    /// This long.
    Span(Duration),
    /// The next such local time, strictly later than now.
    TimeOfDay {
        /// The time.
        time: TimeOfDay,
        /// On which days; any when empty.
        weekdays: Vec<Weekday>,
    },
    /// A date.
    Date(DateWait),
}

/// A date to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateWait {
    /// Where the date stands.
    pub path: Path,
    /// Before or after it.
    pub offset: Offset,
    /// Local time on that day, when the author gave one.
    pub time: Option<TimeOfDay>,
    /// When there is no date.
    pub if_missing: Fallback,
    /// When it is not later than now.
    pub if_past: PastRule,
}

/// What happens instead of a wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// Go there at once.
    Go(Next),
    /// End the run as exited.
    Exit,
}

/// What happens when a date is past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PastRule {
    /// Something instead of the wait.
    Fallback(Fallback),
    /// The first return of the day that is later than now.
    NextYear,
}

/// Lets one of several things happen, or time run out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitFor {
    /// What may happen, in order.
    pub events: Vec<Awaited>,
    /// How long at most.
    pub limit: Duration,
    /// When time runs out.
    pub timeout: Next,
}

/// One awaited thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Awaited {
    /// The branch's name.
    pub id: Name,
    /// What must happen.
    pub on: AwaitedOn,
    /// Condition over `contact`, `event` and `run`.
    pub when: Option<Condition>,
    /// Then.
    pub next: Next,
}

/// What must happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AwaitedOn {
    /// An event.
    Event(EventMatch),
    /// A link of this send step's last message was followed, now or before.
    Clicked(StepId),
}

/// Chooses by condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// In order; the first that holds is taken.
    pub cases: Vec<Case>,
    /// When none holds.
    pub default: Next,
}

/// One case of a branch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// When.
    pub when: Condition,
    /// Then.
    pub next: Next,
}

/// Chooses by lot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// What is hashed beside the contact's handle.
    pub salt: String,
    /// The arms; at least one has weight.
    pub arms: Vec<Arm>,
}

/// One arm of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// Its name.
    pub id: Name,
    /// Its share.
    pub weight: u32,
    /// Then.
    pub next: Next,
}

/// Asks for a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Send {
    /// The template.
    pub template: Name,
    /// The topic.
    pub topic: Name,
    /// The sender, when the author named one.
    pub sender: Option<Name>,
    /// Where to go by outcome; not empty means that the run waits for it.
    pub on: BTreeMap<SendOutcome, Next>,
    /// Where to go at once, or after an outcome without its own branch.
    pub next: Next,
}

/// Changes attributes of the contact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetStep {
    /// By attribute.
    pub values: BTreeMap<String, Source>,
    /// Then.
    pub next: Next,
}

/// Where a new attribute value comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// This value; null removes the attribute.
    Value(#[serde(with = "crate::document::plain_value")] parcours_domain::Value),
    /// What stands there; when nothing does, the attribute stays as it is.
    Path(Path),
}

/// Ends the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Shown as what ended the run; the step's id when absent.
    pub reason: Option<String>,
}

/// What a plan uses: for publishing rights, and for knowing what would break.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Templates.
    pub templates: BTreeSet<Name>,
    /// Topics.
    pub topics: BTreeSet<Name>,
    /// Senders named in steps.
    pub senders: BTreeSet<Name>,
}

/// What is known of a topic when a journey is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its class.
    pub class: MessageClass,
    /// Its channel.
    pub channel: Channel,
}

/// One merge field that a template uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldUse {
    /// Its path: `contact.first_name`.
    pub path: String,
    /// Whether the template says what stands in its place.
    pub has_default: bool,
}

/// What else is published, as [`compile()`] needs to know it.
pub trait Catalogue {
    /// The topic, if there is one of that name.
    fn topic(&self, name: &Name) -> Option<TopicInfo>;
    /// Whether there is such a template.
    fn has_template(&self, name: &Name) -> bool;
    /// The merge fields of a template; none when they are not known.
    fn template_fields(&self, name: &Name) -> Option<Vec<FieldUse>>;
    /// Whether there is such a sender.
    fn has_sender(&self, name: &Name) -> bool;
    /// The brand's default sender.
    fn default_sender(&self) -> Option<Name>;
}

/// A stored plan cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It was compiled under semantics that this build does not have.
    #[error("plan has semantics {0}, this build knows 1")]
    Semantics(u32),
    /// It is damaged.
    #[error("plan is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
}

/// Only the number that says how to read the rest.
#[derive(Deserialize)]
struct Header {
    semantics: u32,
}

impl Plan {
    /// The stored form: JSON.
    ///
    /// # Errors
    /// `Damaged`, when a value has no JSON form; compiled plans always have one.
    pub fn encode(&self) -> Result<Vec<u8>, PlanError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Reads what [`Plan::encode`] wrote.
    ///
    /// # Errors
    /// `Semantics` or `Damaged`.
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        let header: Header = serde_json::from_slice(bytes)?;
        if header.semantics == SEMANTICS {
            Ok(serde_json::from_slice(bytes)?)
        } else {
            Err(PlanError::Semantics(header.semantics))
        }
    }
}
