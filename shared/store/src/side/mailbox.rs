//! The built-in mailbox: what would have been sent, kept to be looked at.
//!
//! What always holds: one copy of a message; newest first.

use parcours_domain::{AddressHash, MessageId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    page::{Page, PageRequest},
    sql::{Row, Sql, ms, vals},
};
use crate::{TenantStore, error::StoreError};

/// A mail in the mailbox, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxRow {
    /// The message.
    pub message: MessageId,
    /// When it arrived.
    pub arrived_at: Timestamp,
    /// To whom, by hash.
    pub recipient: AddressHash,
    /// The template it was made from.
    pub template: String,
    /// Bytes of the whole mail.
    pub size: i64,
}

#[derive(Serialize, Deserialize)]
struct Position(Timestamp, Uuid);

impl TenantStore {
    /// A page of the mailbox, newest first.
    ///
    /// # Errors
    /// `BadCursor`, or what the database says.
    pub async fn mailbox(&self, page: &PageRequest) -> Result<Page<MailboxRow>, StoreError> {
        let mut sql = Sql::default()
            .text(
                "SELECT b.message_id, b.arrived_at, b.recipient_hmac, m.template, \
                 CAST(length(b.raw) AS BIGINT) AS size FROM mailbox b \
                 JOIN message m ON m.tenant_id = b.tenant_id AND m.id = b.message_id \
                 WHERE b.tenant_id = ",
            )
            .arg(self.tenant().0);
        if let Some(Position(at, id)) = page.position()? {
            sql = sql
                .text(" AND (b.arrived_at, b.message_id) < (")
                .arg(ms(at))
                .text(", ")
                .arg(id)
                .text(")");
        }
        let rows = sql
            .text(" ORDER BY b.arrived_at DESC, b.message_id DESC LIMIT ")
            .arg(page.fetch())
            .all(&self.read())
            .await?;
        let items = rows.iter().map(mail_from).collect::<Result<_, _>>()?;
        Ok(Page::cut(items, page, |mail: &MailboxRow| Position(mail.arrived_at, mail.message.0)))
    }

    /// A mail as it would have been sent.
    ///
    /// # Errors
    /// What the database says.
    pub async fn mail(&self, message: MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        let row = Sql::new(
            "SELECT raw FROM mailbox WHERE tenant_id = $1 AND message_id = $2",
            vals![self.tenant().0, message.0],
        )
        .one(&self.read())
        .await?;
        row.map(|row| row.get("raw")).transpose()
    }
}

fn mail_from(row: &Row) -> Result<MailboxRow, StoreError> {
    Ok(MailboxRow {
        message: row.id("message_id")?,
        arrived_at: row.time("arrived_at")?,
        recipient: AddressHash(row.bytes("recipient_hmac")?),
        template: row.get("template")?,
        size: row.get("size")?,
    })
}
