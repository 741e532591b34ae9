//! What senders that are warmed up have sent on a day.
//!
//! What always holds: a row a sender and day is locked while some of it is taken, so all processes
//! together never take more than the day's number of that moment.

use parcours_domain::{Day, Name};

use super::sql::{Sql, vals};
use crate::{TenantStore, error::StoreError};

/// For how many days what was taken is kept.
const KEPT_DAYS: i64 = 7;

impl TenantStore {
    /// Takes at most `want` messages out of what a sender may send on the day, which is `most` in
    /// all. What is taken and not used is lost to the day.
    ///
    /// # Errors
    /// What the database says.
    pub async fn lease_sender_day(
        &self,
        sender: &Name,
        (day, most): (Day, u32),
        want: u32,
    ) -> Result<u32, StoreError> {
        let (tenant, Day(day)) = (self.tenant().0, day);
        let key = || vals![tenant, sender.as_str(), day];
        let tx = self.begin().await?;
        Sql::new(
            "INSERT INTO sender_day (tenant_id, sender, day, granted) VALUES ($1, $2, $3, 0) \
             ON CONFLICT DO NOTHING",
            key(),
        )
        .run(&tx)
        .await?;
        let taken =
            "SELECT granted FROM sender_day WHERE tenant_id = $1 AND sender = $2 AND day = $3";
        let row = Sql::new(taken, key()).lock(&tx, "FOR UPDATE").one(&tx).await?;
        let granted = row.ok_or(StoreError::Conflict)?.small("granted")?;
        let count = want.min(most.saturating_sub(granted));
        if count > 0 {
            Sql::new(
                "UPDATE sender_day SET granted = granted + $4 \
                 WHERE tenant_id = $1 AND sender = $2 AND day = $3",
                vals![tenant, sender.as_str(), day, i64::from(count)],
            )
            .run(&tx)
            .await?;
            Sql::new(
                "DELETE FROM sender_day WHERE tenant_id = $1 AND sender = $2 AND day < $3",
                vals![tenant, sender.as_str(), day.saturating_sub(KEPT_DAYS)],
            )
            .run(&tx)
            .await?;
        }
        tx.commit().await?;
        Ok(count)
    }
}
