//! Who raises the wall: logins without rights, races, and databases of the version before. Each in
//! a server of its own, because roles belong to the whole server.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;
mod walls_support;

use std::str::FromStr as _;

use parcours_store::{
    CommitOutcome, LoadKey, LoadWhat, Store, StoreConfig, StoreError,
    wall::{Role, TENANT_TABLES},
};
use parcours_testkit::{
    pg::TempDatabase,
    store::{temp_brand, temp_contact},
};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

use common::event_commit;
use walls_support::{config, number, run, texts};

/// A server of its own, with a login of these rights that owns the database.
async fn server(login: &str, rights: &str) -> (TempDatabase, PgConnection, String) {
    let database = TempDatabase::with_settings("").await.unwrap();
    let url = database.owned_by(login, rights).await.unwrap();
    let admin = database.connect().await.unwrap();
    (database, admin, url)
}

/// A brand, a contact and an event, read back.
async fn works(store: &Store, brand: &str) {
    let tenant = temp_brand(store, brand).await.unwrap();
    let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
    let commit = event_commit(store, (tenant, contact), 0, "m1");
    assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
    let key = LoadKey { tenant, contact };
    let loaded = store.loader().load(vec![key], LoadWhat::State).await.unwrap();
    assert_eq!(loaded[0].revision, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_without_rights_is_told_what_an_administrator_has_to_run() {
    let (_database, mut admin, url) = server("app", "").await;
    let refused = Store::open(config(&url)).await.err().unwrap();
    let StoreError::Roles { login, sql } = &refused else { panic!("{refused}") };
    assert_eq!(login, "app");
    assert!(refused.to_string().contains(sql.as_str()), "{refused}");
    for role in Role::ALL {
        assert!(sql.contains(&format!("CREATE ROLE {} NOLOGIN;", role.name())), "{sql}");
    }
    assert_eq!(
        number(&mut admin, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").await,
        0
    );
    // Only a part of it is not enough, and what is left is said.
    let (roles, grant) = sql.split_once("GRANT").unwrap();
    run(&mut admin, roles).await.unwrap();
    let refused = Store::open(config(&url)).await.err().unwrap();
    let StoreError::Roles { sql: left, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*left, format!("GRANT{grant}"));
    run(&mut admin, left).await.unwrap();
    let store = Store::open(config(&url)).await.unwrap();
    works(&store, "one").await;
    // The login owns the tables, and sees nothing of any brand as itself.
    let options = PgConnectOptions::from_str(&url).unwrap();
    let mut login = options.options([("role", "none")]).connect().await.unwrap();
    let owned = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner = 'app'";
    assert!(number(&mut login, owned).await > 30);
    run(&mut admin, "ALTER ROLE app NOINHERIT").await.unwrap();
    let mut plain = PgConnectOptions::from_str(&url).unwrap().connect().await.unwrap();
    assert_eq!(number(&mut plain, "SELECT count(*) FROM contact").await, 0);
    assert_eq!(number(&mut plain, "SELECT count(*) FROM event_default").await, 0);
    assert_eq!(number(&mut admin, "SELECT count(*) FROM contact").await, 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_databases_of_one_server_make_the_roles_at_once() {
    let (_database, mut admin, url) = server("app", "CREATEROLE CREATEDB").await;
    let name = texts(&mut admin, "SELECT current_database()::text").await.remove(0);
    let mut urls = Vec::new();
    for number in 0..8 {
        run(&mut admin, &format!("CREATE DATABASE d{number} OWNER app")).await.unwrap();
        urls.push(url.replacen(&format!("/{name}?"), &format!("/d{number}?"), 1));
    }
    let opening = urls.iter().map(|url| tokio::spawn(Store::open(config(url))));
    for opened in futures::future::join_all(opening).await {
        let store = opened.unwrap().unwrap();
        works(&store, "one").await;
        store.close().await;
    }
    let mine = "SELECT count(*) FROM pg_auth_members WHERE member = 'app'::regrole";
    assert_eq!(number(&mut admin, mine).await, 10);
}

/// The database as the version before left it.
async fn before_the_wall(admin: &mut PgConnection) {
    run(admin, "DELETE FROM seaql_migrations WHERE version = 'v3'").await.unwrap();
    let undo = "DO $$ DECLARE t regclass; p record; BEGIN \
                FOR p IN SELECT polname, polrelid::regclass AS t FROM pg_policy LOOP \
                EXECUTE format('DROP POLICY %I ON %s', p.polname, p.t); END LOOP; \
                FOR t IN SELECT oid::regclass FROM pg_class WHERE relrowsecurity LOOP EXECUTE \
                format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', t); \
                END LOOP; END $$";
    run(admin, undo).await.unwrap();
    let roles = Role::ALL.map(Role::name).join(", ");
    let revoke = format!("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {roles}");
    run(admin, &revoke).await.unwrap();
}

const POLICIES: &str = "SELECT count(*) FROM pg_policy";

/// How many tables have rows of brands.
fn tables() -> i64 {
    i64::try_from(TENANT_TABLES.len()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_use_gets_the_wall_while_the_version_before_goes_on() {
    let (_database, mut admin, url) = server("app", "CREATEROLE NOINHERIT").await;
    let store = Store::open(config(&url)).await.unwrap();
    works(&store, "one").await;
    store.close().await;
    before_the_wall(&mut admin).await;
    let walled = "SELECT count(*) FROM pg_class WHERE relrowsecurity AND relforcerowsecurity";
    assert_eq!(number(&mut admin, walled).await, 0);

    // A process of that version, in the middle of a transaction that has some tables and soon wants
    // others. The migration gives way, again and again; the transaction does not wait long.
    let options = PgConnectOptions::from_str(&url).unwrap().application_name("parcours");
    let mut old = options.connect().await.unwrap();
    run(&mut old, "BEGIN; SET LOCAL lock_timeout = '5s'; LOCK TABLE timer IN ROW EXCLUSIVE MODE")
        .await
        .unwrap();
    let opening = tokio::spawn(Store::open(config(&url)));
    let gave_way = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' \
                    AND relation = 'timer'::regclass AND NOT granted";
    while number(&mut admin, gave_way).await == 0 {
        tokio::task::yield_now().await;
    }
    let tables_left = "LOCK TABLE contact, address, timer IN ROW EXCLUSIVE MODE";
    run(&mut old, tables_left).await.unwrap();
    assert_eq!(number(&mut admin, walled).await, 0, "all of the wall or nothing");
    run(&mut old, "COMMIT").await.unwrap();
    let store = opening.await.unwrap().unwrap();

    // Both versions work; whoever knows of the wall stands before it already.
    assert!(number(&mut admin, walled).await > 60, "its partitions, too");
    assert_eq!(number(&mut admin, POLICIES).await, 3 * tables());
    assert_eq!(number(&mut old, "SELECT count(*) FROM contact").await, 1);
    run(&mut old, "UPDATE contact SET created_at = created_at").await.unwrap();
    let brands = PgConnectOptions::from_str(&url).unwrap();
    let mut brands = brands.options([("role", Role::Brands.name())]).connect().await.unwrap();
    assert_eq!(number(&mut brands, "SELECT count(*) FROM contact").await, 0);
    works(&store, "two").await;
    assert_eq!(store.admin().brands(None).await.unwrap().len(), 2, "what was there is there");

    // As long as it is there, and no longer.
    let reader = || StoreConfig { worker_role: false, ..config(&url) };
    Store::open(reader()).await.unwrap().close().await;
    assert_eq!(number(&mut admin, POLICIES).await, 3 * tables());
    old.close().await.unwrap();
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'parcours'";
    while number(&mut admin, gone).await > 0 {
        tokio::task::yield_now().await;
    }
    let second = Store::open(reader()).await.unwrap();
    while number(&mut admin, POLICIES).await > 2 * tables() {
        tokio::task::yield_now().await;
    }
    let mut plain = PgConnectOptions::from_str(&url).unwrap().connect().await.unwrap();
    assert_eq!(number(&mut plain, "SELECT count(*) FROM contact").await, 0);
    works(&store, "three").await;
    second.close().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_has_no_gap_in_its_wall() {
    let (_database, mut admin, url) = server("app", "CREATEROLE").await;
    Store::open(config(&url)).await.unwrap().close().await;
    assert_eq!(number(&mut admin, POLICIES).await, 2 * tables());
    // And once more is no harm.
    Store::open(config(&url)).await.unwrap().close().await;
    assert_eq!(number(&mut admin, POLICIES).await, 2 * tables());
}
