//! The history by its keys, so that each law reads like its sentence.

use std::collections::HashMap;

use super::{
    Arrival, HeldEvent, HeldMessage, HeldRun, HeldTimer, History, Journey, SentEvent, TraceLine,
    finding::{Finding, Kind},
};

type ByBrand<'a, T> = HashMap<(&'a str, &'a str), T>;

/// The history and its keys.
pub(super) struct Index<'a> {
    pub history: &'a History,
    /// Applied events by brand and messageId.
    pub applied: ByBrand<'a, Vec<&'a HeldEvent>>,
    /// Sent events by brand and messageId.
    pub sent: ByBrand<'a, &'a SentEvent>,
    /// The user of each contact, as its events tell.
    pub user_of: HashMap<&'a str, (&'a str, &'a str)>,
    /// Events that start a run, by brand, journey and key.
    pub starts: HashMap<(&'a str, &'a str, &'a str), &'a SentEvent>,
    /// Runs by brand, journey and key.
    pub runs: HashMap<(&'a str, &'a str, &'a str), Vec<&'a HeldRun>>,
    /// Runs by id.
    pub run: HashMap<&'a str, &'a HeldRun>,
    /// Timers by run.
    pub timers: HashMap<&'a str, Vec<&'a HeldTimer>>,
    /// Trace lines by run.
    pub lines: HashMap<&'a str, Vec<&'a TraceLine>>,
    /// Messages by id.
    pub messages: HashMap<&'a str, &'a HeldMessage>,
    /// Messages by run.
    pub messages_of: HashMap<&'a str, Vec<&'a HeldMessage>>,
    /// Arrivals by message.
    pub arrivals: HashMap<&'a str, Vec<&'a Arrival>>,
    /// Journeys by name.
    pub journeys: HashMap<&'a str, &'a Journey>,
}

impl<'a> Index<'a> {
    pub fn of(history: &'a History) -> Self {
        let held = &history.held;
        let mut index = Self {
            history,
            applied: HashMap::new(),
            sent: HashMap::new(),
            user_of: HashMap::new(),
            starts: HashMap::new(),
            runs: HashMap::new(),
            run: held.runs.iter().map(|run| (run.id.as_str(), run)).collect(),
            timers: HashMap::new(),
            lines: HashMap::new(),
            messages: held.messages.iter().map(|one| (one.id.as_str(), one)).collect(),
            messages_of: HashMap::new(),
            arrivals: HashMap::new(),
            journeys: history.promises.journeys.iter().map(|j| (j.name.as_str(), j)).collect(),
        };
        for event in &history.events {
            index.sent.insert((&event.brand, &event.message_id), event);
            if let Some((journey, key)) = &event.starts {
                index.starts.insert((&event.brand, journey, key), event);
            }
        }
        for event in &held.events {
            let key = (event.brand.as_str(), event.message_id.as_str());
            index.applied.entry(key).or_default().push(event);
            if let Some(sent) = index.sent.get(&key) {
                index.user_of.insert(&event.contact, (&sent.brand, &sent.user));
            }
        }
        for run in &held.runs {
            index.runs.entry((&run.brand, &run.journey, &run.key)).or_default().push(run);
        }
        for timer in &held.timers {
            index.timers.entry(&timer.run).or_default().push(timer);
        }
        for line in &held.trace {
            index.lines.entry(&line.run).or_default().push(line);
        }
        for message in &held.messages {
            if let Some(run) = &message.run {
                index.messages_of.entry(run).or_default().push(message);
            }
        }
        for arrival in &history.arrivals {
            if let Some(message) = &arrival.message {
                index.arrivals.entry(message).or_default().push(arrival);
            }
        }
        index
    }

    /// What happened at a step of a run, in the words of the trace.
    pub fn said<'b>(
        &'b self,
        run: &HeldRun,
        step: &'b str,
        what: &'b str,
    ) -> impl Iterator<Item = &'a TraceLine> + use<'a, 'b> {
        let lines = self.lines.get(run.id.as_str()).map_or(&[][..], Vec::as_slice);
        lines.iter().copied().filter(move |line| line.step == step && line.what == what)
    }

    /// The event that started a run.
    pub fn start_of(&self, run: &HeldRun) -> Option<&'a SentEvent> {
        self.starts.get(&(run.brand.as_str(), run.journey.as_str(), run.key.as_str())).copied()
    }
}

/// A count against what it should be: fewer is lost, more is doubled.
pub(super) fn counted(
    count: usize,
    least: usize,
    most: usize,
    about: impl FnOnce() -> String,
) -> Option<Finding> {
    let kind = if count < least {
        Kind::Lost
    } else if count > most {
        Kind::Doubled
    } else {
        return None;
    };
    Some(Finding::new(kind, format!("{}: {count} instead of {}", about(), span(least, most))))
}

fn span(least: usize, most: usize) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}
