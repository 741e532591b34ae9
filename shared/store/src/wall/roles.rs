//! Making the roles, before anything else is done with a database.
//!
//! Roles belong to the whole server, so two databases may make them at the same moment: whoever
//! comes second finds them there. Where the login may not make them, or may not become them, the
//! error says what an administrator has to run.

use sqlx::{Connection as _, PgConnection, Row as _};

use super::Role;
use crate::error::StoreError;

/// How often another process may have been first, before it is no race any more.
const ATTEMPTS_MAX: usize = 100;

/// The roles that are missing, and those that this login cannot become.
struct Lacking {
    login: String,
    roles: Vec<&'static str>,
    memberships: Vec<&'static str>,
    /// PostgreSQL 16 and later keep apart who may become a role and who has its rights at all times.
    sets: bool,
}

/// Makes sure that all roles are there and that this login can become them.
pub(crate) async fn ready(session: &mut PgConnection) -> Result<(), StoreError> {
    for _ in 0..ATTEMPTS_MAX {
        let lacking = lacking(session).await?;
        let Some(statement) = lacking.statements().into_iter().next() else { return Ok(()) };
        match run(session, &statement).await {
            Ok(()) => {}
            Err(error) if is_race(&error) => tracing::debug!(%error, "another made the role"),
            Err(error) if code(&error).as_deref() == Some("42501") => {
                return Err(StoreError::Roles { login: lacking.login.clone(), sql: lacking.sql() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    let lacking = lacking(session).await?;
    Err(StoreError::Roles { login: lacking.login.clone(), sql: lacking.sql() })
}

async fn lacking(session: &mut PgConnection) -> Result<Lacking, StoreError> {
    let text = "SELECT current_setting('server_version_num')::int >= 160000 AS sets, \
                quote_ident(session_user) AS login";
    let row = sqlx::query(text).fetch_one(&mut *session).await?;
    let (sets, login) = (row.try_get("sets")?, row.try_get("login")?);
    let text = match sets {
        true => {
            "SELECT r.rolname::text AS name, pg_has_role(session_user, r.oid, 'SET') AS mine \
             FROM pg_roles r WHERE r.rolname = ANY ($1)"
        }
        false => {
            "SELECT r.rolname::text AS name, pg_has_role(session_user, r.oid, 'MEMBER') AS mine \
             FROM pg_roles r WHERE r.rolname = ANY ($1)"
        }
    };
    let names: Vec<String> = Role::ALL.iter().map(|role| role.name().to_owned()).collect();
    let rows = sqlx::query(text).bind(names).fetch_all(session).await?;
    let mut found = std::collections::BTreeMap::new();
    for row in rows {
        found.insert(row.try_get::<String, _>("name")?, row.try_get::<bool, _>("mine")?);
    }
    let names = || Role::ALL.into_iter().map(Role::name);
    let roles = names().filter(|name| !found.contains_key(*name)).collect();
    let memberships = names().filter(|name| found.get(*name) != Some(&true)).collect();
    Ok(Lacking { login, roles, memberships, sets })
}

impl Lacking {
    fn statements(&self) -> Vec<String> {
        let mut made: Vec<String> =
            self.roles.iter().map(|role| format!("CREATE ROLE {role} NOLOGIN")).collect();
        if !self.memberships.is_empty() {
            let how = if self.sets { " WITH INHERIT FALSE, SET TRUE" } else { "" };
            made.push(format!("GRANT {} TO {}{how}", self.memberships.join(", "), self.login));
        }
        made
    }

    fn sql(&self) -> String {
        self.statements().join("; ") + ";"
    }
}

async fn run(session: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
    // In a transaction of its own: a failure leaves the session usable.
    let mut tx = session.begin().await?;
    sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut *tx).await?;
    tx.commit().await
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

/// Already there, about to be there, or its catalogue row was changed at the same moment (which the
/// server reports as an internal error: "tuple concurrently updated").
fn is_race(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("42710" | "23505" | "XX000" | "40001" | "40P01"))
}
