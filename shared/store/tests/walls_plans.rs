//! Behind the wall hot statements still find their rows by whole keys: with many rows in a few
//! brands, what they read is counted by PostgreSQL itself.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;
mod side_support;

use std::collections::BTreeMap;

use parcours_domain::{ContactId, EventKey, InboxId, RunId, SendOutcome, TenantId};
use parcours_store::{Backend, CommitOutcome, LoadKey, LoadWhat, Store, TimerChange};
use parcours_testkit::store::{TempPlace, temp_contact};
use sqlx::Row as _;
use uuid::Uuid;

use common::{NOW, commit_all, event, execute, run_id, run_row, state_commit, timer};
use side_support::{START, Shop, finished};

/// Contacts of each of the three brands, with what belongs to each.
const CONTACTS: i64 = 8_000;

/// Whom the hot statements are about, of each brand.
const ASKED: usize = 60;

/// Fills a brand by SQL.
async fn fill(place: &TempPlace, brand: TenantId) {
    for statement in filled_contacts(brand).into_iter().chain(filled_queues(brand)) {
        execute(place, &statement).await;
    }
}

/// A brand as SQL, of all its contacts, and a contact's id.
fn named(brand: TenantId) -> [String; 3] {
    let of = format!("FROM generate_series(1, {CONTACTS}) AS i");
    [format!("'{}'::uuid", brand.0), of, format!("md5('{}' || i)::uuid", brand.0)]
}

fn filled_contacts(brand: TenantId) -> Vec<String> {
    let [tenant, of, id] = named(brand);
    let hash = "decode(md5(i::text) || md5(i::text), 'hex')";
    vec![
        format!(
            "INSERT INTO contact (tenant_id, id, shard, handle, created_at) \
             SELECT {tenant}, {id}, 0, decode(md5(i::text), 'hex'), 0 {of}"
        ),
        format!(
            "INSERT INTO contact_state (tenant_id, contact_id, shard, revision, seq, state, \
             updated_at) SELECT {tenant}, {id}, 0, 1, 1, '', 0 {of}"
        ),
        format!(
            "INSERT INTO identity (tenant_id, kind, value_hmac, key_version, contact_id, \
             created_at) SELECT {tenant}, 'user_id', {hash}, 1, {id}, 0 {of}"
        ),
        format!(
            "INSERT INTO address (tenant_id, channel, hmac, key_version, version, created_at) \
             SELECT {tenant}, 'email', {hash}, 1, 1, 0 {of}"
        ),
        format!(
            "INSERT INTO contact_address (tenant_id, contact_id, channel, hmac, since) \
             SELECT {tenant}, {id}, 'email', {hash}, 0 {of}"
        ),
        format!(
            "INSERT INTO consent_head (tenant_id, contact_id, channel, version) \
             SELECT {tenant}, {id}, 'email', 1 {of}"
        ),
        format!(
            "INSERT INTO event_key (tenant_id, key, day, contact_id, seq, body_hash, event_id, \
             received_at) SELECT {tenant}, decode(md5('k' || i), 'hex'), {}, {id}, 1, '', {id}, 0 \
             {of}",
            NOW.utc_day()
        ),
        format!(
            "INSERT INTO run (tenant_id, id, contact_id, journey, version, run_key, live, status, \
             step, entered_at) SELECT {tenant}, md5('r{0}' || i)::uuid, {id}, 'old', 1, '', \
             1, 'waiting', 'wait', 0 {of}",
            brand.0
        ),
    ]
}

fn filled_queues(brand: TenantId) -> Vec<String> {
    let [tenant, of, id] = named(brand);
    vec![
        format!(
            "INSERT INTO timer (tenant_id, contact_id, run_id, journey, shard, seq, due_at, held) \
             SELECT {tenant}, {id}, {id}, 'old', i % 16, 1, {}, 0 {of}",
            NOW.as_millis() + 86_400_000
        ),
        format!(
            "INSERT INTO inbox (tenant_id, id, contact_id, shard, source, lane, kind, ref, \
             created_at) SELECT {tenant}, md5('i{0}' || i)::uuid, {id}, i % 16, \
             decode(md5('{0}' || i), 'hex'), 1, 'click', '{{}}', 0 {of}",
            brand.0
        ),
        format!(
            "INSERT INTO send_queue (tenant_id, message_id, lane, class, not_before, expires_at, \
             phase, attempts) SELECT {tenant}, md5('q{1}' || i)::uuid, 0, 'marketing', {0}, \
             {0}, 0, 0 {of}",
            START.as_millis() + 86_400_000_000,
            brand.0
        ),
    ]
}

/// Rows that were read, by table: by scanning it, and by its indexes.
async fn read(place: &TempPlace) -> BTreeMap<String, (i64, i64)> {
    let mut connection = place.database().unwrap().connect().await.unwrap();
    // A session's statistics are all there once it has ended, a moment after it was closed.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name LIKE 'parcours%'";
    while sqlx::query(left).fetch_one(&mut connection).await.unwrap().get::<i64, _>(0) > 0 {
        tokio::task::yield_now().await;
    }
    let text = "SELECT s.relname::text AS t, coalesce(s.seq_tup_read, 0)::bigint AS seq, \
                coalesce((SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i \
                WHERE i.relid = s.relid), 0)::bigint AS idx FROM pg_stat_user_tables s";
    let rows = sqlx::query(text).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| (row.get("t"), (row.get("seq"), row.get("idx")))).collect()
}

async fn contacts(place: &TempPlace, tenant: TenantId) -> Vec<ContactId> {
    let mut connection = place.database().unwrap().connect().await.unwrap();
    let text =
        "SELECT id FROM contact WHERE tenant_id = $1 AND created_at = 0 ORDER BY id LIMIT $2";
    let asked = i64::try_from(ASKED).unwrap();
    let rows = sqlx::query(text).bind(tenant.0).bind(asked).fetch_all(&mut connection).await;
    rows.unwrap().iter().map(|row| ContactId(row.get::<Uuid, _>("id"))).collect()
}

/// What happens all the time: look somebody up, load, commit, claim, final commit, end.
async fn work(store: &Store, shops: &[Shop], asked: &[(TenantId, ContactId)]) {
    for shop in shops {
        temp_contact(&shop.brand(), "known").await.unwrap();
        temp_contact(&shop.brand(), &format!("new {}", Uuid::new_v4())).await.unwrap();
    }
    let keys = asked.iter().map(|&(tenant, contact)| LoadKey { tenant, contact }).collect();
    let loaded = store.loader().load(keys, LoadWhat::StateAndInbox).await.unwrap();
    assert!(loaded.iter().all(|one| one.revision == 1 && one.inbox.len() == 1));
    let known = asked
        .iter()
        .map(|(tenant, contact)| (*tenant, EventKey::of(&contact.to_string()), NOW.utc_day()));
    store.loader().known_keys(known.collect()).await.unwrap();
    let commits = asked.iter().zip(&loaded).map(|(&who, loaded)| {
        let mut commit = state_commit(store, who, 1);
        commit.seq = 2;
        commit.events.push(event(&who.1.to_string(), 2));
        let run = run_id();
        commit.runs.push(run_row(run, "waiting"));
        commit.timers.push(timer(run, 1, NOW));
        commit.timers.push(TimerChange::Cancel { run: RunId(who.1.0) });
        commit.timers.push(TimerChange::Hold { run: run_id() });
        commit.inbox_done.extend(loaded.inbox.iter().map(|row| row.id));
        commit
    });
    let (mut marks, mut woken) = (Default::default(), Vec::new());
    for _ in 0..2 {
        let (found, next) = store.sweep().inbox_contacts(marks, (50, 50)).await.unwrap();
        woken.extend(found);
        marks = next;
    }
    let outcomes = commit_all(store, commits.collect()).await;
    assert!(outcomes.iter().all(|outcome| *outcome == CommitOutcome::Done), "{outcomes:?}");
    assert!(!woken.is_empty(), "the inbox has rows of this worker's shards");
    for shop in shops {
        let claimed = shop.claim_some(20, 60).await;
        assert_eq!(claimed.len(), 20);
        // Nothing more is ready, however much waits for tomorrow, here and with the others.
        assert!(shop.claim_some(20, 60).await.is_empty());
        shop.dot(&claimed, 60).await;
        let ends = claimed.iter().map(|one| finished(one, SendOutcome::Sent)).collect();
        assert!(store.delivery().finish(ends).await.unwrap().into_iter().all(|held| held));
    }
}

/// What happens although nothing waits.
async fn idle(store: &Store, shops: &[Shop]) {
    let nobody = ContactId(Uuid::nil());
    let asked = shops.iter().map(|shop| LoadKey { tenant: shop.tenant, contact: nobody });
    store.loader().load(asked.collect(), LoadWhat::StateAndInbox).await.unwrap();
    let found = store.sweep().inbox_contacts(Default::default(), (50, 50)).await.unwrap();
    assert!(found.0.is_empty());
    for shop in shops {
        let contact = shop.visitor(&Uuid::new_v4().to_string()).await;
        let mut commit = state_commit(store, (shop.tenant, contact), 0);
        commit.seq = 1;
        commit.inbox_done.push(InboxId(Uuid::nil()));
        commit.timers.push(TimerChange::Cancel { run: run_id() });
        let outcomes = commit_all(store, vec![commit]).await;
        assert_eq!(outcomes, [CommitOutcome::Stale], "it had no such row");
        assert!(shop.claim_some(20, 60).await.is_empty());
    }
}

/// Since `before` no table was read as a whole, and by index little more than what was asked for.
async fn assert_read_little(
    place: &TempPlace,
    before: &BTreeMap<String, (i64, i64)>,
    asked: usize,
) {
    let least = i64::try_from(asked).unwrap();
    let mut looked = 0;
    for (table, (scanned, by_index)) in read(place).await {
        let was = before.get(&table).copied().unwrap_or_default();
        let (scanned, by_index) = (scanned - was.0, by_index - was.1);
        assert!(scanned < 2_000, "{table}: {scanned} rows were scanned");
        assert!(by_index < 3_000, "{table}: {by_index} rows were read by index");
        looked += i64::from(by_index >= least);
    }
    assert!(looked >= 3, "the statistics are of this work: {looked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_statements_read_no_more_than_they_are_about() {
    let place = TempPlace::new(Backend::Postgres).await.unwrap();
    let store = Store::open(place.config()).await.unwrap();
    let (mut tenants, mut asked) = (Vec::new(), Vec::new());
    for name in ["one", "two", "three"] {
        let shop = Shop::named(store.clone(), name).await;
        temp_contact(&shop.brand(), "known").await.unwrap();
        fill(&place, shop.tenant).await;
        for user in 0..20 {
            let reader = shop.reader(&format!("reader{user}")).await;
            shop.send(reader, &format!("{name}{user}")).await;
        }
        tenants.push((name, shop.tenant));
        let some = contacts(&place, shop.tenant).await;
        asked.extend(some.into_iter().map(|contact| (shop.tenant, contact)));
    }
    execute(&place, "VACUUM ANALYZE").await;
    store.close().await;
    let before = read(&place).await;
    // The identities are not in the memory of this one.
    let store = Store::open(place.config()).await.unwrap();
    let mut shops = Vec::new();
    for (name, tenant) in tenants {
        let shop = Shop::named(store.clone(), name).await;
        assert_eq!(shop.tenant, tenant);
        shops.push(shop);
    }
    work(&store, &shops, &asked).await;
    drop(shops);
    store.close().await;
    assert_read_little(&place, &before, asked.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_made_while_tables_were_empty_serve_when_they_are_full() {
    let place = TempPlace::new(Backend::Postgres).await.unwrap();
    let store = Store::open(place.config()).await.unwrap();
    let mut shops = Vec::new();
    for name in ["one", "two", "three"] {
        let shop = Shop::named(store.clone(), name).await;
        for user in 0..20 {
            let reader = shop.reader(&format!("reader{user}")).await;
            shop.send(reader, &format!("{name}{user}")).await;
        }
        shops.push(shop);
    }
    // The worst time to make a plan: each queue was used, is empty, and was counted as empty.
    let queues = ["inbox", "timer", "send_queue", "run", "event"];
    for queue in queues {
        execute(&place, &format!("DELETE FROM {queue}")).await;
    }
    execute(&place, &format!("VACUUM ANALYZE {}", queues.join(", "))).await;
    // Each connection of the pool plans once; a plan holds until there are new statistics.
    for _ in 0..3 {
        idle(&store, &shops).await;
    }
    for shop in &shops {
        for user in 0..20 {
            let reader = shop.reader(&format!("reader{user}")).await;
            shop.send(reader, &format!("late {user} of {}", shop.tenant)).await;
        }
    }
    for shop in &shops {
        fill(&place, shop.tenant).await;
    }
    let mut asked = Vec::new();
    for shop in &shops {
        let some = contacts(&place, shop.tenant).await;
        asked.extend(some.into_iter().map(|contact| (shop.tenant, contact)));
    }
    work(&store, &shops, &asked).await;
    drop(shops);
    store.close().await;
    assert_read_little(&place, &BTreeMap::new(), asked.len()).await;
}
