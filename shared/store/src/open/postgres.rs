//! PostgreSQL: one pool, and settings that end a frozen session.
//!
//! What always holds: a server with `fsync`, `full_page_writes` or `synchronous_commit` off is
//! refused; a transaction whose client stands still or cannot be reached is ended by the server.

use std::{str::FromStr as _, time::Duration};

use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx::{
    ConnectOptions as _, Connection as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::setting;
use crate::{
    db::{Backend, Db},
    error::StoreError,
    wall::{self, Role},
};

const CONNECTIONS: u32 = 16;
const ACQUIRE: Duration = Duration::from_secs(10);
/// How long a connection that answered is believed to be alive.
const IDLE_BELIEVED: Duration = Duration::from_secs(1);
/// An older connection is replaced: what a session has gathered is given back, and its plans made
/// anew.
const AGE_MAX: Duration = Duration::from_secs(1_800);
/// Connections for looking after shards: a busy pool must not make a worker blind.
const KEEPER_CONNECTIONS: u32 = 2;

/// Session settings. A transaction whose client stands still is ended by the server after 2 s, one
/// whose client's machine is gone after 3 s, so that neither holds its locks against a successor.
/// Statements have few texts and look rows up by key: each is planned once for a connection (again
/// after ANALYZE), and of joins at most four tables are put in order together, because to weigh all
/// orders of eight costs more than thousands of rows. A plan made while a table was small must
/// serve when it is large, also in a database that has no statistics yet: joins go row by row
/// through an index, in the index's order, and never through a whole table.
const SESSION: [(&str, &str); 13] = [
    ("idle_in_transaction_session_timeout", "2000"),
    ("tcp_user_timeout", "3000"),
    ("lock_timeout", "10000"),
    ("statement_timeout", "60000"),
    ("client_min_messages", "warning"),
    ("plan_cache_mode", "force_generic_plan"),
    ("join_collapse_limit", "4"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_material", "off"),
    ("jit", "off"),
];

fn session(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)?;
    Ok(options.options(SESSION).statement_cache_capacity(512).disable_statement_logging())
}

/// What an operator sees in `pg_stat_activity`. Versions without the wall said `parcours` and
/// `parcours worker, HOST`: by that they are told apart.
fn named(role: Role) -> String {
    role.name().replace('_', " ")
}

/// A session begins as this role, so that a statement which comes before any `set_config`, or after
/// a transaction, has that role's rights and no list of brands. The wall does not rest on it: a
/// pool in front of the server that drops start-up options loses this net and no more.
pub(super) fn options(url: &str, role: Role) -> Result<PgConnectOptions, StoreError> {
    Ok(session(url)?.application_name(&named(role)).options([("role", role.name())]))
}

/// Makes the roles that every other connection begins with, then a connection of the login itself,
/// which owns the tables: for migrations.
pub(super) async fn connect_owner(url: &str) -> Result<Db, StoreError> {
    let options = session(url)?.application_name("parcours opening");
    let mut first = options.connect().await?;
    wall::ready(&mut first).await?;
    first.close().await?;
    let connection = pool(options, 1).await?;
    assert_durable(&connection).await?;
    Ok(Db::new(Backend::Postgres, connection.clone(), connection))
}

pub(super) async fn connect(url: &str) -> Result<Db, StoreError> {
    let connection = pool(options(url, Role::Brands)?, CONNECTIONS).await?;
    Ok(Db::new(Backend::Postgres, connection.clone(), connection))
}

/// The few connections of a worker's keeper.
pub(super) async fn connect_keeper(url: &str) -> Result<Db, StoreError> {
    let connection = pool(options(url, Role::Shards)?, KEEPER_CONNECTIONS).await?;
    Ok(Db::new(Backend::Postgres, connection.clone(), connection))
}

/// For reading beside the processes that have the store: what it reads of brands it reads as the
/// role that may.
pub(super) async fn connect_reader(url: &str) -> Result<DatabaseConnection, StoreError> {
    let connection = pool(session(url)?.application_name("parcours reading"), 2).await?;
    assert_durable(&connection).await?;
    Ok(connection)
}

async fn pool(
    options: PgConnectOptions,
    connections: u32,
) -> Result<DatabaseConnection, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        // The pool's own caretaker counts idle connections beside the queue that holds them; when a
        // connection is taken as it comes back, it can read less than none and never ends. Here
        // who takes a connection looks at its age.
        .idle_timeout(None)
        .max_lifetime(None)
        // A busy pool asks nothing twice: each connection answered when it was given back.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                let answers = meta.idle_for <= IDLE_BELIEVED || connection.ping().await.is_ok();
                Ok(answers && meta.age < AGE_MAX)
            })
        })
        .connect_with(options)
        .await?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

async fn assert_durable(on: &DatabaseConnection) -> Result<(), StoreError> {
    if setting(on, "SHOW fsync").await? == "off" {
        return Err(StoreError::Unsafe("PostgreSQL runs with fsync=off"));
    }
    if setting(on, "SHOW full_page_writes").await? == "off" {
        return Err(StoreError::Unsafe("PostgreSQL runs with full_page_writes=off"));
    }
    if setting(on, "SHOW synchronous_commit").await? == "off" {
        return Err(StoreError::Unsafe("PostgreSQL runs with synchronous_commit=off"));
    }
    Ok(())
}
