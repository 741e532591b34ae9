//! Consent facts as rows: appended with nonce, canonical bytes and a pending leaf; read back and
//! folded.
//!
//! What always holds: a fact's row and its pending leaf are written in one transaction; a standing
//! read for a contact includes the facts of every contact that was absorbed into it.

use std::collections::BTreeMap;

use parcours_domain::{
    AddressHash, Channel, ContactId, FactId, Handle, TenantId, Timestamp,
    consent::{ConsentFact, FactKind, Scope, Standing},
};
use sea_orm::ConnectionTrait;

use super::{
    inbox::aliases,
    sql::{ROWS_MAX, Row, Sql, bytes, damaged, ms, vals},
};
use crate::error::StoreError;

/// Appends facts and their pending leaves.
pub(crate) async fn append(
    tx: &impl ConnectionTrait,
    facts: &[ConsentFact],
) -> Result<(), StoreError> {
    for chunk in facts.chunks(ROWS_MAX) {
        Sql::default()
            .text(
                "INSERT INTO consent_fact (tenant_id, id, contact_id, handle, kind, topic, purpose, \
                 channel, address_hmac, at, source, wording, nonce, canonical) VALUES ",
            )
            .rows(chunk.iter().map(fact_values))
            .run(tx)
            .await?;
        let leaves = chunk
            .iter()
            .map(|fact| vals![fact.tenant.0, fact.id.0, fact.commitment().to_vec(), ms(fact.at)]);
        Sql::default()
            .text("INSERT INTO leaf_pending (tenant_id, fact_id, commitment, created_at) VALUES ")
            .rows(leaves)
            .run(tx)
            .await?;
    }
    Ok(())
}

fn fact_values(fact: &ConsentFact) -> Vec<sea_orm::Value> {
    let topic = match &fact.scope {
        Scope::Topic(topic) => Some(topic.as_str().to_owned()),
        Scope::AllMarketing => None,
    };
    vals![
        fact.tenant.0,
        fact.id.0,
        fact.contact.0,
        bytes(&fact.handle.0),
        fact.kind.as_str(),
        topic,
        fact.purpose.clone(),
        fact.channel.as_str(),
        fact.address.map(|hash| hash.0.to_vec()),
        ms(fact.at),
        fact.source.clone(),
        fact.wording.clone(),
        bytes(&fact.nonce),
        fact.canonical_bytes()
    ]
}

/// The columns of a fact, in the order of the table.
pub(crate) const FACT_COLUMNS: &str = "tenant_id, id, contact_id, handle, kind, topic, purpose, \
     channel, address_hmac, at, source, wording, nonce";

/// A fact from its row.
pub(crate) fn fact_from(row: &Row) -> Result<ConsentFact, StoreError> {
    let scope = match row.get::<Option<String>>("topic")? {
        Some(topic) => Scope::Topic(topic.parse().map_err(|_| damaged("consent_fact.topic"))?),
        None => Scope::AllMarketing,
    };
    Ok(ConsentFact {
        id: row.id("id")?,
        tenant: row.id("tenant_id")?,
        contact: row.id("contact_id")?,
        handle: Handle(row.bytes("handle")?),
        kind: row.word("kind", FactKind::parse)?,
        scope,
        purpose: row.get("purpose")?,
        channel: row.word("channel", Channel::parse)?,
        address: row.bytes_opt("address_hmac")?.map(AddressHash),
        at: row.time("at")?,
        source: row.get("source")?,
        wording: row.get("wording")?,
        nonce: row.bytes("nonce")?,
    })
}

/// Standings of contacts on one channel, and the time of each contact's newest fact there.
/// Contacts without facts are left out: no fact means no. A suppression of an address counts with
/// the address (whose row carries it), not with whatever address the contact has later.
pub(crate) async fn standings(
    on: &impl ConnectionTrait,
    tenant: TenantId,
    contacts: &[ContactId],
    channel: Channel,
) -> Result<BTreeMap<ContactId, (Standing, Timestamp)>, StoreError> {
    standings_with(on, tenant, (contacts, contacts), channel).await
}

/// The same where it is known which of the contacts may have absorbed others.
pub(crate) async fn standings_with(
    on: &impl ConnectionTrait,
    tenant: TenantId,
    (contacts, absorbers): (&[ContactId], &[ContactId]),
    channel: Channel,
) -> Result<BTreeMap<ContactId, (Standing, Timestamp)>, StoreError> {
    let alias_of: BTreeMap<_, _> = aliases(on, tenant, absorbers).await?.into_iter().collect();
    let all: Vec<ContactId> = contacts.iter().copied().chain(alias_of.keys().copied()).collect();
    let mut standings: BTreeMap<ContactId, (Standing, Timestamp)> = BTreeMap::new();
    for chunk in all.chunks(ROWS_MAX) {
        let rows = Sql::default()
            .text("SELECT id, contact_id, kind, topic, address_hmac, at FROM consent_fact WHERE tenant_id = ")
            .arg(tenant.0)
            .text(" AND channel = ")
            .arg(channel.as_str())
            .text(" AND contact_id IN ")
            .list(chunk.iter().map(|contact| contact.0.into()))
            .all(on)
            .await?;
        for row in rows {
            let said_for: ContactId = row.id("contact_id")?;
            let contact = alias_of.get(&said_for).copied().unwrap_or(said_for);
            add(standings.entry(contact).or_default(), &row)?;
        }
    }
    Ok(standings)
}

fn add(standing: &mut (Standing, Timestamp), row: &Row) -> Result<(), StoreError> {
    let scope = match row.get::<Option<String>>("topic")? {
        Some(topic) => Scope::Topic(topic.parse().map_err(|_| damaged("consent_fact.topic"))?),
        None => Scope::AllMarketing,
    };
    let at = row.time("at")?;
    let id: FactId = row.id("id")?;
    let kind = row.word("kind", FactKind::parse)?;
    let of_address = row.get::<Option<Vec<u8>>>("address_hmac")?.is_some();
    if kind != FactKind::Suppressed || !of_address {
        standing.0.add(kind, &scope, at, id);
    }
    standing.1 = standing.1.max(at);
    Ok(())
}
