//! Migrations, written once and translated: expand first, contract later.
//!
//! They are written in PostgreSQL's types. For SQLite types are renamed and tables made STRICT;
//! on PostgreSQL the marked tables are partitioned (see [`partition`]).
//!
//! What always holds: all pending migrations are applied in one transaction or not at all; on
//! PostgreSQL an advisory lock lets one process migrate at a time; a store that a newer version
//! migrated is refused.

pub(crate) mod partition;
mod translate;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

use crate::{
    db::Db,
    error::{Cause, StoreError, code_of},
    side::sql::Sql,
    wall::{self, Door},
};

/// Key of the advisory lock under which migrations run.
const MIGRATION_LOCK: i64 = 0x7061_7263_6d69_6772;

/// How long a migration tries to get the tables that it needs for itself.
const TABLES_WAIT: Duration = Duration::from_secs(60);
/// Between two attempts.
const TABLES_PAUSE: Duration = Duration::from_millis(200);

/// Queue tables: small, and every row is deleted soon. PostgreSQL must vacuum them early.
const QUEUES: [&str; 4] = ["timer", "inbox", "send_queue", "leaf_pending"];

/// A migration: a text for both databases, and what only PostgreSQL gets after it.
struct Step {
    name: &'static str,
    text: &'static str,
    besides: Besides,
}

#[derive(Clone, Copy)]
enum Besides {
    Nothing,
    /// How the first tables are stored and cleaned.
    Storage,
    /// The wall between brands, with a gap where processes of the version before may be.
    Wall,
    /// The wall anew, around tables that have come.
    WallAnew,
}

const STEPS: [Step; 7] = [
    Step { name: "v1", text: include_str!("v1.sql"), besides: Besides::Storage },
    // Several workers: where each is reached, and whether it is leaving.
    Step { name: "v2", text: include_str!("v2.sql"), besides: Besides::Nothing },
    // The wall between brands: roles, policies, grants (see [`crate::wall`]).
    Step { name: "v3", text: "", besides: Besides::Wall },
    // Quotas of brands.
    Step { name: "v4", text: include_str!("v4.sql"), besides: Besides::WallAnew },
    // Days of senders that are warmed up.
    Step { name: "v5", text: include_str!("v5.sql"), besides: Besides::WallAnew },
    // Brands beside one another in delivery: weights and breakers.
    Step { name: "v6", text: include_str!("v6.sql"), besides: Besides::WallAnew },
    // What brands' templates may use of processors.
    Step { name: "v7", text: include_str!("v7.sql"), besides: Besides::WallAnew },
];

impl MigrationName for Step {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let on = manager.get_connection();
        match on.get_database_backend() {
            DbBackend::Postgres => {
                execute(on, &translate::for_postgres(self.text)).await?;
                self.besides.apply(on).await
            }
            DbBackend::Sqlite => execute(on, &translate::for_sqlite(self.text)).await,
            other => Err(DbErr::BackendNotSupported { db: other.as_str(), ctx: "migrations" }),
        }
    }
}

async fn execute(on: &impl ConnectionTrait, statements: &[String]) -> Result<(), DbErr> {
    on.execute_unprepared(&statements.join(";\n")).await.map(|_| ())
}

impl Besides {
    async fn apply(self, on: &impl ConnectionTrait) -> Result<(), DbErr> {
        match self {
            Self::Nothing => Ok(()),
            Self::Storage => {
                let mut statements: Vec<_> = QUEUES
                    .map(|queue| {
                        format!(
                            "ALTER TABLE {queue} SET (autovacuum_vacuum_scale_factor = 0.01, \
                         autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)"
                        )
                    })
                    .into();
                statements.push("ALTER TABLE contact_state SET (fillfactor = 80)".to_owned());
                execute(on, &statements).await
            }
            Self::Wall => {
                let in_use = wall::gap::in_use(on).await?;
                wall::raise(on).await?;
                if in_use { wall::gap::leave(on).await } else { Ok(()) }
            }
            Self::WallAnew => wall::raise(on).await,
        }
    }
}

#[cfg(test)]
pub(crate) fn sqlite_schema() -> String {
    let texts = STEPS.iter().map(|step| translate::for_sqlite(step.text).join(";\n"));
    texts.collect::<Vec<_>>().join(";\n")
}

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        STEPS.into_iter().map(|step| Box::new(step) as Box<dyn MigrationTrait>).collect()
    }
}

/// The migrations of this build, in order.
pub(crate) fn names() -> Vec<String> {
    STEPS.iter().map(|step| step.name.to_owned()).collect()
}

/// Migrations of tables that are in no dump and no backup.
const NOT_KEPT: [&str; 2] = ["v2", "v3"];

/// Whether this build reads what a store with these migrations has written to a file: all of its
/// tables are known here. Tables that came later are empty in an older file.
pub(crate) fn reads(others: &[String]) -> bool {
    let kept = |name: &&String| !NOT_KEPT.contains(&name.as_str());
    let (own, mut others) = (names(), others.iter().filter(kept).peekable());
    let mut own = own.iter().filter(kept);
    others.peek().is_some() && others.all(|other| own.next() == Some(other))
}

/// The migrations that were applied to a store; none when it was never opened.
pub(crate) async fn applied(on: &impl ConnectionTrait) -> Result<Vec<String>, StoreError> {
    let there = match on.get_database_backend() {
        DbBackend::Postgres => "SELECT 1 AS n WHERE to_regclass('seaql_migrations') IS NOT NULL",
        _ => "SELECT 1 AS n FROM sqlite_master WHERE name = 'seaql_migrations'",
    };
    if Sql::new(there, Vec::new()).one(on).await?.is_none() {
        return Ok(Vec::new());
    }
    let text = "SELECT version FROM seaql_migrations ORDER BY version";
    Sql::new(text, Vec::new()).all(on).await?.iter().map(|row| row.get("version")).collect()
}

/// Brings the schema up to date. A migration that needs tables for itself waits for each only
/// shortly, and begins anew when somebody has it: the others' transactions go on between.
pub(crate) async fn run(db: &Db) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        match attempt(db).await {
            Err(error) if busy(&error) && begun.elapsed() < TABLES_WAIT => {
                tracing::debug!(%error, "a table is in use; the migration begins anew");
                tokio::time::sleep(TABLES_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Whether somebody had a lock that the migration did not get in time.
fn busy(error: &StoreError) -> bool {
    let StoreError::Unavailable(Cause::Database(error)) = error else { return false };
    code_of(error).is_some_and(|code| ["55P03", "40P01"].contains(&code.as_str()))
}

async fn attempt(db: &Db) -> Result<(), StoreError> {
    let tx = db.begin(Door::Owner).await?;
    if tx.is_postgres() {
        Sql::default()
            .text("SELECT pg_advisory_xact_lock(")
            .arg(MIGRATION_LOCK)
            .text(")")
            .all(&tx)
            .await?;
    }
    match Migrator::up(tx.inner(), None).await {
        Ok(()) => tx.commit().await,
        Err(DbErr::Custom(_)) => {
            Err(StoreError::Damaged("it was migrated by a newer version of this product"))
        }
        Err(error) => Err(StoreError::Unavailable(Cause::Database(error.into()))),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_of_an_older_version_is_read_and_one_of_a_newer_is_not() {
        let reads = |names: &[&str]| {
            super::reads(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        let older: [&[&str]; 5] = [
            &["v1"],
            &["v1", "v2", "v3"],
            &["v1", "v2", "v3", "v4"],
            &["v1", "v2", "v3", "v4", "v5", "v6"],
            &["v1", "v2", "v3", "v4", "v5", "v6", "v7"],
        ];
        assert!(older.into_iter().all(reads));
        let newer: [&[&str]; 4] =
            [&[], &["v4"], &["v1", "v9"], &["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8"]];
        assert!(!newer.into_iter().any(reads));
    }
}
