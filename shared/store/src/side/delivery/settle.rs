//! Claims that are over: their lease ran out, the process that held them is dead, or nobody knows
//! that it holds them.
//!
//! What always holds: a claim that is over before the dot goes back to the queue, because nothing
//! left; one that is over after the dot is never claimed again: the brand's policy ends it as
//! `unknown` or queues it under the same id, and either way it is listed.

use std::collections::BTreeMap;

use parcours_domain::{MessageClass, MessageId, SendOutcome, TenantId, Timestamp};
use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::{DeliveryDoor, Moments, Settled, UnknownPolicy, close, finish, heads};
use crate::{
    Backend,
    db::in_rows,
    error::StoreError,
    side::sql::{Sql, ms, vals},
    wall::{Door, Role},
};

/// Rows settled in one transaction.
const SETTLE_MAX: i64 = 1_000;

/// A row whose claim is over after the dot.
struct Over {
    tenant: TenantId,
    message: MessageId,
    claim: Uuid,
    class: MessageClass,
}

impl DeliveryDoor {
    /// Settles every claim that is over. At start-up this treats all claims of dead processes as
    /// over at once. `policy` answers for a brand and a class.
    ///
    /// # Errors
    /// What the database says; what was settled before stays settled.
    pub async fn settle_expired_claims(
        &self,
        now: Moments,
        policy: &(dyn Fn(TenantId, MessageClass) -> UnknownPolicy + Send + Sync),
    ) -> Result<Settled, StoreError> {
        let mut settled = Settled::default();
        loop {
            let requeued = self.requeue_undotted(now).await?;
            settled.requeued += requeued;
            if i64::try_from(requeued).unwrap_or(SETTLE_MAX) < SETTLE_MAX {
                break;
            }
        }
        loop {
            let over = self.over_after_dot(now).await?;
            let full = i64::try_from(over.len()).unwrap_or(SETTLE_MAX) >= SETTLE_MAX;
            let before = settled.unknown.len() + settled.again.len();
            self.resolve(over, now, policy, &mut settled).await?;
            if !full || settled.unknown.len() + settled.again.len() == before {
                return Ok(settled);
            }
        }
    }

    /// The condition "this claim is over" on `send_queue q`, with machine time as `$1` and this
    /// process as `$2`. One SQLite file has one process, so any other's claim is over.
    fn over(&self) -> &'static str {
        match self.store.backend() {
            Backend::Sqlite => "(q.lease_until <= $1 OR q.claim_owner <> $2)",
            Backend::Postgres => {
                "(q.lease_until <= $1 OR (q.claim_owner <> $2 AND EXISTS (SELECT 1 FROM worker w \
                 WHERE w.incarnation = q.claim_owner AND w.dead_at IS NOT NULL)))"
            }
        }
    }

    async fn requeue_undotted(&self, now: Moments) -> Result<u64, StoreError> {
        let mut tx = self.db().begin(Role::Sending).await?;
        let chosen = Sql::new(
            "WITH c AS MATERIALIZED (SELECT q.tenant_id AS c_tenant, q.message_id AS c_message \
             FROM send_queue q WHERE q.phase = 1 AND (",
            vals![ms(now.machine), self.store.incarnation()],
        )
        .text(self.over());
        let lost = self.store.inner.lost_claims.present(now.machine);
        let chosen = match lost.is_empty() {
            true => chosen,
            false => chosen.text(" OR q.claim_id IN ").list(lost.into_iter().map(Value::from)),
        };
        let rows = chosen
            .text(") ORDER BY q.tenant_id, q.message_id LIMIT ")
            .arg(SETTLE_MAX)
            .lock(&tx, "FOR UPDATE OF q SKIP LOCKED")
            .text(
                ") UPDATE send_queue SET phase = 0, claim_id = NULL, claim_owner = NULL, \
             lease_until = NULL WHERE phase = 1 \
             AND (tenant_id, message_id) IN (SELECT c_tenant, c_message FROM c) \
             RETURNING tenant_id, lane, not_before",
            )
            .all(&tx)
            .await?;
        let mut ready: BTreeMap<(TenantId, i64), Timestamp> = BTreeMap::new();
        for row in &rows {
            let at = row.time("not_before")?;
            let head = ready.entry((row.id("tenant_id")?, row.get("lane")?)).or_insert(at);
            *head = at.min(*head);
        }
        if !rows.is_empty() {
            tx.turn(finish::brands_of(&rows)?).await?;
            heads::lower(&tx, ready).await?;
        }
        tx.commit().await?;
        Ok(u64::try_from(rows.len()).unwrap_or(0))
    }

    async fn over_after_dot(&self, now: Moments) -> Result<Vec<Over>, StoreError> {
        let rows = Sql::new(
            "SELECT q.tenant_id, q.message_id, q.claim_id, m.receipt FROM send_queue q \
             LEFT JOIN message m ON m.tenant_id = q.tenant_id AND m.id = q.message_id \
             WHERE q.phase = 2 AND ",
            vals![ms(now.machine), self.store.incarnation()],
        )
        .text(self.over())
        .text(" ORDER BY q.tenant_id, q.message_id LIMIT ")
        .arg(SETTLE_MAX)
        .all(&self.db().read(Role::Sending))
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Over {
                    tenant: row.id("tenant_id")?,
                    message: row.id("message_id")?,
                    claim: row.get("claim_id")?,
                    class: left_as(row.get::<Option<String>>("receipt")?.as_deref()),
                })
            })
            .collect()
    }

    /// Ends or requeues, each only while the same claim still stands there.
    async fn resolve(
        &self,
        over: Vec<Over>,
        now: Moments,
        policy: &(dyn Fn(TenantId, MessageClass) -> UnknownPolicy + Send + Sync),
        settled: &mut Settled,
    ) -> Result<(), StoreError> {
        if over.is_empty() {
            return Ok(());
        }
        let door = Door::of(over.iter().map(|one| one.tenant));
        let (again, last): (Vec<_>, Vec<_>) =
            over.into_iter().partition(|one| policy(one.tenant, one.class) == UnknownPolicy::Again);
        let tx = self.db().begin(door).await?;
        let ended = end_unknown(&tx, &last, now).await?;
        close::close(&tx, self.store.shards(), &ended, now.product).await?;
        let back = send_again(&tx, &again, now).await?;
        tx.commit().await?;
        settled.unknown.extend(ended.iter().map(|end| (end.tenant, end.message)));
        settled.again.extend(back);
        Ok(())
    }
}

/// The class under which a message left, as the gate's receipt says; the stricter one when that
/// cannot be read.
fn left_as(receipt: Option<&str>) -> MessageClass {
    let receipt: Option<serde_json::Value> =
        receipt.and_then(|receipt| serde_json::from_str(receipt).ok());
    receipt
        .and_then(|receipt| MessageClass::parse(receipt.get("class")?.as_str()?))
        .unwrap_or(MessageClass::Marketing)
}

async fn end_unknown(
    tx: &impl ConnectionTrait,
    last: &[Over],
    now: Moments,
) -> Result<Vec<close::Closing>, StoreError> {
    if last.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::default()
        .text("DELETE FROM send_queue WHERE phase = 2 AND (tenant_id, message_id, claim_id) IN ");
    let keys = last.iter().map(|one| vals![one.tenant.0, one.message.0, one.claim]);
    let rows =
        in_rows(sql, keys).text(" RETURNING tenant_id, message_id, attempts").all(tx).await?;
    rows.iter()
        .map(|row| finish::closing(row, SendOutcome::Unknown, "reply_lost", now.product))
        .collect()
}

async fn send_again(
    tx: &impl ConnectionTrait,
    again: &[Over],
    now: Moments,
) -> Result<Vec<(TenantId, MessageId)>, StoreError> {
    if again.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::default()
        .text(
            "UPDATE send_queue SET phase = 0, claim_id = NULL, claim_owner = NULL, \
             lease_until = NULL, not_before = ",
        )
        .arg(now.product.as_millis())
        .text(" WHERE phase = 2 AND (tenant_id, message_id, claim_id) IN ");
    let keys = again.iter().map(|one| vals![one.tenant.0, one.message.0, one.claim]);
    let rows = in_rows(sql, keys).text(" RETURNING tenant_id, message_id, lane").all(tx).await?;
    let mut ready = BTreeMap::new();
    let mut back = Vec::with_capacity(rows.len());
    for row in &rows {
        let tenant = row.id("tenant_id")?;
        ready.insert((tenant, row.get("lane")?), now.product);
        back.push((tenant, row.id("message_id")?));
    }
    heads::lower(tx, ready).await?;
    Ok(back)
}
