//! The admin door: what is above brands. Halting the install, and the hold on everything else
//! here; brands are in `brands`, keys in `api_keys`.
//!
//! What always holds: a halt that was acknowledged stops every message that is not past its final
//! commit.

use parcours_domain::Timestamp;
use uuid::Uuid;

use super::sql::{Sql, ms, vals};
use crate::{
    Store,
    db::Db,
    error::StoreError,
    wall::{Door, Role},
};

/// The cross-tenant door of administration.
#[derive(Clone)]
pub struct AdminDoor {
    pub(crate) store: Store,
}

/// The install as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallStatus {
    /// Its id.
    pub install: Uuid,
    /// When it was made.
    pub created_at: Timestamp,
    /// When all sending was halted, if it is.
    pub halted_at: Option<Timestamp>,
    /// Why.
    pub halt_reason: Option<String>,
}

impl AdminDoor {
    pub(crate) fn db(&self) -> &Db {
        self.store.db()
    }

    /// The install.
    ///
    /// # Errors
    /// What the database says.
    pub async fn install(&self) -> Result<InstallStatus, StoreError> {
        let row =
            Sql::new("SELECT install_id, created_at, halted_at, halt_reason FROM install", vec![])
                .one(&self.db().read(Role::Control))
                .await?
                .ok_or(StoreError::Damaged("install"))?;
        Ok(InstallStatus {
            install: row.get("install_id")?,
            created_at: row.time("created_at")?,
            halted_at: row.time_opt("halted_at")?,
            halt_reason: row.get("halt_reason")?,
        })
    }

    /// Halts all sending. Repeating it keeps the first moment and takes the newer reason.
    ///
    /// # Errors
    /// What the database says.
    pub async fn halt_install(&self, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        self.change(
            Role::Control,
            Sql::new(
                "UPDATE install SET halted_at = coalesce(halted_at, $1), halt_reason = $2",
                vals![ms(now), reason],
            ),
        )
        .await?;
        Ok(())
    }

    /// Lets the install send again (brands may still be halted on their own); false, and nothing
    /// changed, while a restore holds it: [`AdminDoor::release`] ends that.
    ///
    /// # Errors
    /// What the database says.
    pub async fn unhalt_install(&self) -> Result<bool, StoreError> {
        let touched = self
            .change(
                Role::Control,
                Sql::new(
                    "UPDATE install SET halted_at = NULL, halt_reason = NULL \
                 WHERE restored_from IS NULL",
                    vec![],
                ),
            )
            .await?;
        Ok(touched > 0)
    }

    /// Runs one statement in a transaction of its own; how many rows it touched.
    pub(crate) async fn change(&self, door: impl Into<Door>, sql: Sql) -> Result<u64, StoreError> {
        let tx = self.db().begin(door).await?;
        let touched = sql.run(&tx).await?;
        tx.commit().await?;
        Ok(touched)
    }
}
