//! Opening: lock, connect, check durability, migrate, find the keys, take the shards.
//!
//! What always holds: nothing is written before the settings that make commits durable were read
//! back; a second process on a file, or beside one that must be alone on a database, is refused by
//! name of the first; a new root key is on disk before the install that depends on it.

mod beat;
mod hold;
mod host;
mod postgres;
mod reader;
mod root_key;
mod sqlite;
mod worker_lock;

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    committer::{Committer, CommitterParts},
    db::{Backend, Db, Insert},
    error::{KeyFault, StoreError},
    fault::FaultHook,
    identity,
    keys::{KeyCache, RootKey},
    loader::Loader,
    migration,
    server_time::ServerTime,
    shard::Ownership,
    side::{
        delivery::LostClaims,
        sql::{Sql, random, vals},
    },
    store::{Inner, Install, Store, StoreConfig, machine_now},
    wall::{Role, gap},
    watch::Watch,
};

pub(crate) use hold::Hold;
pub(crate) use reader::Reader;
pub(crate) use worker_lock::WORKER_LOCK;

/// How long a reader beside the store's own process waits for it.
const BUSY_READER: std::time::Duration = std::time::Duration::from_secs(10);
/// How often partitions are made ahead of time.
const PARTITION_PERIOD: std::time::Duration = std::time::Duration::from_secs(6 * 3600);

pub(crate) async fn open(config: StoreConfig) -> Result<Store, StoreError> {
    let (db, file, checkpoints) = match sqlite::path_of(&config.url) {
        Some(path) => {
            let file = sqlite::lock(&path)?;
            let (db, checkpoints) = sqlite::connect(&path).await?;
            (db, Some(file), Some(checkpoints))
        }
        None => {
            let owner = postgres::connect_owner(&config.url).await?;
            prepare(&owner).await?;
            owner.close().await;
            (postgres::connect(&config.url).await?, None, None)
        }
    };
    if db.backend() == Backend::Sqlite {
        prepare(&db).await?;
    }
    let (install, root) = install(&db, &config).await?;
    let incarnation = Uuid::from_bytes(random()?);
    let (server_time, following) = ServerTime::follow(db.clone()).await;
    let mut tasks =
        vec![tokio::spawn(partitions(db.clone())), tokio::spawn(gap::watch(db.clone()))];
    tasks.extend(following);
    tasks.extend(checkpoints.map(|connection| tokio::spawn(sqlite::checkpoints(connection))));
    let mut hold = Hold::new(db.clone(), tasks, file);
    let ownership = match config.worker_role {
        true => hold.take_over(&config, incarnation, install.shards).await?,
        false => {
            if config.sends && db.backend() == Backend::Postgres {
                hold.sign_on(&config, incarnation).await?;
            }
            Arc::new(Ownership::none(incarnation))
        }
    };
    Ok(assemble(&config, Parts { db, install, root, ownership, hold, server_time }))
}

/// Schema and partitions.
async fn prepare(db: &Db) -> Result<(), StoreError> {
    migration::run(db).await?;
    migration::partition::ensure(db, machine_now()).await
}

struct Parts {
    db: Db,
    install: Install,
    root: RootKey,
    ownership: Arc<Ownership>,
    hold: Hold,
    server_time: Arc<ServerTime>,
}

fn assemble(config: &StoreConfig, parts: Parts) -> Store {
    let Parts { db, install, root, ownership, hold, server_time } = parts;
    let faults = FaultHook(config.faults.clone());
    let watch = Watch(config.watcher.clone());
    let lanes = match db.backend() {
        Backend::Sqlite => 1,
        Backend::Postgres => config.lanes.max(1),
    };
    let identities = Arc::new(identity::Memory::default());
    let committer = Committer::start(
        CommitterParts {
            db: db.clone(),
            ownership: Arc::clone(&ownership),
            faults: faults.clone(),
            shards: install.shards,
            watch: watch.clone(),
            identities: Arc::clone(&identities),
        },
        lanes,
    );
    let loader = Loader::start(db.clone(), watch.clone());
    let keys = KeyCache::default();
    let inner = Inner {
        db,
        install,
        root,
        keys,
        identities,
        rooms: identity::Rooms::default(),
        ownership,
        faults,
        watch,
        committer,
        loader,
        hold,
        lost_claims: LostClaims::default(),
        server_time,
    };
    Store { inner: Arc::new(inner) }
}

async fn partitions(db: Db) {
    loop {
        tokio::time::sleep(PARTITION_PERIOD).await;
        if let Err(error) = migration::partition::ensure(&db, machine_now()).await {
            tracing::error!(%error, "partitions were not made ahead");
        }
    }
}

/// The install's row, made at first start; checks that the root key is the one it was made with.
async fn install(db: &Db, config: &StoreConfig) -> Result<(Install, RootKey), StoreError> {
    if let Some((install, check)) = read_install(&db.read(Role::Control)).await? {
        let root = root_key::find(&config.root_key, false)?;
        if !root.fits(install.id, &check) {
            return Err(KeyFault::WrongRoot.into());
        }
        return Ok((install, root));
    }
    let root = root_key::find(&config.root_key, true)?;
    create_install(db, config, &root).await?;
    match read_install(&db.read(Role::Control)).await? {
        // Another process may have made it meanwhile, with its own key.
        Some((install, check)) if root.fits(install.id, &check) => Ok((install, root)),
        Some(_) => Err(KeyFault::WrongRoot.into()),
        None => Err(StoreError::Damaged("install")),
    }
}

async fn read_install(
    on: &impl sea_orm::ConnectionTrait,
) -> Result<Option<(Install, Vec<u8>)>, StoreError> {
    let text = "SELECT install_id, shards, root_key_check FROM install WHERE id = 1";
    let Some(row) = Sql::new(text, Vec::new()).one(on).await? else { return Ok(None) };
    let shards: i64 = row.get("shards")?;
    let shards = u16::try_from(shards).map_err(|_| StoreError::Damaged("install.shards"))?;
    let install = Install { id: row.get("install_id")?, shards };
    Ok(Some((install, row.get("root_key_check")?)))
}

async fn create_install(db: &Db, config: &StoreConfig, root: &RootKey) -> Result<(), StoreError> {
    let id = Uuid::from_bytes(random()?);
    let now = machine_now().as_millis();
    let shards = config.shards.max(1);
    let start = config.product_clock_start.map(|at| at.as_millis());
    let columns = [
        "id",
        "install_id",
        "shards",
        "created_at",
        "product_now",
        "product_speed",
        "clock_set_at",
        "root_key_check",
    ];
    let row = vals![
        1_i64,
        id,
        i64::from(shards),
        now,
        start,
        i64::from(start.is_none()),
        start.map(|_| now),
        root.check(id).to_vec()
    ];
    let tx = db.begin(Role::Control).await?;
    let made = Insert::new("install", &columns)
        .suffix("ON CONFLICT DO NOTHING")
        .run(&tx, vec![row])
        .await?;
    if made == 1 {
        let rows = (0..shards).map(|shard| vals![i64::from(shard), 0_i64, 0_i64]).collect();
        Insert::new("shard", &["id", "epoch", "high_water"]).run(&tx, rows).await?;
    }
    tx.commit().await
}

/// Reads one setting as text.
async fn setting(on: &impl sea_orm::ConnectionTrait, sql: &str) -> Result<String, StoreError> {
    let statement = sea_orm::Statement::from_string(on.get_database_backend(), sql);
    let row = on.query_one_raw(statement).await?.ok_or(StoreError::Damaged("a setting"))?;
    match row.try_get_by_index::<String>(0) {
        Ok(text) => Ok(text),
        Err(_) => Ok(row.try_get_by_index::<i64>(0).map(|number| number.to_string())?),
    }
}
