//! By what pace each lane goes: the provider's limit that its last messages had.
//!
//! All messages of a provider's lane wait for the same permits, so these are taken before a claim,
//! and a lane without any is left alone until there are. It is a guess about the next claim, never a
//! permission: a message under another limit takes its own permits.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use parcours_domain::Rate;
use parcours_queue::tokens::LimitKey;

use crate::rounds::Head;

/// Lanes beyond which all are forgotten and learnt again.
const HEADS_MOST: usize = 20_000;

/// A limit, and how fast it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub key: LimitKey,
    pub rate: Rate,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<HashMap<Head, Pace>>);

impl Paces {
    fn known(&self) -> MutexGuard<'_, HashMap<Head, Pace>> {
        // Nothing that holds the guard can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pace of a lane, if its last messages had one in common.
    pub(crate) fn of(&self, head: Head) -> Option<Pace> {
        self.known().get(&head).cloned()
    }

    /// What the last messages had in common; nothing: they are claimed first and judged afterwards.
    pub(crate) fn learn(&self, head: Head, pace: Option<Pace>) {
        let mut known = self.known();
        if known.len() >= HEADS_MOST {
            known.clear();
        }
        match pace {
            Some(pace) => drop(known.insert(head, pace)),
            None => drop(known.remove(&head)),
        }
    }
}
