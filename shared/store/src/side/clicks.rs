//! Clicks: where a link leads, and that it was followed.
//!
//! What always holds: the first time for a link and message is recorded and told to the run, once;
//! later times change nothing; a link that is not there leads nowhere; in a test send nothing is
//! recorded at all.

use parcours_domain::{ContactId, MessageClass, MessageId, RunId, StepId, Timestamp};

use super::{
    inbox::{self, ClickRef, InboxWrite},
    sql::{Sql, ms, vals},
};
use crate::{TenantStore, error::StoreError};

/// A link that was followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clicked {
    /// Where it leads.
    pub url: String,
    /// Whether this was the first time.
    pub first: bool,
    /// The contact whose message it was.
    pub contact: ContactId,
}

impl TenantStore {
    /// Where a link leads; records nothing (HEAD, OPTIONS).
    ///
    /// # Errors
    /// What the database says.
    pub async fn link(&self, message: MessageId, link: u16) -> Result<Option<String>, StoreError> {
        let row = Sql::new(
            "SELECT url FROM message_link \
             WHERE tenant_id = $1 AND message_id = $2 AND number = $3",
            vals![self.tenant().0, message.0, i64::from(link)],
        )
        .one(&self.read())
        .await?;
        row.map(|row| row.get("url")).transpose()
    }

    /// Records that a link was followed, the first time; where it leads.
    ///
    /// # Errors
    /// What the database says.
    pub async fn record_click(
        &self,
        message: MessageId,
        link: u16,
        now: Timestamp,
    ) -> Result<Option<Clicked>, StoreError> {
        let tenant = self.tenant();
        let key = vals![tenant.0, message.0, i64::from(link)];
        let row = Sql::new(
            "SELECT l.url, l.clicked_at, m.contact_id, m.run_id, m.step, m.class FROM message_link l \
             JOIN message m ON m.tenant_id = l.tenant_id AND m.id = l.message_id \
             WHERE l.tenant_id = $1 AND l.message_id = $2 AND l.number = $3",
            key.clone(),
        )
        .one(&self.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let url: String = row.get("url")?;
        let contact: ContactId = row.id("contact_id")?;
        let is_test = row.word("class", MessageClass::parse)? == MessageClass::Test;
        if is_test || row.time_opt("clicked_at")?.is_some() {
            return Ok(Some(Clicked { url, first: false, contact }));
        }
        let mut values = key;
        values.push(ms(now));
        let tx = self.begin().await?;
        let first = Sql::new(
            "UPDATE message_link SET clicked_at = $4 WHERE tenant_id = $1 AND message_id = $2 \
             AND number = $3 AND clicked_at IS NULL",
            values,
        )
        .run(&tx)
        .await?
            > 0;
        let run: Option<RunId> = row.id_opt("run_id")?;
        let step = row.get::<Option<String>>("step")?.and_then(|s| s.parse::<StepId>().ok());
        if let (true, Some(run), Some(step)) = (first, run, step) {
            let click = ClickRef { message, run, step, link, url: url.clone() };
            let told = InboxWrite::click(tenant, contact, &click);
            inbox::write(&tx, self.store.shards(), vec![told], now).await?;
        }
        tx.commit().await?;
        Ok(Some(Clicked { url, first, contact }))
    }
}
