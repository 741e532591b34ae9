//! PostgreSQL: one pool, settings that end a frozen session, and the lock of the worker role.
//!
//! What always holds: a server with `fsync`, `full_page_writes` or `synchronous_commit` off is
//! refused; the worker lock belongs to a session, so it goes with the process that held it; a
//! transaction whose client stands still or cannot be reached is ended by the server.

use std::{str::FromStr as _, time::Duration};

use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use tokio::time::timeout;
use uuid::Uuid;

use super::{beat, host, setting};
use crate::{
    db::{Backend, Db},
    error::{Cause, StoreError},
    shard,
};

const CONNECTIONS: u32 = 16;
const ACQUIRE: Duration = Duration::from_secs(10);
/// Key of the advisory lock of the worker role.
pub(crate) const WORKER_LOCK: i64 = 0x7061_7263_776f_726b;
/// How long a start waits for the session of a worker that has just died to be noticed.
const TAKE_OVER: Duration = Duration::from_millis(1_500);
const TAKE_OVER_STEP: Duration = Duration::from_millis(100);

/// How long a beat may wait for its answer before its connection is given up.
const BEAT_ANSWER: Duration = Duration::from_secs(2);

/// Session settings. A transaction whose client stands still is ended by the server after 2 s, one
/// whose client's machine is gone after 3 s, so that neither holds its locks against a successor.
/// Statements have few texts and look rows up by key: each is planned once for a connection (again
/// after ANALYZE), and of joins at most four tables are put in order together, because to weigh all
/// orders of eight costs more than thousands of rows. A plan made while a table was small must
/// serve when it is large: joins go row by row through an index, never through a whole table.
const SESSION: [(&str, &str); 10] = [
    ("idle_in_transaction_session_timeout", "2000"),
    ("tcp_user_timeout", "3000"),
    ("lock_timeout", "10000"),
    ("statement_timeout", "60000"),
    ("client_min_messages", "warning"),
    ("plan_cache_mode", "force_generic_plan"),
    ("join_collapse_limit", "4"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
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

/// The session that holds the worker role of this database and carries the beat. When it is lost
/// a new one is made; whether this worker still is one is for its row to say, not for the lock.
pub(super) struct WorkerLock {
    options: PgConnectOptions,
    session: Option<PgConnection>,
    locked: bool,
}

impl WorkerLock {
    /// Ends the session, and with it the lock.
    pub(super) async fn release(self) {
        if let Some(session) = self.session
            && let Err(error) = session.close().await
        {
            tracing::debug!(%error, "the session of the worker lock did not close cleanly");
        }
    }

    /// Writes a sign of life; false when this incarnation was declared dead.
    pub(super) async fn beat(&mut self, of: Uuid, product_ms: i64) -> Result<bool, StoreError> {
        // Taken out meanwhile, so that a session that failed or hangs is not used again.
        let (session, locked) = (self.session.take(), self.locked);
        self.locked = false;
        let beat = self.beat_on(session, locked, (of, product_ms));
        let (session, locked, alive) = match timeout(BEAT_ANSWER, beat).await {
            Ok(done) => done?,
            Err(_) => return Err(StoreError::Unavailable(Cause::NoAnswer)),
        };
        (self.session, self.locked) = (Some(session), locked);
        Ok(alive)
    }

    async fn beat_on(
        &self,
        session: Option<PgConnection>,
        locked: bool,
        (of, product_ms): (Uuid, i64),
    ) -> Result<(PgConnection, bool, bool), StoreError> {
        let mut session = match session {
            Some(session) => session,
            None => self.options.connect().await?,
        };
        // Not having it keeps nobody from beating: the server may not have noticed yet that the
        // session before has ended.
        let locked = locked || try_lock(&mut session).await?;
        let row = sqlx::query(beat::BEAT).bind(product_ms).bind(of);
        let alive = row.execute(&mut session).await?.rows_affected() == 1;
        Ok((session, locked, alive))
    }
}

async fn try_lock(session: &mut PgConnection) -> Result<bool, StoreError> {
    let lock = sqlx::query("SELECT pg_try_advisory_lock($1) AS taken").bind(WORKER_LOCK);
    Ok(lock.fetch_one(session).await?.try_get("taken")?)
}

/// Takes the worker role, or says who has it.
pub(super) async fn worker_lock(url: &str, db: &Db) -> Result<WorkerLock, StoreError> {
    let options = options(url)?.application_name(&format!("parcours worker, {}", host::name()));
    let mut session = options.connect().await?;
    let deadline = tokio::time::Instant::now() + TAKE_OVER;
    loop {
        if try_lock(&mut session).await? {
            return Ok(WorkerLock { options, session: Some(session), locked: true });
        }
        if tokio::time::Instant::now() >= deadline {
            let by = shard::live_worker(db).await?;
            let by = by.unwrap_or_else(|| "another worker that is starting".to_owned());
            return Err(StoreError::Held { by });
        }
        tokio::time::sleep(TAKE_OVER_STEP).await;
    }
}
