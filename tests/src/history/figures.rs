//! The numbers of a history, as a table.

use std::{collections::BTreeSet, fmt};

use super::{Answer, History, index::Index};

/// How much of everything there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events that clients sent, without retries.
    pub sent: usize,
    /// Of these, acknowledged.
    pub acknowledged: usize,
    /// Events of which their senders were told that they are set aside.
    pub set_aside: usize,
    /// Requests of which every event was acknowledged.
    pub batches: usize,
    /// Events applied.
    pub applied: usize,
    /// Runs.
    pub runs: usize,
    /// Timers that fired: at steps that wait for time.
    pub fired: usize,
    /// Messages with a final outcome.
    pub outcomes: usize,
    /// Outcomes that a run heard.
    pub heard: usize,
    /// Messages.
    pub messages: usize,
    /// Messages recorded as sent.
    pub recorded: usize,
    /// Messages recorded as unknown.
    pub unknown: usize,
    /// Messages at the sink.
    pub arrived: usize,
    /// Messages recorded as unknown that are at the sink.
    pub unknown_arrived: usize,
}

impl History {
    /// Counts.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let held = &self.held;
        let answered = |answer| move |event: &&super::SentEvent| event.answer == answer;
        let acknowledged = answered(Answer::Acknowledged);
        let waits: BTreeSet<&str> = self
            .promises
            .journeys
            .iter()
            .flat_map(|journey| journey.waits.iter().map(|wait| wait.step.as_str()))
            .collect();
        let lines = |what: &'static str| held.trace.iter().filter(move |line| line.what == what);
        let with = |status: &'static str| held.messages.iter().filter(move |m| m.status == status);
        let unknown: BTreeSet<&str> = with("unknown").map(|m| m.id.as_str()).collect();
        let batches: BTreeSet<u64> =
            self.events.iter().filter(&acknowledged).map(|event| event.request).collect();
        Figures {
            sent: self.events.len(),
            acknowledged: self.events.iter().filter(&acknowledged).count(),
            set_aside: self.events.iter().filter(answered(Answer::SetAside)).count(),
            batches: batches.len(),
            applied: held.events.len(),
            runs: held.runs.len(),
            fired: lines("woke").filter(|line| waits.contains(line.step.as_str())).count(),
            outcomes: held.messages.iter().filter(|m| m.status != "queued").count(),
            heard: lines("outcome").count(),
            messages: held.messages.len(),
            recorded: with("sent").count(),
            unknown: unknown.len(),
            arrived: self.arrivals.len(),
            unknown_arrived: self
                .arrivals
                .iter()
                .filter(|one| one.message.as_deref().is_some_and(|id| unknown.contains(id)))
                .count(),
        }
    }
}

impl History {
    /// When each timer fired, and how many milliseconds after its time.
    #[must_use]
    pub fn lateness(&self) -> Vec<(i64, i64)> {
        let index = Index::of(self);
        super::laws::runs::fired(&index)
            .map(|(_, wait, [set, fired])| (fired, fired - set - wait.span_ms))
            .collect()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "events sent / acknowledged / applied   {:>6} {:>6} {:>6}",
            self.sent, self.acknowledged, self.applied
        )?;
        if self.set_aside > 0 {
            writeln!(f, "events set aside                       {:>6}", self.set_aside)?;
        }
        writeln!(f, "batches acknowledged                   {:>6}", self.batches)?;
        writeln!(f, "runs; timers fired                     {:>6} {:>6}", self.runs, self.fired)?;
        writeln!(
            f,
            "outcomes recorded / heard by runs      {:>6} {:>6}",
            self.outcomes, self.heard
        )?;
        writeln!(
            f,
            "messages recorded as sent / at sink    {:>6} {:>6}",
            self.recorded,
            self.arrived - self.unknown_arrived
        )?;
        write!(
            f,
            "messages unknown / of these at sink    {:>6} {:>6}",
            self.unknown, self.unknown_arrived
        )
    }
}
