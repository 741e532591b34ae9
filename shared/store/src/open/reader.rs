//! A connection that only reads, beside whatever process has the store.
//!
//! What always holds: it takes no lock that keeps a writer out, migrates nothing, and its one
//! transaction sees one moment.

use sea_orm::{
    AccessMode, ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, IsolationLevel,
    SqlxSqliteConnector, TransactionOptions, TransactionTrait as _,
};
use sqlx::{
    ConnectOptions as _,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::{BUSY_READER, postgres, read_install, root_key, sqlite};
use crate::{
    db::enter,
    error::{KeyFault, StoreError},
    keys::RootKey,
    migration,
    store::StoreConfig,
    wall::Role,
};

/// A store that somebody else may have open.
pub(crate) struct Reader {
    pub(crate) on: DatabaseConnection,
    pub(crate) root: RootKey,
}

impl Reader {
    /// Opens a store that was made before, by this version.
    pub(crate) async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let on = match sqlite::path_of(&config.url) {
            Some(path) => {
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .read_only(true)
                    .busy_timeout(BUSY_READER)
                    .disable_statement_logging();
                let pool =
                    SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
                SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)
            }
            None => postgres::connect_reader(&config.url).await?,
        };
        if migration::applied(&on).await? != migration::names() {
            return Err(StoreError::Damaged("it was not migrated by this version of the product"));
        }
        let Some((install, check)) = read_install(&on).await? else {
            return Err(StoreError::Damaged("it was never opened by this product"));
        };
        let root = root_key::find(&config.root_key, false)?;
        if !root.fits(install.id, &check) {
            return Err(KeyFault::WrongRoot.into());
        }
        Ok(Self { on, root })
    }

    /// One moment of the store; it is the moment of the first statement.
    pub(crate) async fn moment(&self) -> Result<DatabaseTransaction, StoreError> {
        if self.on.get_database_backend() != sea_orm::DbBackend::Postgres {
            return Ok(self.on.begin().await?);
        }
        let options = TransactionOptions {
            isolation_level: Some(IsolationLevel::RepeatableRead),
            access_mode: Some(AccessMode::ReadOnly),
            ..Default::default()
        };
        let tx = self.on.begin_with_options(options).await?;
        // Writing the file may take its time; nobody waits for what this transaction holds.
        tx.execute_unprepared(
            "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0",
        )
        .await?;
        enter(&tx, &Role::Backup.into()).await?;
        Ok(tx)
    }
}
