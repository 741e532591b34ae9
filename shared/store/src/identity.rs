//! Who is it: identities to contacts.
//!
//! A query names one person by several identities. The strongest known one decides (userId, then
//! e-mail where a brand identifies by it, then anonymousId); unknown ones attach to its contact.
//! An anonymous-only contact that turns out to be this one is absorbed: its inbox gets a row that
//! says so. Two contacts that both have a strong identity are never merged; that is recorded once.
//!
//! What always holds: an identity points at one contact; a contact has at most one userId; many
//! first events of one person at once make one contact; lost races start over and see the winner.

mod memory;
mod plan;
mod room;
mod write;

use std::{collections::HashMap, time::Instant};

use parcours_domain::{ContactId, EmailAddress, Handle, Timestamp};

pub(crate) use memory::{IdentityPlace, Memory};
pub(crate) use room::Rooms;

use crate::{error::StoreError, keys::TenantKeys, side::sql::Row, store::TenantStore};

/// How often a lost race is started over.
const ATTEMPTS_MAX: usize = 10;

/// The identities that one item names.
#[derive(Clone, Debug, Default)]
pub struct IdentityQuery {
    /// The brand's own id of the person.
    pub user_id: Option<String>,
    /// The id that a device made up.
    pub anonymous_id: Option<String>,
    /// Only when the brand identifies people by e-mail address.
    pub email: Option<EmailAddress>,
}

/// Code of an item of somebody unknown whose brand has all the contacts that it may have.
pub const NO_ROOM: &str = "contacts_quota";

/// To whom an item belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// This contact.
    Contact(ContactId),
    /// Nobody.
    Refused {
        /// Stable code: `no_identity`, or [`NO_ROOM`].
        code: &'static str,
        /// What to do about it.
        detail: &'static str,
    },
}

/// The answer to one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// To whom it belongs.
    pub contact: Resolution,
    /// An anonymous-only contact that is being absorbed into this one: its inbox has a row, so
    /// wake it.
    pub absorb: Option<ContactId>,
    /// A known contact that one of the identities belongs to and that was not merged: it has a
    /// strong identity of its own (`known_contacts_differ`; recorded in quarantine once).
    pub differs: Option<ContactId>,
}

impl Resolved {
    const fn known(contact: ContactId) -> Self {
        Self { contact: Resolution::Contact(contact), absorb: None, differs: None }
    }
    const fn refused(code: &'static str, detail: &'static str) -> Self {
        Self { contact: Resolution::Refused { code, detail }, absorb: None, differs: None }
    }
}

/// Kinds of identity, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    UserId,
    Email,
    AnonymousId,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::UserId => "user_id",
            Self::Email => "email",
            Self::AnonymousId => "anonymous_id",
        }
    }
    fn parse(text: &str) -> Option<Self> {
        [Self::UserId, Self::Email, Self::AnonymousId].into_iter().find(|k| k.as_str() == text)
    }
}

/// An identity as stored: kind and keyed hash.
type Key = (Kind, [u8; 32]);

/// Whose identity, from a row of the table.
pub(crate) fn place_from(row: &Row) -> Result<IdentityPlace, StoreError> {
    let key = (row.word("kind", Kind::parse)?, row.bytes("value_hmac")?);
    Ok((row.id("tenant_id")?, key))
}

/// One query, keyed: strongest first, with the values for making ids.
#[derive(Clone, Debug)]
struct Asked {
    keys: Vec<Key>,
    /// Value of the strongest.
    value: String,
}

/// The keyed hash under which an identity is stored.
pub(crate) fn value_hmac(keys: &TenantKeys, kind: &str, value: &str) -> [u8; 32] {
    keys.identity.mac(&[kind.as_bytes(), value.as_bytes()])
}

/// What is stored about identities that were asked for.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Which contact each points at.
    contacts: HashMap<Key, ContactId>,
    /// Strong kinds that a contact has.
    strong: HashMap<ContactId, Vec<Kind>>,
    /// Anonymous contacts that are about to become another. Known under the contacts' locks only.
    pending: HashMap<ContactId, ContactId>,
}

impl Known {
    fn has(&self, contact: ContactId, kind: Kind) -> bool {
        self.strong.get(&contact).is_some_and(|kinds| kinds.contains(&kind))
    }
    fn is_anonymous_only(&self, contact: ContactId) -> bool {
        self.strong.get(&contact).is_none_or(Vec::is_empty)
    }
    /// Whether the one may be absorbed by the other: it is nobody known, nor about to become
    /// another.
    fn may_become(&self, one: ContactId, other: ContactId) -> bool {
        self.is_anonymous_only(one) && self.pending.get(&one).is_none_or(|into| *into == other)
    }
    fn point(&mut self, key: Key, contact: ContactId) {
        self.contacts.insert(key, contact);
        if key.0 != Kind::AnonymousId {
            self.strong.entry(contact).or_default().push(key.0);
        }
    }
}

impl TenantStore {
    /// Finds or makes the contacts of these items, in order. `chance` gives a new contact's id
    /// and handle for the identity that makes it. A contact that has been absorbed meanwhile may
    /// be answered; it says so when it is asked to apply something.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; [`StoreError::Conflict`] when races were lost again and again.
    pub async fn resolve(
        &self,
        queries: &[IdentityQuery],
        chance: &(dyn Fn(&str, &str) -> (ContactId, Handle) + Sync),
        now: Timestamp,
    ) -> Result<Vec<Resolved>, StoreError> {
        self.resolve_within(queries, chance, now, None).await
    }

    /// The same for a brand that may have at most `quota` contacts: those beyond are not made, and
    /// their items are refused with [`NO_ROOM`]. What is known goes on.
    ///
    /// # Errors
    /// As there.
    pub async fn resolve_within(
        &self,
        queries: &[IdentityQuery],
        chance: &(dyn Fn(&str, &str) -> (ContactId, Handle) + Sync),
        now: Timestamp,
        quota: Option<u32>,
    ) -> Result<Vec<Resolved>, StoreError> {
        let keys = self.store.keys(self.tenant).await?;
        let memory = &self.store.inner.identities;
        let asked: Vec<Asked> = queries.iter().map(|query| plan::asked(query, &keys)).collect();
        let known = asked.iter().map(|one| memory.contact(self.tenant, &one.keys));
        if let Some(known) = known.collect::<Option<Vec<_>>>() {
            return Ok(known.into_iter().map(Resolved::known).collect());
        }
        // All or nothing: a later item sees what an earlier one of the same call makes.
        let resolved = self.resolve_stored(&asked, chance, now, quota).await?;
        if resolved.iter().all(|one| one.absorb.is_none() && one.differs.is_none()) {
            for (one, resolved) in asked.iter().zip(&resolved) {
                if let Resolution::Contact(contact) = resolved.contact {
                    memory.learn(self.tenant, &one.keys, contact);
                }
            }
        }
        Ok(resolved)
    }

    async fn resolve_stored(
        &self,
        asked: &[Asked],
        chance: &(dyn Fn(&str, &str) -> (ContactId, Handle) + Sync),
        now: Timestamp,
        quota: Option<u32>,
    ) -> Result<Vec<Resolved>, StoreError> {
        let on = self.store.db().look(self.tenant).await?;
        let known = self.known(&on, asked).await?;
        on.end().await?;
        let rooms = &self.store.inner.rooms;
        let full = quota.is_some_and(|quota| rooms.is_full(self.tenant, quota, Instant::now()));
        let plan = plan::make(asked, known, chance, if full { 0 } else { u32::MAX });
        if plan.is_read_only() {
            return Ok(plan.resolved);
        }
        for _ in 0..ATTEMPTS_MAX {
            if let Some(resolved) = self.write(asked, chance, now, quota).await? {
                return Ok(resolved);
            }
        }
        Err(StoreError::Conflict)
    }

    /// The contact of these identities has become another: the next look-up asks the database.
    ///
    /// # Errors
    /// When the brand's keys cannot be read.
    pub async fn forget(&self, query: &IdentityQuery) -> Result<(), StoreError> {
        let keys = self.store.keys(self.tenant).await?;
        let places = plan::asked(query, &keys).keys.into_iter().map(|key| (self.tenant, key));
        self.store.inner.identities.forget(places);
        Ok(())
    }
}
