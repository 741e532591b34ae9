//! Raising the wall while processes of a version without it go on.
//!
//! Their statements say nothing about brands, so a closed wall would show them no rows, and they
//! would tell their clients so. In a database that is in use the wall is therefore raised with a
//! gap: one more policy on each table, for the login itself, that lets everything through. Whoever
//! says for whom he is stands before the wall from the first moment on. Every process that knows of
//! the wall looks every [`LOOK_EVERY`] whether a session of the version before is still there; who
//! finds none closes the gap. A process of the version before does not start any more then, because
//! it refuses a schema that is newer than itself; one that runs and had no session at that moment
//! sees no rows from then on, and refuses every key.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};

use super::raise::{PARTITIONS, tenant_tables};
use crate::{
    db::{Backend, Db},
    error::StoreError,
    side::sql::Sql,
    wall::Door,
};

/// How often a process looks whether the gap can be closed.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Longest wait for one table's lock; shorter than the server's own look for deadlocks, so that
/// this transaction gives way and not somebody's commit.
const LOCK_WAIT: &str = "SET LOCAL lock_timeout = '200ms'";

/// Whether the store was used before: then others may be using it now.
pub(crate) async fn in_use(on: &impl ConnectionTrait) -> Result<bool, DbErr> {
    let text = "SELECT 1 AS n FROM install LIMIT 1";
    Ok(on
        .query_one_raw(sea_orm::Statement::from_string(on.get_database_backend(), text))
        .await?
        .is_some())
}

/// Takes every table with rows of brands, its partitions too, for this transaction alone.
pub(crate) async fn take_tables(on: &impl ConnectionTrait) -> Result<(), DbErr> {
    let tables = tenant_tables(on).await?.join(", ");
    let lock = format!("{LOCK_WAIT}; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE");
    on.execute_unprepared(&lock).await.map(|_| ())
}

/// Leaves the gap.
pub(crate) async fn leave(on: &impl ConnectionTrait) -> Result<(), DbErr> {
    let policy = |name| {
        format!("CREATE POLICY before ON {name} TO SESSION_USER USING (true) WITH CHECK (true)")
    };
    let made: Vec<_> = tenant_tables(on).await?.into_iter().map(policy).collect();
    on.execute_unprepared(&made.join(";\n")).await.map(|_| ())
}

/// Looks again and again until the gap is closed; ends at once where there is none.
pub(crate) async fn watch(db: Db) {
    if db.backend() == Backend::Sqlite {
        return;
    }
    loop {
        match close(&db).await {
            Ok(Gap::None) => return,
            Ok(Gap::Closed) => {
                tracing::info!("the wall between brands is closed: no older process is left");
                return;
            }
            Ok(Gap::Needed) => {}
            Err(error) => tracing::debug!(%error, "the wall between brands stays open for now"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What became of the gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// There was none.
    None,
    /// A process of the version before is there.
    Needed,
    /// It was closed just now.
    Closed,
}

/// Closes the gap if nobody needs it.
pub(crate) async fn close(db: &Db) -> Result<Gap, StoreError> {
    let tx = db.begin(Door::Owner).await?;
    let there = "SELECT count(*) AS n FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid \
                 WHERE p.polname = 'before' AND c.relnamespace = current_schema()::regnamespace";
    if count(&tx, there).await? == 0 {
        return Ok(Gap::None);
    }
    // The names that sessions of that version give themselves, and no later one does.
    let old = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() \
               AND (application_name = 'parcours' OR application_name LIKE 'parcours worker,%')";
    if count(&tx, old).await? > 0 {
        return Ok(Gap::Needed);
    }
    take_tables(&tx).await?;
    let tables = tenant_tables(&tx).await?.into_iter();
    let mut text: Vec<_> =
        tables.map(|name| format!("DROP POLICY IF EXISTS before ON {name}")).collect();
    // Partitions that a process of the version before has made.
    text.push(PARTITIONS.to_owned());
    tx.execute_unprepared(&text.join(";\n")).await?;
    tx.commit().await?;
    Ok(Gap::Closed)
}

async fn count(on: &impl ConnectionTrait, text: &str) -> Result<i64, StoreError> {
    let row = Sql::new(text, Vec::new()).one(on).await?;
    row.map_or(Ok(0), |row| row.get("n"))
}
