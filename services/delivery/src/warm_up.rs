//! Days of senders that are warmed up: each takes its messages of a day out of the store, so that all
//! processes together hand over no more than the day's number.
//!
//! That a day is used up stays so, and is remembered; until its number changes or it is over, nobody
//! asks again. Each attempt counts, as a provider counts it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use parcours_domain::{Day, Name, TenantId};
use parcours_store::{Store, StoreError};

/// Senders beyond which all are forgotten and asked about again.
const SENDERS_MOST: usize = 10_000;

/// See the head of this file.
pub(crate) struct WarmUps {
    store: Store,
    /// Days that are used up, and what number they had.
    over: Mutex<HashMap<(TenantId, Name), (Day, u32)>>,
}

impl WarmUps {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, over: Mutex::default() }
    }

    fn over(&self) -> MutexGuard<'_, HashMap<(TenantId, Name), (Day, u32)>> {
        // Nothing that holds the guard can panic half-way through a change.
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes at most `want` of the day's number.
    pub(crate) async fn take(
        &self,
        (tenant, sender): (TenantId, &Name),
        (day, most): (Day, u32),
        want: u32,
    ) -> Result<u32, StoreError> {
        let key = (tenant, sender.clone());
        if self.over().get(&key) == Some(&(day, most)) {
            return Ok(0);
        }
        let store = self.store.for_tenant(tenant);
        let taken = store.lease_sender_day(sender, (day, most), want).await?;
        if taken < want {
            let mut over = self.over();
            if over.len() >= SENDERS_MOST {
                over.clear();
            }
            over.insert(key, (day, most));
        }
        Ok(taken)
    }
}
