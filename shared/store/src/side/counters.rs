//! Counters: appended as deltas, folded into totals, read as both together.
//!
//! What always holds: folding moves a delta into its total in one transaction, so a reading is
//! the same before, during and after it.

use std::collections::BTreeMap;

use parcours_domain::{TenantId, Timestamp};
use sea_orm::ConnectionTrait;
use serde::Serialize;

use super::{
    AdminDoor,
    sql::{ROWS_MAX, Row, Sql, random, vals},
    status::Reached,
};
use crate::{TenantStore, error::StoreError, wall::Role};

/// One reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CounterValue {
    /// What is counted.
    pub name: String,
    /// UTC day number since 1970-01-01 (product time).
    pub day: i64,
    /// How many.
    pub value: i64,
}

/// Appends deltas for the day of `now`.
pub(crate) async fn append(
    tx: &impl ConnectionTrait,
    deltas: BTreeMap<(TenantId, String), i64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = uuid::Uuid::from_bytes(random()?);
    let deltas: Vec<_> = deltas.into_iter().collect();
    for chunk in deltas.chunks(ROWS_MAX) {
        let rows = chunk.iter().map(|((tenant, name), delta)| {
            vals![tenant.0, id, name.clone(), now.utc_day(), *delta]
        });
        Sql::default()
            .text("INSERT INTO counter_delta (tenant_id, id, name, day, delta) VALUES ")
            .rows(rows)
            .run(tx)
            .await?;
    }
    Ok(())
}

impl TenantStore {
    /// All counters of the brand from this day on, by name and day.
    ///
    /// # Errors
    /// What the database says.
    pub async fn counters(&self, from_day: i64) -> Result<Vec<CounterValue>, StoreError> {
        let rows = Sql::new(
            "SELECT name, day, CAST(sum(value) AS BIGINT) AS value FROM (\
             SELECT name, day, value FROM counter WHERE tenant_id = $1 AND day >= $2 UNION ALL \
             SELECT name, day, delta AS value FROM counter_delta \
             WHERE tenant_id = $1 AND day >= $2) AS both_kinds \
             GROUP BY name, day ORDER BY name, day",
            vals![self.tenant().0, from_day],
        )
        .all(&self.read())
        .await?;
        rows.iter().map(value_of).collect()
    }
}

fn value_of(row: &Row) -> Result<CounterValue, StoreError> {
    Ok(CounterValue { name: row.get("name")?, day: row.get("day")?, value: row.get("value")? })
}

/// What was counted for one brand on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrandCount {
    /// The brand.
    pub tenant: TenantId,
    /// What, when, how many.
    pub counted: CounterValue,
}

impl AdminDoor {
    /// What was counted for every brand reached from this day on, by brand, day and name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn counted(
        &self,
        reached: Reached,
        from_day: i64,
    ) -> Result<Vec<BrandCount>, StoreError> {
        let mut sql = Sql::default()
            .text("SELECT tenant_id, name, day, CAST(sum(value) AS BIGINT) AS value FROM (");
        for (table, value) in [("counter", "value"), ("counter_delta", "delta")] {
            let union = if table == "counter" { "" } else { " UNION ALL " };
            let select = format!(
                "{union}SELECT tenant_id, name, day, {value} AS value FROM {table} WHERE day >= "
            );
            sql = reached.limit(sql.text(&select).arg(from_day).text(" AND "));
        }
        let rows = sql
            .text(") AS both_kinds GROUP BY tenant_id, day, name ORDER BY tenant_id, day, name")
            .all(&self.db().read(reached.door()))
            .await?;
        rows.iter()
            .map(|row| Ok(BrandCount { tenant: row.id("tenant_id")?, counted: value_of(row)? }))
            .collect()
    }

    /// Folds at most `limit` open deltas into totals; how many. The roll-up's door.
    ///
    /// # Errors
    /// What the database says.
    pub async fn fold_counters(&self, limit: u32) -> Result<u64, StoreError> {
        let tx = self.db().begin(Role::Rollup).await?;
        let rows = Sql::new(
            "WITH c AS MATERIALIZED (SELECT tenant_id AS c_tenant, id AS c_id, name AS c_name \
             FROM counter_delta ORDER BY tenant_id, id, name LIMIT $1",
            vals![i64::from(limit)],
        )
        .lock(&tx, "FOR UPDATE SKIP LOCKED")
        .text(
            ") DELETE FROM counter_delta \
             WHERE (tenant_id, id, name) IN (SELECT c_tenant, c_id, c_name FROM c) \
             RETURNING tenant_id, name, day, delta",
        )
        .all(&tx)
        .await?;
        let mut totals: BTreeMap<(TenantId, String, i64), i64> = BTreeMap::new();
        for row in &rows {
            let key = (row.id("tenant_id")?, row.get("name")?, row.get("day")?);
            *totals.entry(key).or_default() += row.get::<i64>("delta")?;
        }
        let totals: Vec<_> = totals.into_iter().collect();
        for chunk in totals.chunks(ROWS_MAX) {
            let values = chunk
                .iter()
                .map(|((tenant, name, day), sum)| vals![tenant.0, name.clone(), *day, *sum]);
            Sql::default()
                .text("INSERT INTO counter (tenant_id, name, day, value) VALUES ")
                .rows(values)
                .text(
                    " ON CONFLICT (tenant_id, name, day) \
                     DO UPDATE SET value = counter.value + excluded.value",
                )
                .run(&tx)
                .await?;
        }
        tx.commit().await?;
        Ok(u64::try_from(rows.len()).unwrap_or(0))
    }
}
