//! Test sends in the delivery door: to whom they go, and their final commit.
//!
//! A test goes to the address that it was enqueued for, not to the contact whose values it shows. So
//! its final commit rests on the address and the brand alone; and because that asks for less than
//! the others' does, the statement itself demands that the message is a test to this address.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{EmailAddress, MessageClass, MessageId, TenantId};
use sea_orm::ConnectionTrait;

use super::{
    DotRequest, DotTimes,
    dot::Key,
    reading::{AddressNow, address_from},
};
use crate::{
    error::StoreError,
    keys::TenantKeys,
    side::{
        MessageRow,
        sql::{Sql, bytes, damaged, vals},
    },
};

/// To whom a test goes.
pub(super) struct Recipient {
    pub address: AddressNow,
    /// Whether the brand lists the address for tests now.
    pub is_listed: bool,
}

/// The recipients of the tests among these messages.
pub(super) async fn recipients<'r>(
    on: &impl ConnectionTrait,
    keys: &TenantKeys,
    tenant: TenantId,
    rows: impl Iterator<Item = &'r MessageRow>,
) -> Result<BTreeMap<MessageId, Recipient>, StoreError> {
    let mut found = BTreeMap::new();
    let mut listed = None;
    for row in rows.filter(|row| row.class == MessageClass::Test) {
        let Some(hash) = &row.address else { continue };
        let sql = Sql::new(
            "SELECT hmac, ciphertext, version AS address_version, suppressed_at, objected_at \
             FROM address WHERE tenant_id = $1 AND channel = $2 AND hmac = $3",
            vals![tenant.0, row.channel.as_str(), bytes(&hash.0)],
        );
        let Some(address) = sql.one(on).await? else { continue };
        let Some(address) = address_from(&address, keys)? else { continue };
        if listed.is_none() {
            listed = Some(listed_addresses(on, tenant).await?);
        }
        let is_listed = listed.as_ref().is_some_and(|listed| listed.contains(&address.1));
        found.insert(row.id, Recipient { address, is_listed });
    }
    Ok(found)
}

/// What the brand's document lists now; nothing when there is none.
async fn listed_addresses(
    on: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<BTreeSet<EmailAddress>, StoreError> {
    let sql = Sql::new(
        "SELECT d.body FROM document_head h \
         JOIN document d ON d.tenant_id = h.tenant_id AND d.kind = h.kind \
         AND d.name = h.name AND d.version = h.version \
         WHERE h.kind = 'Brand' AND h.tenant_id = $1",
        vals![tenant.0],
    );
    let Some(row) = sql.one(on).await? else { return Ok(BTreeSet::new()) };
    let body: serde_json::Value =
        serde_json::from_str(&row.get::<String>("body")?).map_err(|_| damaged("document.body"))?;
    let listed = body.get("test_addresses").and_then(serde_json::Value::as_array);
    let texts = listed.into_iter().flatten().filter_map(serde_json::Value::as_str);
    Ok(texts.filter_map(|text| text.parse().ok()).collect())
}

/// The conditional update of the final commit; which tests may leave. The caller holds the rows.
pub(super) async fn set_dot(
    tx: &impl ConnectionTrait,
    batch: &[&DotRequest],
    times: DotTimes,
) -> Result<BTreeSet<Key>, StoreError> {
    if batch.is_empty() {
        return Ok(BTreeSet::new());
    }
    let machine = times.now.machine.as_millis();
    let values = batch.iter().map(|r| {
        vals![
            r.tenant.0,
            r.message.0,
            r.claim_id,
            r.channel.as_str(),
            bytes(&r.address.0),
            r.address_version,
            r.tenant_version
        ]
    });
    let rows = Sql::default()
        .text(
            "WITH v (v_tenant, v_message, v_claim, v_channel, v_hmac, v_address, v_brand) \
             AS (VALUES ",
        )
        .rows(values)
        .text(") UPDATE send_queue SET phase = 2, lease_until = ")
        .arg(machine.saturating_add(times.lease_ms))
        .text(
            " FROM v \
             JOIN address a ON a.tenant_id = v_tenant AND a.channel = v_channel \
             AND a.hmac = v_hmac AND a.version = v_address AND a.suppressed_at IS NULL \
             AND a.objected_at IS NULL \
             JOIN message m ON m.tenant_id = v_tenant AND m.id = v_message \
             AND m.class = 'test' AND m.address_hmac = v_hmac \
             JOIN brand b ON b.tenant_id = v_tenant AND b.consent_version = v_brand \
             AND b.halted_at IS NULL \
             JOIN install i ON i.halted_at IS NULL \
             WHERE send_queue.tenant_id = v_tenant AND send_queue.message_id = v_message \
             AND send_queue.class = 'test' \
             AND send_queue.phase = 1 AND send_queue.claim_id = v_claim \
             AND send_queue.lease_until > ",
        )
        .arg(machine)
        .text(" RETURNING send_queue.tenant_id, send_queue.message_id")
        .all(tx)
        .await?;
    rows.iter().map(|row| Ok((row.id("tenant_id")?, row.id("message_id")?))).collect()
}
