//! Keyed and plain hashes with fixed inputs, and the routing hash.
//!
//! Parts are length-prefixed before hashing, so that no two lists of parts share an encoding.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::ids::ContactId;

/// A 256-bit MAC key. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct MacKey(pub [u8; 32]);

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<key>")
    }
}

impl MacKey {
    /// HMAC-SHA-256 (RFC 2104) over the length-prefixed parts.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        // HMAC pads a short key with zeros to the hash's block of 64 bytes.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether `tag` (at least 16 bytes) is the beginning of the MAC of `parts`; constant time.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        let mac = self.mac(parts);
        match mac.get(..tag.len()) {
            Some(head) if tag.len() >= 16 => head.ct_eq(tag).into(),
            Some(_) | None => false,
        }
    }
}

/// SHA-256 over the length-prefixed parts.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The first `N` bytes (at most 32) of [`sha256`].
#[must_use]
pub fn sha256_head<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut head = [0; N];
    for (to, from) in head.iter_mut().zip(sha256(parts)) {
        *to = from;
    }
    head
}

/// De-duplication key of a client event: the first 16 bytes of SHA-256(messageId).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey(pub [u8; 16]);

impl EventKey {
    /// Of the messageId's text, as sent.
    #[must_use]
    pub fn of(message_id: &str) -> Self {
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(Sha256::digest(message_id.as_bytes())) {
            *to = from;
        }
        Self(key)
    }
}
impl fmt::Debug for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// The routing hash: FNV-1a, 64 bits (offset basis and prime as published), over the contact id's
/// 16 bytes, then modulo the number of shards. Stored nowhere but in the `shard` column.
#[must_use]
pub fn shard_of(contact: ContactId, shards: u16) -> u16 {
    let hash = contact.bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    u16::try_from(hash % u64::from(shards.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: contacts live where this says; a change here strands every stored contact.
    #[test]
    fn the_routing_hash_never_changes() {
        let id = |n: u128| ContactId(uuid::Uuid::from_u128(n));
        let golden = [
            (0, 101),
            (1, 178),
            (2, 255),
            (0x0192_0000_0000_7000_8000_0000_0000_0001, 13),
            (u128::MAX, 85),
        ];
        for (n, shard) in golden {
            assert_eq!(shard_of(id(n), 256), shard, "{n:x}");
        }
    }

    #[test]
    fn a_short_or_changed_tag_is_refused() {
        let key = MacKey([7; 32]);
        let mac = key.mac(&[b"a", b"b"]);
        assert!(key.verify(&[b"a", b"b"], &mac[..16]));
        assert!(!key.verify(&[b"a", b"b"], &mac[..15]));
        assert!(!key.verify(&[b"a", b"b"], &[]));
        assert!(!key.verify(&[b"ab", b""], &mac[..16]));
        let mut bent = mac;
        bent[3] ^= 1;
        assert!(!key.verify(&[b"a", b"b"], &bent));
    }

    #[test]
    fn the_event_key_is_plain_sha_256_of_the_text() {
        assert_eq!(format!("{:?}", EventKey::of("abc")), "ba7816bf8f01cfea414140de5dae2223");
    }
}
