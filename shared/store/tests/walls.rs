//! The wall between brands, as the database's own catalogue and its answers show it.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;
mod walls_support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parcours_store::{
    Backend, CommitOutcome, Fault, FaultPoint, Faults, Store, StoreConfig,
    wall::{Role, TENANT_TABLES},
};
use parcours_testkit::store::{TempPlace, TempStore, temp_brand, temp_contact, temp_store};

use common::{commit_all, count, event_commit, load, state_commit};
use walls_support::{REFUSED, enter, number, run, session, texts};

/// Unique keys of tables with rows of brands that do not begin with the brand, and why.
const OTHER_KEYS: [(&str, &str); 3] = [
    ("api_key_pkey", "a key above brands has no brand; its id is random"),
    ("api_key_prefix_key", "a key is looked up before its brand is known; the prefix is random"),
    ("brand_organisation_id_name_key", "a brand's name is its organisation's; only control has it"),
];

async fn store() -> TempStore {
    temp_store(Backend::Postgres).await.unwrap()
}

fn named(names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("'{name}'")).collect();
    names.join(", ")
}

#[tokio::test]
async fn every_table_with_rows_of_brands_is_behind_the_wall() {
    let store = store().await;
    let mut on = store.place.database().unwrap().connect().await.unwrap();
    let with_brand = "FROM pg_class c WHERE c.relkind IN ('r', 'p') \
                      AND c.relnamespace = 'public'::regnamespace AND EXISTS (SELECT 1 \
                      FROM pg_attribute a WHERE a.attrelid = c.oid \
                      AND a.attname IN ('tenant_id', 'scope_id'))";
    let text = format!("SELECT c.relname::text {with_brand} AND NOT c.relispartition");
    let found: BTreeSet<String> = texts(&mut on, &text).await.into_iter().collect();
    let listed: BTreeSet<String> =
        TENANT_TABLES.iter().map(|table| table.name.to_owned()).collect();
    assert_eq!(found, listed, "the tables in the database, and those in the closed list");
    let open = format!(
        "SELECT c.relname::text {with_brand} \
         AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"
    );
    assert_eq!(texts(&mut on, &open).await, [""; 0], "tables without both flags");
    for table in TENANT_TABLES {
        let policies = format!(
            "SELECT polname || ' ' || polcmd::text || ' ' || polpermissive || ' ' || \
             (pg_get_expr(polqual, polrelid) IS NOT NULL) || ' ' || \
             (pg_get_expr(polwithcheck, polrelid) IS NOT NULL) || ' ' || \
             (0 = ANY (polroles)) FROM pg_policy WHERE polrelid = '{}'::regclass ORDER BY 1",
            table.name
        );
        let both = ["brands * true true true false", "doors * true true true false"];
        assert_eq!(texts(&mut on, &policies).await, both, "{}", table.name);
    }
    // Who may use the policy that asks for no list.
    let unbound = "SELECT DISTINCT p.polrelid::regclass::text FROM pg_policy p \
                   WHERE 'parcours_brands'::regrole = ANY (p.polroles) \
                   AND pg_get_expr(p.polqual, p.polrelid) NOT LIKE '%parcours.tenants%'";
    assert_eq!(texts(&mut on, unbound).await, [""; 0]);
}

#[tokio::test]
async fn the_list_is_read_once_for_a_statement_and_rows_are_not_looked_up_by_it() {
    let store = store().await;
    let tenant = temp_brand(&store, "one").await.unwrap();
    let mut pooled = session(&store.place, Role::Brands).await;
    run(&mut pooled, "BEGIN; SET LOCAL enable_seqscan = off").await.unwrap();
    enter(&mut pooled, Role::Brands.name(), &[tenant]).await;
    for table in TENANT_TABLES.iter().filter(|table| table.brands.contains("SELECT")) {
        let (name, key) = (table.name, table.column);
        let explain = format!("EXPLAIN SELECT {key} FROM {name} WHERE {key} = '{}'", tenant.0);
        let plan = texts(&mut pooled, &explain).await.join("\n");
        assert!(plan.contains("InitPlan") && plan.contains(" = ANY ($0)) IS TRUE"), "{plan}");
        let by_list = |line: &str| line.contains("Index Cond") && line.contains("ANY");
        assert!(!plan.lines().any(by_list), "{name}: {plan}");
    }
}

#[tokio::test]
async fn no_partition_is_a_way_around() {
    let store = store().await;
    let mut on = store.place.database().unwrap().connect().await.unwrap();
    let partitions = "FROM pg_class c WHERE c.relispartition AND c.relkind = 'r'";
    assert!(number(&mut on, &format!("SELECT count(*) {partitions}")).await > 30);
    let granted = format!(
        "SELECT c.relname::text {partitions} AND c.relacl IS NOT NULL OR c.relispartition \
         AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL)"
    );
    assert_eq!(texts(&mut on, &granted).await, [""; 0], "somebody else may use these");
    let policies = "SELECT count(*) FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid \
                    WHERE c.relispartition";
    assert_eq!(number(&mut on, policies).await, 0);
    // All of these were made after the policies; those from before are in `walls_logins`.
    for role in Role::ALL {
        let mut as_role = session(&store.place, role).await;
        let refused = run(&mut as_role, "SELECT tenant_id FROM event_default").await;
        assert_eq!(refused, Err(REFUSED.to_owned()), "{role:?}");
    }
}

#[tokio::test]
async fn the_roles_own_nothing_and_bypass_nothing() {
    let store = store().await;
    let mut on = store.place.database().unwrap().connect().await.unwrap();
    let names = named(Role::ALL.map(Role::name));
    let plain = format!(
        "SELECT count(*) FROM pg_roles WHERE rolname IN ({names}) AND NOT (rolsuper \
         OR rolbypassrls OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication)"
    );
    assert_eq!(number(&mut on, &plain).await, 10);
    let owned = format!(
        "SELECT classid::regclass || ' ' || objid FROM pg_shdepend WHERE deptype = 'o' \
         AND refclassid = 'pg_authid'::regclass \
         AND refobjid IN (SELECT oid FROM pg_roles WHERE rolname IN ({names}))"
    );
    assert_eq!(texts(&mut on, &owned).await, [""; 0]);
    let members = format!(
        "SELECT roleid::regrole::text FROM pg_auth_members WHERE member IN \
         (SELECT oid FROM pg_roles WHERE rolname IN ({names}))"
    );
    assert_eq!(texts(&mut on, &members).await, [""; 0], "what they are members of");
}

#[tokio::test]
async fn nothing_leads_around_the_wall() {
    let store = store().await;
    let mut on = store.place.database().unwrap().connect().await.unwrap();
    let views = "SELECT relname::text FROM pg_class WHERE relkind IN ('v', 'm') \
                 AND relnamespace = 'public'::regnamespace";
    assert_eq!(texts(&mut on, views).await, [""; 0], "views read as their owner");
    let definers = "SELECT proname::text FROM pg_proc WHERE prosecdef \
                    AND pronamespace = 'public'::regnamespace";
    assert_eq!(texts(&mut on, definers).await, [""; 0], "functions that run as their owner");
    // A unique key tells whoever meets it that the value is there.
    let tables = named(TENANT_TABLES.iter().map(|table| table.name));
    let keys = format!(
        "SELECT i.indexrelid::regclass::text FROM pg_index i \
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
         WHERE i.indisunique AND i.indrelid IN (SELECT to_regclass(t) \
         FROM unnest(ARRAY[{tables}]) t) AND a.attname NOT IN ('tenant_id', 'scope_id') ORDER BY 1"
    );
    assert_eq!(texts(&mut on, &keys).await, OTHER_KEYS.map(|(key, _)| key));
    let references = format!(
        "SELECT k.conname::text FROM pg_constraint k WHERE k.contype = 'f' \
         AND k.confrelid IN (SELECT to_regclass(t) FROM unnest(ARRAY[{tables}]) t) \
         AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = k.conrelid \
         AND a.attnum = ANY (k.conkey) AND a.attname = 'tenant_id')"
    );
    assert_eq!(texts(&mut on, &references).await, [""; 0], "foreign keys do not ask policies");
}

#[tokio::test]
async fn without_a_list_there_is_nothing() {
    let store = store().await;
    let (one, two) = (temp_brand(&store, "one").await, temp_brand(&store, "two").await);
    let (one, two) = (one.unwrap(), two.unwrap());
    for tenant in [one, two] {
        temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
    }
    let mut pooled = session(&store.place, Role::Brands).await;
    let contacts = "SELECT count(*) FROM contact";
    assert_eq!(number(&mut pooled, contacts).await, 0, "a fresh session");
    for (list, seen) in [(vec![one], 1), (vec![one, two], 2), (vec![], 0)] {
        for end in ["COMMIT", "ROLLBACK"] {
            run(&mut pooled, "BEGIN").await.unwrap();
            enter(&mut pooled, Role::Brands.name(), &list).await;
            assert_eq!(number(&mut pooled, contacts).await, seen);
            let other = "UPDATE contact SET created_at = created_at + 1";
            assert_eq!(run(&mut pooled, other).await, Ok(seen.unsigned_abs()));
            run(&mut pooled, end).await.unwrap();
            // Not null any more, and no list all the same.
            let left = "SELECT coalesce(current_setting('parcours.tenants', true), 'null')";
            assert_eq!(texts(&mut pooled, left).await, [""]);
            assert_eq!(number(&mut pooled, contacts).await, 0, "after {end}");
            assert_eq!(run(&mut pooled, other).await, Ok(0));
            let new = format!(
                "INSERT INTO send_key (tenant_id, key, message_id) VALUES ('{}', '', '{}')",
                one.0, one.0
            );
            assert_eq!(run(&mut pooled, &new).await, Err(REFUSED.to_owned()));
        }
    }
    // A role of a transaction ends with it, too.
    run(&mut pooled, "BEGIN").await.unwrap();
    enter(&mut pooled, Role::Backup.name(), &[]).await;
    assert_eq!(number(&mut pooled, contacts).await, 2);
    run(&mut pooled, "COMMIT").await.unwrap();
    assert_eq!(texts(&mut pooled, "SELECT current_user::text").await, [Role::Brands.name()]);
    assert_eq!(number(&mut pooled, contacts).await, 0);
}

/// Whatever is said for a whole session would still be said when somebody else has it.
#[test]
fn nothing_is_set_for_longer_than_a_transaction() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut open = vec![root.join("shared"), root.join("services")];
    let (mut read, mut set) = (0, 0);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let inside = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        if !inside.ends_with(".rs") || !inside.contains("/src/") {
            continue;
        }
        read += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join(" ");
        for call in code.split("set_config(").skip(1) {
            let arguments = call.split(')').next().unwrap();
            assert!(arguments.ends_with(", true"), "{inside}: set_config({arguments})");
            set += 1;
        }
        let code = code.to_lowercase();
        for wrong in ["set parcours.", "set role ", "set session ", "set local parcours."] {
            assert!(!code.contains(wrong), "{inside}: {wrong}");
        }
    }
    assert!(read > 200 && set >= 2, "{read} files, {set} calls");
}

/// Leaves a brand out of a batch's list while it is on.
#[derive(Default)]
struct Broken(AtomicBool);

impl Faults for Broken {
    fn at(&self, point: FaultPoint) -> Option<Fault> {
        let broken = point == FaultPoint::BatchBrands && self.0.load(Ordering::SeqCst);
        broken.then_some(Fault::Fail)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_reaches_no_brand_outside_its_list() {
    let place = TempPlace::new(Backend::Postgres).await.unwrap();
    let broken = Arc::new(Broken::default());
    let faults: Arc<dyn Faults> = Arc::<Broken>::clone(&broken);
    let config = StoreConfig { lanes: 1, faults: Some(faults), ..place.config() };
    let store = Store::open(config).await.unwrap();
    let mut people = Vec::new();
    for name in ["one", "two"] {
        let tenant = temp_brand(&store, name).await.unwrap();
        people.push((tenant, temp_contact(&store.for_tenant(tenant), "anna").await.unwrap()));
    }
    // The list lacks the greatest; with a row of that brand, the whole batch is refused.
    people.sort();
    let events = || people.iter().map(|who| event_commit(&store, *who, 0, "m1")).collect();
    broken.0.store(true, Ordering::SeqCst);
    let refused = commit_all(&store, events()).await;
    assert_eq!(refused[1], CommitOutcome::Unknown, "{refused:?}");
    for table in ["event", "event_key", "contact_state"] {
        let sql = format!("SELECT count(*) FROM {table} WHERE tenant_id = '{}'", people[1].0.0);
        assert_eq!(count(&place, &sql).await, 0, "{table}");
    }
    broken.0.store(false, Ordering::SeqCst);
    // Alone or in the batch that was refused, the other one may have come through.
    let first = load(&store, people[0].0, people[0].1).await.revision;
    let mut again: Vec<_> = events();
    if first == 1 {
        again.remove(0);
    }
    assert!(commit_all(&store, again).await.iter().all(|one| *one == CommitOutcome::Done));
    // A row that is there is not found, let alone written.
    broken.0.store(true, Ordering::SeqCst);
    let states = people.iter().map(|who| state_commit(&store, *who, 1)).collect();
    let moved = commit_all(&store, states).await;
    assert_eq!(moved[1], CommitOutcome::Stale, "{moved:?}");
    let two = load(&store, people[1].0, people[1].1).await;
    assert_eq!((two.revision, two.state.as_deref()), (1, Some(b"state after 0".as_slice())));
}
