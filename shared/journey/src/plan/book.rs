//! A brand's plans, looked up by name and version, and by the events that concern them.
//!
//! The index by event is made once, when plans are published or paused, never per event.

use std::{collections::BTreeMap, sync::Arc};

use parcours_domain::Name;

use super::{AwaitedOn, Plan, PlanStep};
use crate::{document::journey::EventMatch, input::EventKind, state::ContactState};

/// Whether a journey takes contacts and moves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlanStatus {
    /// Takes and moves.
    Live,
    /// Frozen: takes none, moves none, ejects none.
    Paused,
    /// Takes none; runs that are in it go on.
    Archived,
}

/// A brand's plans. Cheap to share behind an `Arc`; made anew when something is published.
#[derive(Clone, Debug, Default)]
pub struct PlanBook {
    heads: BTreeMap<Name, (Arc<Plan>, PlanStatus)>,
    old: BTreeMap<(Name, u32), Arc<Plan>>,
    entries: EventIndex<Arc<Plan>>,
    listeners: EventIndex<()>,
}

/// What concerns an event, by kind and name; `*` stands for any name.
type EventIndex<T> = BTreeMap<EventKind, BTreeMap<String, Vec<T>>>;

/// Any name.
const ANY: &str = "*";

impl EventMatch {
    /// The kind and the name (`*` for any) that are meant.
    #[must_use]
    pub fn parts(&self) -> (EventKind, &str) {
        match self {
            Self::Event(name) => (EventKind::Track, name),
            Self::Page(name) => (EventKind::Page, name),
            Self::Screen(name) => (EventKind::Screen, name),
            Self::Identify(name) => (EventKind::Identify, name),
            Self::Group(name) => (EventKind::Group, name),
        }
    }

    /// Whether an event of this kind and name is meant. A track event named `*` is only itself.
    #[must_use]
    pub fn matches(&self, kind: EventKind, name: &str) -> bool {
        let (wanted, wanted_name) = self.parts();
        wanted == kind && (wanted_name == name || (kind != EventKind::Track && wanted_name == ANY))
    }
}

impl PlanBook {
    /// Of the head versions with their status, and of older versions that runs still use.
    #[must_use]
    pub fn new(heads: Vec<(Arc<Plan>, PlanStatus)>, old: Vec<Arc<Plan>>) -> Self {
        let mut book = Self::default();
        for plan in old {
            book.listen(&plan);
            book.old.insert((plan.journey.clone(), plan.version), plan);
        }
        for (plan, status) in heads {
            book.listen(&plan);
            let enters = match status {
                PlanStatus::Live | PlanStatus::Paused => true,
                PlanStatus::Archived => false,
            };
            if enters {
                let (kind, name) = plan.entry.on.parts();
                let by_name = book.entries.entry(kind).or_default();
                by_name.entry(name.to_owned()).or_default().push(Arc::clone(&plan));
            }
            book.heads.insert(plan.journey.clone(), (plan, status));
        }
        book
    }

    fn listen(&mut self, plan: &Plan) {
        let endings = plan.exits.iter().chain(&plan.goals).map(|ending| &ending.on);
        let awaited = plan.steps.values().flat_map(|step| match step {
            PlanStep::WaitFor(wait) => wait.events.as_slice(),
            PlanStep::Wait(_)
            | PlanStep::Branch(_)
            | PlanStep::Split(_)
            | PlanStep::Send(_)
            | PlanStep::Set(_)
            | PlanStep::Exit(_) => &[],
        });
        let awaited = awaited.filter_map(|awaited| match &awaited.on {
            AwaitedOn::Event(on) => Some(on),
            AwaitedOn::Clicked(_) => None,
        });
        for on in endings.chain(awaited) {
            let (kind, name) = on.parts();
            self.listeners.entry(kind).or_default().entry(name.to_owned()).or_default();
        }
    }

    /// The version that contacts enter, with its status.
    #[must_use]
    pub fn head(&self, journey: &Name) -> Option<(&Arc<Plan>, PlanStatus)> {
        self.heads.get(journey).map(|(plan, status)| (plan, *status))
    }

    /// The journey's status; a journey that has no head any more counts as archived.
    #[must_use]
    pub fn status(&self, journey: &Name) -> PlanStatus {
        self.heads.get(journey).map_or(PlanStatus::Archived, |(_, status)| *status)
    }

    /// One version.
    #[must_use]
    pub fn plan(&self, journey: &Name, version: u32) -> Option<&Arc<Plan>> {
        match self.heads.get(journey) {
            Some((plan, _)) if plan.version == version => Some(plan),
            Some(_) | None => self.old.get(&(journey.clone(), version)),
        }
    }

    /// The head versions, by name.
    pub fn heads(&self) -> impl Iterator<Item = (&Arc<Plan>, PlanStatus)> {
        self.heads.values().map(|(plan, status)| (plan, *status))
    }

    /// The journeys (live or paused) that this event may enter, in the order of their names.
    #[must_use]
    pub fn entered_by(&self, kind: EventKind, name: &str) -> Vec<&Arc<Plan>> {
        let mut plans: Vec<_> = self
            .entries
            .get(&kind)
            .into_iter()
            .flat_map(|by_name| [by_name.get(name), by_name.get(ANY)])
            .flatten()
            .flatten()
            .filter(|plan| plan.entry.on.matches(kind, name))
            .collect();
        plans.sort_by(|a, b| a.journey.cmp(&b.journey));
        plans.dedup_by(|a, b| a.journey == b.journey);
        plans
    }

    /// Whether any exit, goal or `wait_for` of any known version listens to this event.
    #[must_use]
    pub fn listens(&self, kind: EventKind, name: &str) -> bool {
        self.listeners.get(&kind).is_some_and(|by_name| {
            by_name.contains_key(name) || (kind != EventKind::Track && by_name.contains_key(ANY))
        })
    }

    /// The versions that a state's runs are on and that this book does not hold, each once.
    #[must_use]
    pub fn needs(&self, state: &ContactState) -> Vec<(Name, u32)> {
        let mut missing: Vec<_> = state
            .runs
            .iter()
            .filter(|run| self.plan(&run.journey, run.version).is_none())
            .map(|run| (run.journey.clone(), run.version))
            .collect();
        missing.sort();
        missing.dedup();
        missing
    }
}
