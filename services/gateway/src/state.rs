//! What the gateway is wired with, and the little that it remembers between requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use parcours_domain::{Rate, TenantId};
use parcours_kit::{Chance, Clock, Readiness};
use parcours_store::Store;
use parcours_wire::{ConsentApi, DeliveryApi, WorkerApi};
use tokio::sync::Semaphore;

use crate::{
    admission::Admission,
    auth::{KeyCache, UsedKeys},
    ingest::settings::SettingsCache,
};

/// What the binary wires in.
#[derive(Clone)]
pub struct GatewayState {
    /// Durable truth.
    pub store: Store,
    /// Product time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, and ids of new contacts.
    pub chance: Arc<dyn Chance>,
    /// The owners of contacts.
    pub worker: Arc<dyn WorkerApi>,
    /// Hints to delivery.
    pub delivery: Arc<dyn DeliveryApi>,
    /// Consent facts.
    pub consent: Arc<dyn ConsentApi>,
    /// Whether this process wants traffic.
    pub readiness: Arc<Readiness>,
    /// Written limits.
    pub limits: Limits,
    /// Whether anybody who reaches this port may read the built-in mailbox as pages.
    pub mailbox_page: bool,
}

/// The gateway's limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of an ingest body, as sent and unpacked.
    pub ingest_bytes_max: usize,
    /// The most items of a batch.
    pub batch_items_max: usize,
    /// The most bytes of any other body.
    pub body_bytes_max: usize,
    /// The most bytes of a set of documents.
    pub documents_bytes_max: usize,
    /// How many ingest calls of one brand may be worked on at once; more get 429.
    pub in_flight_max: u32,
    /// How many events a brand may bring that has no quota of its own; none: any number.
    pub events: Option<Rate>,
    /// How many bytes of a body that cannot be read are kept in quarantine.
    pub quarantine_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ingest_bytes_max: 5 * 1024 * 1024,
            batch_items_max: 10_000,
            body_bytes_max: 1024 * 1024,
            documents_bytes_max: 16 * 1024 * 1024,
            in_flight_max: 64,
            events: None,
            quarantine_bytes_max: 1024 * 1024,
        }
    }
}

/// The wiring and what is remembered; one for all threads of the server.
pub struct Gateway {
    /// The wiring.
    pub state: GatewayState,
    /// Keys seen in the last seconds.
    pub keys: KeyCache,
    /// Uses of keys that are not written yet.
    pub used: UsedKeys,
    /// Brands' settings for ingest, seen in the last seconds.
    pub settings: SettingsCache,
    /// Ingest calls being worked on.
    pub in_flight: InFlight,
    /// Brands' quotas of events.
    pub admission: Admission,
    /// Places for templates that are tried out. Delivery renders on the same threads; nobody's
    /// previews may take them all.
    pub tryouts: Arc<Semaphore>,
}

/// How many previews are computed at once.
const TRYOUTS_MOST: usize = 2;

impl Gateway {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new(state: GatewayState) -> Self {
        Self {
            in_flight: InFlight::new(state.limits.in_flight_max),
            admission: Admission::new(Arc::new(state.store.clone())),
            state,
            keys: KeyCache::default(),
            used: UsedKeys::default(),
            settings: SettingsCache::default(),
            tryouts: Arc::new(Semaphore::new(TRYOUTS_MOST)),
        }
    }
}

/// How many calls of each brand are being worked on.
#[derive(Clone, Debug)]
pub struct InFlight {
    most: u32,
    counts: Arc<Mutex<BTreeMap<TenantId, u32>>>,
}

/// One call's place; gives itself back.
#[derive(Debug)]
pub struct Place {
    tenant: TenantId,
    counts: Arc<Mutex<BTreeMap<TenantId, u32>>>,
}

impl InFlight {
    /// At most this many of one brand at once.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { most, counts: Arc::default() }
    }

    /// A place, unless the brand has all it may have.
    #[must_use]
    pub fn enter(&self, tenant: TenantId) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(tenant).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { tenant, counts: Arc::clone(&self.counts) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_brand_cannot_take_all_places_and_gives_them_back() {
        let places = InFlight::new(2);
        let (one, two) = (TenantId(uuid::Uuid::from_u128(1)), TenantId(uuid::Uuid::from_u128(2)));
        let first = places.enter(one).unwrap();
        let _second = places.enter(one).unwrap();
        assert!(places.enter(one).is_none());
        assert!(places.enter(two).is_some());
        drop(first);
        assert!(places.enter(one).is_some());
    }
}
