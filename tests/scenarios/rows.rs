//! Every row of a SQLite store, read from outside while it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use sqlx::{Connection as _, Row as _, SqliteConnection};

/// Table -> its rows as text.
pub type Rows = BTreeMap<String, BTreeSet<String>>;

/// Reads every row of every table, but for what moves by itself: the worker's sign of life, and
/// when keys were last used.
pub fn all(data: &Path) -> Rows {
    let url = format!("sqlite://{}?mode=ro", data.join("parcours.sqlite").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&url).await.expect("the store is readable");
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
             AND name <> 'worker'",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let mut rows = Rows::new();
        for table in tables {
            let columns: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "SELECT name FROM pragma_table_info('{table}') WHERE name <> 'last_used_at'"
            )))
            .fetch_all(&mut connection)
            .await
            .unwrap();
            let quoted: Vec<String> =
                columns.iter().map(|c| format!("'{c}=' || quote({c})")).collect();
            let sql = format!("SELECT {} FROM {table}", quoted.join(" || ' ' || "));
            let lines =
                sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
            rows.insert(table, lines.iter().map(|line| line.get::<String, _>(0)).collect());
        }
        rows
    })
}

/// Tables whose rows differ, with the number of rows only before and only after.
pub fn changed(before: &Rows, after: &Rows) -> BTreeMap<String, (usize, usize)> {
    before
        .iter()
        .map(|(table, rows)| {
            let now = &after[table];
            (table.clone(), (rows.difference(now).count(), now.difference(rows).count()))
        })
        .filter(|(_, counts)| *counts != (0, 0))
        .collect()
}
