//! Raising the wall: row security, policies and grants, as statements of a migration.
//!
//! What always holds: raising it again gives the same wall, so a migration that adds a table or
//! changes what a role may do ends with raising it; what is not in the list is taken away. Policies
//! stand on the partitioned tables; their partitions have row security without any policy and no
//! grants, so nobody but the server reaches a row through them.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use super::{LIST_SETTING, Role, TENANT_TABLES, gap, grants};

/// Whether a row is of a brand in the transaction's list. The list is read once for a statement
/// (a subquery that depends on nothing). `IS TRUE` keeps the planner from looking rows up by it:
/// every statement names its brands itself, and a look-up by two lists would be made for each pair.
fn listed(column: &str) -> String {
    format!(
        "({column} = ANY ((SELECT nullif(current_setting('{LIST_SETTING}', true), '')::uuid[])\
         ::uuid[])) IS TRUE"
    )
}

/// Writes policies and grants, with the tables for this transaction alone; the roles are there
/// already. Tables that a later migration makes are
/// left to that one.
pub(crate) async fn raise(on: &impl ConnectionTrait) -> Result<(), DbErr> {
    gap::take_tables(on).await?;
    on.execute_unprepared(&statements(&present(on).await?).join(";\n")).await.map(|_| ())
}

/// The tables of this schema.
async fn present(on: &impl ConnectionTrait) -> Result<BTreeSet<String>, DbErr> {
    let text = "SELECT relname::text AS name FROM pg_class WHERE relkind IN ('r', 'p') \
                AND relnamespace = current_schema()::regnamespace";
    let rows = on.query_all_raw(Statement::from_string(DbBackend::Postgres, text)).await?;
    rows.iter().map(|row| row.try_get("", "name")).collect()
}

/// The tables of this schema that have rows of brands.
pub(super) async fn tenant_tables(on: &impl ConnectionTrait) -> Result<Vec<&'static str>, DbErr> {
    let present = present(on).await?;
    let names = TENANT_TABLES.iter().map(|table| table.name);
    Ok(names.filter(|name| present.contains(*name)).collect())
}

fn statements(present: &BTreeSet<String>) -> Vec<String> {
    let roles = Role::ALL.map(Role::name).join(", ");
    let mut made = vec![format!(
        "DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO {roles}', current_schema()); END $$"
    )];
    let grants: Vec<_> =
        grants().into_iter().filter(|grant| present.contains(grant.table)).collect();
    let tables: BTreeSet<_> = grants.iter().map(|grant| grant.table).collect();
    made.extend(tables.iter().map(|table| format!("REVOKE ALL ON {table} FROM {roles}")));
    let mut reach: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for grant in &grants {
        let (role, table) = (grant.role.name(), grant.table);
        made.push(format!("GRANT {} ON {table} TO {role}", grant.privileges));
        let reaching = reach.entry(table).or_default();
        if grant.role != Role::Brands && !reaching.contains(&role) {
            reaching.push(role);
        }
    }
    for table in TENANT_TABLES.iter().filter(|table| present.contains(table.name)) {
        let name = table.name;
        made.push(walled(name));
        let policies = [
            ("brands", Role::Brands.name().to_owned(), listed(table.column)),
            ("doors", reach.remove(name).unwrap_or_default().join(", "), "true".to_owned()),
        ];
        for (policy, to, which) in policies {
            made.push(format!("DROP POLICY IF EXISTS {policy} ON {name}"));
            made.push(format!(
                "CREATE POLICY {policy} ON {name} TO {to} USING ({which}) WITH CHECK ({which})"
            ));
        }
    }
    made.push(PARTITIONS.to_owned());
    made
}

/// Row security on a table, for its owner too.
pub(crate) fn walled(table: &str) -> String {
    format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
}

/// The partitions that are there already.
pub(super) const PARTITIONS: &str = "DO $$ DECLARE made regclass; BEGIN FOR made IN \
     SELECT c.oid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
     WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace LOOP EXECUTE \
     format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', made); \
     END LOOP; END $$";
