//! Identities that were resolved lately, so that a busy visitor's next event asks nobody.
//!
//! What always holds: an identity, once attached, points at its contact until that contact is
//! absorbed. The absorption's commit forgets it here; a process that did not make that commit is
//! told by the next one that the contact has become another, and forgets it then. So an entry may
//! be old, never wrong about anybody else. What is not used leaves.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use parcours_domain::{ContactId, TenantId};

use super::Key;

/// Entries of one generation; a hundred bytes each.
const GENERATION_MAX: usize = 100_000;

/// An identity of a brand.
pub(crate) type IdentityPlace = (TenantId, Key);

/// Two generations: what is used in the younger stays, the older is dropped whole when it is full.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<IdentityPlace, ContactId>,
    old: HashMap<IdentityPlace, ContactId>,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Generations>);

impl Memory {
    /// The one contact that all of these point at; none when one is unknown here or they differ.
    pub(super) fn contact(&self, tenant: TenantId, keys: &[Key]) -> Option<ContactId> {
        let mut all = self.lock();
        let mut found = None;
        for key in keys {
            let contact = all.get((tenant, *key))?;
            if found.is_some_and(|other| other != contact) {
                return None;
            }
            found = Some(contact);
        }
        found
    }

    pub(super) fn learn(&self, tenant: TenantId, keys: &[Key], contact: ContactId) {
        let mut all = self.lock();
        for key in keys {
            all.put((tenant, *key), contact);
        }
    }

    pub(crate) fn forget(&self, places: impl IntoIterator<Item = IdentityPlace>) {
        let mut all = self.lock();
        for place in places {
            all.young.remove(&place);
            all.old.remove(&place);
        }
    }

    /// No code runs under this lock that can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn get(&mut self, place: IdentityPlace) -> Option<ContactId> {
        if let Some(contact) = self.young.get(&place) {
            return Some(*contact);
        }
        let contact = self.old.remove(&place)?;
        self.put(place, contact);
        Some(contact)
    }

    fn put(&mut self, place: IdentityPlace, contact: ContactId) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(place, contact);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{super::Kind, *};

    fn key(n: u64) -> Key {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        (Kind::UserId, hash)
    }
    fn id(n: u128) -> ContactId {
        ContactId(Uuid::from_u128(n))
    }

    #[test]
    fn only_what_is_known_and_agrees_is_told_and_only_to_its_brand() {
        let (memory, brand, other) =
            (Memory::default(), TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        memory.learn(brand, &[key(1), key(2)], id(7));
        memory.learn(brand, &[key(3)], id(8));
        assert_eq!(memory.contact(brand, &[key(1), key(2)]), Some(id(7)));
        assert_eq!(memory.contact(brand, &[key(1), key(3)]), None, "they differ");
        assert_eq!(memory.contact(brand, &[key(1), key(4)]), None, "one is unknown");
        assert_eq!(memory.contact(brand, &[]), None);
        assert_eq!(memory.contact(other, &[key(1)]), None);
        memory.forget([(brand, key(1))]);
        assert_eq!(memory.contact(brand, &[key(1)]), None);
        assert_eq!(memory.contact(brand, &[key(2)]), Some(id(7)));
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_leaves() {
        let (memory, brand) = (Memory::default(), TenantId(Uuid::from_u128(1)));
        let most = GENERATION_MAX as u64;
        for n in 0..3 * most {
            memory.learn(brand, &[key(n)], id(1));
            assert_eq!(memory.contact(brand, &[key(0)]), Some(id(1)), "it is in use");
        }
        assert_eq!(memory.contact(brand, &[key(1)]), None);
        let all = memory.lock();
        assert!(all.young.len() + all.old.len() <= 2 * GENERATION_MAX);
    }
}
