//! The final commit before DATA: the one place where a message is let go.
//!
//! What always holds: the address rows, consent heads and brands that a verdict rested on are
//! locked (shared, in this order, each kind sorted) before one conditional update sets `dot_sent`;
//! so a withdrawal, suppression, objection or halt that was acknowledged before this commit wins,
//! and one that comes later waits for it. What a brand's breaker stopped before the update does not
//! leave either; it is nobody's word, so nothing waits for it. Every row that does not come back is answered for.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{MessageClass, MessageId, TenantId, breaker::Stops};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{DeliveryDoor, DotAnswer, DotRequest, DotTimes, close, test_send};
use crate::{
    error::StoreError,
    side::sql::{ROWS_MAX, Sql, bytes, vals},
    wall::Door,
};

/// Names one request of a batch.
pub(super) type Key = (TenantId, MessageId);

impl DeliveryDoor {
    /// One transaction for the whole batch (at most 1,000; a longer one is cut); answers in the
    /// order of the requests. A message asked for twice is answered once, then `Lost`.
    ///
    /// # Errors
    /// `Unavailable`: nothing was let go. `OutcomeUnknown`: treat every request as let go and
    /// never send it; its lease runs out and policy resolves it.
    pub async fn commit_dot(
        &self,
        batch: Vec<DotRequest>,
        times: DotTimes,
    ) -> Result<Vec<DotAnswer>, StoreError> {
        let mut answers = Vec::with_capacity(batch.len());
        for part in batch.chunks(ROWS_MAX) {
            answers.extend(self.commit_part(part, times).await?);
        }
        Ok(answers)
    }

    async fn commit_part(
        &self,
        part: &[DotRequest],
        times: DotTimes,
    ) -> Result<Vec<DotAnswer>, StoreError> {
        let mut asked: BTreeMap<Key, &DotRequest> = BTreeMap::new();
        for request in part {
            asked.entry((request.tenant, request.message)).or_insert(request);
        }
        let unique: Vec<&DotRequest> = asked.values().copied().collect();
        let tx = self.db().begin(Door::of(unique.iter().map(|request| request.tenant))).await?;
        lock(&tx, &unique).await?;
        let (tests, others): (Vec<_>, Vec<_>) =
            unique.iter().partition(|request| request.class == MessageClass::Test);
        let mut gone = set_dot(&tx, &others, times).await?;
        gone.extend(test_send::set_dot(&tx, &tests, times).await?);
        let left: Vec<_> = unique.iter().copied().filter(|r| gone.contains(&key(r))).collect();
        note(&tx, &left).await?;
        let mut kept = if gone.len() == unique.len() {
            BTreeMap::new()
        } else {
            why_not(&tx, &unique, times).await?
        };
        tx.commit().await?;
        let answer = |request: &DotRequest| {
            if gone.remove(&key(request)) {
                kept.insert(key(request), DotAnswer::Lost);
                DotAnswer::Go
            } else {
                kept.insert(key(request), DotAnswer::Lost).unwrap_or(DotAnswer::Lost)
            }
        };
        Ok(part.iter().map(answer).collect())
    }
}

fn key(request: &DotRequest) -> Key {
    (request.tenant, request.message)
}

/// Holds what the verdicts rested on until the commit. SQLite has one writer: nothing to hold.
///
/// One statement; each part of it begins only when the one before has been counted, so the locks
/// are taken in the one order: addresses, heads, brands, install.
async fn lock(tx: &crate::db::Tx, batch: &[&DotRequest]) -> Result<(), StoreError> {
    if !tx.is_postgres() || batch.is_empty() {
        return Ok(());
    }
    let addresses: BTreeSet<_> =
        batch.iter().map(|r| (r.tenant, r.channel.as_str(), r.address)).collect();
    let heads: BTreeSet<_> =
        batch.iter().map(|r| (r.tenant, r.contact, r.channel.as_str())).collect();
    let brands: BTreeSet<_> = batch.iter().map(|r| r.tenant).collect();
    Sql::default()
        .text(
            "WITH a AS MATERIALIZED (SELECT 1 FROM address \
             WHERE (tenant_id, channel, hmac) IN (VALUES ",
        )
        .rows(addresses.iter().map(|(t, c, hash)| vals![t.0, *c, bytes(&hash.0)]))
        .text(
            ") ORDER BY tenant_id, channel, hmac FOR SHARE), \
             h AS MATERIALIZED (SELECT 1 FROM consent_head WHERE (SELECT count(*) FROM a) >= 0 \
             AND (tenant_id, contact_id, channel) IN (VALUES ",
        )
        .rows(heads.iter().map(|(t, contact, c)| vals![t.0, contact.0, *c]))
        .text(
            ") ORDER BY tenant_id, contact_id, channel FOR SHARE), \
             b AS MATERIALIZED (SELECT 1 FROM brand WHERE (SELECT count(*) FROM h) >= 0 \
             AND tenant_id IN ",
        )
        .list(brands.iter().map(|tenant| tenant.0.into()))
        .text(
            " ORDER BY tenant_id FOR SHARE), \
             i AS MATERIALIZED (SELECT 1 FROM install WHERE (SELECT count(*) FROM b) >= 0 \
             FOR SHARE) SELECT count(*) AS held FROM i",
        )
        .one(tx)
        .await?;
    Ok(())
}

/// The conditional update; which messages may leave. The contact must not have become another,
/// and the address must still be its present one.
///
/// Each row is looked up by its whole key in a subquery of its own, and phase and channel are no
/// columns to find a row by: PostgreSQL has been seen to read all heads of a brand, or all its
/// addresses, for one message.
async fn set_dot(
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
            r.contact.0,
            r.channel.as_str(),
            bytes(&r.address.0),
            r.address_version,
            r.head_version,
            r.tenant_version,
            Stops::level_that_holds(r.class)
        ]
    });
    let rows = Sql::default()
        .text(
            "WITH v (v_tenant, v_message, v_claim, v_contact, v_channel, v_hmac, v_address, \
             v_head, v_brand, v_held) AS (VALUES ",
        )
        .rows(values)
        .text(") UPDATE send_queue SET phase = 2, lease_until = ")
        .arg(machine.saturating_add(times.lease_ms))
        .text(
            " FROM v WHERE send_queue.tenant_id = v_tenant AND send_queue.message_id = v_message \
             AND (SELECT a.version FROM address a WHERE a.tenant_id = v_tenant \
             AND a.channel = v_channel AND a.hmac = v_hmac AND a.suppressed_at IS NULL) = v_address \
             AND (SELECT h.version FROM consent_head h WHERE h.tenant_id = v_tenant \
             AND h.contact_id = v_contact AND h.channel = v_channel) = v_head \
             AND (SELECT c.id FROM contact c WHERE c.tenant_id = v_tenant AND c.id = v_contact \
             AND c.merged_into IS NULL) = v_contact \
             AND (SELECT p.hmac FROM contact_address p WHERE p.tenant_id = v_tenant \
             AND p.contact_id = v_contact AND p.channel || '' = v_channel) = v_hmac \
             AND (SELECT b.consent_version FROM brand b WHERE b.tenant_id = v_tenant \
             AND b.halted_at IS NULL) = v_brand \
             AND (SELECT i.id FROM install i WHERE i.halted_at IS NULL) = 1 \
             AND coalesce((SELECT s.stops FROM brand_sending s WHERE s.tenant_id = v_tenant), 0) \
             < v_held \
             AND send_queue.phase + 0 = 1 AND send_queue.claim_id = v_claim \
             AND send_queue.lease_until > ",
        )
        .arg(machine)
        .text(" RETURNING send_queue.tenant_id, send_queue.message_id")
        .all(tx)
        .await?;
    rows.iter().map(|row| Ok((row.id("tenant_id")?, row.id("message_id")?))).collect()
}

/// Stores with each message that leaves: the decision, the address, the attempt, the links.
async fn note(tx: &impl ConnectionTrait, left: &[&DotRequest]) -> Result<(), StoreError> {
    if left.is_empty() {
        return Ok(());
    }
    let values = left.iter().map(|r| {
        let number = i64::from(r.attempt.number);
        vals![r.tenant.0, r.message.0, r.receipt_json.clone(), bytes(&r.address.0), number]
    });
    Sql::default()
        .text("WITH v (v_tenant, v_message, v_receipt, v_hmac, v_attempts) AS (VALUES ")
        .rows(values)
        .text(
            ") UPDATE message SET receipt = v_receipt, address_hmac = v_hmac, \
             attempts = v_attempts FROM v \
             WHERE message.tenant_id = v_tenant AND message.id = v_message",
        )
        .run(tx)
        .await?;
    close::attempts(tx, left.iter().map(|r| (r.tenant, r.message, r.claim_id, &r.attempt))).await?;
    let links: Vec<_> = left
        .iter()
        .flat_map(|r| {
            let link = |(number, url): &(u16, String)| {
                vals![r.tenant.0, r.message.0, i64::from(*number), url.clone()]
            };
            r.links.iter().map(link)
        })
        .collect();
    for chunk in links.chunks(ROWS_MAX) {
        Sql::default()
            .text("INSERT INTO message_link (tenant_id, message_id, number, url) VALUES ")
            .rows(chunk.iter().cloned())
            .text(" ON CONFLICT DO NOTHING")
            .run(tx)
            .await?;
    }
    Ok(())
}

/// What to say of the messages that did not come back. A claim that is not there, is not the
/// asker's, has gone on or is over, is lost; then a halt; otherwise something moved.
async fn why_not(
    tx: &impl ConnectionTrait,
    batch: &[&DotRequest],
    times: DotTimes,
) -> Result<BTreeMap<Key, DotAnswer>, StoreError> {
    let values =
        batch.iter().map(|r| vals![r.tenant.0, r.message.0, Stops::level_that_holds(r.class)]);
    let rows = Sql::default()
        .text("WITH v (v_tenant, v_message, v_held) AS (VALUES ")
        .rows(values)
        .text(
            ") SELECT v_tenant, v_message, q.phase, q.claim_id, q.lease_until, \
             b.halted_at AS brand_halt, i.halted_at AS install_halt, CASE WHEN coalesce((SELECT \
             s.stops FROM brand_sending s WHERE s.tenant_id = v_tenant), 0) < v_held THEN 0 ELSE 1 \
             END AS stopped FROM v \
             JOIN send_queue q ON q.tenant_id = v_tenant AND q.message_id = v_message \
             JOIN brand b ON b.tenant_id = v_tenant CROSS JOIN install i",
        )
        .all(tx)
        .await?;
    let asked: BTreeMap<Key, Uuid> = batch.iter().map(|r| (key(r), r.claim_id)).collect();
    let mut answers = BTreeMap::new();
    for row in rows {
        let key = (row.id("v_tenant")?, row.id("v_message")?);
        let mine =
            row.get::<Option<Uuid>>("claim_id")?.is_some_and(|c| asked.get(&key) == Some(&c));
        let live = row.time_opt("lease_until")?.is_some_and(|until| until > times.now.machine);
        let halted = row.time_opt("brand_halt")?.is_some()
            || row.time_opt("install_halt")?.is_some()
            || row.get::<i32>("stopped")? == 1;
        let answer = match (mine && live && row.get::<i64>("phase")? == 1, halted) {
            (false, _) => DotAnswer::Lost,
            (true, true) => DotAnswer::Halted,
            (true, false) => DotAnswer::Rejudge,
        };
        answers.insert(key, answer);
    }
    Ok(answers)
}
