//! What a brand may send in a day: taken from the store once messages are claimed and judged, before
//! any is handed over.
//!
//! A day is UTC's, in product time. That a brand has no quota, or that its day is used up, is believed
//! for ten seconds; until then nothing of it is claimed, or asked.
//!
//! What always holds: all processes together hand over at most the day's quota, because each message is
//! taken out of it in the store; a process that dies loses to the day what it was about to hand over.
//! Each attempt counts; what was refused, or had expired, before does not.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use parcours_domain::TenantId;
use parcours_kit::telemetry;
use parcours_store::{Store, StoreError};

/// How long it is believed that there is no quota, or that a day is used up.
const BELIEVED: Duration = Duration::from_secs(10);

/// What is known of one brand.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// There is no quota.
    Free { until: Instant },
    /// This day is used up.
    Over { day: i64, until: Instant },
}

/// The days of all brands.
pub(crate) struct Days {
    store: Store,
    known: Mutex<HashMap<TenantId, Known>>,
}

impl Days {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TenantId, Known>> {
        // Nothing that holds the guard can panic half-way through a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when the brand's day is known to be used up, if it is.
    pub(crate) fn over_until(&self, tenant: TenantId, day: i64) -> Option<Instant> {
        match self.known().get(&tenant) {
            Some(Known::Over { day: over, until }) if *over == day && Instant::now() < *until => {
                Some(*until)
            }
            Some(_) | None => None,
        }
    }

    /// Takes at most so many; all of them, when there is no quota.
    pub(crate) async fn take(
        &self,
        tenant: TenantId,
        day: i64,
        want: u32,
    ) -> Result<u32, StoreError> {
        let now = Instant::now();
        let free = matches!(
            self.known().get(&tenant), Some(Known::Free { until }) if now < *until
        );
        if free || want == 0 {
            return Ok(want);
        }
        let leased = self.store.for_tenant(tenant).lease_sends(day, want).await?;
        let until = now + BELIEVED;
        match leased {
            None => {
                self.known().insert(tenant, Known::Free { until });
                Ok(want)
            }
            Some(count) => {
                if count < want {
                    self.known().insert(tenant, Known::Over { day, until });
                    let labels = [("quota", "sends")];
                    telemetry::metrics().add("parcours_quota_refused_total", 1, &labels);
                }
                Ok(count)
            }
        }
    }
}
