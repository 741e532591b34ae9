//! Connections and transactions, the same on both databases.
//!
//! How to use it. Whoever reads or writes says for whom: a brand, a list of brands, or a named door
//! across brands (see [`crate::wall`]). A read is `sql.all(&db.read(tenant))`, several that belong
//! together are `let on = db.look(tenant).await?`, and every write is
//!
//! ```ignore
//! let tx = db.begin(tenant).await?;    // SQLite: the one writing connection, BEGIN IMMEDIATE
//! Sql::default().text("UPDATE ...").arg(id).run(&tx).await?;
//! tx.commit().await?;                  // dropping it without a commit rolls back
//! ```
//!
//! [`Tx`] is a `ConnectionTrait`, so everything in `side::sql` takes it as well as what reads.
//! A multi-row insert is [`Insert`], which keeps to both bind limits.
//!
//! What always holds: no statement reaches PostgreSQL outside a transaction whose first statement
//! said for whom it is; on SQLite there is one writing connection, so a transaction excludes every
//! other from its first statement on; do not call `begin` twice in one task. The error of a
//! commit says whether the outcome is certain (see `StoreError`). No transaction stays open
//! across a call to anything but the database.

mod reads;

use std::collections::HashSet;

use async_trait::async_trait;
use parcours_domain::TenantId;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
};
use uuid::Uuid;

use crate::{
    error::StoreError,
    side::sql::{Row, Sql},
    wall::Door,
};

pub(crate) use reads::{Look, Reads};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// One file, one process.
    Sqlite,
    /// A server.
    Postgres,
}

/// The connections of one open store.
#[derive(Clone)]
pub(crate) struct Db {
    backend: Backend,
    writer: DatabaseConnection,
    reader: DatabaseConnection,
}

impl Db {
    /// SQLite: `writer` has one connection and `reader` several. PostgreSQL: the same pool twice.
    pub(crate) const fn new(
        backend: Backend,
        writer: DatabaseConnection,
        reader: DatabaseConnection,
    ) -> Self {
        Self { backend, writer, reader }
    }

    pub(crate) const fn backend(&self) -> Backend {
        self.backend
    }

    /// For reads that belong to no transaction of the caller, each by itself: sees everything
    /// committed before.
    pub(crate) fn read(&self, door: impl Into<Door>) -> Reads<'_> {
        Reads::new(self, door.into())
    }

    /// For several reads one after the other on one connection; each sees everything committed
    /// before it.
    pub(crate) async fn look(&self, door: impl Into<Door>) -> Result<Look, StoreError> {
        Look::open(self, &door.into()).await
    }

    /// A transaction that may write.
    pub(crate) async fn begin(&self, door: impl Into<Door>) -> Result<Tx, StoreError> {
        Ok(self.open(&door.into()).await?)
    }

    async fn open(&self, door: &Door) -> Result<Tx, DbErr> {
        let sqlite_transaction_mode = match self.backend {
            Backend::Sqlite => Some(SqliteTransactionMode::Immediate),
            Backend::Postgres => None,
        };
        let options = TransactionOptions { sqlite_transaction_mode, ..Default::default() };
        let inner = self.writer.begin_with_options(options).await?;
        enter(&inner, door).await?;
        Ok(Tx { inner, mark: door.mark() })
    }

    /// Closes every connection.
    pub(crate) async fn close(&self) {
        for pool in [&self.reader, &self.writer] {
            if let Err(error) = pool.close_by_ref().await {
                tracing::warn!(%error, "a connection pool did not close");
            }
        }
    }
}

/// Says for whom a transaction is, from here to its end.
pub(crate) async fn enter(inner: &DatabaseTransaction, door: &Door) -> Result<(), DbErr> {
    if inner.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let text = "SELECT set_config('role', $1, true), set_config('parcours.tenants', $2, true)";
    let values = [Value::from(door.role()), Value::from(door.list())];
    let entering = Statement::from_sql_and_values(DbBackend::Postgres, text, values);
    inner.execute_raw(entering).await.map(|_| ())
}

/// An open transaction; rolled back unless committed.
pub(crate) struct Tx {
    inner: DatabaseTransaction,
    /// What follows the texts of its statements on PostgreSQL.
    mark: &'static str,
}

impl Tx {
    /// Commits. `Unavailable` and `Refused`: nothing was done; `OutcomeUnknown`: who knows.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await.map_err(StoreError::of_commit)
    }

    /// Rolls back now instead of when dropped, so that its locks are gone on return.
    pub(crate) async fn rollback(self) {
        if let Err(error) = self.inner.rollback().await {
            tracing::debug!(%error, "rollback failed; the connection is discarded");
        }
    }

    /// Goes on for somebody else: who has found rows across brands does the rest as exactly those.
    pub(crate) async fn turn(&mut self, door: impl Into<Door>) -> Result<(), StoreError> {
        let door = door.into();
        enter(&self.inner, &door).await?;
        self.mark = door.mark();
        Ok(())
    }

    /// For the migrator, which must run its statements in this very transaction.
    pub(crate) const fn inner(&self) -> &DatabaseTransaction {
        &self.inner
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.inner.get_database_backend() == DbBackend::Postgres
    }

    fn marked(&self, mut statement: Statement) -> Statement {
        if !self.mark.is_empty() && self.is_postgres() {
            statement.sql.push_str(self.mark);
        }
        statement
    }
}

#[async_trait]
impl ConnectionTrait for Tx {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }
    async fn execute_raw(&self, stmt: Statement) -> Result<ExecResult, DbErr> {
        self.inner.execute_raw(self.marked(stmt)).await
    }
    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.inner.execute_unprepared(sql).await
    }
    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.inner.query_one_raw(self.marked(stmt)).await
    }
    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.inner.query_all_raw(self.marked(stmt)).await
    }
}

/// Values that one SQLite statement may bind; on PostgreSQL a column is one value.
const BINDS_MAX: usize = 32_766;

/// Rows of one statement on PostgreSQL.
const ROWS_MAX: usize = 4_096;

/// Row counts of the statements that a long list is cut into on SQLite, so that few different
/// texts are prepared; a rest below the least is one statement of its own.
const CHUNKS: [usize; 6] = [512, 256, 128, 64, 32, 16];

/// A multi-row insert: `Insert::new("t", &["a", "b"]).suffix("ON CONFLICT DO NOTHING")`.
pub(crate) struct Insert {
    head: String,
    suffix: &'static str,
}

impl Insert {
    pub(crate) fn new(table: &str, columns: &[&str]) -> Self {
        let head = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
        Self { head, suffix: "" }
    }

    /// What follows the values, such as `ON CONFLICT DO NOTHING` or `RETURNING id`.
    pub(crate) const fn suffix(mut self, suffix: &'static str) -> Self {
        self.suffix = suffix;
        self
    }

    fn end(&self) -> String {
        format!(" {}", self.suffix)
    }

    /// Inserts the rows; how many were inserted. No rows: no statement.
    pub(crate) async fn run(
        &self,
        on: &impl ConnectionTrait,
        rows: Vec<Vec<Value>>,
    ) -> Result<u64, StoreError> {
        with_rows_run(on, (&self.head, &self.end()), rows).await
    }

    /// Inserts the rows and reads what the suffix's RETURNING gives.
    pub(crate) async fn returning(
        &self,
        on: &impl ConnectionTrait,
        rows: Vec<Vec<Value>>,
    ) -> Result<Vec<Row>, StoreError> {
        with_rows(on, (&self.head, &self.end()), rows).await
    }
}

/// Runs `head IN-list end` over a list of any length. `head` ends with `IN `; the rows must name
/// a whole key, the leading column of its index first.
pub(crate) async fn listed(
    on: &impl ConnectionTrait,
    (head, end): (&str, &str),
    rows: Vec<Vec<Value>>,
) -> Result<Vec<Row>, StoreError> {
    let mut found = Vec::new();
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let columns = rows.as_slice().first().map_or(1, Vec::len);
        let take = chunk_len(on, rows.len(), columns);
        let sql = in_rows(Sql::default().text(head), rows.by_ref().take(take)).text(end);
        found.extend(sql.all(on).await?);
    }
    Ok(found)
}

/// A change of rows that are named by their keys, such as `DELETE FROM timer`. On PostgreSQL it is
/// planned once, perhaps while the table is empty, and must serve when it has a million rows. Then
/// every way to a row seems to cost the same, also the one through the whole table. Here the list
/// leads and each row is looked up by itself; what follows the brand is compared as one row, which
/// fits only the index that goes on with these columns.
pub(crate) struct ByKey {
    /// `DELETE FROM table` or `UPDATE table SET ...`.
    pub(crate) change: &'static str,
    pub(crate) table: &'static str,
    /// What follows the brand in an index; the last names the row within its brand.
    pub(crate) columns: &'static [&'static str],
}

impl ByKey {
    /// Runs it over keys of any number: brand, then the columns. Which rows were there, as (brand,
    /// last column). A row that somebody else changed meanwhile may count as not there.
    pub(crate) async fn run(
        &self,
        tx: &Tx,
        rows: Vec<Vec<Value>>,
    ) -> Result<HashSet<(TenantId, Uuid)>, StoreError> {
        let lateral = tx.get_database_backend() == DbBackend::Postgres;
        let (head, end) = if lateral { self.lateral() } else { self.plain() };
        let mut changed = HashSet::with_capacity(rows.len());
        for row in with_rows(tx, (&head, &end), rows).await? {
            changed.insert((row.id("tenant_id")?, row.get(self.id())?));
        }
        Ok(changed)
    }

    fn id(&self) -> &'static str {
        self.columns.last().copied().unwrap_or("tenant_id")
    }

    fn lateral(&self) -> (String, String) {
        let Self { change, table, columns } = self;
        let (key, id) = (columns.join(", "), self.id());
        let asked: Vec<_> = columns.iter().map(|column| format!("v_{column}")).collect();
        let asked = asked.join(", ");
        let head = format!("{change} WHERE ctid = ANY (ARRAY(SELECT found.ctid FROM (VALUES ");
        let end = format!(
            ") AS v (v_tenant, {asked}) CROSS JOIN LATERAL (SELECT ctid FROM {table} \
             WHERE tenant_id = v_tenant AND ({key}) >= ({asked}) AND ({key}) <= ({asked}) OFFSET 0) \
             AS found)) RETURNING tenant_id, {id}"
        );
        (head, end)
    }

    /// SQLite looks such rows up by an index only when they come out of a plain SELECT.
    fn plain(&self) -> (String, String) {
        let key = self.columns.join(", ");
        let head = format!("{} WHERE (tenant_id, {key}) IN (SELECT * FROM (VALUES ", self.change);
        (head, format!(") AS listed) RETURNING tenant_id, {}", self.id()))
    }
}

/// Reads the rows with these keys: `select` ends with a condition, and the keys' columns lead an
/// index. The list leads, as in [`ByKey`]. No key may be there twice.
pub(crate) async fn looked_up(
    on: &impl ConnectionTrait,
    select: &str,
    columns: &[&str],
    rows: Vec<Vec<Value>>,
) -> Result<Vec<Row>, StoreError> {
    if on.get_database_backend() != DbBackend::Postgres {
        let head = format!("{select} AND ({}) IN ", columns.join(", "));
        return listed(on, (&head, ""), rows).await;
    }
    let names: Vec<_> = columns.iter().map(|column| format!("v_{column}")).collect();
    let conditions: String =
        columns.iter().map(|column| format!(" AND {column} = v_{column}")).collect();
    let end = format!(
        ") AS v ({}) CROSS JOIN LATERAL ({select}{conditions} OFFSET 0) AS found",
        names.join(", ")
    );
    with_rows(on, ("SELECT found.* FROM (VALUES ", &end), rows).await
}

/// Runs `head rows end` over a list of any length: `WITH v (a, b) AS (VALUES `, the rows, `) ...`.
pub(crate) async fn with_rows(
    on: &impl ConnectionTrait,
    (head, end): (&str, &str),
    rows: Vec<Vec<Value>>,
) -> Result<Vec<Row>, StoreError> {
    let mut found = Vec::new();
    for sql in over_rows(on, (head, end), rows) {
        found.extend(sql.all(on).await?);
    }
    Ok(found)
}

/// The same for a statement that gives nothing back; how many rows it changed.
pub(crate) async fn with_rows_run(
    on: &impl ConnectionTrait,
    text: (&str, &str),
    rows: Vec<Vec<Value>>,
) -> Result<u64, StoreError> {
    let mut changed = 0;
    for sql in over_rows(on, text, rows) {
        changed += sql.run(on).await?;
    }
    Ok(changed)
}

fn over_rows(
    on: &impl ConnectionTrait,
    (head, end): (&str, &str),
    rows: Vec<Vec<Value>>,
) -> Vec<Sql> {
    let mut statements = Vec::new();
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let columns = rows.as_slice().first().map_or(1, Vec::len);
        let take = chunk_len(on, rows.len(), columns);
        statements.push(Sql::default().text(head).rows(rows.by_ref().take(take)).text(end));
    }
    statements
}

/// Appends a list of rows to `(a, b) IN `. SQLite looks such rows up by an index only when they
/// come out of a plain SELECT: with `IN (VALUES ...)` alone it reads the whole table.
pub(crate) fn in_rows(sql: Sql, rows: impl IntoIterator<Item = Vec<Value>>) -> Sql {
    sql.text("(SELECT * FROM (VALUES ").rows(rows).text(") AS listed)")
}

/// How many of `rows` rows the next statement takes.
fn chunk_len(on: &impl ConnectionTrait, rows: usize, columns: usize) -> usize {
    if on.get_database_backend() == DbBackend::Postgres {
        return rows.min(ROWS_MAX);
    }
    sqlite_chunk_len(rows, columns)
}

fn sqlite_chunk_len(rows: usize, columns: usize) -> usize {
    let fits = (BINDS_MAX / columns.max(1)).max(1);
    let size = CHUNKS.into_iter().find(|size| *size <= rows && *size <= fits);
    size.unwrap_or_else(|| rows.min(fits))
}

#[cfg(test)]
mod tests {
    use sea_orm::SqlxSqliteConnector;

    use super::{Insert, in_rows, sqlite_chunk_len};
    use crate::side::{
        consent::LEAVING,
        inbox::ABSORBED,
        messages::OF_HANDLE,
        sql::{Sql, vals},
    };

    /// On SQLite keys must be looked up, not met by reading the whole table or all of a brand.
    #[tokio::test]
    async fn what_is_asked_often_uses_the_index() {
        let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect("sqlite::memory:").await.unwrap();
        let on = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
        let schema = crate::migration::sqlite_schema();
        sea_orm::ConnectionTrait::execute_unprepared(&on, &schema).await.unwrap();
        let two = [vals![vec![1_u8], vec![2_u8]], vals![vec![3_u8], vec![4_u8]]];
        for statement in [
            "SELECT c.id FROM contact c WHERE (c.tenant_id, c.id) IN ",
            "SELECT body FROM inbox WHERE (tenant_id, contact_id) IN ",
            "DELETE FROM inbox WHERE (tenant_id, id) IN ",
            "DELETE FROM timer WHERE (tenant_id, run_id) IN ",
        ] {
            let sql = Sql::default().text("EXPLAIN QUERY PLAN ").text(statement);
            let plan = in_rows(sql, two.clone()).all(&on).await.unwrap();
            let first: String = plan.first().unwrap().get("detail").unwrap();
            assert!(first.starts_with("SEARCH"), "{statement}: {first}");
        }
        let three = [1_u8, 2].map(|n| vals![vec![n], vec![n], vec![n]]);
        let claims = "DELETE FROM send_queue WHERE phase <> 0 \
                      AND (tenant_id, message_id, claim_id) IN ";
        let sql = Sql::default().text("EXPLAIN QUERY PLAN ").text(claims);
        let plan = in_rows(sql, three).all(&on).await.unwrap();
        let first: String = plan.first().unwrap().get("detail").unwrap();
        assert!(first.starts_with("SEARCH"), "{claims}: {first}");
        // What is asked at each withdrawal must not read whatever the brand has.
        let absorbed = ABSORBED.concat().replacen("= ", "= $1 ", 1) + "($2)";
        for statement in [&absorbed, LEAVING, OF_HANDLE] {
            let text = format!("EXPLAIN QUERY PLAN {statement}");
            let plan = Sql::new(&text, vals![vec![1_u8], vec![2_u8]]).all(&on).await.unwrap();
            for step in plan {
                let step: String = step.get("detail").unwrap();
                assert!(!step.contains("(tenant_id=?)"), "{statement}: {step}");
            }
        }
        // An empty list is no statement at all.
        assert_eq!(Insert::new("contact", &["id"]).run(&on, Vec::new()).await.unwrap(), 0);
    }

    #[test]
    fn long_lists_are_cut_into_few_sizes_below_the_bind_limit() {
        let cut = |mut rows: usize, columns: usize| {
            let mut sizes = Vec::new();
            while rows > 0 {
                let size = sqlite_chunk_len(rows, columns);
                sizes.push(size);
                rows -= size;
            }
            sizes
        };
        assert_eq!(cut(0, 3), [0; 0]);
        assert_eq!(cut(15, 3), [15]);
        assert_eq!(cut(100, 3), [64, 32, 4]);
        assert_eq!(cut(600, 100), [256, 256, 64, 16, 8]);
        assert!(sqlite_chunk_len(100_000, 32_766) == 1);
    }
}
