//! What the tests of the wall share: sessions as they come out of a pool, and databases in a server
//! of their own whose logins are no superusers.

#![allow(dead_code, reason = "each test file uses its part")]

use std::str::FromStr as _;

use parcours_domain::TenantId;
use parcours_store::{RootKeySource, StoreConfig, wall::Role};
use parcours_testkit::store::{ROOT_KEY, TempPlace};
use sqlx::{ConnectOptions as _, PgConnection, Row as _, postgres::PgConnectOptions};

/// SQLSTATE of a refusal: no right to it, or a row that a policy forbids.
pub const REFUSED: &str = "42501";

/// A session as the store's are: it begins as this role.
pub async fn session(place: &TempPlace, role: Role) -> PgConnection {
    let options = PgConnectOptions::from_str(&place.url()).unwrap();
    options.options([("role", role.name())]).connect().await.unwrap()
}

/// The first statement of a transaction.
pub async fn enter(session: &mut PgConnection, role: &str, tenants: &[TenantId]) {
    let tenants: Vec<String> = tenants.iter().map(|tenant| tenant.0.to_string()).collect();
    sqlx::query("SELECT set_config('role', $1, true), set_config('parcours.tenants', $2, true)")
        .bind(role)
        .bind(if tenants.is_empty() { String::new() } else { format!("{{{}}}", tenants.join(",")) })
        .execute(session)
        .await
        .unwrap();
}

pub async fn run(session: &mut PgConnection, sql: &str) -> Result<u64, String> {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    match sqlx::raw_sql(sql).execute(session).await {
        Ok(done) => Ok(done.rows_affected()),
        Err(error) => Err(error.as_database_error().unwrap().code().unwrap().into_owned()),
    }
}

pub async fn number(session: &mut PgConnection, sql: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    sqlx::query(sql).fetch_one(session).await.unwrap().get(0)
}

/// One text of each row.
pub async fn texts(session: &mut PgConnection, sql: &str) -> Vec<String> {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    let rows = sqlx::query(sql).fetch_all(session).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// A worker's store in this database.
pub fn config(url: &str) -> StoreConfig {
    let key = RootKeySource::Hex(ROOT_KEY.to_owned());
    StoreConfig { shards: 16, ..StoreConfig::new(url, key) }
}
