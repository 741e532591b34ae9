//! Ends and returns: what the sender reports about messages that it holds.
//!
//! What always holds: a report counts only under the claim that holds the message; the end, the
//! attempt, the suppression, the mailbox copy, the run's inbox row and the count for the brand's breaker
//! are one transaction; if that trips it, too.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{MessageId, SendOutcome, TenantId, Timestamp};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{DeliveryDoor, Finished, Retry, close, heads, suppress};
use crate::{
    db::in_rows,
    error::StoreError,
    side::{
        breaker,
        sql::{ROWS_MAX, Row, Sql, bytes, ms, vals},
    },
    wall::{Door, Role},
};

/// Names a message under a claim.
type Held = (TenantId, MessageId, Uuid);

impl DeliveryDoor {
    /// Ends messages; one transaction for each 1,000. For each, in order, whether the claim still
    /// held it: where not, nothing was written.
    ///
    /// # Errors
    /// What the database says; the part that failed can be reported again.
    pub async fn finish(&self, batch: Vec<Finished>) -> Result<Vec<bool>, StoreError> {
        let mut answers = Vec::with_capacity(batch.len());
        for part in batch.chunks(ROWS_MAX) {
            answers.extend(self.finish_part(part).await?);
        }
        Ok(answers)
    }

    async fn finish_part(&self, part: &[Finished]) -> Result<Vec<bool>, StoreError> {
        let shards = self.store.shards();
        let mut tx = self.db().begin(Door::of(part.iter().map(|f| f.tenant))).await?;
        // Suppressions first, because addresses and heads are locked before queue rows.
        let held = self.holding(&tx, part).await?;
        let wanted = part.iter().filter(|f| held.contains(&(f.tenant, f.message, f.claim_id)));
        suppress::all(&tx, shards, &wanted.collect::<Vec<_>>()).await?;
        let taken = take_out(&tx, part.iter().map(|f| (f.tenant, f.message, f.claim_id))).await?;
        let mine: Vec<&Finished> = part
            .iter()
            .filter(|f| taken.contains_key(&(f.tenant, f.message, f.claim_id)))
            .collect();
        let now = mine.iter().map(|f| f.now).max().unwrap_or_default();
        let closings = mine.iter().map(|f| close::Closing {
            tenant: f.tenant,
            message: f.message,
            outcome: f.outcome,
            reason: f.reason.clone(),
            receipt: f.receipt_json.clone(),
            attempts: taken.get(&(f.tenant, f.message, f.claim_id)).copied().unwrap_or_default(),
            at: f.now,
        });
        close::close(&tx, shards, &closings.collect::<Vec<_>>(), now).await?;
        let attempts = mine
            .iter()
            .filter_map(|f| Some((f.tenant, f.message, f.claim_id, f.attempt.as_ref()?)));
        close::attempts(&tx, attempts).await?;
        keep(&tx, &mine).await?;
        let counts = mine.iter().filter_map(|f| Some((f.tenant, f.counted?, f.now)));
        let tripped = breaker::count(&mut tx, self.store.incarnation(), counts).await?;
        tx.commit().await?;
        breaker::tell(&self.store, &tripped);
        Ok(part.iter().map(|f| taken.contains_key(&(f.tenant, f.message, f.claim_id))).collect())
    }

    /// Which of the reports that suppress are of messages that their claim holds.
    async fn holding(
        &self,
        tx: &impl ConnectionTrait,
        part: &[Finished],
    ) -> Result<BTreeSet<Held>, StoreError> {
        let suppressing = part.iter().filter(|f| f.suppress.is_some());
        let keys: Vec<_> =
            suppressing.map(|f| vals![f.tenant.0, f.message.0, f.claim_id]).collect();
        if keys.is_empty() {
            return Ok(BTreeSet::new());
        }
        let sql = Sql::default().text(
            "SELECT tenant_id, message_id, claim_id FROM send_queue WHERE phase <> 0 \
             AND (tenant_id, message_id, claim_id) IN ",
        );
        let rows = in_rows(sql, keys).all(tx).await?;
        rows.iter().map(held_from).collect()
    }

    /// Gives messages back to the queue. For each, in order, whether the claim still held it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn retry(&self, batch: Vec<Retry>) -> Result<Vec<bool>, StoreError> {
        let mut answers = Vec::with_capacity(batch.len());
        for part in batch.chunks(ROWS_MAX) {
            answers.extend(self.retry_part(part).await?);
        }
        Ok(answers)
    }

    async fn retry_part(&self, part: &[Retry]) -> Result<Vec<bool>, StoreError> {
        let tx = self.db().begin(Door::of(part.iter().map(|r| r.tenant))).await?;
        let back = give_back(&tx, part).await?;
        let mine: Vec<&Retry> =
            part.iter().filter(|r| back.contains_key(&(r.tenant, r.message))).collect();
        let mut ready: BTreeMap<(TenantId, i64), Timestamp> = BTreeMap::new();
        for one in &mine {
            let Some((lane, _)) = back.get(&(one.tenant, one.message)) else { continue };
            let at = ready.entry((one.tenant, *lane)).or_insert(one.not_before);
            *at = one.not_before.min(*at);
        }
        note_return(&tx, &mine, &back).await?;
        let attempts = mine
            .iter()
            .filter_map(|r| Some((r.tenant, r.message, r.claim_id, r.attempt.as_ref()?)));
        close::attempts(&tx, attempts).await?;
        heads::lower(&tx, ready).await?;
        tx.commit().await?;
        Ok(part.iter().map(|r| back.contains_key(&(r.tenant, r.message))).collect())
    }

    /// Ends queued messages whose time is over, at most 1,000; how many. Call again while it is
    /// that many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        // Asked at every look at the queue, and nearly always in vain: no transaction for that.
        let any = Sql::new(
            "SELECT 1 AS found FROM send_queue WHERE phase = 0 AND expires_at <= $1 LIMIT 1",
            vals![ms(now)],
        );
        if any.one(&self.db().read(Role::Sending)).await?.is_none() {
            return Ok(0);
        }
        let mut tx = self.db().begin(Role::Sending).await?;
        let rows = Sql::new(
            "WITH c AS MATERIALIZED (SELECT tenant_id AS c_tenant, message_id AS c_message \
             FROM send_queue WHERE phase = 0 AND expires_at <= $1 ORDER BY expires_at, message_id \
             LIMIT 1000",
            vals![ms(now)],
        )
        .lock(&tx, "FOR UPDATE SKIP LOCKED")
        .text(
            ") DELETE FROM send_queue WHERE phase = 0 AND expires_at <= $1 \
             AND (tenant_id, message_id) IN (SELECT c_tenant, c_message FROM c) \
             RETURNING tenant_id, message_id, attempts",
        )
        .all(&tx)
        .await?;
        let closings = rows
            .iter()
            .map(|row| closing(row, SendOutcome::Expired, "expired", now))
            .collect::<Result<Vec<_>, _>>()?;
        tx.turn(brands_of(&rows)?).await?;
        close::close(&tx, self.store.shards(), &closings, now).await?;
        tx.commit().await?;
        Ok(u64::try_from(closings.len()).unwrap_or(0))
    }

    /// Cancels a message that is still queued; whether it was.
    ///
    /// # Errors
    /// What the database says.
    pub async fn cancel(
        &self,
        tenant: TenantId,
        message: MessageId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let tx = self.db().begin(tenant).await?;
        let row = Sql::new(
            "DELETE FROM send_queue WHERE tenant_id = $1 AND message_id = $2 AND phase = 0 \
             RETURNING tenant_id, message_id, attempts",
            vals![tenant.0, message.0],
        )
        .one(&tx)
        .await?;
        let Some(row) = row else { return Ok(false) };
        let one = closing(&row, SendOutcome::Cancelled, "cancelled", now)?;
        close::close(&tx, self.store.shards(), &[one], now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// The ending of a queue row that was just deleted.
pub(super) fn closing(
    row: &Row,
    outcome: SendOutcome,
    reason: &str,
    at: Timestamp,
) -> Result<close::Closing, StoreError> {
    Ok(close::Closing {
        tenant: row.id("tenant_id")?,
        message: row.id("message_id")?,
        outcome,
        reason: Some(reason.to_owned()),
        receipt: None,
        attempts: row.get("attempts")?,
        at,
    })
}

/// The brands of rows that were found across brands: who works on them does it as exactly these.
pub(super) fn brands_of(rows: &[Row]) -> Result<Door, StoreError> {
    let tenants = rows.iter().map(|row| row.id("tenant_id"));
    Ok(Door::Brands(tenants.collect::<Result<_, _>>()?))
}

fn held_from(row: &Row) -> Result<Held, StoreError> {
    Ok((row.id("tenant_id")?, row.id("message_id")?, row.get("claim_id")?))
}

/// Removes the queue rows that these claims hold; their attempts.
async fn take_out(
    tx: &impl ConnectionTrait,
    held: impl Iterator<Item = Held>,
) -> Result<BTreeMap<Held, i64>, StoreError> {
    let held: BTreeSet<Held> = held.collect();
    if held.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = Sql::default()
        .text("DELETE FROM send_queue WHERE phase <> 0 AND (tenant_id, message_id, claim_id) IN ");
    let keys = held.iter().map(|(tenant, message, claim)| vals![tenant.0, message.0, *claim]);
    let returning = " RETURNING tenant_id, message_id, claim_id, attempts";
    let rows = in_rows(sql, keys).text(returning).all(tx).await?;
    rows.iter().map(|row| Ok((held_from(row)?, row.get("attempts")?))).collect()
}

/// Copies for the built-in mailbox.
async fn keep(tx: &impl ConnectionTrait, finished: &[&Finished]) -> Result<(), StoreError> {
    let kept: Vec<_> = finished
        .iter()
        .filter_map(|f| {
            let copy = f.mailbox.as_ref()?;
            let to = bytes(&copy.recipient.0);
            Some(vals![f.tenant.0, f.message.0, ms(f.now), to, copy.raw.clone()])
        })
        .collect();
    for chunk in kept.chunks(ROWS_MAX) {
        Sql::default()
            .text("INSERT INTO mailbox (tenant_id, message_id, arrived_at, recipient_hmac, raw) VALUES ")
            .rows(chunk.iter().cloned())
            .text(" ON CONFLICT DO NOTHING")
            .run(tx)
            .await?;
    }
    Ok(())
}

/// Phase 0 again for the rows that these claims hold; each row's lane and attempts.
async fn give_back(
    tx: &impl ConnectionTrait,
    part: &[Retry],
) -> Result<BTreeMap<(TenantId, MessageId), (i64, i64)>, StoreError> {
    if part.is_empty() {
        return Ok(BTreeMap::new());
    }
    let unique: BTreeMap<_, _> = part.iter().map(|r| ((r.tenant, r.message), r)).collect();
    let values = unique.values().map(|r| {
        let less = i64::from(!r.counted);
        vals![r.tenant.0, r.message.0, r.claim_id, ms(r.not_before), less]
    });
    let rows = Sql::default()
        .text("WITH v (v_tenant, v_message, v_claim, v_not_before, v_less) AS (VALUES ")
        .rows(values)
        .text(
            ") UPDATE send_queue SET phase = 0, claim_id = NULL, claim_owner = NULL, \
             lease_until = NULL, not_before = v_not_before, attempts = attempts - v_less FROM v \
             WHERE send_queue.tenant_id = v_tenant AND send_queue.message_id = v_message \
             AND send_queue.claim_id = v_claim AND send_queue.phase <> 0 \
             RETURNING send_queue.tenant_id, send_queue.message_id, send_queue.lane, \
             send_queue.attempts",
        )
        .all(tx)
        .await?;
    rows.iter()
        .map(|row| {
            let key = (row.id("tenant_id")?, row.id("message_id")?);
            Ok((key, (row.get("lane")?, row.get("attempts")?)))
        })
        .collect()
}

/// Keeps the message's own row in step.
async fn note_return(
    tx: &impl ConnectionTrait,
    mine: &[&Retry],
    back: &BTreeMap<(TenantId, MessageId), (i64, i64)>,
) -> Result<(), StoreError> {
    if mine.is_empty() {
        return Ok(());
    }
    let values = mine.iter().map(|r| {
        let attempts = back.get(&(r.tenant, r.message)).map_or(0, |(_, attempts)| *attempts);
        vals![r.tenant.0, r.message.0, r.receipt_json.clone(), attempts, ms(r.not_before)]
    });
    Sql::default()
        .text("WITH v (v_tenant, v_message, v_receipt, v_attempts, v_not_before) AS (VALUES ")
        .rows(values)
        .text(
            ") UPDATE message SET receipt = coalesce(v_receipt, message.receipt), \
             attempts = v_attempts, not_before = v_not_before FROM v \
             WHERE message.tenant_id = v_tenant AND message.id = v_message",
        )
        .run(tx)
        .await?;
    Ok(())
}
