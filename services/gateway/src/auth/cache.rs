//! Keys and brand names seen in the last seconds, so that a busy client does not cost a read for
//! each request. Short enough that a revocation acts at once in human terms.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use parcours_domain::{TenantId, Timestamp, hash::sha256};
use parcours_store::ApiKey;
use uuid::Uuid;

/// How long a key is believed without asking again; a revocation acts within this time.
pub const KEY_SEEN_MAX: Duration = Duration::from_secs(3);

/// The most entries of each kind; one more empties the cache.
const ENTRIES_MAX: usize = 10_000;

#[derive(Default)]
struct Seen {
    // By a hash of the key's text: the text itself is not kept.
    keys: HashMap<[u8; 32], (ApiKey, Instant)>,
    brands: HashMap<(Uuid, String), (TenantId, Instant)>,
}

/// What was seen in the last seconds.
#[derive(Default)]
pub struct KeyCache(Mutex<Seen>);

impl KeyCache {
    /// The key with this text, if it was seen and has not expired since.
    #[must_use]
    pub fn get(&self, text: &str, now: Timestamp) -> Option<ApiKey> {
        let seen = self.seen();
        let (key, at) = seen.keys.get(&sha256(&[text.as_bytes()]))?;
        let live = at.elapsed() < KEY_SEEN_MAX && key.expires_at.is_none_or(|end| now < end);
        Some(key.clone()).filter(|_| live)
    }

    /// Remembers a key.
    pub fn put(&self, text: &str, key: ApiKey) {
        let mut seen = self.seen();
        if seen.keys.len() >= ENTRIES_MAX {
            seen.keys.clear();
        }
        seen.keys.insert(sha256(&[text.as_bytes()]), (key, Instant::now()));
    }

    /// Forgets all keys: one was revoked here.
    pub fn forget_keys(&self) {
        self.seen().keys.clear();
    }

    /// The brand of this name within a reach.
    #[must_use]
    pub fn brand(&self, reach: Uuid, name: &str) -> Option<TenantId> {
        let seen = self.seen();
        let (tenant, at) = seen.brands.get(&(reach, name.to_owned()))?;
        Some(*tenant).filter(|_| at.elapsed() < KEY_SEEN_MAX)
    }

    /// Remembers a brand's name.
    pub fn put_brand(&self, reach: Uuid, name: &str, tenant: TenantId) {
        let mut seen = self.seen();
        if seen.brands.len() >= ENTRIES_MAX {
            seen.brands.clear();
        }
        seen.brands.insert((reach, name.to_owned()), (tenant, Instant::now()));
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
