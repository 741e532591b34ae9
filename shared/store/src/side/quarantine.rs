//! Quarantine: inputs that could not be applied, kept whole, listed, requeued or discarded.
//!
//! What always holds: an input that was set aside is never lost by being requeued: the inbox row
//! that brings it back is written in the transaction that marks it; its de-duplication key is
//! given free only then. An input without a contact keeps its key until it is marked.

use parcours_domain::{ContactId, EventKey, QuarantineId, Timestamp};

use super::{
    inbox::{self, RequeueRef},
    page::{Page, PageRequest},
    sql::{ROWS_MAX, Row, Sql, ms, vals},
};
use crate::{TenantStore, error::StoreError};

/// An input to set aside.
#[derive(Clone, Debug)]
pub struct QuarantineEntry {
    /// Its id: version 7 of the product time.
    pub id: QuarantineId,
    /// Whose, when that is known.
    pub contact: Option<ContactId>,
    /// `ingest`, `event`, `timer` or `inbox`.
    pub origin: String,
    /// Stable code.
    pub code: String,
    /// What was wrong, without the values.
    pub detail: String,
    /// The input.
    pub payload: Vec<u8>,
    /// De-duplication key of an event.
    pub key: Option<EventKey>,
    /// Hash of the event's body.
    pub body_hash: Option<[u8; 32]>,
}

/// A set-aside input as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineRow {
    /// Its id.
    pub id: QuarantineId,
    /// Whose, when that is known.
    pub contact: Option<ContactId>,
    /// `ingest`, `event`, `timer` or `inbox`.
    pub origin: String,
    /// Stable code.
    pub code: String,
    /// What was wrong.
    pub detail: String,
    /// The input.
    pub payload: Vec<u8>,
    /// When it was set aside.
    pub created_at: Timestamp,
    /// When it was requeued, if it was.
    pub requeued_at: Option<Timestamp>,
}

/// What became of a requeue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// An inbox row brings it to this contact; wake it.
    ToContact(ContactId),
    /// It never reached a contact: the caller takes the payload through ingest again, then calls
    /// `mark_requeued`.
    Payload(Box<QuarantineRow>),
    /// It was requeued before.
    Already,
    /// There is no such input.
    NotFound,
}

const COLUMNS: &str = "SELECT id, contact_id, origin, code, detail, payload, created_at, \
     requeued_at FROM quarantine WHERE tenant_id = ";

impl TenantStore {
    /// Sets inputs aside; those whose key is set aside already are left as they are. How many
    /// were new.
    ///
    /// # Errors
    /// What the database says.
    pub async fn quarantine_items(
        &self,
        entries: &[QuarantineEntry],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        if entries.is_empty() {
            return Ok(0);
        }
        let tenant = self.tenant();
        let tx = self.begin().await?;
        let mut new = 0;
        for chunk in entries.chunks(ROWS_MAX) {
            let rows = chunk.iter().map(|entry| {
                vals![
                    tenant.0,
                    entry.id.0,
                    entry.contact.map(uuid::Uuid::from),
                    entry.origin.clone(),
                    entry.code.clone(),
                    entry.detail.clone(),
                    entry.payload.clone(),
                    entry.key.map(|key| key.0.to_vec()),
                    entry.body_hash.map(|hash| hash.to_vec()),
                    ms(now)
                ]
            });
            new += Sql::default()
                .text(
                    "INSERT INTO quarantine (tenant_id, id, contact_id, origin, code, detail, \
                     payload, key, body_hash, created_at) VALUES ",
                )
                .rows(rows)
                .text(" ON CONFLICT DO NOTHING")
                .run(&tx)
                .await?;
        }
        tx.commit().await?;
        Ok(new)
    }

    /// A page of what is set aside, newest first.
    ///
    /// # Errors
    /// `BadCursor`, or what the database says.
    pub async fn quarantine(&self, page: &PageRequest) -> Result<Page<QuarantineRow>, StoreError> {
        let mut sql = Sql::new(COLUMNS, vec![]).arg(self.tenant().0);
        if let Some(after) = page.position::<QuarantineId>()? {
            sql = sql.text(" AND id < ").arg(after.0);
        }
        let rows = sql.text(" ORDER BY id DESC LIMIT ").arg(page.fetch()).all(&self.read()).await?;
        let items = rows.iter().map(row_from).collect::<Result<_, _>>()?;
        Ok(Page::cut(items, page, |row: &QuarantineRow| row.id))
    }

    /// One set-aside input.
    ///
    /// # Errors
    /// What the database says.
    pub async fn quarantined(&self, id: QuarantineId) -> Result<Option<QuarantineRow>, StoreError> {
        let sql = Sql::new(COLUMNS, vec![]).arg(self.tenant().0).text(" AND id = ").arg(id.0);
        sql.one(&self.read()).await?.as_ref().map(row_from).transpose()
    }

    /// Brings a set-aside input back, once. Its de-duplication key is free from then on, so that
    /// the input can be accepted, or set aside anew; a payload is still set aside, and its key is
    /// freed by `mark_requeued`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn requeue(&self, id: QuarantineId, now: Timestamp) -> Result<Requeued, StoreError> {
        let tenant = self.tenant();
        let tx = self.begin().await?;
        let freed = Sql::new(
            "UPDATE quarantine SET \
             key = CASE WHEN contact_id IS NULL THEN key ELSE NULL END, requeued_at = \
             CASE WHEN contact_id IS NULL THEN NULL ELSE CAST($3 AS BIGINT) END \
             WHERE tenant_id = $1 AND id = $2 AND requeued_at IS NULL \
             RETURNING id, contact_id, origin, code, detail, payload, created_at, requeued_at",
            vals![tenant.0, id.0, ms(now)],
        )
        .one(&tx)
        .await?;
        let Some(row) = freed.as_ref().map(row_from).transpose()? else {
            tx.rollback().await;
            let there = self.quarantined(id).await?.is_some();
            return Ok(if there { Requeued::Already } else { Requeued::NotFound });
        };
        let Some(contact) = row.contact else {
            tx.commit().await?;
            return Ok(Requeued::Payload(Box::new(row)));
        };
        let contact = inbox::live_contact(&tx, tenant, contact).await?;
        let reference = RequeueRef { quarantine: id, origin: row.origin };
        let back = inbox::requeue(tenant, contact, &reference, &row.payload);
        inbox::write(&tx, self.store.shards(), vec![back], now).await?;
        tx.commit().await?;
        Ok(Requeued::ToContact(contact))
    }

    /// Notes that a payload without a contact went through ingest again, and frees its key.
    ///
    /// # Errors
    /// What the database says.
    pub async fn mark_requeued(&self, id: QuarantineId, now: Timestamp) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        Sql::new(
            "UPDATE quarantine SET key = NULL, requeued_at = $3 \
             WHERE tenant_id = $1 AND id = $2 AND requeued_at IS NULL",
            vals![self.tenant().0, id.0, ms(now)],
        )
        .run(&tx)
        .await?;
        tx.commit().await
    }

    /// Discards a set-aside input for good; whether it was there and not requeued.
    ///
    /// # Errors
    /// What the database says.
    pub async fn discard(&self, id: QuarantineId) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let gone = Sql::new(
            "DELETE FROM quarantine WHERE tenant_id = $1 AND id = $2 AND requeued_at IS NULL",
            vals![self.tenant().0, id.0],
        )
        .run(&tx)
        .await?;
        tx.commit().await?;
        Ok(gone > 0)
    }
}

fn row_from(row: &Row) -> Result<QuarantineRow, StoreError> {
    Ok(QuarantineRow {
        id: row.id("id")?,
        contact: row.id_opt("contact_id")?,
        origin: row.get("origin")?,
        code: row.get("code")?,
        detail: row.get("detail")?,
        payload: row.get("payload")?,
        created_at: row.time("created_at")?,
        requeued_at: row.time_opt("requeued_at")?,
    })
}
