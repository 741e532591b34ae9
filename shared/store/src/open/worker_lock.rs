//! The lock of the worker role on PostgreSQL, and the session that holds it and carries the beat.
//!
//! Workers share the lock; who must be alone on the database (a restore, and the catching up after
//! it) takes it whole. Whoever gets it whole has seen that no other worker has a session.
//!
//! What always holds: the lock belongs to a session, so it goes with the process that held it; it
//! keeps others from beginning and is no proof of anything later: whether a worker is one is for
//! its row to say, and whether it owns a shard for the shard's.

use std::time::Duration;

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Row as _, postgres::PgConnectOptions,
};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{beat, host, postgres::options};
use crate::{
    db::Db,
    error::{Cause, StoreError},
    shard::rows::{self, WorkerRow},
    wall::Role,
};

/// Key of the advisory lock of the worker role.
pub(crate) const WORKER_LOCK: i64 = 0x7061_7263_776f_726b;
/// How long a start waits for the session of a process that has just died to be noticed.
const TAKE_OVER: Duration = Duration::from_millis(1_500);
/// How long a worker that may share the lock tries to find itself alone.
const ALONE: Duration = Duration::from_millis(200);
const STEP: Duration = Duration::from_millis(50);

/// How a session has the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// With other workers.
    Shared,
    /// Alone.
    Whole,
}

impl Holding {
    const fn sql(self) -> &'static str {
        match self {
            Self::Shared => "SELECT pg_try_advisory_lock_shared($1) AS taken",
            Self::Whole => "SELECT pg_try_advisory_lock($1) AS taken",
        }
    }

    async fn take(self, session: &mut PgConnection) -> Result<bool, StoreError> {
        let lock = sqlx::query(self.sql()).bind(WORKER_LOCK);
        Ok(lock.fetch_one(session).await?.try_get("taken")?)
    }
}

/// The session; when it is lost a new one is made.
pub(super) struct WorkerLock {
    options: PgConnectOptions,
    session: Option<PgConnection>,
    holding: Holding,
    locked: bool,
    /// How long a beat waits for its answer before its connection is given up.
    answer: Duration,
}

impl WorkerLock {
    /// Takes the worker's part in the lock. With it come the workers that had not ended and have no
    /// session any more, if it is certain that nobody has one; none when others work too.
    pub(super) async fn take(
        url: &str,
        db: &Db,
        (holding, answer): (Holding, Duration),
    ) -> Result<(Self, Option<Vec<WorkerRow>>), StoreError> {
        let options = options(url, Role::Shards)?
            .application_name(&format!("parcours worker on {}", host::name()));
        let mut session = options.connect().await?;
        let begun = Instant::now();
        let left = loop {
            if Holding::Whole.take(&mut session).await? {
                let mut left = rows::alive(db).await?;
                // Who only sends has no session here.
                left.retain(|worker| !worker.leaving);
                break Some(left);
            }
            let waited = begun.elapsed();
            let may_share = holding == Holding::Shared && waited >= ALONE;
            if may_share && Holding::Shared.take(&mut session).await? {
                break None;
            }
            if waited >= TAKE_OVER {
                let by = rows::live_worker(&db.read(Role::Shards), Uuid::nil()).await?;
                let by = by.unwrap_or_else(|| "a restore that is under way".to_owned());
                return Err(StoreError::Held { by });
            }
            sleep(STEP).await;
        };
        if left.is_some() && holding == Holding::Shared {
            // The session has it whole, so it gets its share too.
            Holding::Shared.take(&mut session).await?;
            let whole = sqlx::query("SELECT pg_advisory_unlock($1)").bind(WORKER_LOCK);
            whole.execute(&mut session).await?;
        }
        let lock = Self { options, session: Some(session), holding, locked: true, answer };
        Ok((lock, left))
    }

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
        let (session, locked, alive) = match timeout(self.answer, beat).await {
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
        let locked = locked || self.holding.take(&mut session).await?;
        let row = sqlx::query(beat::BEAT).bind(product_ms).bind(of);
        let alive = row.execute(&mut session).await?.rows_affected() == 1;
        Ok((session, locked, alive))
    }
}
