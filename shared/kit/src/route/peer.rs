//! One other process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parcours_wire::{ContactEvents, ItemOutcome};

use super::Hint;

/// What became of handing a batch to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One list for each contact, one outcome for each of its events.
    Answered(Vec<Vec<ItemOutcome>>),
    /// Nothing was done: too much is in flight.
    Busy,
    /// Nothing was done: the process was not reached, or stops.
    NotSent,
    /// Nothing was done, and nothing ever will be: the batch cannot be sent or read.
    Refused,
    /// It was sent and not answered: nobody knows what was done.
    Lost,
}

impl Asked {
    /// The word for it in metrics.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::Busy => "busy",
            Self::NotSent => "not_sent",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

/// One other process.
#[async_trait]
pub trait Peer: Send + Sync {
    /// Hands over a batch, each contact once, and waits for the answer at most this long.
    async fn ask(&self, batch: &[&ContactEvents], within: Duration) -> Asked;

    /// Passes a hint on when it can; never waits.
    fn hint(&self, hint: Hint);
}

/// How other processes are reached.
pub trait Dial: Send + Sync {
    /// The process at this address; connects when it is first asked.
    fn dial(&self, address: &str) -> Arc<dyn Peer>;
}
