//! Each role does what the closed list says, and nothing else: generated from the list.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;
mod side_support;
mod walls_support;

use std::collections::BTreeSet;

use parcours_store::{
    Backend,
    wall::{Grant, Role, TENANT_TABLES, grants},
};
use parcours_testkit::store::temp_store;

use side_support::Shop;
use walls_support::{REFUSED, enter, number, run, session, texts};

/// What a grant says of one verb: all columns, or these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum May {
    Whole(&'static str),
    Column(&'static str, String),
}

/// `SELECT, UPDATE (a, b)` in its parts.
fn parts(grant: &Grant) -> BTreeSet<May> {
    let mut found = BTreeSet::new();
    let mut rest = grant.privileges;
    while !rest.is_empty() {
        let verb = ["SELECT", "INSERT", "UPDATE", "DELETE"];
        let verb = verb.into_iter().find(|verb| rest.starts_with(verb)).unwrap();
        rest = rest[verb.len()..].trim_start();
        if let Some(columns) = rest.strip_prefix('(') {
            let (columns, after) = columns.split_once(')').unwrap();
            found.extend(columns.split(',').map(|one| May::Column(verb, one.trim().to_owned())));
            rest = after;
        } else {
            found.insert(May::Whole(verb));
        }
        rest = rest.trim_start_matches([',', ' ']);
    }
    found
}

fn may(role: Role, table: &str) -> BTreeSet<May> {
    let all = grants();
    let of = all.iter().filter(|grant| grant.role == role && grant.table == table);
    of.flat_map(parts).collect()
}

/// Something that does nothing and needs this right to this column.
fn probe(verb: &str, table: &str, column: &str) -> String {
    match verb {
        "SELECT" => format!("SELECT {column} FROM {table} WHERE false"),
        "INSERT" => format!("INSERT INTO {table} ({column}) SELECT NULL WHERE false"),
        "UPDATE" => format!("UPDATE {table} SET {column} = NULL WHERE false"),
        _ => format!("DELETE FROM {table} WHERE false"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_do_what_is_listed_and_nothing_else() {
    let store = temp_store(Backend::Postgres).await.unwrap();
    let mut on = store.place.database().unwrap().connect().await.unwrap();
    let columns = "SELECT c.relname || '.' || a.attname FROM pg_class c \
                   JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relkind IN ('r', 'p') \
                   AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition \
                   AND a.attnum > 0 AND NOT a.attisdropped";
    let columns = texts(&mut on, columns).await;
    assert!(columns.len() > 200);
    let mut asked = 0;
    for role in Role::ALL {
        let mut as_role = session(&store.place, role).await;
        for place in &columns {
            let (table, column) = place.split_once('.').unwrap();
            let listed = may(role, table);
            for verb in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
                let allowed = listed.contains(&May::Whole(verb))
                    || listed.contains(&May::Column(verb, column.to_owned()));
                let done = run(&mut as_role, &probe(verb, table, column)).await;
                let wanted = if allowed { Ok(0) } else { Err(REFUSED.to_owned()) };
                assert_eq!(done, wanted, "{role:?}: {verb} {place}");
                asked += 1;
            }
        }
    }
    assert!(asked > 8_000, "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_sees_all_rows_of_its_tables_and_the_brands_role_those_of_its_list() {
    let store = temp_store(Backend::Postgres).await.unwrap();
    let mut tenants = Vec::new();
    for name in ["one", "two"] {
        let shop = Shop::named(store.store.clone(), name).await;
        let reader = shop.reader("anna").await;
        shop.send(reader, name).await;
        tenants.push(shop.tenant);
    }
    let mut on = store.place.database().unwrap().connect().await.unwrap();
    let (mut full, mut bound) = (0, 0);
    for table in TENANT_TABLES {
        let (name, key) = (table.name, table.column);
        let rows = number(&mut on, &format!("SELECT count(*) FROM {name}")).await;
        for role in Role::ALL {
            let mut as_role = session(&store.place, role).await;
            let first = may(role, name).into_iter().find_map(|may| match may {
                May::Whole("SELECT") => Some(key.to_owned()),
                May::Column("SELECT", column) => Some(column),
                _ => None,
            });
            let Some(column) = first else { continue };
            let counted = format!("SELECT count({column}) FROM {name} WHERE {column} IS NOT NULL");
            run(&mut as_role, "BEGIN").await.unwrap();
            enter(&mut as_role, role.name(), &tenants[..1]).await;
            let seen = number(&mut as_role, &counted).await;
            if role == Role::Brands {
                let mine = format!("SELECT count(*) FROM {name} WHERE {key} = '{}'", tenants[0].0);
                let mine = number(&mut on, &mine).await;
                assert_eq!(seen, mine, "{name}");
                bound += i64::from(mine > 0 && mine < rows);
            } else {
                let all = format!("SELECT count({column}) FROM {name}");
                assert_eq!(seen, number(&mut on, &all).await, "{role:?} in {name}");
                full += i64::from(rows > 0);
            }
        }
    }
    assert!(bound > 10 && full > 20, "there were rows to see: {bound}, {full}");
}
