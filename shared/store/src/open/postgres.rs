//! PostgreSQL: one pool, settings that end a frozen session, and the lock of the worker role.
//!
//! What always holds: a server with `fsync`, `full_page_writes` or `synchronous_commit` off is
//! refused; the worker lock belongs to a session, so it goes with the process that held it.

use std::{str::FromStr as _, time::Duration};

use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{host, setting};
use crate::{
    db::{Backend, Db},
    error::StoreError,
    shard,
};

const CONNECTIONS: u32 = 16;
const ACQUIRE: Duration = Duration::from_secs(10);
/// Key of the advisory lock of the worker role.
const WORKER_LOCK: i64 = 0x7061_7263_776f_726b;
/// How long a start waits for the session of a worker that has just died to be noticed.
const TAKE_OVER: Duration = Duration::from_millis(1_500);
const TAKE_OVER_STEP: Duration = Duration::from_millis(100);

/// Session settings. A transaction whose client stands still is ended by the server, so that it
/// cannot hold its locks against a successor.
const SESSION: [(&str, &str); 4] = [
    ("idle_in_transaction_session_timeout", "5000"),
    ("lock_timeout", "10000"),
    ("statement_timeout", "60000"),
    ("client_min_messages", "warning"),
];

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)?.application_name("parcours");
    Ok(options.options(SESSION).statement_cache_capacity(512).disable_statement_logging())
}

pub(super) async fn connect(url: &str) -> Result<Db, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE)
        .connect_with(options(url)?)
        .await?;
    let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
    assert_durable(&connection).await?;
    Ok(Db::new(Backend::Postgres, connection.clone(), connection))
}

async fn assert_durable(on: &DatabaseConnection) -> Result<(), StoreError> {
    if setting(on, "SHOW fsync").await? == "off" {
        return Err(StoreError::Unsafe("PostgreSQL runs with fsync=off"));
    }
    if setting(on, "SHOW full_page_writes").await? == "off" {
        return Err(StoreError::Unsafe("PostgreSQL runs with full_page_writes=off"));
    }
    if setting(on, "SHOW synchronous_commit").await? == "off" {
        return Err(StoreError::Unsafe("PostgreSQL runs with synchronous_commit=off"));
    }
    Ok(())
}

/// The session that holds the worker role of this database.
pub(super) struct WorkerLock(PgConnection);

impl WorkerLock {
    /// Ends the session, and with it the lock.
    pub(super) async fn release(self) {
        if let Err(error) = self.0.close().await {
            tracing::debug!(%error, "the session of the worker lock did not close cleanly");
        }
    }
}

/// Takes the worker role, or says who has it.
pub(super) async fn worker_lock(url: &str, db: &Db) -> Result<WorkerLock, StoreError> {
    let options = options(url)?.application_name(&format!("parcours worker, {}", host::name()));
    let mut session = options.connect().await?;
    let deadline = tokio::time::Instant::now() + TAKE_OVER;
    loop {
        let taken: bool = sqlx::query("SELECT pg_try_advisory_lock($1) AS taken")
            .bind(WORKER_LOCK)
            .fetch_one(&mut session)
            .await?
            .try_get("taken")?;
        if taken {
            return Ok(WorkerLock(session));
        }
        if tokio::time::Instant::now() >= deadline {
            let by = shard::live_worker(db).await?;
            let by = by.unwrap_or_else(|| "another worker that is starting".to_owned());
            return Err(StoreError::Held { by });
        }
        tokio::time::sleep(TAKE_OVER_STEP).await;
    }
}
