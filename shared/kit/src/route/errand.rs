//! What is left to do for one contact of a request.

use parcours_wire::{ContactEvents, ItemOutcome};
use tokio::time::Instant;
use uuid::Uuid;

use super::RouteLimits;
use crate::telemetry::metrics;

/// The answers of a request while they come in: one slot for each event.
pub(super) type Slots = Vec<Vec<Option<ItemOutcome>>>;

/// One contact's events that nobody took yet, in order.
#[derive(Debug)]
pub(super) struct Errand {
    pub of: ContactEvents,
    /// The contact's place in the request.
    contact: usize,
    /// The events' places among the contact's.
    events: Vec<usize>,
    /// Whom we ask: a process, in an epoch of the contact's shard.
    asked: (Uuid, i64),
    /// Who sent us on last.
    refused: Option<Refused>,
    /// How often we were sent on to someone else.
    hops: u32,
}

/// Someone who did not take it.
#[derive(Clone, Copy, Debug)]
struct Refused {
    who: (Uuid, i64),
    at: Instant,
    moved: bool,
}

/// What to do with an errand, now that the map says where its contact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask this owner.
    Ask,
    /// The same one refused just now: look at the map again first.
    Wait,
    /// It was sent on too often.
    GiveUp,
}

impl Errand {
    /// The contacts of a request.
    pub(super) fn all(batch: Vec<ContactEvents>) -> (Vec<Self>, Slots) {
        let slots = batch.iter().map(|of| vec![None; of.events.len()]).collect();
        let errand = |(contact, of): (usize, ContactEvents)| {
            let events = (0..of.events.len()).collect();
            Self { of, contact, events, asked: (Uuid::nil(), 0), refused: None, hops: 0 }
        };
        (batch.into_iter().enumerate().map(errand).collect(), slots)
    }

    /// Whether to ask this owner of the contact's shard in this epoch.
    pub(super) fn next(&mut self, who: (Uuid, i64), limits: &RouteLimits) -> Next {
        self.asked = who;
        let Some(refused) = self.refused else { return Next::Ask };
        if refused.who == who {
            let soon = refused.at.elapsed() < limits.again_after;
            return if soon { Next::Wait } else { Next::Ask };
        }
        if !refused.moved {
            return Next::Ask;
        }
        if self.hops >= limits.hops_max {
            return Next::GiveUp;
        }
        self.hops += 1;
        metrics().add("parcours_route_hops_total", 1, &[]);
        Next::Ask
    }

    /// The process that was asked last.
    pub(super) const fn asked(&self) -> Uuid {
        self.asked.0
    }

    /// Nothing of it was sent.
    pub(super) fn not_sent(mut self) -> Self {
        self.refused = Some(Refused { who: self.asked, at: Instant::now(), moved: false });
        self
    }

    /// Takes the outcomes in; what moved is left to do, and comes back.
    pub(super) fn settle(mut self, outcomes: Vec<ItemOutcome>, slots: &mut Slots) -> Option<Self> {
        let moved: Vec<bool> = outcomes.iter().map(|of| *of == ItemOutcome::Moved).collect();
        for (outcome, &event) in outcomes.into_iter().zip(&self.events) {
            if outcome != ItemOutcome::Moved {
                put(slots, self.contact, event, outcome);
            }
        }
        if !moved.contains(&true) {
            return None;
        }
        let left = |place: usize| moved.get(place).copied().unwrap_or(false);
        self.events = keep(self.events, left);
        self.of.events = keep(self.of.events, left);
        self.refused = Some(Refused { who: self.asked, at: Instant::now(), moved: true });
        Some(self)
    }

    /// All that is left ends like this.
    pub(super) fn end(self, outcome: &ItemOutcome, slots: &mut Slots) {
        for event in self.events {
            put(slots, self.contact, event, outcome.clone());
        }
    }
}

fn keep<T>(items: Vec<T>, left: impl Fn(usize) -> bool) -> Vec<T> {
    let kept = items.into_iter().enumerate().filter(|(place, _)| left(*place));
    kept.map(|(_, item)| item).collect()
}

fn put(slots: &mut Slots, contact: usize, event: usize, outcome: ItemOutcome) {
    if let Some(slot) = slots.get_mut(contact).and_then(|of| of.get_mut(event)) {
        *slot = Some(outcome);
    }
}
