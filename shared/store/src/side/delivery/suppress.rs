//! Suppression with a message's end: a permanently refused recipient becomes a fact.
//!
//! What always holds: all addresses of a batch are locked before all heads, each kind sorted, as
//! everywhere; so ends, withdrawals and final commits never wait for one another in a circle.

use std::collections::BTreeMap;

use parcours_domain::{
    AddressHash, Channel, ContactId, FactId, Handle, MessageId, TenantId,
    consent::{FactKind, Scope},
};
use sea_orm::{ConnectionTrait, Value};

use super::{Finished, Suppress};
use crate::{
    db::in_rows,
    error::StoreError,
    side::{
        NewFact,
        consent::{self, Subject},
        inbox, messages,
        sql::{ROWS_MAX, Sql, bytes, damaged, random, tail, vals},
    },
};

/// One suppression to record.
struct Wanted<'a> {
    finished: &'a Finished,
    suppress: &'a Suppress,
    subject: Subject,
}

/// Records the suppressions of these ends.
pub(super) async fn all(
    tx: &impl ConnectionTrait,
    shards: u16,
    finished: &[&Finished],
) -> Result<(), StoreError> {
    let mut wanted = Vec::new();
    for one in finished {
        let Some(suppress) = &one.suppress else { continue };
        let subject = subject(tx, one.tenant, one.message).await?;
        wanted.push(Wanted { finished: one, suppress, subject });
    }
    if wanted.is_empty() {
        return Ok(());
    }
    lock(tx, &wanted).await?;
    for one in &wanted {
        let fact = fact(one)?;
        consent::record_in(tx, shards, &one.subject, &[fact], one.finished.now).await?;
    }
    Ok(())
}

fn fact(wanted: &Wanted<'_>) -> Result<NewFact, StoreError> {
    Ok(NewFact {
        id: FactId::v7(wanted.finished.now, tail()?),
        kind: FactKind::Suppressed,
        scope: Scope::AllMarketing,
        purpose: String::new(),
        channel: wanted.suppress.channel,
        address: Some(wanted.suppress.address),
        source: wanted.suppress.reason.clone(),
        wording: None,
        nonce: random()?,
        once: false,
    })
}

/// The contact that the message's contact is now.
async fn subject(
    tx: &impl ConnectionTrait,
    tenant: TenantId,
    message: MessageId,
) -> Result<Subject, StoreError> {
    let row = messages::by_ids(tx, tenant, &[message]).await?.remove(&message);
    let contact = row.ok_or_else(|| damaged("message"))?.contact;
    let contact = inbox::live_contact(tx, tenant, contact).await?;
    let row = Sql::new(
        "SELECT handle FROM contact WHERE tenant_id = $1 AND id = $2",
        vals![tenant.0, contact.0],
    )
    .one(tx)
    .await?
    .ok_or_else(|| damaged("contact"))?;
    Ok(Subject { tenant, contact, handle: Handle(row.bytes("handle")?) })
}

async fn lock(tx: &impl ConnectionTrait, wanted: &[Wanted<'_>]) -> Result<(), StoreError> {
    let mut addresses: BTreeMap<(TenantId, Channel, AddressHash), Vec<Value>> = BTreeMap::new();
    let mut heads: BTreeMap<(TenantId, ContactId, Channel), Vec<Value>> = BTreeMap::new();
    for Wanted { suppress, subject, .. } in wanted {
        let (tenant, channel, contact) = (subject.tenant, suppress.channel, subject.contact);
        let hash = suppress.address;
        addresses
            .insert((tenant, channel, hash), vals![tenant.0, channel.as_str(), bytes(&hash.0)]);
        heads.insert((tenant, contact, channel), vals![tenant.0, contact.0, channel.as_str()]);
    }
    held(tx, "address", "tenant_id, channel, hmac", addresses.into_values().collect()).await?;
    held(tx, "consent_head", "tenant_id, contact_id, channel", heads.into_values().collect()).await
}

/// Takes rows exclusively, in the order of their keys.
async fn held(
    tx: &impl ConnectionTrait,
    table: &'static str,
    key: &'static str,
    keys: Vec<Vec<Value>>,
) -> Result<(), StoreError> {
    for chunk in keys.chunks(ROWS_MAX) {
        let sql = Sql::default().text(&format!("SELECT 1 AS held FROM {table} WHERE ({key}) IN "));
        in_rows(sql, chunk.iter().cloned())
            .text(&format!(" ORDER BY {key}"))
            .lock(tx, "FOR UPDATE")
            .all(tx)
            .await?;
    }
    Ok(())
}
