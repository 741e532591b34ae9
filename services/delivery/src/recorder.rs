//! What became of messages, written down in groups and until the store has taken it.
//!
//! An outcome that cannot be recorded at once is tried again: the message has left or not, and only
//! the record can tell. What is still unrecorded when the process ends is resolved by the lease and
//! the brand's policy.

use std::{sync::Arc, time::Duration};

use parcours_store::{DeliveryDoor, Finished, Retry, StoreError};

use crate::group::{Group, GroupLimits};

const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// One record.
pub(crate) enum Record {
    /// The message has ended.
    Finish(Box<Finished>),
    /// The message goes back to the queue.
    Retry(Box<Retry>),
}

/// Writes records.
#[derive(Clone)]
pub(crate) struct Recorder {
    door: DeliveryDoor,
    group: Group<Record, ()>,
}

impl Recorder {
    pub(crate) fn new(door: DeliveryDoor, limits: GroupLimits) -> Self {
        let shared = Arc::new(door.clone());
        let group = Group::start(limits, move |records: Vec<Record>| {
            let door = Arc::clone(&shared);
            async move {
                let answers = vec![(); records.len()];
                write(&door, records).await;
                answers
            }
        });
        Self { door, group }
    }

    /// Writes one record, together with those of other connections.
    pub(crate) async fn one(&self, record: Record) {
        let _ = self.group.ask(record).await;
    }

    /// Writes a batch's records in one transaction of each kind.
    pub(crate) async fn all(&self, records: Vec<Record>) {
        write(&self.door, records).await;
    }
}

async fn write(door: &DeliveryDoor, records: Vec<Record>) {
    let (mut finished, mut retries) = (Vec::new(), Vec::new());
    for record in records {
        match record {
            Record::Finish(one) => finished.push(*one),
            Record::Retry(one) => retries.push(*one),
        }
    }
    if !finished.is_empty() {
        until_taken(|| door.finish(finished.clone())).await;
    }
    if !retries.is_empty() {
        until_taken(|| door.retry(retries.clone())).await;
    }
}

/// Tries again while the store cannot take it; both writes are conditional on the claim, so a
/// repeat of one that did go through changes nothing.
async fn until_taken<T, F, R>(attempt: F)
where
    F: Fn() -> R,
    R: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSE_FIRST;
    while let Err(error) = attempt().await {
        match error {
            StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => {
                tracing::warn!(%error, "outcomes wait for the store");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MOST);
            }
            error => {
                tracing::error!(%error, "the store refused the record of outcomes");
                return;
            }
        }
    }
}
