//! The consent door: facts go in, a standing comes out. Needs SQL only.
//!
//! What always holds: a fact moves the version of the contact's `consent_head` (and of the address
//! row, when it suppresses or objects) in the transaction that appends it, so no final commit of a
//! message that was judged before can pass against it. Locks are taken in one order: contact,
//! address rows by hash, head. Facts of one contact and channel have strictly growing times, in
//! the order in which they were accepted.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{
    AddressHash, Channel, ContactId, FactId, Handle, Millis, TenantId, Timestamp,
    consent::{AddressStanding, ConsentFact, FactKind, Latest, Scope, Standing},
};
use sea_orm::ConnectionTrait;

use super::{
    facts,
    inbox::{self, ConsentRef, InboxWrite},
    sql::{Sql, bytes, ms, vals},
};
use crate::{Store, error::StoreError};

/// One fact to append.
#[derive(Clone, Debug)]
pub struct NewFact {
    /// Its id: version 7 of the product time, random tail.
    pub id: FactId,
    /// What was said.
    pub kind: FactKind,
    /// About what.
    pub scope: Scope,
    /// The topic's purpose now; empty for all marketing.
    pub purpose: String,
    /// On which channel.
    pub channel: Channel,
    /// The address it was said for; none means the contact's present one.
    pub address: Option<AddressHash>,
    /// Where it came from.
    pub source: String,
    /// Reference to the wording shown.
    pub wording: Option<String>,
    /// 32 random bytes.
    pub nonce: [u8; 32],
    /// When the newest word on this scope is already of this kind, append nothing and answer with
    /// that fact: what makes one-click idempotent.
    pub once: bool,
}

/// Where a contact stands now on one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingNow {
    /// Folded from all facts.
    pub standing: Standing,
    /// The present address, by hash, and what is known of it.
    pub address: Option<(AddressHash, AddressStanding)>,
    /// Version of the head; none when the contact never had an address or a fact.
    pub head_version: Option<i64>,
}

/// Records facts and reads standings.
#[derive(Clone)]
pub struct ConsentDoor {
    pub(crate) store: Store,
}

/// How many messages of a contact (`$2`) of a brand (`$1`) are between final commit and recorded
/// outcome. First the few rows that are leaving, of everybody, and then in this order: otherwise
/// SQLite reads all messages of the brand.
pub(crate) const LEAVING: &str = "WITH q AS MATERIALIZED (SELECT tenant_id, message_id \
     FROM send_queue WHERE phase = 2 AND class <> 'test') SELECT count(*) AS n \
     FROM q CROSS JOIN message m CROSS JOIN contact c \
     WHERE q.tenant_id = $1 AND m.tenant_id = q.tenant_id AND m.id = q.message_id \
     AND c.tenant_id = m.tenant_id AND c.id = m.contact_id AND (c.id = $2 OR c.merged_into = $2)";

impl ConsentDoor {
    /// Appends facts of one contact in one commit. After it returns, no final commit of a message
    /// judged before can pass against them.
    ///
    /// # Errors
    /// `NotFound` when the brand has no such contact; otherwise what the database says.
    pub async fn record(
        &self,
        tenant: TenantId,
        contact: ContactId,
        new: Vec<NewFact>,
        now: Timestamp,
    ) -> Result<Vec<FactId>, StoreError> {
        let tx = self.store.db().begin(tenant).await?;
        let (contact, handle) = lock_contact(&tx, tenant, contact).await?;
        let subject = Subject { tenant, contact, handle };
        let ids = record_in(&tx, self.store.shards(), &subject, &new, now).await?;
        tx.commit().await?;
        Ok(ids)
    }

    /// How many messages of the contact passed their final commit and have no recorded outcome
    /// yet: asked right after a withdrawal, those that it came too late for.
    ///
    /// # Errors
    /// What the database says.
    pub async fn leaving(&self, tenant: TenantId, contact: ContactId) -> Result<u64, StoreError> {
        let on = &self.store.db().read(tenant);
        let contact = inbox::live_contact(on, tenant, contact).await?;
        let row = Sql::new(LEAVING, vals![tenant.0, contact.0]).one(on).await?;
        row.map_or(Ok(0), |row| Ok(row.get::<i64>("n")?.unsigned_abs()))
    }

    /// Where the contact (or what it has become) stands on the channel.
    ///
    /// # Errors
    /// What the database says.
    pub async fn standing(
        &self,
        tenant: TenantId,
        contact: ContactId,
        channel: Channel,
    ) -> Result<StandingNow, StoreError> {
        let on = &self.store.db().read(tenant);
        let contact = inbox::live_contact(on, tenant, contact).await?;
        let head = Sql::new(
            "SELECT version FROM consent_head \
             WHERE tenant_id = $1 AND contact_id = $2 AND channel = $3",
            vals![tenant.0, contact.0, channel.as_str()],
        );
        let head_version = match head.one(on).await? {
            Some(row) => Some(row.get("version")?),
            None => None,
        };
        let address = present_address(on, tenant, contact, channel).await?;
        let mut standings = facts::standings(on, tenant, &[contact], channel).await?;
        let standing = standings.remove(&contact).unwrap_or_default().0;
        Ok(StandingNow { standing, address, head_version })
    }
}

/// Whom facts are about.
pub(crate) struct Subject {
    pub tenant: TenantId,
    pub contact: ContactId,
    pub handle: Handle,
}

/// Finds the contact, follows absorption, and holds the row so that it is not absorbed meanwhile.
pub(super) async fn lock_contact(
    tx: &impl ConnectionTrait,
    tenant: TenantId,
    contact: ContactId,
) -> Result<(ContactId, Handle), StoreError> {
    let mut contact = contact;
    for _ in 0..3 {
        let row = Sql::new(
            "SELECT handle, merged_into FROM contact WHERE tenant_id = $1 AND id = $2",
            vals![tenant.0, contact.0],
        )
        .lock(tx, "FOR SHARE")
        .one(tx)
        .await?
        .ok_or(StoreError::NotFound)?;
        match row.id_opt("merged_into")? {
            Some(into) => contact = into,
            None => return Ok((contact, Handle(row.bytes("handle")?))),
        }
    }
    Err(StoreError::Damaged("contact.merged_into"))
}

/// The whole of a record inside the caller's transaction. The contact's row is locked already.
pub(crate) async fn record_in(
    tx: &impl ConnectionTrait,
    shards: u16,
    subject: &Subject,
    new: &[NewFact],
    now: Timestamp,
) -> Result<Vec<FactId>, StoreError> {
    let &Subject { tenant, contact, .. } = subject;
    let channels: BTreeSet<Channel> = new.iter().map(|fact| fact.channel).collect();
    let mut present = BTreeMap::new();
    for &channel in &channels {
        if let Some((hash, _)) = present_address(tx, tenant, contact, channel).await? {
            present.insert(channel, hash);
        }
    }
    let address_of = |fact: &NewFact| fact.address.or_else(|| present.get(&fact.channel).copied());
    move_addresses(tx, tenant, new.iter().map(|fact| (fact, address_of(fact))), now).await?;
    let mut standings = BTreeMap::new();
    for &channel in &channels {
        move_head(tx, tenant, contact, channel).await?;
        let mut read = facts::standings(tx, tenant, &[contact], channel).await?;
        standings.insert(channel, read.remove(&contact));
    }
    let mut ids = Vec::with_capacity(new.len());
    let mut rows = Vec::with_capacity(new.len());
    for fact in new {
        let (standing, newest) = standings.entry(fact.channel).or_default().get_or_insert_default();
        if let Some(already) = already_said(standing, fact).filter(|_| fact.once) {
            ids.push(already);
            continue;
        }
        let at = if *newest == Timestamp::default() { now } else { now.max(*newest + Millis(1)) };
        *newest = at;
        standing.add(fact.kind, &fact.scope, at, fact.id);
        ids.push(fact.id);
        rows.push(fact_row(subject, fact, address_of(fact), at));
    }
    append(tx, shards, &rows, now).await?;
    Ok(ids)
}

fn fact_row(
    subject: &Subject,
    fact: &NewFact,
    address: Option<AddressHash>,
    at: Timestamp,
) -> ConsentFact {
    ConsentFact {
        id: fact.id,
        tenant: subject.tenant,
        contact: subject.contact,
        handle: subject.handle,
        kind: fact.kind,
        scope: fact.scope.clone(),
        purpose: fact.purpose.clone(),
        channel: fact.channel,
        address,
        at,
        source: fact.source.clone(),
        wording: fact.wording.clone(),
        nonce: fact.nonce,
    }
}

/// Appends the facts and tells the contact's actor through the inbox.
async fn append(
    tx: &impl ConnectionTrait,
    shards: u16,
    rows: &[ConsentFact],
    now: Timestamp,
) -> Result<(), StoreError> {
    facts::append(tx, rows).await?;
    let told = rows.iter().map(|fact| {
        let reference = ConsentRef {
            fact: fact.id,
            channel: fact.channel,
            kind: fact.kind,
            scope: fact.scope.clone(),
        };
        InboxWrite::consent(fact.tenant, fact.contact, &reference)
    });
    inbox::write(tx, shards, told.collect(), now).await
}

/// The fact that already says this as the newest word on its scope. A word on all marketing is
/// said again when an opt-in to a topic has come since, for that has lifted it.
fn already_said(standing: &Standing, fact: &NewFact) -> Option<FactId> {
    let latest = match (fact.kind, &fact.scope) {
        (FactKind::Suppressed, _) => standing.suppressed.as_ref(),
        (_, Scope::Topic(topic)) => standing.topics.get(topic),
        (_, Scope::AllMarketing) => standing.all_marketing.as_ref(),
    };
    let latest = latest.filter(|latest| latest.kind == fact.kind)?;
    let opted_in = |word: &&Latest| matches!(word.kind, FactKind::Given | FactKind::Confirmed);
    let mut since = standing.topics.values().filter(opted_in);
    let lifted = fact.scope == Scope::AllMarketing
        && since.any(|word| (word.at, word.fact) > (latest.at, latest.fact));
    (!lifted).then_some(latest.fact)
}

/// Suppresses and objects by address, in the order of the hashes; makes a missing row, so that an
/// address can be refused before anybody has it.
async fn move_addresses<'a>(
    tx: &impl ConnectionTrait,
    tenant: TenantId,
    facts: impl Iterator<Item = (&'a NewFact, Option<AddressHash>)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut moves: BTreeMap<(&'static str, AddressHash), BTreeMap<FactKind, String>> =
        BTreeMap::new();
    for (fact, address) in facts {
        let Some(hash) = address else { continue };
        match (fact.kind, &fact.scope) {
            (FactKind::Suppressed, _) | (FactKind::Objected, Scope::AllMarketing) => {
                let kinds = moves.entry((fact.channel.as_str(), hash)).or_default();
                kinds.entry(fact.kind).or_insert_with(|| fact.source.clone());
            }
            (FactKind::Objected, Scope::Topic(_))
            | (FactKind::Given | FactKind::Confirmed | FactKind::Withdrawn, _) => {}
        }
    }
    for ((channel, hash), kinds) in moves {
        let key = vals![tenant.0, channel, bytes(&hash.0), ms(now)];
        Sql::new(
            "INSERT INTO address (tenant_id, channel, hmac, key_version, version, created_at) \
             VALUES ($1, $2, $3, 1, 0, $4) ON CONFLICT DO NOTHING",
            key.clone(),
        )
        .run(tx)
        .await?;
        let reason = kinds.get(&FactKind::Suppressed);
        if let Some(reason) = reason {
            suppress(tx, &key, reason).await?;
        }
        if kinds.contains_key(&FactKind::Objected) {
            let sql = "UPDATE address SET version = version + 1, objected_at = $4 \
                       WHERE tenant_id = $1 AND channel = $2 AND hmac = $3";
            Sql::new(sql, key).run(tx).await?;
        }
    }
    Ok(())
}

/// Suppresses one address; the first time and reason stay. `key` is tenant, channel, hash, now.
async fn suppress(
    tx: &impl ConnectionTrait,
    key: &[sea_orm::Value],
    reason: &str,
) -> Result<(), StoreError> {
    let mut values = key.to_vec();
    values.push(reason.into());
    Sql::new(
        "UPDATE address SET version = version + 1, \
         suppressed_reason = CASE WHEN suppressed_at IS NULL THEN $5 ELSE suppressed_reason END, \
         suppressed_at = coalesce(suppressed_at, $4) \
         WHERE tenant_id = $1 AND channel = $2 AND hmac = $3",
        values,
    )
    .run(tx)
    .await?;
    Ok(())
}

/// Takes the contact's head exclusively and moves its version; makes a missing head.
async fn move_head(
    tx: &impl ConnectionTrait,
    tenant: TenantId,
    contact: ContactId,
    channel: Channel,
) -> Result<(), StoreError> {
    Sql::new(
        "INSERT INTO consent_head (tenant_id, contact_id, channel, version) VALUES ($1, $2, $3, 1) \
         ON CONFLICT (tenant_id, contact_id, channel) \
         DO UPDATE SET version = consent_head.version + 1",
        vals![tenant.0, contact.0, channel.as_str()],
    )
    .run(tx)
    .await?;
    Ok(())
}

/// The contact's present address on the channel and what is known of it.
async fn present_address(
    on: &impl ConnectionTrait,
    tenant: TenantId,
    contact: ContactId,
    channel: Channel,
) -> Result<Option<(AddressHash, AddressStanding)>, StoreError> {
    let row = Sql::new(
        "SELECT hmac, suppressed_at, objected_at FROM address \
         WHERE tenant_id = $1 AND channel = $3 AND hmac = (SELECT c.hmac FROM contact_address c \
         WHERE c.tenant_id = $1 AND c.contact_id = $2 AND c.channel || '' = $3)",
        vals![tenant.0, contact.0, channel.as_str()],
    )
    .one(on)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let standing = AddressStanding {
        suppressed_at: row.time_opt("suppressed_at")?,
        objected_at: row.time_opt("objected_at")?,
    };
    Ok(Some((AddressHash(row.bytes("hmac")?), standing)))
}
