//! Roles that this process does not have.
//!
//! Work that needs them is found in SQL by the process that has them; what cannot wait is refused
//! in a way that makes the client come back.

use async_trait::async_trait;
use parcours_domain::{ContactId, TenantId};
use parcours_wire::{ContactEvents, DeliveryApi, ItemOutcome, WorkerApi};

/// No contact actors here: events cannot be taken.
pub struct NoWorker;

#[async_trait]
impl WorkerApi for NoWorker {
    async fn accept(&self, batch: Vec<ContactEvents>) -> Vec<Vec<ItemOutcome>> {
        let unavailable = |of: &ContactEvents| vec![ItemOutcome::Unavailable; of.events.len()];
        batch.iter().map(unavailable).collect()
    }
    fn wake(&self, _: TenantId, _: ContactId) {}
    fn plans_changed(&self, _: TenantId) {}
}

/// No delivery here: the one that has the role sweeps.
pub struct NoDelivery;

impl DeliveryApi for NoDelivery {
    fn hint(&self, _: TenantId, _: i64) {}
}
