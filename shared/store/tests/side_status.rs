//! The operator's view: numbers of every brand, by reach; no record is scanned for them.

#![expect(clippy::unwrap_used, reason = "a story fails by panicking")]

mod common;
#[macro_use]
mod side_support;

use parcours_domain::{MessageClass, Millis, QuarantineId, Timestamp, hash::sha256_head};
use parcours_store::{
    Backend, Backlog, BrandStatus, DocumentStatus, NewDocument, NewInbox, QuarantineEntry, Reached,
    StatusNumbers, Store, TimerChange, UnknownPolicy,
};
use parcours_testkit::{pg::TempDatabase, store::TempPlace};
use side_support::*;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

on_both!(
    every_number_is_counted_for_its_own_brand,
    a_reach_sees_its_own_brands_and_all_of_them,
    two_that_make_one_secret_at_once_make_one,
    the_last_use_of_a_key_is_kept,
);

fn waiting(count: u64, oldest: Timestamp) -> Backlog {
    Backlog { count, oldest: Some(oldest) }
}

async fn status(store: &Store, reached: Reached, now: Timestamp) -> Vec<BrandStatus> {
    let admin = store.admin();
    let mut brands = admin.status(reached, now).await.unwrap();
    admin.count_stuck(reached, &mut brands).await.unwrap();
    brands
}

fn set_aside(what: &str, code: &str) -> QuarantineEntry {
    QuarantineEntry {
        id: QuarantineId::v7(START, sha256_head(&[what.as_bytes()])),
        contact: None,
        origin: "ingest".to_owned(),
        code: code.to_owned(),
        detail: String::new(),
        payload: Vec::new(),
        key: None,
        body_hash: None,
    }
}

/// Three timers (one due, one later, one held), a run that has none, inbox rows, quarantine.
async fn fill_waiting(shop: &Shop) {
    let contact = shop.reader("anna").await;
    let inbox = |what: &str| NewInbox {
        tenant: shop.tenant,
        contact,
        source: sha256_head(&[b"source", what.as_bytes()]),
        kind: "click",
        ref_json: "{}".to_owned(),
        body: None,
    };
    shop.commit(contact, |commit| {
        let runs = ["due", "later", "held", "stuck"].map(run_of);
        for (run, due) in runs.into_iter().zip([at(-2), at(60), at(-5)]) {
            commit.timers.push(common::timer(run, 1, due));
        }
        commit.runs.extend(runs.map(|run| common::run_row(run, "waiting")));
        for (place, run) in commit.runs.iter_mut().enumerate() {
            run.key = place.to_string();
        }
        commit.inbox_new.extend([inbox("one"), inbox("two")]);
    })
    .await;
    let hold = TimerChange::Hold { run: run_of("held") };
    shop.commit(contact, |commit| commit.timers.push(hold)).await;
    let entries = [("a", "too_old"), ("b", "too_old"), ("c", "bad_value")];
    let entries = entries.map(|(what, code)| set_aside(what, code));
    shop.brand().quarantine_items(&entries, at(-3)).await.unwrap();
}

/// One message that may leave, one later, one claimed, one leaving, one of unknown outcome.
async fn fill_queue(shop: &Shop) {
    let contact = shop.reader("berta").await;
    for what in ["unknown", "leaving"] {
        shop.send(contact, what).await;
    }
    let claimed = shop.claim_some(1, 0).await;
    shop.dot(&claimed, 0).await;
    // Its reply never came: an hour later nobody knows.
    shop.settle(5_000, UnknownPolicy::Final).await;
    let claimed = shop.claim_some(1, 5_000).await;
    shop.dot(&claimed, 5_000).await;
    shop.send(contact, "claimed").await;
    assert_eq!(shop.claim_some(1, 5_000).await.len(), 1);
    shop.send(contact, "ready").await;
    let mut later = shop.message("later", "news", MessageClass::Marketing);
    later.not_before = at(10_000);
    shop.commit(contact, |commit| commit.sends.push(later)).await;
}

async fn every_number_is_counted_for_its_own_brand(store: Store) {
    let shop = Shop::open(store.clone()).await;
    let other = Shop::named(store.clone(), "books").await;
    fill_waiting(&shop).await;
    fill_queue(&other).await;
    let journey = NewDocument {
        kind: "Journey".to_owned(),
        name: name("welcome"),
        body_json: "{}".to_owned(),
        compiled: None,
        version: None,
    };
    other.brand().publish(vec![journey], None, START).await.unwrap();
    let paused = DocumentStatus::Paused;
    other.brand().set_document_status("Journey", &name("welcome"), paused, START).await.unwrap();
    store.admin().halt_brand(other.tenant, "too many complaints", START).await.unwrap();

    let brands = status(&store, Reached::Install, START).await;
    let names: Vec<_> = brands.iter().map(|one| one.brand.name.as_str()).collect();
    assert_eq!(names, ["books", "records"]);
    let quarantine = [("bad_value", 1), ("too_old", 2)];
    let expected = StatusNumbers {
        timers_due: waiting(1, at(-2)),
        timers_held: 1,
        // Two clicks, and the word of consent.
        inbox_live: waiting(3, START),
        quarantine: quarantine.map(|(code, n)| (code.to_owned(), waiting(n, at(-3)))).into(),
        runs_stuck: 1,
        ..StatusNumbers::default()
    };
    assert_eq!(brands[1].numbers, expected);
    assert_eq!(brands[0].brand.halt_reason.as_deref(), Some("too many complaints"));
    // A word of consent, and the outcome of the message that stays unknown.
    let inbox_live = brands[0].numbers.inbox_live;
    assert_eq!(inbox_live.count, 2);
    let expected = StatusNumbers {
        inbox_live,
        queue_ready: waiting(1, START),
        queue_later: 1,
        queue_claimed: 1,
        queue_leaving: 1,
        messages_unknown: 1,
        messages_unknown_recent: 1,
        journeys_paused: 1,
        ..StatusNumbers::default()
    };
    assert_eq!(brands[0].numbers, expected);

    // A month later the unknown one is no news; everything due is due.
    let later = status(&store, Reached::Install, START + Millis::days(30)).await;
    let numbers = &later[0].numbers;
    assert_eq!((numbers.messages_unknown, numbers.messages_unknown_recent), (1, 0));
    assert_eq!((numbers.queue_ready.count, numbers.queue_later), (2, 0));
    assert_eq!(later[1].numbers.timers_due, waiting(2, at(-2)));
}

async fn a_reach_sees_its_own_brands_and_all_of_them(store: Store) {
    let shop = Shop::open(store.clone()).await;
    let sister = Shop::named(store.clone(), "books").await;
    let stranger = store.admin().create_brand("elsewhere", "records", START).await.unwrap();
    for tenant in [shop.tenant, sister.tenant, stranger] {
        let entry = set_aside(&tenant.to_string(), "too_old");
        store.for_tenant(tenant).quarantine_items(&[entry], START).await.unwrap();
    }
    let organisation = store.admin().brand(shop.tenant).await.unwrap().unwrap().organisation;
    for (reached, seen) in [
        (Reached::Install, vec![sister.tenant, shop.tenant, stranger]),
        (Reached::Organisation(organisation), vec![sister.tenant, shop.tenant]),
        (Reached::Brand(stranger), vec![stranger]),
    ] {
        let brands = status(&store, reached, START).await;
        assert_eq!(brands.iter().map(|one| one.brand.tenant).collect::<Vec<_>>(), seen);
        assert!(brands.iter().all(|one| one.numbers.quarantined().count == 1), "{reached:?}");
    }
}

async fn two_that_make_one_secret_at_once_make_one(store: Store) {
    let shop = Shop::open(store).await;
    for round in 0..10 {
        let (brand, secret) = (shop.brand(), name(&format!("dkim-{round}")));
        let made = futures::future::join_all((0..4_u8).map(|n| {
            let (brand, secret) = (brand.clone(), secret.clone());
            async move { (n, brand.create_secret(&secret, &[n], START).await.unwrap()) }
        }))
        .await;
        let winners: Vec<_> = made.iter().filter(|(_, version)| version.is_some()).collect();
        assert_eq!(winners.len(), 1, "{made:?}");
        let (kept, version) = brand.open_secret(&secret).await.unwrap().unwrap();
        assert_eq!((kept.as_slice(), version), ([winners[0].0].as_slice(), 1));
    }
}

async fn the_last_use_of_a_key_is_kept(store: Store) {
    let admin = store.admin();
    let new = parcours_store::NewApiKey {
        organisation: None,
        tenant: None,
        kind: parcours_store::KeyKind::Secret,
        scopes: parcours_store::KeyScope::ALL.into(),
        label: "one".to_owned(),
        expires_at: None,
    };
    let (one, _) = admin.create_key(&new, START).await.unwrap();
    let (two, _) = admin.create_key(&new, START).await.unwrap();
    admin.keys_used(&[(one.id, at(5))]).await.unwrap();
    admin.keys_used(&[(one.id, at(3))]).await.unwrap();
    let used = |keys: Vec<parcours_store::ApiKey>| {
        [one.id, two.id].map(|id| keys.iter().find(|key| key.id == id).unwrap().last_used_at)
    };
    assert_eq!(used(admin.api_keys(None, None).await.unwrap()), [Some(at(5)), None]);
}

/// How many rows of each of these tables (with its partitions) were read by going through it from
/// end to end.
async fn scans(database: &TempDatabase, tables: &[&str]) -> Vec<(String, i64)> {
    let mut connection = database.connect().await.unwrap();
    let sql = "SELECT coalesce(p.relname, s.relname)::text AS name, \
               coalesce(sum(s.seq_tup_read), 0)::bigint AS n FROM pg_stat_user_tables s \
               LEFT JOIN pg_inherits i ON i.inhrelid = s.relid \
               LEFT JOIN pg_class p ON p.oid = i.inhparent GROUP BY 1 ORDER BY 1";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    rows.iter()
        .map(|row| (row.get::<String, _>("name"), row.get::<i64, _>("n")))
        .filter(|(name, _)| tables.contains(&name.as_str()))
        .collect()
}

/// 100,000 messages and runs and what goes with them, of 50 brands; few of them need a person.
async fn a_grown_install(connection: &mut PgConnection, now: Timestamp) {
    let ms = now.as_millis();
    let id =
        format!("(lpad(to_hex({ms}), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid");
    let brand = "md5('brand' || n % 50)::uuid";
    let from = "FROM generate_series(1, 100000) AS n";
    let fewer = "FROM generate_series(1, 20000) AS n";
    let statements = [
        format!(
            "INSERT INTO message (tenant_id, id, contact_id, origin, template, template_version, \
             sender, topic, class, channel, data, created_at, not_before, expires_at, status, \
             attempts, finished_at) SELECT {brand}, {id}, {id}, 'journey', 't', 1, 's', 'n', \
             'marketing', 'email', '', {ms}, {ms}, {ms}, \
             CASE WHEN n % 10000 = 0 THEN 'unknown' ELSE 'sent' END, 1, {ms} {from}"
        ),
        format!(
            "INSERT INTO run (tenant_id, id, contact_id, journey, version, run_key, live, status, \
             step, entered_at) SELECT {brand}, {id}, {id}, 'j', 1, '', \
             CASE WHEN n % 20 = 0 THEN 1 ELSE 0 END, 'waiting', 's', {ms} {from}"
        ),
        format!(
            "INSERT INTO timer (tenant_id, contact_id, run_id, journey, shard, seq, due_at, held) \
             SELECT {brand}, {id}, {id}, 'j', n % 16, 1, {ms} + n * 1000, \
             CASE WHEN n % 1000 = 0 THEN 1 ELSE 0 END {fewer}"
        ),
        format!(
            "INSERT INTO quarantine (tenant_id, id, contact_id, origin, code, detail, payload, \
             created_at, requeued_at) SELECT {brand}, {id}, {id}, 'event', 'c', '', 'payload', \
             {ms}, CASE WHEN n % 5000 = 0 THEN NULL ELSE {ms} END {fewer}"
        ),
        "VACUUM ANALYZE".to_owned(),
    ];
    for sql in statements {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_record_is_scanned_for_the_numbers() {
    let place = TempPlace::new(Backend::Postgres).await.unwrap();
    let database = place.database().unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let now = Timestamp::from_millis(i64::try_from(now).unwrap());
    Store::open(place.config()).await.unwrap().close().await;
    let mut connection = database.connect().await.unwrap();
    a_grown_install(&mut connection, now).await;
    drop(connection);
    let tables = ["message", "run", "quarantine"];
    let before = scans(database, &tables).await;
    assert_eq!(before.len(), tables.len(), "{before:?}");

    let store = Store::open(place.config()).await.unwrap();
    let begun = std::time::Instant::now();
    let mut brands = store.admin().status(Reached::Install, now).await.unwrap();
    let took = begun.elapsed();
    store.admin().count_stuck(Reached::Install, &mut brands).await.unwrap();
    println!("100,000 messages and runs: {took:?}, stuck runs {:?} more", begun.elapsed() - took);
    // Closing its connections makes the server count what they did.
    store.close().await;
    assert_eq!(scans(database, &tables).await, before);
}
