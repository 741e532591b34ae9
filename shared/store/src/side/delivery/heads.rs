//! `send_head`: which (brand, lane) may have work, so that nobody scans the queue for it.
//!
//! What always holds: whoever puts a row into phase 0 lowers the head in the same transaction;
//! only a claim that found the lane exhausted raises or removes it, holding the head's lock while
//! it looks. A head may promise too much, never too little.

use std::collections::BTreeMap;

use parcours_domain::{CpuShare, TenantId, Timestamp, Weight};
use sea_orm::{ConnectionTrait, DbBackend};

use super::DeliveryDoor;
use crate::{
    error::StoreError,
    side::{
        quotas::{share_from, weight_from},
        sql::{ROWS_MAX, Sql, ms, vals},
    },
    wall::Role,
};

/// Heads in one answer.
const HEADS_MAX: i64 = 10_000;

/// Appended to an insert into `send_head`: the earlier moment stays.
pub(crate) const LOWER: &str = " ON CONFLICT (tenant_id, lane) DO UPDATE SET ready_at = \
     CASE WHEN excluded.ready_at < send_head.ready_at THEN excluded.ready_at \
     ELSE send_head.ready_at END";

/// The condition on head `h` and, outer joined, `brand_sending s`: the brand's breaker leaves the lane
/// something that may leave. A head knows no class, so the queue is asked; only of a stopped brand.
const FLOWS: &str = "(coalesce(s.stops, 0) = 0 OR EXISTS (SELECT 1 FROM send_queue q \
     WHERE q.tenant_id = h.tenant_id AND q.lane = h.lane AND q.phase = 0 \
     AND q.class <> 'marketing' AND (s.stops = 1 OR q.class = 'test')))";

impl DeliveryDoor {
    /// Brands and lanes that may have work now, longest waiting first. None of a halted brand,
    /// none at all while the install is halted; of a brand whose breaker has tripped only those with
    /// something that it does not stop.
    ///
    /// # Errors
    /// What the database says.
    pub async fn heads(&self, now: Timestamp) -> Result<Vec<(TenantId, i64)>, StoreError> {
        let ready = format!(
            "SELECT h.tenant_id, h.lane FROM send_head h \
             JOIN brand b ON b.tenant_id = h.tenant_id AND b.halted_at IS NULL \
             JOIN install i ON i.halted_at IS NULL \
             LEFT JOIN brand_sending s ON s.tenant_id = h.tenant_id \
             WHERE h.ready_at <= $1 AND {FLOWS} \
             ORDER BY h.ready_at, h.tenant_id, h.lane LIMIT $2"
        );
        let rows =
            Sql::new(&ready, vals![ms(now), HEADS_MAX]).all(&self.db().read(Role::Sending)).await?;
        rows.iter().map(|row| Ok((row.id("tenant_id")?, row.get("lane")?))).collect()
    }

    /// The weights of the brands that were given one; the others have the default.
    ///
    /// # Errors
    /// What the database says.
    pub async fn weights(&self) -> Result<BTreeMap<TenantId, Weight>, StoreError> {
        let sql = "SELECT tenant_id, weight FROM brand_sending WHERE weight IS NOT NULL";
        let rows = Sql::new(sql, vec![]).all(&self.db().read(Role::Sending)).await?;
        rows.iter().map(|row| Ok((row.id("tenant_id")?, weight_from(row)?))).collect()
    }

    /// How much of a processor the templates of brands may take that were given a quota of it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn template_shares(&self) -> Result<BTreeMap<TenantId, CpuShare>, StoreError> {
        let sql = "SELECT tenant_id, template_cpu FROM quota WHERE template_cpu IS NOT NULL";
        let rows = Sql::new(sql, vec![]).all(&self.db().read(Role::Sending)).await?;
        let mut shares = BTreeMap::new();
        for row in &rows {
            if let Some(share) = share_from(row)? {
                shares.insert(row.id("tenant_id")?, share);
            }
        }
        Ok(shares)
    }

    /// When the next head of a brand that is neither halted nor stopped may have work.
    ///
    /// # Errors
    /// What the database says.
    pub async fn next_ready(&self) -> Result<Option<Timestamp>, StoreError> {
        let next = format!(
            "SELECT min(h.ready_at) AS at FROM send_head h \
             JOIN brand b ON b.tenant_id = h.tenant_id AND b.halted_at IS NULL \
             JOIN install i ON i.halted_at IS NULL \
             LEFT JOIN brand_sending s ON s.tenant_id = h.tenant_id WHERE {FLOWS}"
        );
        let row = Sql::new(&next, vec![]).one(&self.db().read(Role::Sending)).await?;
        match row {
            Some(row) => row.time_opt("at"),
            None => Ok(None),
        }
    }

    /// Repairs heads from the queue: at start, and now and then.
    ///
    /// # Errors
    /// What the database says.
    pub async fn rebuild_heads(&self) -> Result<(), StoreError> {
        let tx = self.db().begin(Role::Sending).await?;
        Sql::default()
            .text(
                "INSERT INTO send_head (tenant_id, lane, ready_at) \
                 SELECT tenant_id, lane, min(not_before) FROM send_queue WHERE phase = 0 \
                 GROUP BY tenant_id, lane ORDER BY tenant_id, lane",
            )
            .text(LOWER)
            .run(&tx)
            .await?;
        tx.commit().await
    }
}

/// Lowers heads to these moments, in the order of their keys.
pub(crate) async fn lower(
    tx: &impl ConnectionTrait,
    ready: BTreeMap<(TenantId, i64), Timestamp>,
) -> Result<(), StoreError> {
    let ready: Vec<_> = ready.into_iter().collect();
    for chunk in ready.chunks(ROWS_MAX) {
        Sql::default()
            .text("INSERT INTO send_head (tenant_id, lane, ready_at) VALUES ")
            .rows(chunk.iter().map(|((tenant, lane), at)| vals![tenant.0, *lane, ms(*at)]))
            .text(LOWER)
            .run(tx)
            .await?;
    }
    Ok(())
}

/// Notes that a lane has nothing more to claim now: the head moves to its next row, or goes.
pub(super) async fn exhaust(
    tx: &impl ConnectionTrait,
    tenant: TenantId,
    lane: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = vals![tenant.0, lane];
    // Whoever adds a row to the lane waits here, or has committed and is seen below.
    let head = Sql::new("SELECT ready_at FROM send_head WHERE tenant_id = $1 AND lane = $2", key);
    let Some(head) = head.lock(tx, "FOR UPDATE").one(tx).await? else { return Ok(()) };
    // Nothing queued is earlier than the head. As in a claim, PostgreSQL is left one index.
    let of_lane = match tx.get_database_backend() {
        DbBackend::Postgres => {
            "tenant_id = $1 AND (lane, phase, not_before) >= ($2, 0, $4) \
             AND (lane, phase) <= ($2, 0)"
        }
        _ => "tenant_id = $1 AND lane = $2 AND phase = 0 AND not_before >= $4",
    };
    let queued = format!("FROM send_queue WHERE {of_lane} AND expires_at > $3");
    let ready_at: i64 = head.get("ready_at")?;
    let values = || vals![tenant.0, lane, ms(now), ready_at];
    let gone = format!(
        "DELETE FROM send_head WHERE tenant_id = $1 AND lane = $2 AND NOT EXISTS (SELECT 1 {queued})"
    );
    if Sql::new(&gone, values()).run(tx).await? == 0 {
        // What was there may have been claimed or ended meanwhile: then the head stays as it is.
        let raised = format!(
            "UPDATE send_head SET ready_at = coalesce((SELECT not_before {queued} \
             ORDER BY lane, phase, not_before LIMIT 1), ready_at) \
             WHERE tenant_id = $1 AND lane = $2"
        );
        Sql::new(&raised, values()).run(tx).await?;
    }
    Ok(())
}
