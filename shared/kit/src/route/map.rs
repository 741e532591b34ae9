//! The directory as last read. One read at a time serves everybody who wants a newer map, and reads
//! keep a distance, so that a thousand requests that meet a moved shard cost one statement.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use parcours_domain::{ContactId, shard_of};
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, sleep_until, timeout},
};
use uuid::Uuid;

use super::{DirectoryError, RouteLimits, ShardDirectory};
use crate::telemetry::metrics;

/// A shard's owner in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub owner: Uuid,
    pub epoch: i64,
    pub address: Option<Arc<str>>,
}

/// All owners, as read at one moment.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// How many attempts to read came before this; 0 before the first.
    pub version: u64,
    /// When it was read; none before the first success.
    read_at: Option<Instant>,
    places: BTreeMap<u16, Place>,
}

impl Map {
    /// The owner of a contact's shard.
    pub(super) fn place(&self, contact: ContactId, shards: u16) -> Option<&Place> {
        self.places.get(&shard_of(contact, shards))
    }

    /// Everybody who owns shards and can be reached.
    pub(super) fn owners(&self) -> BTreeMap<Uuid, Arc<str>> {
        let reachable =
            |place: &Place| place.address.as_ref().map(|address| (place.owner, address.clone()));
        self.places.values().filter_map(reachable).collect()
    }

    /// The same places, after an attempt to read that failed.
    fn again(&self, error: &str) -> Self {
        tracing::warn!(error, "the owners of shards cannot be read; the last known count");
        metrics().add("parcours_route_map_reads_total", 1, &[("end", "failed")]);
        Self { version: self.version + 1, read_at: self.read_at, places: self.places.clone() }
    }

    /// Whether it was read within this time.
    pub(super) fn is_younger_than(&self, age: Duration) -> bool {
        self.read_at.is_some_and(|at| at.elapsed() < age)
    }
}

/// The present map, and how to get a newer one.
pub(super) struct MapCache {
    directory: Arc<dyn ShardDirectory>,
    limits: RouteLimits,
    current: Mutex<Arc<Map>>,
    /// The last attempt; held while reading.
    attempted: AsyncMutex<Option<Instant>>,
}

impl MapCache {
    pub(super) fn new(directory: Arc<dyn ShardDirectory>, limits: RouteLimits) -> Self {
        Self { directory, limits, current: Mutex::default(), attempted: AsyncMutex::default() }
    }

    pub(super) fn current(&self) -> Arc<Map> {
        // Nothing that holds the guard can panic half-way through a change.
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A map that was read after this one; the same places again when the directory is out of
    /// reach.
    pub(super) async fn newer_than(&self, seen: u64) -> Arc<Map> {
        let mut attempted = self.attempted.lock().await;
        let current = self.current();
        if current.version > seen {
            return current;
        }
        if let Some(last) = *attempted {
            sleep_until(last + self.limits.again_after).await;
        }
        *attempted = Some(Instant::now());
        let version = current.version + 1;
        let map = Arc::new(match timeout(self.limits.read_max, self.read()).await {
            Ok(Ok(places)) => {
                metrics().add("parcours_route_map_reads_total", 1, &[("end", "read")]);
                Map { version, read_at: Some(Instant::now()), places }
            }
            Ok(Err(error)) => current.again(&error.to_string()),
            Err(_) => current.again("no answer in time"),
        });
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&map);
        map
    }

    async fn read(&self) -> Result<BTreeMap<u16, Place>, DirectoryError> {
        let owned = self.directory.owners().await?.into_iter().filter_map(|of| {
            let address = of.address.map(Arc::from);
            Some((of.shard, Place { owner: of.owner?, epoch: of.epoch, address }))
        });
        Ok(owned.collect())
    }
}
