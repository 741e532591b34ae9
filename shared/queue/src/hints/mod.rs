//! Hints: "there may be work" told to whoever listens, in this process and in others.
//!
//! Lossy by design: a hint that is lost costs the period of a sweep, so telling never waits, never
//! fails, and is dropped when too much is under way. Whoever hears one looks into SQL.

mod redis;

use std::collections::HashSet;

use parcours_domain::{ContactId, TenantId};
use tokio::sync::broadcast;
use uuid::Uuid;

pub use self::redis::RedisHints;

/// Hints that wait for a slow listener, and hints that wait to be sent.
const WAITING_MAX: usize = 4_096;

/// What may be there to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// Queue rows of this brand and lane were committed.
    Queued {
        /// The brand.
        tenant: TenantId,
        /// The lane of its send queue.
        lane: i64,
    },
    /// A contact has inbox rows.
    Wake {
        /// The brand.
        tenant: TenantId,
        /// The contact.
        contact: ContactId,
    },
}

/// Where hints are told and heard.
pub trait Hints: Send + Sync {
    /// Tells every listener, here at once and elsewhere soon, or nobody.
    fn tell(&self, hint: Hint);
    /// Hears what is told from now on. A listener that lags misses the oldest ones, and is told how
    /// many.
    fn listen(&self) -> broadcast::Receiver<Hint>;
}

/// Hints within one process.
#[derive(Debug)]
pub struct MemoryHints {
    here: broadcast::Sender<Hint>,
}

impl Default for MemoryHints {
    fn default() -> Self {
        Self { here: broadcast::Sender::new(WAITING_MAX) }
    }
}

impl MemoryHints {
    /// With nobody listening yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Hints for MemoryHints {
    fn tell(&self, hint: Hint) {
        // Nobody listens: then nobody needs it.
        let _ = self.here.send(hint);
    }
    fn listen(&self) -> broadcast::Receiver<Hint> {
        self.here.subscribe()
    }
}

const QUEUED: u8 = b'q';
const WAKE: u8 = b'w';

/// Who tells, then the hints, each once.
fn encode(from: Uuid, hints: &[Hint]) -> Vec<u8> {
    let mut bytes = from.as_bytes().to_vec();
    let mut said = HashSet::new();
    for hint in hints.iter().filter(|hint| said.insert(**hint)) {
        match hint {
            Hint::Queued { tenant, lane } => {
                bytes.push(QUEUED);
                bytes.extend(tenant.bytes());
                bytes.extend(lane.to_be_bytes());
            }
            Hint::Wake { tenant, contact } => {
                bytes.push(WAKE);
                bytes.extend(tenant.bytes());
                bytes.extend(contact.bytes());
            }
        }
    }
    bytes
}

/// Who told, and the hints up to the first that is not understood.
fn decode(bytes: &[u8]) -> Option<(Uuid, Vec<Hint>)> {
    let (from, mut rest) = bytes.split_at_checked(16)?;
    let mut hints = Vec::new();
    while let Some((hint, after)) = decode_one(rest) {
        hints.push(hint);
        rest = after;
    }
    Some((Uuid::from_slice(from).ok()?, hints))
}

fn decode_one(bytes: &[u8]) -> Option<(Hint, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (tenant, rest) = rest.split_at_checked(16)?;
    let tenant = TenantId(Uuid::from_slice(tenant).ok()?);
    match *kind {
        QUEUED => {
            let (lane, rest) = rest.split_first_chunk()?;
            Some((Hint::Queued { tenant, lane: i64::from_be_bytes(*lane) }, rest))
        }
        WAKE => {
            let (contact, rest) = rest.split_at_checked(16)?;
            Some((Hint::Wake { tenant, contact: ContactId(Uuid::from_slice(contact).ok()?) }, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_come_back_as_they_went_each_once() {
        let (tenant, contact) = (TenantId(Uuid::from_u128(1)), ContactId(Uuid::from_u128(2)));
        let (queued, wake) = (Hint::Queued { tenant, lane: -7 }, Hint::Wake { tenant, contact });
        let from = Uuid::from_u128(9);
        let bytes = encode(from, &[queued, wake, queued]);
        assert_eq!(decode(&bytes), Some((from, vec![queued, wake])));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), Some((from, vec![queued])), "cut short");
        assert_eq!(decode(&bytes[..10]), None);
        assert_eq!(decode(&encode(from, &[])), Some((from, vec![])));
    }

    #[tokio::test]
    async fn a_listener_hears_what_is_told_while_it_listens() {
        let hints = MemoryHints::new();
        let hint = Hint::Queued { tenant: TenantId(Uuid::from_u128(1)), lane: 3 };
        hints.tell(Hint::Queued { tenant: TenantId(Uuid::from_u128(1)), lane: 2 });
        let mut listener = hints.listen();
        hints.tell(hint);
        assert_eq!(listener.recv().await, Ok(hint));
    }
}
