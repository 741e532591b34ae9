//! Who owns a shard: worker rows, epochs, and the check that every commit makes.
//!
//! A process that hosts actors registers an incarnation and takes all shards with a higher epoch,
//! under the lock that keeps a second one out. Until shards move between processes, all move at
//! once.
//!
//! What always holds: an epoch only grows; a commit by an incarnation that no longer owns the
//! shard, or under an older epoch, changes nothing; a dead incarnation never returns; a new owner
//! knows the highest product time that any owner before it has seen.

use std::{collections::BTreeSet, sync::Arc};

use parcours_domain::Timestamp;
use uuid::Uuid;

use crate::{
    db::{Db, Tx},
    error::{Cause, StoreError},
    pulse::Pulse,
    side::sql::{Sql, vals},
    store::machine_now,
};

/// What this process owns.
#[derive(Debug)]
pub(crate) struct Ownership {
    incarnation: Uuid,
    /// The epoch under which each shard is held, by shard id; empty when this is no worker.
    epochs: Vec<i64>,
    /// The highest product time that an owner before this one has seen.
    high_water: Timestamp,
    pulse: Arc<Pulse>,
}

impl Ownership {
    pub(crate) fn none(incarnation: Uuid) -> Self {
        let pulse = Arc::new(Pulse::new(None));
        Self { incarnation, epochs: Vec::new(), high_water: Timestamp::from_millis(0), pulse }
    }

    pub(crate) const fn high_water(&self) -> Timestamp {
        self.high_water
    }

    pub(crate) const fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Whether this worker's beat is recent enough to commit anything; asked right before COMMIT.
    pub(crate) fn may_commit(&self) -> Result<(), StoreError> {
        if self.pulse.is_fresh() { Ok(()) } else { Err(StoreError::Unavailable(Cause::Late)) }
    }

    pub(crate) const fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    /// Locks these shards against a change of owner; those that come back are mine.
    pub(crate) async fn lock(
        &self,
        tx: &Tx,
        shards: &BTreeSet<u16>,
    ) -> Result<BTreeSet<u16>, StoreError> {
        if self.pulse.is_lost() || self.epochs.is_empty() {
            return Ok(BTreeSet::new());
        }
        let ids = shards.iter().map(|shard| i64::from(*shard));
        let sql = Sql::default().text("SELECT id, epoch FROM shard WHERE id");
        let rows = sql
            .among(tx, ids)
            .text(" AND owner = ")
            .arg(self.incarnation)
            .text(" ORDER BY id")
            .lock(tx, "FOR SHARE")
            .all(tx)
            .await?;
        let mut held = BTreeSet::new();
        for row in rows {
            let id: i64 = row.get("id")?;
            let shard = u16::try_from(id).map_err(|_| StoreError::Damaged("shard.id"))?;
            if self.epochs.get(usize::from(shard)) == Some(&row.get("epoch")?) {
                held.insert(shard);
            }
        }
        Ok(held)
    }
}

/// Registers this incarnation, buries earlier ones, takes every shard with a higher epoch. `pulse`
/// was made before, so that its first beat counts from before the row was there.
pub(crate) async fn take_all(
    db: &Db,
    incarnation: Uuid,
    (shards, host): (u16, &str),
    pulse: Arc<Pulse>,
) -> Result<Ownership, StoreError> {
    let now = machine_now().as_millis();
    let tx = db.begin().await?;
    Sql::new("UPDATE worker SET dead_at = $1 WHERE dead_at IS NULL", vals![now]).run(&tx).await?;
    let seen = "SELECT coalesce((SELECT max(high_water) FROM worker), 0) AS worker, \
                coalesce((SELECT max(high_water) FROM shard), 0) AS shard";
    let seen = Sql::new(seen, Vec::new()).one(&tx).await?.ok_or(StoreError::Damaged("shard"))?;
    let high_water = seen.get::<i64>("worker")?.max(seen.get("shard")?);
    Sql::new(
        "INSERT INTO worker (incarnation, beat, high_water, started_at, host) \
         VALUES ($1, 0, $2, $3, $4)",
        vals![incarnation, high_water, now, host],
    )
    .run(&tx)
    .await?;
    let rows = Sql::new(
        "UPDATE shard SET owner = $1, epoch = epoch + 1, high_water = $2 RETURNING id, epoch",
        vals![incarnation, high_water],
    )
    .all(&tx)
    .await?;
    let mut epochs = vec![0; usize::from(shards)];
    for row in rows {
        let id = usize::try_from(row.get::<i64>("id")?).unwrap_or(usize::MAX);
        *epochs.get_mut(id).ok_or(StoreError::Damaged("shard.id"))? = row.get("epoch")?;
    }
    tx.commit().await?;
    let high_water = Timestamp::from_millis(high_water);
    Ok(Ownership { incarnation, epochs, high_water, pulse })
}

/// Marks the incarnation as ended, so that the next start finds an orderly house.
pub(crate) async fn retire(db: &Db, incarnation: Uuid, now: Timestamp) -> Result<(), StoreError> {
    let tx = db.begin().await?;
    Sql::new(
        "UPDATE worker SET dead_at = $1 WHERE incarnation = $2 AND dead_at IS NULL",
        vals![now.as_millis(), incarnation],
    )
    .run(&tx)
    .await?;
    tx.commit().await
}

/// The live worker's host, for telling who holds the store.
pub(crate) async fn live_worker(db: &Db) -> Result<Option<String>, StoreError> {
    let text = "SELECT host FROM worker WHERE dead_at IS NULL ORDER BY started_at DESC LIMIT 1";
    Sql::new(text, Vec::new()).one(db.read()).await?.map(|row| row.get("host")).transpose()
}
