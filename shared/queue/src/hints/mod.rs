//! Hints: "there may be messages to send", told to whoever listens, in this process and in others.
//!
//! Lossy by design: a hint that is lost costs the period of a sweep, so telling never waits, never
//! fails, and is dropped when too much is under way. Whoever hears one looks into SQL. What concerns
//! a contact goes to its owner alone, on the way that its events take.

mod redis;

use std::collections::HashSet;

use parcours_domain::TenantId;
use uuid::Uuid;

pub use self::redis::RedisHints;

/// Hints that wait for a slow listener, and hints that wait to be sent.
const WAITING_MAX: usize = 4_096;

/// Queue rows of this brand and lane were committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hint {
    /// The brand.
    pub tenant: TenantId,
    /// The lane of its send queue.
    pub lane: i64,
}

/// What a hint is about; there may be other kinds one day.
const QUEUED: u8 = b'q';

/// Who tells, then the hints, each once.
fn encode(from: Uuid, hints: &[Hint]) -> Vec<u8> {
    let mut bytes = from.as_bytes().to_vec();
    let mut said = HashSet::new();
    for hint in hints.iter().filter(|hint| said.insert(**hint)) {
        bytes.push(QUEUED);
        bytes.extend(hint.tenant.bytes());
        bytes.extend(hint.lane.to_be_bytes());
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
    let rest = bytes.strip_prefix(&[QUEUED])?;
    let (tenant, rest) = rest.split_at_checked(16)?;
    let (lane, rest) = rest.split_first_chunk()?;
    let tenant = TenantId(Uuid::from_slice(tenant).ok()?);
    Some((Hint { tenant, lane: i64::from_be_bytes(*lane) }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_come_back_as_they_went_each_once() {
        let tenant = TenantId(Uuid::from_u128(1));
        let (one, two) = (Hint { tenant, lane: -7 }, Hint { tenant, lane: 3 });
        let from = Uuid::from_u128(9);
        let bytes = encode(from, &[one, two, one]);
        assert_eq!(decode(&bytes), Some((from, vec![one, two])));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), Some((from, vec![one])), "cut short");
        assert_eq!(
            decode(&[&bytes[..], b"?"].concat()),
            Some((from, vec![one, two])),
            "a new kind"
        );
        assert_eq!(decode(&bytes[..10]), None);
        assert_eq!(decode(&encode(from, &[])), Some((from, vec![])));
    }
}
