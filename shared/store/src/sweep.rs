//! The sweep: finds in SQL what an index in memory may have lost.
//!
//! What always holds: it only reads, but for repairs (held timers of a journey that is not paused,
//! inbox rows of a contact that ended meanwhile); each pass is bounded by the caller's limit and goes
//! on from a mark; what a worker sweeps for itself is in its own shards.

mod inbox;

use parcours_domain::{ContactId, Millis, Name, RunId, TenantId, Timestamp};

use crate::{
    db::{Reads, Tx},
    error::StoreError,
    migration::partition,
    side::sql::{Row, Sql, ms, vals},
    store::Store,
    wall::{Door, Role},
};

pub use inbox::{InboxFound, InboxMarks};

/// One timer, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerRow {
    /// The brand.
    pub tenant: TenantId,
    /// The contact.
    pub contact: ContactId,
    /// The run.
    pub run: RunId,
    /// The run's journey.
    pub journey: String,
    /// The timer's number.
    pub seq: u32,
    /// When it is due.
    pub due_at: Timestamp,
    /// The contact's shard.
    pub shard: u16,
}

/// Where a pass over a shard's timers stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerCursor(Timestamp, RunId);

/// What waits, for quiescence and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepCounts {
    /// Timers due and not held.
    pub timers_due: u64,
    /// Inbox rows in the live lane.
    pub inbox_live: u64,
    /// Messages queued whose time has come.
    pub queue_ready: u64,
    /// Messages claimed or on their way.
    pub queue_leaving: u64,
}

/// A live run that nothing will wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StuckRun {
    /// The brand.
    pub tenant: TenantId,
    /// The contact.
    pub contact: ContactId,
    /// The run.
    pub run: RunId,
}

/// Handle of the sweep.
#[derive(Clone)]
pub struct Sweep {
    store: Store,
}

/// The shards of the worker whose incarnation follows.
const MINE: &str = "(SELECT id FROM shard WHERE owner = ";

const TIMER: &str = "t.tenant_id, t.contact_id, t.run_id, t.journey, t.seq, t.due_at, t.shard";

fn timer_row(row: &Row) -> Result<TimerRow, StoreError> {
    let shard: i64 = row.get("shard")?;
    Ok(TimerRow {
        tenant: row.id("tenant_id")?,
        contact: row.id("contact_id")?,
        run: row.id("run_id")?,
        journey: row.get("journey")?,
        seq: row.small("seq")?,
        due_at: row.time("due_at")?,
        shard: u16::try_from(shard).map_err(|_| StoreError::Damaged("timer.shard"))?,
    })
}

fn limit_of(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Sweep {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }

    fn read(&self) -> Reads<'_> {
        self.store.db().read(Role::Sweep)
    }

    /// Timers of this worker's shards due at `now`, the earliest first, after the mark (due time
    /// and run of the last one seen).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn due_timers(
        &self,
        now: Timestamp,
        after: Option<(Timestamp, RunId)>,
        limit: u64,
    ) -> Result<Vec<TimerRow>, StoreError> {
        let mut sql = Sql::default()
            .text("SELECT ")
            .text(TIMER)
            .text(" FROM timer t WHERE t.shard IN ")
            .text(MINE)
            .arg(self.store.incarnation())
            .text(") AND t.held = 0 AND t.due_at <= ")
            .arg(ms(now));
        if let Some((due_at, run)) = after {
            sql = sql
                .text(" AND (t.due_at, t.run_id) > (")
                .arg(ms(due_at))
                .text(", ")
                .arg(run.0)
                .text(")");
        }
        let sql = sql.text(" ORDER BY t.due_at, t.run_id LIMIT ").arg(limit_of(limit));
        sql.all(&self.read()).await?.iter().map(timer_row).collect()
    }

    /// A shard's timers that are not held, whoever has it, the earliest first, page by page: for
    /// building its index anew.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn shard_timers_page(
        &self,
        shard: u16,
        after: Option<TimerCursor>,
        limit: u64,
    ) -> Result<(Vec<TimerRow>, Option<TimerCursor>), StoreError> {
        let mut sql = Sql::default()
            .text("SELECT ")
            .text(TIMER)
            .text(" FROM timer t WHERE t.shard = ")
            .arg(i64::from(shard))
            .text(" AND t.held = 0");
        if let Some(TimerCursor(due_at, run)) = after {
            sql = sql
                .text(" AND (t.due_at, t.run_id) > (")
                .arg(ms(due_at))
                .text(", ")
                .arg(run.0)
                .text(")");
        }
        let sql = sql.text(" ORDER BY t.due_at, t.run_id LIMIT ").arg(limit_of(limit));
        let rows = sql.all(&self.read()).await?;
        let rows = rows.iter().map(timer_row).collect::<Result<Vec<_>, _>>()?;
        let full = u64::try_from(rows.len()).is_ok_and(|count| count >= limit);
        let next = rows.last().filter(|_| full).map(|last| TimerCursor(last.due_at, last.run));
        Ok((rows, next))
    }

    /// When the next timer that is not held is due.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let text = "SELECT min(d) AS due_at FROM (SELECT (SELECT min(t.due_at) FROM timer t \
                    WHERE t.shard = s.id AND t.held = 0) AS d FROM shard s) AS firsts";
        match Sql::new(text, Vec::new()).one(&self.read()).await? {
            Some(row) => row.time_opt("due_at"),
            None => Ok(None),
        }
    }

    /// Live runs without a timer.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn stuck_runs(&self, limit: u64) -> Result<Vec<StuckRun>, StoreError> {
        let rows = Sql::default()
            .text("SELECT r.tenant_id, r.contact_id, r.id FROM run r LEFT JOIN timer t ")
            .text("ON t.tenant_id = r.tenant_id AND t.run_id = r.id ")
            .text("WHERE r.live = 1 AND t.run_id IS NULL ORDER BY r.tenant_id, r.id LIMIT ")
            .arg(limit_of(limit))
            .all(&self.read())
            .await?;
        rows.iter()
            .map(|row| {
                let (tenant, contact) = (row.id("tenant_id")?, row.id("contact_id")?);
                Ok(StuckRun { tenant, contact, run: row.id("id")? })
            })
            .collect()
    }

    /// Puts the held timers of a journey back into the index, spread over `jitter` from `now` on;
    /// how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn resume_journey(
        &self,
        tenant: TenantId,
        journey: &Name,
        now: Timestamp,
        jitter: Millis,
    ) -> Result<u64, StoreError> {
        let tx = self.store.db().begin(tenant).await?;
        let resumed = resume_held(&tx, (tenant, journey), now, jitter).await?;
        tx.commit().await?;
        Ok(resumed)
    }

    /// Puts timers of this worker's shards back into the index that are held although their journey
    /// is not paused: their hold was committed after the journey's resume. Timers that were set aside, and not requeued,
    /// stay held. How many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn release_held(&self, limit: u64) -> Result<u64, StoreError> {
        let held = Sql::default()
            .text("SELECT t.tenant_id, t.run_id FROM timer t JOIN document_head d ")
            .text("ON d.tenant_id = t.tenant_id AND d.kind = 'Journey' AND d.name = t.journey ")
            .text("WHERE t.held = 1 AND d.status <> 'paused' AND NOT EXISTS (SELECT 1 ")
            .text("FROM quarantine q WHERE q.tenant_id = t.tenant_id ")
            .text("AND q.contact_id = t.contact_id AND q.origin = 'timer' ")
            .text("AND q.requeued_at IS NULL) AND t.shard IN ")
            .text(MINE)
            .arg(self.store.incarnation())
            .text(") ORDER BY t.tenant_id, t.run_id LIMIT ")
            .arg(limit_of(limit))
            .all(&self.read())
            .await?;
        if held.is_empty() {
            return Ok(0);
        }
        let tenants = held.iter().map(|row| row.id("tenant_id"));
        let door = Door::of(tenants.collect::<Result<Vec<TenantId>, _>>()?);
        let tx = self.store.db().begin(door).await?;
        let mut released = 0;
        for row in held {
            let (tenant, run): (TenantId, RunId) = (row.id("tenant_id")?, row.id("run_id")?);
            released += Sql::new(
                "UPDATE timer SET held = 0 WHERE tenant_id = $1 AND run_id = $2 AND held = 1",
                vals![tenant.0, run.0],
            )
            .run(&tx)
            .await?;
        }
        tx.commit().await?;
        Ok(released)
    }

    /// What waits at `now`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn counts(&self, now: Timestamp) -> Result<SweepCounts, StoreError> {
        let row = Sql::new(
            "SELECT (SELECT count(*) FROM timer WHERE shard IN (SELECT id FROM shard) \
             AND held = 0 AND due_at <= $1) AS timers_due, \
             (SELECT count(*) FROM inbox WHERE lane = 0) AS inbox_live, \
             (SELECT count(*) FROM send_queue WHERE phase = 0 AND not_before <= $1) AS queue_ready, \
             (SELECT count(*) FROM send_queue WHERE phase IN (1, 2)) AS queue_leaving",
            vals![ms(now)],
        )
        .one(&self.store.db().read(Role::Status))
        .await?
        .ok_or(StoreError::Damaged("counts"))?;
        let count = |column| Ok::<_, StoreError>(row.get::<i64>(column)?.unsigned_abs());
        Ok(SweepCounts {
            timers_due: count("timers_due")?,
            inbox_live: count("inbox_live")?,
            queue_ready: count("queue_ready")?,
            queue_leaving: count("queue_leaving")?,
        })
    }

    /// Forgets event keys older than the window in which a repeat is recognised.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn forget_event_keys(
        &self,
        now: Timestamp,
        window: Millis,
    ) -> Result<(), StoreError> {
        let oldest = now - window;
        partition::forget_event_keys(self.store.db(), oldest.utc_day(), oldest).await
    }
}

/// Un-holds a journey's timers inside a transaction of the caller.
pub(crate) async fn resume_held(
    tx: &Tx,
    (tenant, journey): (TenantId, &Name),
    now: Timestamp,
    jitter: Millis,
) -> Result<u64, StoreError> {
    let spread =
        if tx.is_postgres() { "floor(random() * $4)::bigint" } else { "abs(random() % $4)" };
    let text = format!(
        "UPDATE timer SET held = 0, due_at = $3 + {spread} \
         WHERE tenant_id = $1 AND journey = $2 AND held = 1"
    );
    let values = vals![tenant.0, journey.to_string(), ms(now), jitter.0.max(1)];
    Sql::new(&text, values).run(tx).await
}
