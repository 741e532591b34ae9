//! What the store tells whoever counts: batches written and read, how long they took, why they
//! failed. The store knows no metrics; the process hands in a [`Watcher`] that does.
//!
//! What always holds: a watcher hears numbers and stable words, never ids or values, and nothing
//! waits for it.

use std::{sync::Arc, time::Duration};

use parcours_domain::breaker::Cause;

use crate::error::{StoreError, Trouble};

/// How an attempt to commit a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BatchEnd {
    /// COMMIT returned.
    Committed,
    /// Rolled back: a contact was in the way and left; the others try again.
    Again,
    /// The database refused a value: the batch is halved until the contact stands alone.
    Refused,
    /// It failed otherwise; its contacts are loaded anew.
    Failed(Trouble),
}

impl BatchEnd {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Again => "again",
            Self::Refused => "refused",
            Self::Failed(trouble) => trouble.as_str(),
        }
    }

    pub(crate) fn of_error(error: &StoreError) -> Self {
        if error.is_refusal() { Self::Refused } else { Self::Failed(error.trouble()) }
    }
}

/// Hears what the store does.
pub trait Watcher: Send + Sync {
    /// One attempt to commit a batch ended; `took` from BEGIN to its end.
    fn batch(&self, end: BatchEnd, contacts: usize, took: Duration);

    /// Questions that waited together were read; `contacts` and `keys` as asked for.
    fn loaded(&self, contacts: usize, keys: usize, took: Duration);

    /// So many contacts' commits were refused because another worker has their shard.
    fn fenced(&self, contacts: usize) {
        let _ = contacts;
    }

    /// So many shards are this worker's now.
    fn shards(&self, held: usize) {
        let _ = held;
    }

    /// A brand's breaker has tripped.
    fn tripped(&self, cause: Cause) {
        let _ = cause;
    }
}

/// The watcher, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Watch(pub(crate) Option<Arc<dyn Watcher>>);

impl Watch {
    pub(crate) fn batch(&self, end: BatchEnd, contacts: usize, took: Duration) {
        if let Some(watcher) = &self.0 {
            watcher.batch(end, contacts, took);
        }
    }

    pub(crate) fn loaded(&self, contacts: usize, keys: usize, took: Duration) {
        if let Some(watcher) = &self.0 {
            watcher.loaded(contacts, keys, took);
        }
    }

    pub(crate) fn fenced(&self, contacts: usize) {
        if let Some(watcher) = &self.0
            && contacts > 0
        {
            watcher.fenced(contacts);
        }
    }

    pub(crate) fn shards(&self, held: usize) {
        if let Some(watcher) = &self.0 {
            watcher.shards(held);
        }
    }

    pub(crate) fn tripped(&self, cause: Cause) {
        if let Some(watcher) = &self.0 {
            watcher.tripped(cause);
        }
    }
}
