//! The history checker: what clients sent and were told, what the database holds, what the sink
//! received; and what is wrong between the three.
//!
//! Data in, findings out. Nothing here talks to the code under test: [`read`] takes the rows by
//! SQL of its own, clients and sink write down what they saw. Nothing assumes one process: the
//! same history may come from a cluster. The laws are in `laws`, each a function of its own; a
//! history without findings has lost nothing, doubled nothing, kept its order, sent nothing
//! unlawful, and fired nothing early or late.
//!
//! All moments are milliseconds since the epoch: those of clients and sink by the test's clock,
//! those of rows by the product's. The history is asked about when the product should be quiet.

mod figures;
mod finding;
mod index;
mod laws;
pub mod read;
#[cfg(test)]
mod tests;

pub use figures::Figures;
pub use finding::{Finding, Kind};

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Events that clients sent.
    pub events: Vec<SentEvent>,
    /// Consent facts that clients sent.
    pub facts: Vec<SentFact>,
    /// Whose address is whose, as clients said.
    pub people: Vec<Person>,
    /// What the database holds.
    pub held: Held,
    /// What the sink received.
    pub arrivals: Vec<Arrival>,
    /// What the brand's documents promise.
    pub promises: Promises,
}

impl History {
    /// Everything that is wrong, by law, when the product should be quiet.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let index = index::Index::of(self);
        laws::ALL.iter().flat_map(|law| law(&index)).collect()
    }

    /// What is wrong by the laws that hold at any moment: after each commit, whatever is under way.
    #[must_use]
    pub fn check_midway(&self) -> Vec<Finding> {
        let index = index::Index::of(self);
        laws::MIDWAY.iter().flat_map(|law| law(&index)).collect()
    }
}

/// What a client heard in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done, now or by an earlier attempt.
    Acknowledged,
    /// It was not applied but kept where people look.
    SetAside,
    /// It will not be done.
    Refused,
    /// The client gave up without an answer.
    Unknown,
}

/// An event that a client sent, with its retries.
#[derive(Clone, Debug)]
pub struct SentEvent {
    /// The brand's name.
    pub brand: String,
    /// The userId.
    pub user: String,
    /// The messageId, the same in every attempt.
    pub message_id: String,
    /// Which request it was in, the same in every attempt; unique over all clients.
    pub request: u64,
    /// Its place in the request.
    pub place: usize,
    /// When it was first sent.
    pub at: i64,
    /// When the answer came.
    pub answered_at: Option<i64>,
    /// What the answer was.
    pub answer: Answer,
    /// The journey that it starts and the run key under which it does.
    pub starts: Option<(String, String)>,
}

/// What a person said about marketing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Yes.
    Given,
    /// No more.
    Withdrawn,
}

/// A consent fact that a client sent, with its retries.
#[derive(Clone, Debug)]
pub struct SentFact {
    /// The brand's name.
    pub brand: String,
    /// The userId.
    pub user: String,
    /// What was said.
    pub word: Word,
    /// When it was first sent.
    pub at: i64,
    /// When the answer came.
    pub answered_at: Option<i64>,
    /// What the answer was.
    pub answer: Answer,
}

/// Who has which address.
#[derive(Clone, Debug)]
pub struct Person {
    /// The brand's name.
    pub brand: String,
    /// The userId.
    pub user: String,
    /// The address.
    pub address: String,
}

/// A message at the sink.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The message's id, from its Message-ID; none when it carries none of ours.
    pub message: Option<String>,
    /// The envelope's recipient.
    pub recipient: String,
    /// When its data began.
    pub at: i64,
}

/// What the documents say must happen.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    /// The journeys.
    pub journeys: Vec<Journey>,
    /// More than so many milliseconds after its due time is late.
    pub late_ms: i64,
    /// How many messages may have been leaving already when a withdrawal was acknowledged.
    pub leaving_most: usize,
}

/// A journey whose steps each run passes at most once.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Its name.
    pub name: String,
    /// Its steps that wait for time.
    pub waits: Vec<Wait>,
    /// Its steps that send.
    pub sends: Vec<Send>,
}

/// A step that waits for time.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The step.
    pub step: String,
    /// For how long.
    pub span_ms: i64,
    /// Whether an event may end it before its time.
    pub until_event: bool,
}

/// A step that sends, and that every finished run has passed.
#[derive(Clone, Debug)]
pub struct Send {
    /// The step.
    pub step: String,
    /// The least time from sending the entry event to the arrival.
    pub least_ms: i64,
    /// Whether the run waits there for the outcome.
    pub awaited: bool,
}

/// What the database holds, ids as 32 hexadecimal digits, brands by name.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Product time at which it was read.
    pub asked_at: i64,
    /// `event`.
    pub events: Vec<HeldEvent>,
    /// `contact_state`.
    pub contacts: Vec<HeldContact>,
    /// `run`.
    pub runs: Vec<HeldRun>,
    /// `timer`.
    pub timers: Vec<HeldTimer>,
    /// The lines of `trace`.
    pub trace: Vec<TraceLine>,
    /// `inbox`.
    pub inbox: Vec<HeldInput>,
    /// `message`.
    pub messages: Vec<HeldMessage>,
    /// `send_queue`.
    pub queue: Vec<HeldInput>,
    /// `consent_fact`.
    pub facts: Vec<HeldFact>,
    /// messageIds in `quarantine`.
    pub set_aside: Vec<(String, String)>,
}

/// An applied event.
#[derive(Clone, Debug)]
pub struct HeldEvent {
    /// The brand.
    pub brand: String,
    /// The contact to which it was applied.
    pub contact: String,
    /// Its number in the contact's order of acceptance, from 1.
    pub seq: i64,
    /// The client's messageId.
    pub message_id: String,
}

/// A contact's state.
#[derive(Clone, Debug)]
pub struct HeldContact {
    /// The contact.
    pub id: String,
    /// The number of its last accepted event.
    pub seq: i64,
}

/// A run.
#[derive(Clone, Debug)]
pub struct HeldRun {
    /// The brand.
    pub brand: String,
    /// The run.
    pub id: String,
    /// The contact.
    pub contact: String,
    /// The journey.
    pub journey: String,
    /// The run key.
    pub key: String,
    /// Whether it is under way.
    pub live: bool,
    /// Its status word.
    pub status: String,
    /// Where it stands or ended.
    pub step: String,
}

/// A timer.
#[derive(Clone, Debug)]
pub struct HeldTimer {
    /// The run that it wakes.
    pub run: String,
    /// When.
    pub due_at: i64,
    /// Whether its journey is paused.
    pub on_hold: bool,
}

/// One line of what happened to a run.
#[derive(Clone, Debug)]
pub struct TraceLine {
    /// When it was committed.
    pub at: i64,
    /// The input: `event:ID`, `timer:RUN` or `inbox:ID`.
    pub cause: String,
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// What happened.
    pub what: String,
    /// Detail.
    pub detail: String,
}

/// A row that waits to be worked on.
#[derive(Clone, Debug)]
pub struct HeldInput {
    /// What it is about: the inbox row's kind and id, or the message's id.
    pub about: String,
    /// Since when it could have been worked on.
    pub since: i64,
}

/// A message.
#[derive(Clone, Debug)]
pub struct HeldMessage {
    /// The message.
    pub id: String,
    /// The contact.
    pub contact: String,
    /// The run that asked, if one did.
    pub run: Option<String>,
    /// The step that asked.
    pub step: String,
    /// How often the step had asked, from 1.
    pub occurrence: i64,
    /// Whether it needs consent.
    pub marketing: bool,
    /// `queued`, then how it ended.
    pub status: String,
    /// How often it may have been sent again after a lost reply: only what needs no consent is.
    pub sent_again: usize,
}

/// A consent fact.
#[derive(Clone, Debug)]
pub struct HeldFact {
    /// The contact.
    pub contact: String,
    /// Its kind's word.
    pub kind: String,
}
