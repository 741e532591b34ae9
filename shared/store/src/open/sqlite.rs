//! SQLite: one process, one writing connection, readers beside it, checkpoints on their own.
//!
//! What always holds: write-ahead log with synchronous=FULL, read back at start, so a commit that
//! returned is on disk; the lock file names its holder; the writing connection never pays for a
//! checkpoint.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use sea_orm::{ConnectionTrait as _, DatabaseConnection, SqlxSqliteConnector};
use sqlx::{
    ConnectOptions as _, Connection as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{host, setting};
use crate::{
    db::{Backend, Db},
    error::StoreError,
};

const READERS: u32 = 4;
/// How long a statement waits for another connection of this process.
const BUSY: Duration = Duration::from_secs(10);
/// How long cutting the log waits for readers; it is tried again half a second later.
const BUSY_CUT: Duration = Duration::from_millis(100);
/// How long a transaction waits for the one writing connection.
const ACQUIRE: Duration = Duration::from_secs(30);
const CHECKPOINT_PERIOD: Duration = Duration::from_millis(500);
/// A write-ahead log below this is left alone.
const LOG_SMALL_BYTES: u64 = 4 << 20;
/// Above this the log is cut, at the price of making writers wait.
const LOG_LARGE_BYTES: u64 = 256 << 20;

/// The file of a `sqlite:` URL.
pub(super) fn path_of(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    Some(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the file for this process. The lock goes with the process, however it ends.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory)?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(path, ".lock"))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.write_all(host::name().as_bytes())?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            file.rewind()?;
            file.read_to_string(&mut by)?;
            Err(StoreError::Held {
                by: if by.is_empty() { "another process".to_owned() } else { by },
            })
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The connection that checkpoints, and the log it watches.
pub(super) struct Checkpointer {
    connection: DatabaseConnection,
    log: PathBuf,
}

pub(super) async fn connect(path: &Path) -> Result<(Db, Checkpointer), StoreError> {
    // Made here so that it is its owner's alone; SQLite gives the log the same mode.
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(false)
        .statement_cache_capacity(512)
        .pragma("cache_size", "-65536")
        .pragma("journal_size_limit", "67108864")
        .pragma("wal_autocheckpoint", "0")
        .disable_statement_logging();
    let writer = pool(1, options.clone()).await?;
    assert_durable(&writer).await?;
    let reader = pool(READERS, options.clone().pragma("query_only", "1")).await?;
    // Cutting the log keeps writers out while it waits for readers, and a backup reads for long.
    let connection = pool(1, options.busy_timeout(BUSY_CUT)).await?;
    let checkpointer = Checkpointer { connection, log: beside(path, "-wal") };
    Ok((Db::new(Backend::Sqlite, writer, reader), checkpointer))
}

/// A connection whose transaction was not cleanly ended (SQLite itself rolled back, as on a full
/// disk) is not used again: the driver would take the next transaction for a nested one.
async fn pool(size: u32, options: SqliteConnectOptions) -> Result<DatabaseConnection, StoreError> {
    let pool: SqlitePool = SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
        .connect_with(options)
        .await?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

async fn assert_durable(writer: &DatabaseConnection) -> Result<(), StoreError> {
    if setting(writer, "PRAGMA journal_mode").await? != "wal" {
        return Err(StoreError::Unsafe("SQLite has no write-ahead log on this file system"));
    }
    if setting(writer, "PRAGMA synchronous").await? != "2" {
        return Err(StoreError::Unsafe("SQLite does not run with synchronous=FULL"));
    }
    Ok(())
}

/// Moves the log into the database file, on its own schedule, until aborted.
pub(super) async fn checkpoints(this: Checkpointer) {
    loop {
        tokio::time::sleep(CHECKPOINT_PERIOD).await;
        let bytes = tokio::fs::metadata(&this.log).await.map_or(0, |file| file.len());
        let mode = match bytes {
            0..=LOG_SMALL_BYTES => continue,
            bytes if bytes > LOG_LARGE_BYTES => "TRUNCATE",
            _ => "PASSIVE",
        };
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        if let Err(error) = this.connection.execute_unprepared(&sql).await {
            let error = StoreError::from(error);
            tracing::warn!(%error, "a checkpoint failed; the next one tries again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{connect, setting};

    /// Kills prove nothing about this: only a power cut loses what was not synced.
    #[tokio::test]
    async fn every_commit_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let (db, _checkpoints) = connect(&dir.path().join("a.sqlite")).await.unwrap();
        let tx = db.begin(crate::wall::Role::Control).await.unwrap();
        let writing = crate::side::sql::Sql::new("PRAGMA synchronous", Vec::new());
        let level: i64 = writing.one(&tx).await.unwrap().unwrap().get("synchronous").unwrap();
        assert_eq!(level, 2, "FULL on the connection that writes");
        tx.rollback().await;
        assert_eq!(
            setting(&db.read(crate::wall::Role::Control), "PRAGMA journal_mode").await.unwrap(),
            "wal"
        );
    }
}
