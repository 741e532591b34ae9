//! Inbox rows that this side writes, in the transaction of their cause: outcomes, clicks, consent
//! changes, requeues.
//!
//! What always holds: one cause is one row, however often it is written, because `source` is
//! unique per brand; a row for a contact that was absorbed goes to the contact it became.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{
    Channel, ContactId, FactId, InboxId, MessageId, QuarantineId, RunId, SendOutcome, StepId,
    TenantId, Timestamp,
    consent::{FactKind, Scope},
    hash::sha256_head,
    shard_of,
};
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::sql::{ROWS_MAX, Sql, ms, vals};
use crate::error::StoreError;

/// `ref` of an inbox row of kind `absorb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsorbRef {
    /// The contact that this one becomes.
    pub into: ContactId,
}

/// `ref` of an inbox row of kind `outcome`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRef {
    /// The message that ended.
    pub message: MessageId,
    /// The run that asked for it.
    pub run: RunId,
    /// The step that asked for it.
    pub step: StepId,
    /// How it ended.
    pub outcome: SendOutcome,
    /// Stable word for why.
    pub reason: Option<String>,
}

/// `ref` of an inbox row of kind `click`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClickRef {
    /// The message whose link was followed.
    pub message: MessageId,
    /// The run that asked for it.
    pub run: RunId,
    /// The step that asked for it.
    pub step: StepId,
    /// The link's number in the message.
    pub link: u16,
    /// Where it led.
    pub url: String,
}

/// `ref` of an inbox row of kind `consent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentRef {
    /// The fact.
    pub fact: FactId,
    /// On which channel.
    pub channel: Channel,
    /// What was said.
    pub kind: FactKind,
    /// About what.
    pub scope: Scope,
}

/// `ref` of an inbox row of kind `requeue`; the set-aside payload is the row's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequeueRef {
    /// The quarantine row.
    pub quarantine: QuarantineId,
    /// Where the input came from: `ingest`, `event`, `timer` or `inbox`.
    pub origin: String,
}

/// One inbox row to write.
pub(crate) struct InboxWrite {
    pub tenant: TenantId,
    pub contact: ContactId,
    pub source: [u8; 16],
    pub kind: &'static str,
    pub reference: String,
    pub body: Option<Vec<u8>>,
}

impl InboxWrite {
    pub(crate) fn outcome(tenant: TenantId, contact: ContactId, outcome: &OutcomeRef) -> Self {
        Self {
            tenant,
            contact,
            source: sha256_head(&[b"outcome", &outcome.message.bytes()]),
            kind: "outcome",
            reference: json(outcome),
            body: None,
        }
    }
    pub(crate) fn click(tenant: TenantId, contact: ContactId, click: &ClickRef) -> Self {
        Self {
            tenant,
            contact,
            source: sha256_head(&[b"click", &click.message.bytes(), &click.link.to_be_bytes()]),
            kind: "click",
            reference: json(click),
            body: None,
        }
    }
    pub(crate) fn consent(tenant: TenantId, contact: ContactId, consent: &ConsentRef) -> Self {
        Self {
            tenant,
            contact,
            source: consent.fact.bytes(),
            kind: "consent",
            reference: json(consent),
            body: None,
        }
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Writes the rows, each to the contact that its contact has become.
pub(crate) async fn write(
    tx: &impl ConnectionTrait,
    shards: u16,
    rows: Vec<InboxWrite>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let asked = rows.iter().map(|row| (row.tenant, row.contact)).collect();
    let live = live_contacts(tx, &asked).await?;
    for chunk in rows.chunks(ROWS_MAX) {
        let values = chunk.iter().map(|row| {
            let contact = live.get(&(row.tenant, row.contact)).copied().unwrap_or(row.contact);
            let id = InboxId::v7(now, sha256_head(&[b"inbox", &row.source]));
            vals![
                row.tenant.0,
                id.0,
                contact.0,
                i64::from(shard_of(contact, shards)),
                row.source.to_vec(),
                0_i64,
                row.kind,
                row.reference.clone(),
                row.body.clone(),
                ms(now)
            ]
        });
        Sql::default()
            .text(
                "INSERT INTO inbox (tenant_id, id, contact_id, shard, source, lane, kind, ref, \
                 body, created_at) VALUES ",
            )
            .rows(values)
            .text(" ON CONFLICT DO NOTHING")
            .run(tx)
            .await?;
    }
    Ok(())
}

/// Which contact each of these has become, at most two absorptions on. Contacts that were never
/// absorbed are left out.
pub(crate) async fn live_contacts(
    tx: &impl ConnectionTrait,
    asked: &BTreeSet<(TenantId, ContactId)>,
) -> Result<BTreeMap<(TenantId, ContactId), ContactId>, StoreError> {
    let mut live = BTreeMap::new();
    let asked: Vec<_> = asked.iter().collect();
    for chunk in asked.chunks(ROWS_MAX) {
        let rows = Sql::default()
            .text("WITH v (v_tenant, v_contact) AS (VALUES ")
            .rows(chunk.iter().map(|(tenant, contact)| vals![tenant.0, contact.0]))
            .text(
                ") SELECT v_tenant, v_contact, b.id AS first_id, b.merged_into AS second_id \
                 FROM v JOIN contact a ON a.tenant_id = v_tenant AND a.id = v_contact \
                 JOIN contact b ON b.tenant_id = v_tenant AND b.id = a.merged_into",
            )
            .all(tx)
            .await?;
        for row in rows {
            let first: Uuid = row.get("first_id")?;
            let second: Option<Uuid> = row.get("second_id")?;
            live.insert(
                (row.id("v_tenant")?, row.id("v_contact")?),
                ContactId(second.unwrap_or(first)),
            );
        }
    }
    Ok(live)
}

/// One contact as it is now: itself, or what it has become.
pub(crate) async fn live_contact(
    tx: &impl ConnectionTrait,
    tenant: TenantId,
    contact: ContactId,
) -> Result<ContactId, StoreError> {
    let live = live_contacts(tx, &BTreeSet::from([(tenant, contact)])).await?;
    Ok(live.get(&(tenant, contact)).copied().unwrap_or(contact))
}

/// The contacts that have become one of these (at most two absorptions back), and which.
pub(crate) async fn aliases(
    on: &impl ConnectionTrait,
    tenant: TenantId,
    contacts: &[ContactId],
) -> Result<Vec<(ContactId, ContactId)>, StoreError> {
    let mut found: Vec<(ContactId, ContactId)> = absorbed(on, tenant, contacts).await?;
    if !found.is_empty() {
        let first: BTreeMap<ContactId, ContactId> = found.iter().copied().collect();
        let ids: Vec<ContactId> = first.keys().copied().collect();
        for (second, into) in absorbed(on, tenant, &ids).await? {
            found.extend(first.get(&into).map(|live| (second, *live)));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Before the brand, and before a list of absorbers.
pub(crate) const ABSORBED: [&str; 2] =
    ["SELECT id, merged_into FROM contact WHERE tenant_id = ", " AND merged_into IN "];

/// The contacts that one of these has absorbed itself, each with that one. One table at a time: with
/// a join, SQLite reads all contacts of the brand.
async fn absorbed(
    on: &impl ConnectionTrait,
    tenant: TenantId,
    contacts: &[ContactId],
) -> Result<Vec<(ContactId, ContactId)>, StoreError> {
    let mut found = Vec::new();
    for chunk in contacts.chunks(ROWS_MAX) {
        let rows = Sql::default()
            .text(ABSORBED[0])
            .arg(tenant.0)
            .text(ABSORBED[1])
            .list(chunk.iter().map(|contact| contact.0.into()))
            .all(on)
            .await?;
        for row in rows {
            found.push((row.id("id")?, row.id("merged_into")?));
        }
    }
    Ok(found)
}

/// The row that brings a set-aside input back to its contact.
pub(crate) fn requeue(
    tenant: TenantId,
    contact: ContactId,
    requeue: &RequeueRef,
    payload: &[u8],
) -> InboxWrite {
    InboxWrite {
        tenant,
        contact,
        source: sha256_head(&[b"requeue", &requeue.quarantine.bytes()]),
        kind: "requeue",
        reference: json(requeue),
        body: Some(payload.to_vec()),
    }
}
