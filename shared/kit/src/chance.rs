//! Chance as an argument: the operating system's randomness, or for the demo ids that derive from
//! the customer's own number so that a second run takes the same arms.

use parcours_domain::{ContactId, Handle, TenantId, hash::MacKey};

/// Where random bytes and new contacts' ids come from.
pub trait Chance: Send + Sync {
    /// Fills the buffer with bytes that nobody can guess.
    fn fill(&self, buffer: &mut [u8]);

    /// Id and handle for a contact that is new under this identity.
    fn contact(&self, tenant: TenantId, kind: &str, value: &str) -> (ContactId, Handle);

    /// The free bits of a version 7 id.
    fn tail(&self) -> [u8; 10] {
        let mut tail = [0; 10];
        self.fill(&mut tail);
        tail
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsChance;

impl Chance for OsChance {
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            // Keys, nonces and ids without randomness would be worse than no process at all.
            tracing::error!(%error, "the operating system gives no random bytes; stopping");
            std::process::abort();
        }
    }

    fn contact(&self, _: TenantId, _: &str, _: &str) -> (ContactId, Handle) {
        let mut id = [0; 16];
        self.fill(&mut id);
        let mut handle = [0; 16];
        self.fill(&mut handle);
        (ContactId(uuid::Builder::from_random_bytes(id).into_uuid()), Handle(handle))
    }
}

/// Contacts derive from the identity's value under a fixed key; other bytes stay random. For the
/// demo only: whoever knows the key can link a handle to a customer number.
#[derive(Clone, Debug)]
pub struct SeededChance(pub MacKey);

impl Chance for SeededChance {
    fn fill(&self, buffer: &mut [u8]) {
        OsChance.fill(buffer);
    }

    fn contact(&self, tenant: TenantId, kind: &str, value: &str) -> (ContactId, Handle) {
        // The brand's id is random at each install; leaving it out keeps two demos alike.
        let _ = tenant;
        let mac = self.0.mac(&[b"contact", kind.as_bytes(), value.as_bytes()]);
        let (mut id, mut handle) = ([0; 16], [0; 16]);
        id.copy_from_slice(&mac[..16]);
        handle.copy_from_slice(&mac[16..]);
        (ContactId(uuid::Builder::from_custom_bytes(id).into_uuid()), Handle(handle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(uuid::Uuid::nil());

    #[test]
    fn seeded_contacts_repeat_and_differ_by_value() {
        let chance = SeededChance(MacKey([3; 32]));
        let one = chance.contact(TENANT, "user_id", "17");
        assert_eq!(one, chance.contact(TENANT, "user_id", "17"));
        assert_ne!(one, chance.contact(TENANT, "user_id", "18"));
        assert_ne!(one, chance.contact(TENANT, "anonymous_id", "17"));
        assert_eq!(one.0.0.get_version_num(), 8);
    }

    #[test]
    fn random_contacts_differ() {
        let one = OsChance.contact(TENANT, "user_id", "17");
        assert_ne!(one, OsChance.contact(TENANT, "user_id", "17"));
    }
}
