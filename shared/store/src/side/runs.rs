//! Runs: where each contact stands and when it wakes.
//!
//! What always holds: the order is by run id, which says nothing about time but never changes.

use parcours_domain::{ContactId, Name, RunId, StepId, Timestamp};
use serde::Serialize;

use super::{
    page::{Page, PageRequest},
    sql::{Row, Sql, vals},
};
use crate::{TenantStore, error::StoreError};

/// A run as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// Whose.
    pub contact: ContactId,
    /// The journey.
    pub journey: Name,
    /// The version it is on.
    pub version: i64,
    /// The run key; empty when the journey has none.
    pub key: String,
    /// Whether it is live (waiting or held).
    pub live: bool,
    /// `waiting`, `held`, `finished`, `goal`, `exited`, `failed`.
    pub status: String,
    /// Where it stands or ended.
    pub step: StepId,
    /// When it entered.
    pub entered_at: Timestamp,
    /// When it wakes, while live.
    pub wakes_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What ended it.
    pub ended_by: Option<String>,
}

/// Which runs a page is about. Empty: all of the brand.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this journey only.
    pub journey: Option<Name>,
    /// With this status only.
    pub status: Option<String>,
    /// Of this contact only.
    pub contact: Option<ContactId>,
}

pub(crate) const RUN_COLUMNS: &str = "id, contact_id, journey, version, run_key, live, status, \
     step, entered_at, wakes_at, ended_at, ended_by";

impl TenantStore {
    /// A page of runs, by id.
    ///
    /// # Errors
    /// `BadCursor`, or what the database says.
    pub async fn runs(
        &self,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<Page<RunView>, StoreError> {
        let mut sql = Sql::default()
            .text("SELECT ")
            .text(RUN_COLUMNS)
            .text(" FROM run WHERE tenant_id = ")
            .arg(self.tenant().0);
        if let Some(journey) = &filter.journey {
            sql = sql.text(" AND journey = ").arg(journey.as_str());
        }
        if let Some(status) = &filter.status {
            sql = sql.text(" AND status = ").arg(status.as_str());
        }
        if let Some(contact) = filter.contact {
            sql = sql.text(" AND contact_id = ").arg(contact.0);
        }
        if let Some(after) = page.position::<RunId>()? {
            sql = sql.text(" AND id > ").arg(after.0);
        }
        let rows = sql.text(" ORDER BY id LIMIT ").arg(page.fetch()).all(&self.read()).await?;
        let items = rows.iter().map(run_from).collect::<Result<_, _>>()?;
        Ok(Page::cut(items, page, |run: &RunView| run.id))
    }

    /// One run.
    ///
    /// # Errors
    /// What the database says.
    pub async fn run(&self, id: RunId) -> Result<Option<RunView>, StoreError> {
        let row = Sql::new("SELECT ", vec![])
            .text(RUN_COLUMNS)
            .text(" FROM run WHERE tenant_id = ")
            .arg(self.tenant().0)
            .text(" AND id = ")
            .arg(id.0)
            .one(&self.read())
            .await?;
        row.as_ref().map(run_from).transpose()
    }

    /// How many live runs each version of a journey has, by version.
    ///
    /// # Errors
    /// What the database says.
    pub async fn live_runs(&self, journey: &Name) -> Result<Vec<(i64, i64)>, StoreError> {
        let rows = Sql::new(
            "SELECT version, count(*) AS runs FROM run \
             WHERE tenant_id = $1 AND journey = $2 AND live = 1 GROUP BY version ORDER BY version",
            vals![self.tenant().0, journey.as_str()],
        )
        .all(&self.read())
        .await?;
        rows.iter().map(|row| Ok((row.get("version")?, row.get("runs")?))).collect()
    }
}

/// A run from its row.
pub(crate) fn run_from(row: &Row) -> Result<RunView, StoreError> {
    Ok(RunView {
        id: row.id("id")?,
        contact: row.id("contact_id")?,
        journey: row.word("journey", |text| text.parse().ok())?,
        version: row.get("version")?,
        key: row.get("run_key")?,
        live: row.get::<i64>("live")? == 1,
        status: row.get("status")?,
        step: row.word("step", |text| text.parse().ok())?,
        entered_at: row.time("entered_at")?,
        wakes_at: row.time_opt("wakes_at")?,
        ended_at: row.time_opt("ended_at")?,
        ended_by: row.get("ended_by")?,
    })
}
