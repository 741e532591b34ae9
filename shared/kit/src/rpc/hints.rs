//! Hints that wait to be sent: coalesced, bounded, and dropped when there are too many. Losing one
//! costs a sweep's period.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use parcours_domain::{ContactId, TenantId};
use tokio::sync::Notify;

use super::proto;
use crate::telemetry::metrics;

/// Hints of one kind in one message.
const PAGE: usize = 1_000;

/// Something that others may want to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// A contact has new inbox rows.
    Wake(TenantId, ContactId),
    /// A tenant's documents changed.
    Plans(TenantId),
    /// A lane has new messages.
    Lane(TenantId, i64),
}

/// Hints on their way.
#[derive(Debug)]
pub(crate) struct HintBox {
    most: usize,
    waiting: Mutex<BTreeSet<Hint>>,
    /// Told when there is something.
    pub filled: Notify,
}

impl HintBox {
    /// Holds at most so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::default(), filled: Notify::new() }
    }

    /// Keeps a hint, unless it is there already or the box is full.
    pub(crate) fn put(&self, hint: Hint) {
        let mut waiting = self.waiting();
        if waiting.len() >= self.most && !waiting.contains(&hint) {
            drop(waiting);
            metrics().add("parcours_route_hints_dropped_total", 1, &[]);
            return;
        }
        waiting.insert(hint);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Everything that waits.
    pub(crate) fn take(&self) -> BTreeSet<Hint> {
        mem::take(&mut *self.waiting())
    }

    /// The next message of hints; none when nothing waits.
    pub(crate) fn message(&self) -> Option<proto::Hints> {
        let mut waiting = self.waiting();
        let rest = match waiting.iter().nth(PAGE).copied() {
            Some(first_left) => waiting.split_off(&first_left),
            None => BTreeSet::new(),
        };
        let taken = mem::replace(&mut *waiting, rest);
        if !waiting.is_empty() {
            self.filled.notify_one();
        }
        drop(waiting);
        (!taken.is_empty()).then(|| message_of(taken))
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<Hint>> {
        // Nothing that holds the guard can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message_of(hints: BTreeSet<Hint>) -> proto::Hints {
    let mut message = proto::Hints::default();
    for hint in hints {
        match hint {
            Hint::Wake(tenant, contact) => message.wakes.push(proto::Contact {
                tenant: tenant.bytes().to_vec(),
                contact: contact.bytes().to_vec(),
            }),
            Hint::Plans(tenant) => message.plans_changed.push(tenant.bytes().to_vec()),
            Hint::Lane(tenant, lane) => {
                message.lanes.push(proto::Lane { tenant: tenant.bytes().to_vec(), lane });
            }
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn wake(n: u128) -> Hint {
        Hint::Wake(TenantId(Uuid::from_u128(1)), ContactId(Uuid::from_u128(n)))
    }

    #[test]
    fn the_same_hint_waits_once_and_a_full_box_takes_no_more() {
        let hints = HintBox::new(2);
        for n in [1, 1, 2, 3, 2] {
            hints.put(wake(n));
        }
        assert_eq!(hints.take(), BTreeSet::from([wake(1), wake(2)]));
        assert_eq!(hints.take(), BTreeSet::new());
    }

    #[test]
    fn many_hints_go_in_pages_and_none_twice() {
        let hints = HintBox::new(10_000);
        (0..2_500).for_each(|n| hints.put(wake(n)));
        let mut sizes = Vec::new();
        while let Some(message) = hints.message() {
            sizes.push(message.wakes.len());
        }
        assert_eq!(sizes, [1_000, 1_000, 500]);
    }
}
