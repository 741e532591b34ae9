//! Who owns a shard: worker rows, epochs, and the check that every commit makes.
//!
//! A process that hosts actors registers an incarnation and takes all shards with a higher epoch,
//! under the lock that keeps a second one out. Until shards move between processes, all move at
//! once.
//!
//! What always holds: an epoch only grows; a commit by an incarnation that no longer owns the
//! shard, or under an older epoch, changes nothing; a dead incarnation never returns.

use std::collections::BTreeSet;

use parcours_domain::Timestamp;
use uuid::Uuid;

use crate::{
    db::{Db, Tx, in_rows},
    error::StoreError,
    side::sql::{Sql, vals},
    store::machine_now,
};

/// What this process owns.
#[derive(Debug)]
pub(crate) struct Ownership {
    incarnation: Uuid,
    /// The epoch under which each shard is held, by shard id; empty when this is no worker.
    epochs: Vec<i64>,
}

impl Ownership {
    pub(crate) const fn none(incarnation: Uuid) -> Self {
        Self { incarnation, epochs: Vec::new() }
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
        let mine = shards.iter().filter_map(|shard| {
            let epoch = self.epochs.get(usize::from(*shard))?;
            Some(vals![i64::from(*shard), *epoch])
        });
        let mine: Vec<_> = mine.collect();
        if mine.is_empty() {
            return Ok(BTreeSet::new());
        }
        let sql = Sql::default().text("SELECT id FROM shard WHERE (id, epoch) IN ");
        let rows = in_rows(sql, mine)
            .text(" AND owner = ")
            .arg(self.incarnation)
            .text(" ORDER BY id")
            .lock(tx, "FOR SHARE")
            .all(tx)
            .await?;
        let mut held = BTreeSet::new();
        for row in rows {
            let id: i64 = row.get("id")?;
            held.insert(u16::try_from(id).map_err(|_| StoreError::Damaged("shard.id"))?);
        }
        Ok(held)
    }
}

/// Registers this incarnation, buries earlier ones, takes every shard with a higher epoch.
pub(crate) async fn take_all(
    db: &Db,
    incarnation: Uuid,
    shards: u16,
    host: &str,
) -> Result<Ownership, StoreError> {
    let now = machine_now().as_millis();
    let tx = db.begin().await?;
    Sql::new("UPDATE worker SET dead_at = $1 WHERE dead_at IS NULL", vals![now]).run(&tx).await?;
    Sql::new(
        "INSERT INTO worker (incarnation, beat, started_at, host) VALUES ($1, 0, $2, $3)",
        vals![incarnation, now, host],
    )
    .run(&tx)
    .await?;
    let rows = Sql::new(
        "UPDATE shard SET owner = $1, epoch = epoch + 1 RETURNING id, epoch",
        vals![incarnation],
    )
    .all(&tx)
    .await?;
    let mut epochs = vec![0; usize::from(shards)];
    for row in rows {
        let id = usize::try_from(row.get::<i64>("id")?).unwrap_or(usize::MAX);
        *epochs.get_mut(id).ok_or(StoreError::Damaged("shard.id"))? = row.get("epoch")?;
    }
    tx.commit().await?;
    Ok(Ownership { incarnation, epochs })
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
