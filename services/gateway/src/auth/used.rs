//! When each key was last used, kept to the minute and off the request's way.
//!
//! What always holds: a request never waits for it; each key costs at most one write a minute, and
//! keys that come due together share a statement; a write that fails is said and forgotten, and the
//! next use in the next minute tries again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use parcours_domain::{KeyId, Timestamp};
use parcours_store::Store;

/// How long a use of a key is not written again.
const FINE_ENOUGH: Duration = Duration::from_secs(60);

/// Keys remembered; one more forgets those whose minute is over.
const KEYS_MAX: usize = 10_000;

#[derive(Default)]
struct Noted {
    written: HashMap<KeyId, Instant>,
    waiting: Vec<(KeyId, Timestamp)>,
    writing: bool,
}

/// The uses of keys that are not written yet.
#[derive(Clone, Default)]
pub struct UsedKeys(Arc<Mutex<Noted>>);

impl UsedKeys {
    /// Notes a use at this machine time.
    pub fn note(&self, store: &Store, key: KeyId, now: Timestamp) {
        if !self.take(key, now, Instant::now()) {
            return;
        }
        let (used, store) = (self.clone(), store.clone());
        tokio::spawn(async move {
            while let Some(uses) = used.next() {
                if let Err(error) = store.admin().keys_used(&uses).await {
                    tracing::debug!(%error, "the last use of keys was not written");
                }
            }
        });
    }

    /// Takes a use if the key's minute is over; whether somebody must begin to write.
    fn take(&self, key: KeyId, now: Timestamp, at: Instant) -> bool {
        let mut noted = self.noted();
        let fresh = |written: &Instant| at.saturating_duration_since(*written) < FINE_ENOUGH;
        if noted.written.get(&key).is_some_and(fresh) {
            return false;
        }
        if noted.written.len() >= KEYS_MAX {
            noted.written.retain(|_, written| fresh(written));
        }
        noted.written.insert(key, at);
        noted.waiting.push((key, now));
        !std::mem::replace(&mut noted.writing, true)
    }

    /// What is to be written now; none: this writer is done.
    fn next(&self) -> Option<Vec<(KeyId, Timestamp)>> {
        let mut noted = self.noted();
        let waiting = std::mem::take(&mut noted.waiting);
        noted.writing = !waiting.is_empty();
        noted.writing.then_some(waiting)
    }

    /// No code runs under this lock that can panic half-way.
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_once_a_minute_and_keys_share_a_write() {
        let (used, begin) = (UsedKeys::default(), Instant::now());
        let key = |n| KeyId(uuid::Uuid::from_u128(n));
        let at = |seconds| begin + Duration::from_secs(seconds);
        let now = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        assert!(used.take(key(1), now(0), at(0)), "somebody must write");
        assert!(!used.take(key(2), now(1), at(1)), "somebody does");
        assert!(!used.take(key(1), now(2), at(2)));
        assert_eq!(used.next(), Some(vec![(key(1), now(0)), (key(2), now(1))]));
        assert_eq!(used.next(), None);
        assert!(!used.take(key(1), now(59), at(59)));
        assert_eq!(used.next(), None);
        assert!(used.take(key(1), now(60), at(60)));
        assert_eq!(used.next(), Some(vec![(key(1), now(60))]));
    }
}
