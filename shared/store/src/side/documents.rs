//! Documents: immutable versions, one head for each name.
//!
//! What always holds: a set is published whole or not at all; an unchanged body keeps its version;
//! what a verdict rests on (a topic's purpose, class, channel or opt-in, the brand's document)
//! moves the brand's consent version in the same transaction.

use parcours_domain::{KeyId, Millis, Name, TenantId, Timestamp};
use sea_orm::ConnectionTrait;
use serde::Serialize;

use super::{
    AdminDoor,
    sql::{ROWS_MAX, Row, Sql, ms, vals},
};
use crate::{TenantStore, error::StoreError, sweep, wall::Door};

/// Over how long the timers of a resumed journey come due.
const RESUME_SPREAD: Millis = Millis::seconds(30);

/// A document to publish.
#[derive(Clone, Debug)]
pub struct NewDocument {
    /// `Brand`, `Sender`, `Topic`, `Template` or `Journey`.
    pub kind: String,
    /// Its name.
    pub name: Name,
    /// Its canonical JSON.
    pub body_json: String,
    /// The compiled form, when the kind has one.
    pub compiled: Option<Vec<u8>>,
    /// The version that it gets if its body is new, when the compiled form rests on that number;
    /// another publication in between is then a `Conflict`.
    pub version: Option<u32>,
}

/// What became of one document of a publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: Name,
    /// Its version now.
    pub version: u32,
    /// Whether that is a new one.
    pub changed: bool,
}

/// Whether a document's head is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentStatus {
    /// In use.
    Live,
    /// A journey that stands still.
    Paused,
    /// No new entries; what runs goes on.
    Archived,
}

impl DocumentStatus {
    /// The stored and shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Paused => "paused",
            Self::Archived => "archived",
        }
    }
    /// From the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Paused, Self::Archived].into_iter().find(|s| s.as_str() == text)
    }
}

/// One version of a document, with its head's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRow {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: u32,
    /// The head's version.
    pub head_version: u32,
    /// The head's status.
    pub status: DocumentStatus,
    /// Canonical JSON.
    pub body: String,
    /// The compiled form.
    pub compiled: Option<Vec<u8>>,
    /// When it was published.
    pub published_at: Timestamp,
    /// By which key.
    pub published_by: Option<KeyId>,
}

/// The head of a document, without what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentHead {
    /// The brand.
    pub tenant: TenantId,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: u32,
    /// Its status.
    pub status: DocumentStatus,
}

impl AdminDoor {
    /// The heads of these brands' documents, in no particular order. The worker's door: so it
    /// learns what was published elsewhere.
    ///
    /// # Errors
    /// What the database says.
    pub async fn document_heads(
        &self,
        tenants: &[TenantId],
    ) -> Result<Vec<DocumentHead>, StoreError> {
        let mut heads = Vec::new();
        for chunk in tenants.chunks(ROWS_MAX) {
            let sql = Sql::default()
                .text("SELECT tenant_id, kind, name, version, status FROM document_head ")
                .text("WHERE tenant_id IN ")
                .list(chunk.iter().map(|tenant| tenant.0.into()));
            let door = Door::of(chunk.iter().copied());
            for row in sql.all(&self.db().read(door)).await? {
                heads.push(DocumentHead {
                    tenant: row.id("tenant_id")?,
                    kind: row.get("kind")?,
                    name: row.word("name", |text| text.parse().ok())?,
                    version: row.small("version")?,
                    status: row.word("status", DocumentStatus::parse)?,
                });
            }
        }
        Ok(heads)
    }
}

const DOCUMENTS: &str = "SELECT d.kind, d.name, d.version, h.version AS head_version, h.status, \
     d.body, d.compiled, d.published_at, d.published_by FROM document d \
     JOIN document_head h ON h.tenant_id = d.tenant_id AND h.kind = d.kind AND h.name = d.name \
     WHERE d.tenant_id = ";

impl TenantStore {
    /// Publishes a set in one transaction; answers in its order.
    ///
    /// # Errors
    /// `Conflict` when a version was taken meanwhile; otherwise what the database says.
    pub async fn publish(
        &self,
        documents: Vec<NewDocument>,
        by: Option<KeyId>,
        now: Timestamp,
    ) -> Result<Vec<Published>, StoreError> {
        let tenant = self.tenant();
        let tx = self.begin().await?;
        // One publication of a brand at a time, whatever it contains.
        Sql::new("SELECT 1 AS held FROM brand WHERE tenant_id = $1", vals![tenant.0])
            .lock(&tx, "FOR UPDATE")
            .one(&tx)
            .await?
            .ok_or(StoreError::NotFound)?;
        let mut published = Vec::with_capacity(documents.len());
        let mut moves = false;
        for document in &documents {
            let (one, moved) = publish_one(&tx, tenant, document, (by, now)).await?;
            published.push(one);
            moves |= moved;
        }
        if moves {
            move_consent_version(&tx, tenant).await?;
        }
        tx.commit().await?;
        Ok(published)
    }

    /// Every head of the brand, by kind and name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn documents(&self) -> Result<Vec<DocumentRow>, StoreError> {
        let rows = Sql::new(DOCUMENTS, vec![])
            .arg(self.tenant().0)
            .text(" AND d.version = h.version ORDER BY d.kind, d.name")
            .all(&self.read())
            .await?;
        rows.iter().map(document_from).collect()
    }

    /// One document: this version, or the head.
    ///
    /// # Errors
    /// What the database says.
    pub async fn document(
        &self,
        kind: &str,
        name: &Name,
        version: Option<u32>,
    ) -> Result<Option<DocumentRow>, StoreError> {
        let sql = Sql::new(DOCUMENTS, vec![])
            .arg(self.tenant().0)
            .text(" AND d.kind = ")
            .arg(kind)
            .text(" AND d.name = ")
            .arg(name.as_str());
        let sql = match version {
            Some(version) => sql.text(" AND d.version = ").arg(i64::from(version)),
            None => sql.text(" AND d.version = h.version"),
        };
        sql.one(&self.read()).await?.as_ref().map(document_from).transpose()
    }

    /// All versions of a document, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn document_versions(
        &self,
        kind: &str,
        name: &Name,
    ) -> Result<Vec<DocumentRow>, StoreError> {
        let rows = Sql::new(DOCUMENTS, vec![])
            .arg(self.tenant().0)
            .text(" AND d.kind = ")
            .arg(kind)
            .text(" AND d.name = ")
            .arg(name.as_str())
            .text(" ORDER BY d.version DESC")
            .all(&self.read())
            .await?;
        rows.iter().map(document_from).collect()
    }

    /// Sets a head's status; the one before, or none when there is no such document. When a
    /// journey leaves its pause, the timers that the pause held come back, spread over half a
    /// minute.
    ///
    /// # Errors
    /// What the database says.
    pub async fn set_document_status(
        &self,
        kind: &str,
        name: &Name,
        status: DocumentStatus,
        now: Timestamp,
    ) -> Result<Option<DocumentStatus>, StoreError> {
        let tenant = self.tenant();
        let tx = self.begin().await?;
        let row = Sql::new(
            "SELECT status FROM document_head WHERE tenant_id = $1 AND kind = $2 AND name = $3",
            vals![tenant.0, kind, name.as_str()],
        )
        .lock(&tx, "FOR UPDATE")
        .one(&tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let before = row.word("status", DocumentStatus::parse)?;
        Sql::new(
            "UPDATE document_head SET status = $4, changed_at = $5 \
             WHERE tenant_id = $1 AND kind = $2 AND name = $3",
            vals![tenant.0, kind, name.as_str(), status.as_str(), ms(now)],
        )
        .run(&tx)
        .await?;
        if kind == "Topic" && before != status {
            move_consent_version(&tx, tenant).await?;
        }
        if kind == "Journey" && before == DocumentStatus::Paused && status != before {
            sweep::resume_held(&tx, (tenant, name), now, RESUME_SPREAD).await?;
        }
        tx.commit().await?;
        Ok(Some(before))
    }
}

async fn move_consent_version(
    tx: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<(), StoreError> {
    let sql = "UPDATE brand SET consent_version = consent_version + 1 WHERE tenant_id = $1";
    Sql::new(sql, vals![tenant.0]).run(tx).await?;
    Ok(())
}

/// Publishes one document; whether the brand's consent version must move.
async fn publish_one(
    tx: &impl ConnectionTrait,
    tenant: TenantId,
    new: &NewDocument,
    (by, now): (Option<KeyId>, Timestamp),
) -> Result<(Published, bool), StoreError> {
    let head = Sql::new(DOCUMENTS, vec![])
        .arg(tenant.0)
        .text(" AND d.version = h.version AND d.kind = ")
        .arg(new.kind.as_str())
        .text(" AND d.name = ")
        .arg(new.name.as_str())
        .one(tx)
        .await?
        .as_ref()
        .map(document_from)
        .transpose()?;
    let told = |version, changed| Published {
        kind: new.kind.clone(),
        name: new.name.clone(),
        version,
        changed,
    };
    if let Some(head) = head.as_ref().filter(|head| head.body == new.body_json) {
        return Ok((told(head.version, false), false));
    }
    let version = head.as_ref().map_or(1, |head| head.version + 1);
    if new.version.is_some_and(|expected| expected != version) {
        return Err(StoreError::Conflict);
    }
    let mut values =
        vals![tenant.0, new.kind.as_str(), new.name.as_str(), i64::from(version), ms(now)];
    let head_values = values.clone();
    values.extend(vals![new.body_json.as_str(), new.compiled.clone(), by.map(uuid::Uuid::from)]);
    Sql::new(
        "INSERT INTO document (tenant_id, kind, name, version, published_at, body, compiled, \
         published_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        values,
    )
    .run(tx)
    .await?;
    Sql::new(
        "INSERT INTO document_head (tenant_id, kind, name, version, changed_at, status) \
         VALUES ($1, $2, $3, $4, $5, 'live') ON CONFLICT (tenant_id, kind, name) \
         DO UPDATE SET version = excluded.version, changed_at = excluded.changed_at",
        head_values,
    )
    .run(tx)
    .await?;
    let moves = head.is_some_and(|head| verdicts_move(&new.kind, &head.body, &new.body_json));
    Ok((told(version, true), moves))
}

/// Whether verdicts made under the old body may be wrong under the new one.
fn verdicts_move(kind: &str, old: &str, new: &str) -> bool {
    match kind {
        "Brand" => true,
        "Topic" => {
            let read = |body| serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
            let (old, new) = (read(old), read(new));
            ["purpose", "class", "channel", "double_opt_in"]
                .iter()
                .any(|field| old.get(field) != new.get(field))
        }
        _ => false,
    }
}

fn document_from(row: &Row) -> Result<DocumentRow, StoreError> {
    Ok(DocumentRow {
        kind: row.get("kind")?,
        name: row.word("name", |text| text.parse().ok())?,
        version: row.small("version")?,
        head_version: row.small("head_version")?,
        status: row.word("status", DocumentStatus::parse)?,
        body: row.get("body")?,
        compiled: row.get("compiled")?,
        published_at: row.time("published_at")?,
        published_by: row.id_opt("published_by")?,
    })
}

#[cfg(test)]
mod tests {
    use super::verdicts_move;

    #[test]
    fn only_what_a_verdict_rests_on_moves_it() {
        let old = r#"{"title":"News","purpose":"news","class":"marketing"}"#;
        let title = r#"{"title":"Our news","purpose":"news","class":"marketing"}"#;
        let class = r#"{"title":"News","purpose":"news","class":"transactional"}"#;
        assert!(!verdicts_move("Topic", old, title));
        assert!(verdicts_move("Topic", old, class));
        assert!(verdicts_move("Brand", old, title));
        assert!(!verdicts_move("Template", old, class));
    }
}
