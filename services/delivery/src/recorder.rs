//! What became of messages, written down in groups and until the store has taken it.
//!
//! An outcome that cannot be recorded at once is tried again: the message has left or not, and only
//! the record can tell. A record that the store refuses costs no other record. What is still
//! unrecorded when the process ends is resolved by the lease and the brand's policy.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parcours_domain::{ContactId, TenantId};
use parcours_store::{DeliveryDoor, Finished, Retry, StoreError};
use parcours_wire::WorkerApi;

use crate::group::{Group, GroupLimits};

const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// One record.
pub(crate) enum Record {
    /// The message has ended; whose it was.
    Finish(Box<Finished>, ContactId),
    /// The message goes back to the queue.
    Retry(Box<Retry>),
}

/// Writes records.
#[derive(Clone)]
pub(crate) struct Recorder {
    desk: Desk,
    group: Group<Record, ()>,
}

#[derive(Clone)]
struct Desk {
    door: DeliveryDoor,
    worker: Arc<OnceLock<Arc<dyn WorkerApi>>>,
}

impl Recorder {
    pub(crate) fn new(
        door: DeliveryDoor,
        limits: GroupLimits,
        worker: Arc<OnceLock<Arc<dyn WorkerApi>>>,
    ) -> Self {
        let desk = Desk { door, worker };
        let shared = desk.clone();
        let group = Group::start(limits, move |records: Vec<Record>| {
            let desk = shared.clone();
            async move {
                let answers = vec![(); records.len()];
                desk.write(records).await;
                answers
            }
        });
        Self { desk, group }
    }

    /// Writes one record, together with those of other connections.
    pub(crate) async fn one(&self, record: Record) {
        let _ = self.group.ask(record).await;
    }

    /// Writes a batch's records in one transaction of each kind.
    pub(crate) async fn all(&self, records: Vec<Record>) {
        self.desk.write(records).await;
    }
}

impl Desk {
    async fn write(&self, records: Vec<Record>) {
        let (mut finished, mut retries) = (Vec::new(), Vec::new());
        let mut told: BTreeSet<(TenantId, ContactId)> = BTreeSet::new();
        for record in records {
            match record {
                Record::Finish(one, contact) => {
                    told.insert((one.tenant, contact));
                    finished.push(*one);
                }
                Record::Retry(one) => retries.push(*one),
            }
        }
        written(&finished, |part| self.door.finish(part)).await;
        written(&retries, |part| self.door.retry(part)).await;
        if let Some(worker) = self.worker.get() {
            for (tenant, contact) in told {
                worker.wake(tenant, contact);
            }
        }
    }
}

/// Writes all of it; what the store refuses as a whole is written one by one.
async fn written<T, F, R>(records: &[T], write: F)
where
    T: Clone,
    F: Fn(Vec<T>) -> R,
    R: Future<Output = Result<Vec<bool>, StoreError>>,
{
    if records.is_empty() || until_taken(|| write(records.to_vec())).await {
        return;
    }
    for record in records {
        until_taken(|| write(vec![record.clone()])).await;
    }
}

/// Tries again while the store cannot take it; both writes are conditional on the claim, so a
/// repeat of one that did go through changes nothing. False when the store refuses it.
async fn until_taken<F, R>(attempt: F) -> bool
where
    F: Fn() -> R,
    R: Future<Output = Result<Vec<bool>, StoreError>>,
{
    let mut pause = PAUSE_FIRST;
    loop {
        match attempt().await {
            Ok(_) => return true,
            Err(error @ (StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_))) => {
                tracing::warn!(%error, "outcomes wait for the store");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MOST);
            }
            Err(error) => {
                tracing::error!(%error, "the store refused a record of outcomes");
                return false;
            }
        }
    }
}
