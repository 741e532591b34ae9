//! The beat: again and again this worker says that it lives, on a connection of its own.
//!
//! What always holds: the write is conditional on not being declared dead; a beat that finds no
//! row ends this worker's right to commit for good; one that fails is tried again a period later.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::worker_lock::WorkerLock;
use crate::{
    db::Db,
    error::StoreError,
    fault::{FaultHook, FaultPoint},
    pulse::boot_ms,
    shard::{Ownership, rows},
    side::sql::{Sql, vals},
    wall::Role,
};

/// On both databases; `$1` is the product time, `$2` the incarnation.
pub(super) const BEAT: &str = "UPDATE worker SET beat = beat + 1, \
     high_water = CASE WHEN high_water < $1 THEN $1 ELSE high_water END \
     WHERE incarnation = $2 AND dead_at IS NULL";

/// Where the beat is written.
pub(super) enum Heart {
    /// SQLite has one writing connection, which the beat shares.
    Shared(Db),
    /// PostgreSQL: the session that holds the worker lock.
    Session(Arc<Mutex<Option<WorkerLock>>>),
}

impl Heart {
    /// Whether this incarnation is still alive by the database.
    async fn beat(&self, incarnation: Uuid, product_ms: i64) -> Result<bool, StoreError> {
        match self {
            Self::Shared(db) => {
                let tx = db.begin(Role::Shards).await?;
                let alive = Sql::new(BEAT, vals![product_ms, incarnation]).run(&tx).await?;
                tx.commit().await?;
                Ok(alive == 1)
            }
            Self::Session(lock) => match lock.lock().await.as_mut() {
                Some(lock) => lock.beat(incarnation, product_ms).await,
                None => Err(StoreError::closed()),
            },
        }
    }
}

/// Beats until aborted, as one who takes no shards and sends.
pub(super) async fn sign(db: Db, (incarnation, host): (Uuid, String), period: Duration) {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(error) = rows::sign(&db, (incarnation, &host)).await {
            tracing::warn!(%error, "a sign of life was not written");
        }
    }
}

/// Beats until aborted, or until the database says that this incarnation is dead.
pub(super) async fn run(
    heart: Heart,
    ownership: Arc<Ownership>,
    (period, faults): (Duration, FaultHook),
) {
    let (incarnation, pulse) = (ownership.incarnation(), ownership.pulse());
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if faults.at(FaultPoint::Beat).is_some() {
            continue;
        }
        let sent = boot_ms();
        match heart.beat(incarnation, pulse.product_ms()).await {
            Ok(true) => pulse.taken(sent),
            Ok(false) => {
                tracing::error!(%incarnation, "declared dead by another; nothing more is committed");
                ownership.lose_all();
                return;
            }
            Err(error) => tracing::warn!(%error, "a sign of life was not written"),
        }
    }
}
