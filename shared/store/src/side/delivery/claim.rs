//! Claiming: rows of one lane go to phase 1 under a lease and come back with everything that the
//! verdict and the template need.

use parcours_domain::{MessageClass, MessageId, Millis, TenantId, Timestamp, breaker::Stops};
use sea_orm::{ConnectionTrait, DbBackend};
use uuid::Uuid;

use super::{ClaimOrder, Claimed, DeliveryDoor, heads, reading::read};
use crate::{
    error::StoreError,
    side::sql::{ROWS_MAX, Row, Sql, ms, vals},
};

/// A claimed queue row.
pub(super) struct Taken {
    pub message: MessageId,
    pub lane: i64,
    pub class: MessageClass,
    pub attempt: u32,
    pub expires_at: Timestamp,
}

/// The brand as the verdict sees it.
pub(super) struct BrandNow {
    pub version: i64,
    pub halted: bool,
    pub stops: Stops,
}

impl DeliveryDoor {
    /// Claims at most `count` messages of one lane that may leave now. Empty for a halted brand; none
    /// of a class that the brand's breaker stops.
    ///
    /// # Errors
    /// What the database says; nothing is claimed then, or it comes back with the next
    /// [`DeliveryDoor::settle_expired_claims`] of this process.
    pub async fn claim(&self, order: &ClaimOrder) -> Result<Vec<Claimed>, StoreError> {
        let keys = self.store.keys(order.tenant).await?;
        let claim_id = Uuid::new_v4();
        let tx = self.db().begin(order.tenant).await?;
        let Some(brand) = brand_now(&tx, order.tenant).await? else { return Ok(Vec::new()) };
        if brand.halted {
            return Ok(Vec::new());
        }
        let count = i64::from(order.count.clamp(1, 1_000));
        let owner = (self.store.incarnation(), count);
        let taken = take(&tx, order, claim_id, owner, brand.stops).await?;
        if i64::try_from(taken.len()).unwrap_or(i64::MAX) < count {
            heads::exhaust(&tx, order.tenant, order.lane, order.now.product).await?;
        }
        let claimed = read(&tx, &keys, order.tenant, (claim_id, taken), &brand).await?;
        let committed = match tx.commit().await {
            Ok(()) => self.store.inner.faults.after_claim(),
            failed => failed,
        };
        if matches!(committed, Err(StoreError::OutcomeUnknown(_))) {
            let until = order.now.machine + Millis(order.lease_ms);
            self.store.inner.lost_claims.note(claim_id, until);
        }
        committed.map(|()| claimed)
    }

    /// Reads claimed messages again for a new verdict, under the same claim. Messages that the
    /// claim does not hold in phase 1 any more are left out.
    ///
    /// # Errors
    /// What the database says.
    pub async fn reread(
        &self,
        tenant: TenantId,
        claim_id: Uuid,
        ids: &[MessageId],
    ) -> Result<Vec<Claimed>, StoreError> {
        let keys = self.store.keys(tenant).await?;
        let on = self.db().look(tenant).await?;
        let Some(brand) = brand_now(&on, tenant).await? else { return Ok(Vec::new()) };
        let mut taken = Vec::new();
        for chunk in ids.chunks(ROWS_MAX) {
            let rows = Sql::default()
                .text(
                    "SELECT message_id, lane, class, attempts, expires_at, not_before \
                     FROM send_queue WHERE phase = 1 AND tenant_id = ",
                )
                .arg(tenant.0)
                .text(" AND claim_id = ")
                .arg(claim_id)
                .text(" AND message_id IN ")
                .list(chunk.iter().map(|id| id.0.into()))
                .all(&on)
                .await?;
            taken.extend(taken_from(&rows)?);
        }
        let claimed = read(&on, &keys, tenant, (claim_id, taken), &brand).await?;
        on.end().await?;
        Ok(claimed)
    }
}

async fn brand_now(
    on: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Option<BrandNow>, StoreError> {
    let row = Sql::new(
        "SELECT b.consent_version, b.halted_at AS brand_halt, i.halted_at AS install_halt, \
         coalesce((SELECT s.stops FROM brand_sending s WHERE s.tenant_id = $1), 0) AS stops \
         FROM brand b CROSS JOIN install i WHERE b.tenant_id = $1",
        vals![tenant.0],
    )
    .one(on)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let halted = row.time_opt("brand_halt")?.is_some() || row.time_opt("install_halt")?.is_some();
    let stops = Stops::of_level(row.get("stops")?);
    Ok(Some(BrandNow { version: row.get("consent_version")?, halted, stops }))
}

async fn take(
    tx: &impl ConnectionTrait,
    order: &ClaimOrder,
    claim_id: Uuid,
    (owner, count): (Uuid, i64),
    stops: Stops,
) -> Result<Vec<Taken>, StoreError> {
    let now = order.now;
    let left = match stops {
        Stops::Nothing => "",
        Stops::Marketing => "AND class <> 'marketing' ",
        Stops::Everything => "AND class <> 'marketing' AND class = 'test' ",
    };
    let values = vals![order.tenant.0, order.lane, ms(now.product), count];
    let postgres = tx.get_database_backend() == DbBackend::Postgres;
    let (place, of_lane, order_by, chosen) = if postgres { POSTGRES } else { SQLITE };
    let choice = format!(
        "WITH c AS MATERIALIZED (SELECT {place} AS c_place FROM send_queue WHERE {of_lane} \
         AND expires_at > $3 {left}ORDER BY {order_by}not_before, message_id LIMIT $4"
    );
    let rows = Sql::new(&choice, values)
        .lock(tx, "FOR UPDATE SKIP LOCKED")
        .text(") UPDATE send_queue SET phase = 1, attempts = attempts + 1, claim_id = ")
        .arg(claim_id)
        .text(", claim_owner = ")
        .arg(owner)
        .text(", lease_until = ")
        .arg(now.machine.as_millis().saturating_add(order.lease_ms))
        .text(&format!(
            " WHERE {chosen} RETURNING message_id, lane, class, attempts, expires_at, not_before"
        ))
        .all(tx)
        .await?;
    taken_from(&rows)
}

type Choice = (&'static str, &'static str, &'static str, &'static str);

/// How PostgreSQL is told, with brand, lane and moment as `$1` to `$3`: what the chosen rows are named
/// by, which rows are of the lane and ready, what they are ordered by first, and how they are found
/// again. Planned while the queue is empty, every index seems as good as any other; as one row of
/// three columns the condition fits only the one that goes on with them, and a place is a place. What
/// left before the head's moment is not met, however long an old snapshot keeps its entries.
const POSTGRES: Choice = (
    "ctid",
    "tenant_id = $1 AND (lane, phase, not_before) >= ($2, 0, (SELECT coalesce(min(ready_at), \
     -9223372036854775808) FROM send_head h WHERE h.tenant_id = $1 AND h.lane = $2)) \
     AND (lane, phase, not_before) <= ($2, 0, $3)",
    "lane, phase, ",
    "ctid = ANY (ARRAY(SELECT c_place FROM c))",
);

/// The same for SQLite.
const SQLITE: Choice = (
    "message_id",
    "tenant_id = $1 AND lane = $2 AND phase = 0 AND not_before <= $3",
    "",
    "tenant_id = $1 AND phase + 0 = 0 AND message_id IN (SELECT c_place FROM c)",
);

/// In the order in which they became ready.
fn taken_from(rows: &[Row]) -> Result<Vec<Taken>, StoreError> {
    let mut taken = rows
        .iter()
        .map(|row| {
            let one = Taken {
                message: row.id("message_id")?,
                lane: row.get("lane")?,
                class: row.word("class", MessageClass::parse)?,
                attempt: row.small("attempts")?,
                expires_at: row.time("expires_at")?,
            };
            Ok((row.time("not_before")?, one))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    taken.sort_by_key(|(ready, one)| (*ready, one.message));
    Ok(taken.into_iter().map(|(_, one)| one).collect())
}
