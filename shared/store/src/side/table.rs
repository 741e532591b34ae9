//! Counts of everything a brand holds: the demo's table and the overview.
//!
//! What always holds: the figures are counted from the records, not from counters.

use parcours_domain::TenantId;
use sea_orm::ConnectionTrait;
use serde::Serialize;

use super::sql::{Sql, vals};
use crate::{TenantStore, error::StoreError};

/// The counts; every list is ordered by its words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BrandTable {
    /// Contacts that were not absorbed.
    pub contacts: i64,
    /// Events by kind and name.
    pub events: Vec<(String, String, i64)>,
    /// Runs by journey and status.
    pub runs: Vec<(String, String, i64)>,
    /// Messages by template and status; test sends are not among them.
    pub messages: Vec<(String, String, i64)>,
    /// Messages that did not leave, by status and reason.
    pub reasons: Vec<(String, String, i64)>,
    /// Consent facts by kind and source.
    pub facts: Vec<(String, String, i64)>,
    /// Links that were followed.
    pub clicks: i64,
    /// Inputs set aside and not requeued.
    pub quarantined: i64,
}

const NO_TEST: &str = "class <> 'test'";
const REASON: &str = "reason IS NOT NULL AND class <> 'test'";

impl TenantStore {
    /// Counts everything.
    ///
    /// # Errors
    /// What the database says.
    pub async fn table(&self) -> Result<BrandTable, StoreError> {
        let (on, tenant) = (&self.read(), self.tenant());
        Ok(BrandTable {
            contacts: count(on, tenant, "contact", "merged_into IS NULL").await?,
            events: pairs(on, tenant, "event", ("kind", "name"), "1 = 1").await?,
            runs: pairs(on, tenant, "run", ("journey", "status"), "1 = 1").await?,
            messages: pairs(on, tenant, "message", ("template", "status"), NO_TEST).await?,
            reasons: pairs(on, tenant, "message", ("status", "reason"), REASON).await?,
            facts: pairs(on, tenant, "consent_fact", ("kind", "source"), "1 = 1").await?,
            clicks: count(on, tenant, "message_link", "clicked_at IS NOT NULL").await?,
            quarantined: count(on, tenant, "quarantine", "requeued_at IS NULL").await?,
        })
    }
}

async fn count(
    on: &impl ConnectionTrait,
    tenant: TenantId,
    table: &'static str,
    which: &'static str,
) -> Result<i64, StoreError> {
    let sql = format!("SELECT count(*) AS n FROM {table} WHERE tenant_id = $1 AND {which}");
    match Sql::new(&sql, vals![tenant.0]).one(on).await? {
        Some(row) => row.get("n"),
        None => Ok(0),
    }
}

async fn pairs(
    on: &impl ConnectionTrait,
    tenant: TenantId,
    table: &'static str,
    (first, second): (&'static str, &'static str),
    which: &'static str,
) -> Result<Vec<(String, String, i64)>, StoreError> {
    let sql = format!(
        "SELECT {first} AS a, {second} AS b, count(*) AS n FROM {table} \
         WHERE tenant_id = $1 AND {which} GROUP BY {first}, {second}"
    );
    let rows = Sql::new(&sql, vals![tenant.0]).all(on).await?;
    let mut pairs = rows
        .iter()
        .map(|row| Ok((row.get("a")?, row.get("b")?, row.get("n")?)))
        .collect::<Result<Vec<(String, String, i64)>, StoreError>>()?;
    // Sorted here: the two databases collate text differently.
    pairs.sort();
    Ok(pairs)
}
