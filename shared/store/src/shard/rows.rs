//! The rows behind ownership, one function for each thing that is asked of them.
//!
//! What always holds: each change names the owner or the epoch that was seen, so that of two who
//! want the same one gets it; shards are locked in ascending order; taking waits for nobody, so a
//! frozen owner's transaction delays its own shards and no others.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait as _;
use uuid::Uuid;

use super::ShardOwner;
use crate::{
    db::{Db, in_rows, with_rows},
    error::StoreError,
    side::sql::{Row, Sql, vals},
    store::machine_now,
    wall::Role,
};

/// The most shards taken in one transaction.
pub(super) const TAKEN_MAX: usize = 64;

/// A living worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerRow {
    pub incarnation: Uuid,
    pub beat: i64,
    /// It has given its shards back and takes none, or it never takes any and only sends.
    pub leaving: bool,
}

/// A shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShardRow {
    pub id: u16,
    /// The living worker that has it.
    pub owner: Option<Uuid>,
    pub epoch: i64,
    /// The highest product time that any owner has seen, the present one up to its last beat.
    pub high_water: i64,
}

/// What a look shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// Ascending by incarnation.
    pub workers: Vec<WorkerRow>,
    /// Ascending by id.
    pub shards: Vec<ShardRow>,
}

/// A worker that registers.
pub(crate) struct NewWorker<'a> {
    pub incarnation: Uuid,
    pub host: &'a str,
    pub address: Option<&'a str>,
}

fn shard_id(row: &Row) -> Result<u16, StoreError> {
    u16::try_from(row.get::<i64>("id")?).map_err(|_| StoreError::Damaged("shard.id"))
}

/// Writes the worker's row; the highest product time that the install has seen.
pub(crate) async fn register(db: &Db, new: &NewWorker<'_>) -> Result<i64, StoreError> {
    let tx = db.begin(Role::Shards).await?;
    let seen = "SELECT coalesce((SELECT max(high_water) FROM worker), 0) AS worker, \
                coalesce((SELECT max(high_water) FROM shard), 0) AS shard";
    let seen = Sql::new(seen, Vec::new()).one(&tx).await?.ok_or(StoreError::Damaged("shard"))?;
    let high_water = seen.get::<i64>("worker")?.max(seen.get("shard")?);
    Sql::new(
        "INSERT INTO worker (incarnation, beat, high_water, started_at, host, address) \
         VALUES ($1, 0, $2, $3, $4, $5)",
        vals![
            new.incarnation,
            high_water,
            machine_now().as_millis(),
            new.host,
            new.address.map(str::to_owned)
        ],
    )
    .run(&tx)
    .await?;
    tx.commit().await?;
    Ok(high_water)
}

/// A sign of life of one who takes no shards and sends. One that was declared dead lives again: of
/// what it does, only what it had claimed hangs on that, and each claim is asked for by its own id.
pub(crate) async fn sign(db: &Db, (me, host): (Uuid, &str)) -> Result<(), StoreError> {
    let tx = db.begin(Role::Shards).await?;
    let now = machine_now().as_millis();
    Sql::new(
        "INSERT INTO worker (incarnation, beat, high_water, started_at, host, leaving_at) \
         VALUES ($1, 0, 0, $2, $3, $2) \
         ON CONFLICT (incarnation) DO UPDATE SET beat = worker.beat + 1, dead_at = NULL",
        vals![me, now, host],
    )
    .run(&tx)
    .await?;
    tx.commit().await
}

/// The living workers and who else sends, ascending by incarnation.
pub(crate) async fn alive(db: &Db) -> Result<Vec<WorkerRow>, StoreError> {
    let text = "SELECT incarnation, beat, leaving_at FROM worker WHERE dead_at IS NULL \
                ORDER BY incarnation";
    let rows = Sql::new(text, Vec::new()).all(&db.read(Role::Shards)).await?;
    rows.iter()
        .map(|row| {
            Ok(WorkerRow {
                incarnation: row.get("incarnation")?,
                beat: row.get("beat")?,
                leaving: row.get::<Option<i64>>("leaving_at")?.is_some(),
            })
        })
        .collect()
}

/// Workers and shards as they are now.
pub(super) async fn survey(db: &Db) -> Result<Survey, StoreError> {
    let workers = alive(db).await?;
    let text = "SELECT s.id, s.epoch, s.owner, s.high_water, o.dead_at, o.high_water AS seen \
                FROM shard s LEFT JOIN worker o ON o.incarnation = s.owner ORDER BY s.id";
    let rows = Sql::new(text, Vec::new()).all(&db.read(Role::Shards)).await?;
    let shard = |row: &Row| {
        let seen: Option<i64> = row.get("seen")?;
        let lives = seen.is_some() && row.get::<Option<i64>>("dead_at")?.is_none();
        let owner: Option<Uuid> = row.get("owner")?;
        Ok::<_, StoreError>(ShardRow {
            id: shard_id(row)?,
            owner: owner.filter(|_| lives),
            epoch: row.get("epoch")?,
            high_water: row.get::<i64>("high_water")?.max(seen.unwrap_or(0)),
        })
    };
    let shards = rows.iter().map(shard).collect::<Result<_, StoreError>>()?;
    Ok(Survey { workers, shards })
}

/// Declares a worker dead unless it has beaten since; whether it was this call that did.
pub(crate) async fn declare_dead(
    db: &Db,
    (incarnation, beat): (Uuid, i64),
) -> Result<bool, StoreError> {
    let tx = db.begin(Role::Shards).await?;
    let dead = Sql::new(
        "UPDATE worker SET dead_at = $1 WHERE incarnation = $2 AND beat = $3 AND dead_at IS NULL",
        vals![machine_now().as_millis(), incarnation, beat],
    )
    .run(&tx)
    .await?;
    tx.commit().await?;
    Ok(dead == 1)
}

/// Declares every worker dead but for those who have no shards and take none, when it is certain
/// that there is none.
pub(crate) async fn bury_workers(on: &impl sea_orm::ConnectionTrait) -> Result<(), StoreError> {
    let now = machine_now().as_millis();
    let text = "UPDATE worker SET dead_at = $1 WHERE dead_at IS NULL AND leaving_at IS NULL";
    Sql::new(text, vals![now]).run(on).await.map(|_| ())
}

/// Declares everybody dead, when it is certain that there is nobody.
pub(crate) async fn bury_all(on: &impl sea_orm::ConnectionTrait) -> Result<(), StoreError> {
    let now = machine_now().as_millis();
    let text = "UPDATE worker SET dead_at = $1 WHERE dead_at IS NULL";
    Sql::new(text, vals![now]).run(on).await.map(|_| ())
}

/// Takes every shard away from whoever has it.
pub(crate) async fn free_all(on: &impl sea_orm::ConnectionTrait) -> Result<(), StoreError> {
    let text = "UPDATE shard SET owner = NULL, epoch = epoch + 1 WHERE owner IS NOT NULL";
    Sql::new(text, Vec::new()).run(on).await.map(|_| ())
}

/// Takes those of these shards that nobody has taken since they were seen; with their new epochs.
pub(super) async fn take(
    db: &Db,
    me: Uuid,
    free: &[ShardRow],
) -> Result<Vec<(u16, i64)>, StoreError> {
    if free.is_empty() {
        return Ok(Vec::new());
    }
    let tx = db.begin(Role::Shards).await?;
    if tx.is_postgres() {
        tx.execute_unprepared("SET LOCAL lock_timeout = '1s'").await?;
    }
    let sql = Sql::default().text("SELECT id FROM shard WHERE (id, epoch) IN ");
    let locked = in_rows(sql, free.iter().map(|row| vals![i64::from(row.id), row.epoch]))
        .text(" AND EXISTS (SELECT 1 FROM worker WHERE dead_at IS NULL AND incarnation = ")
        .arg(me)
        .text(") ORDER BY id")
        .lock(&tx, "FOR NO KEY UPDATE SKIP LOCKED")
        .all(&tx)
        .await?;
    let locked = locked.iter().map(shard_id).collect::<Result<BTreeSet<u16>, _>>()?;
    let rows = free.iter().filter(|row| locked.contains(&row.id));
    let rows = rows.map(|row| vals![i64::from(row.id), row.epoch, row.high_water, me]).collect();
    let sql = (
        "WITH v (v_id, v_epoch, v_high, v_me) AS (VALUES ",
        ") UPDATE shard SET owner = v_me, epoch = v_epoch + 1, \
         high_water = CASE WHEN high_water < v_high THEN v_high ELSE high_water END \
         FROM v WHERE id = v_id AND epoch = v_epoch RETURNING id, epoch",
    );
    let taken = with_rows(&tx, sql, rows).await?;
    let taken = taken
        .iter()
        .map(|row| Ok((shard_id(row)?, row.get("epoch")?)))
        .collect::<Result<Vec<(u16, i64)>, StoreError>>()?;
    tx.commit().await?;
    Ok(taken)
}

const GIVEN_BACK: &str = "UPDATE shard SET owner = NULL, \
     high_water = CASE WHEN high_water < $1 THEN $1 ELSE high_water END WHERE owner = $2";

/// Gives shards back, with the product time that they have seen.
pub(super) async fn release(
    db: &Db,
    (me, high_water): (Uuid, i64),
    given: &[(u16, i64)],
) -> Result<(), StoreError> {
    let tx = db.begin(Role::Shards).await?;
    let keys = || given.iter().map(|(shard, epoch)| vals![i64::from(*shard), *epoch]);
    let sql = Sql::default().text("SELECT id FROM shard WHERE (id, epoch) IN ");
    in_rows(sql, keys()).text(" ORDER BY id").lock(&tx, "FOR NO KEY UPDATE").all(&tx).await?;
    let sql = Sql::new(GIVEN_BACK, vals![high_water, me]).text(" AND (id, epoch) IN ");
    in_rows(sql, keys()).run(&tx).await?;
    tx.commit().await
}

/// Gives back everything that this worker has, and says that it takes nothing more.
pub(super) async fn leave(db: &Db, (me, high_water): (Uuid, i64)) -> Result<(), StoreError> {
    let tx = db.begin(Role::Shards).await?;
    let now = machine_now().as_millis();
    Sql::new("UPDATE worker SET leaving_at = $1 WHERE incarnation = $2", vals![now, me])
        .run(&tx)
        .await?;
    Sql::default()
        .text("SELECT id FROM shard WHERE owner = ")
        .arg(me)
        .text(" ORDER BY id")
        .lock(&tx, "FOR NO KEY UPDATE")
        .all(&tx)
        .await?;
    Sql::new(GIVEN_BACK, vals![high_water, me]).run(&tx).await?;
    tx.commit().await
}

/// Marks the incarnation as ended: from now on what it had claimed is over.
pub(crate) async fn retire(db: &Db, incarnation: Uuid) -> Result<(), StoreError> {
    let tx = db.begin(Role::Shards).await?;
    Sql::new(
        "UPDATE worker SET dead_at = $1 WHERE incarnation = $2 AND dead_at IS NULL",
        vals![machine_now().as_millis(), incarnation],
    )
    .run(&tx)
    .await?;
    tx.commit().await
}

/// Who has each shard.
pub(crate) async fn owners(db: &Db) -> Result<Vec<ShardOwner>, StoreError> {
    let text = "SELECT s.id, s.epoch, w.incarnation, w.address FROM shard s LEFT JOIN worker w \
                ON w.incarnation = s.owner AND w.dead_at IS NULL ORDER BY s.id";
    let rows = Sql::new(text, Vec::new()).all(&db.read(Role::Shards)).await?;
    rows.iter()
        .map(|row| {
            Ok(ShardOwner {
                shard: shard_id(row)?,
                epoch: row.get("epoch")?,
                owner: row.get("incarnation")?,
                address: row.get("address")?,
            })
        })
        .collect()
}

/// A living worker's host, for telling who holds the store.
pub(crate) async fn live_worker(
    on: &impl sea_orm::ConnectionTrait,
    but: Uuid,
) -> Result<Option<String>, StoreError> {
    let text = "SELECT host FROM worker WHERE dead_at IS NULL AND incarnation <> $1 \
                ORDER BY started_at DESC LIMIT 1";
    Sql::new(text, vals![but]).one(on).await?.map(|row| row.get("host")).transpose()
}
