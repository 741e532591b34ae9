//! Opening: one owner, the right key, settings that keep what was acknowledged.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use parcours_testkit::on_both_backends;

on_both_backends!(
    a_second_process_on_a_file_is_refused_and_told_by_whom,
    a_killed_worker_is_succeeded_under_a_higher_epoch,
    a_wrong_root_key_is_refused,
    a_store_opens_again_as_what_it_was,
    the_product_clock_is_kept_with_the_install,
    a_full_disk_does_nothing_by_halves,
    a_store_of_a_newer_version_is_refused,
);

mod checks {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
        time::Duration,
    };

    use parcours_domain::Timestamp;
    use parcours_store::{
        Backend, CommitOutcome, KeyFault, RootKeySource, Store, StoreConfig, StoreError,
    };
    use parcours_testkit::store::{TempPlace, temp_brand, temp_contact, temp_store};

    use super::common::*;

    pub async fn a_second_process_on_a_file_is_refused_and_told_by_whom(backend: Backend) {
        let place = TempPlace::new(backend).await.unwrap();
        let first = Store::open(place.config()).await.unwrap();
        if backend == Backend::Sqlite {
            let refused = Store::open(place.config()).await.err().expect("refused");
            let StoreError::Held { by } = &refused else { panic!("{refused}") };
            assert!(by.contains(&format!("process {}", std::process::id())), "{by}");
        }
        // Another role shares a PostgreSQL, and owns no shard there; a SQLite file it cannot.
        let other = Store::open(StoreConfig { worker_role: false, ..place.config() }).await;
        match backend {
            Backend::Sqlite => assert!(matches!(other, Err(StoreError::Held { .. }))),
            Backend::Postgres => {
                let other = other.unwrap();
                let tenant = temp_brand(&other, "one").await.unwrap();
                let contact = temp_contact(&other.for_tenant(tenant), "anna").await.unwrap();
                let commit = event_commit(&other, (tenant, contact), 0, "m1");
                let outcome = other.committer().commit(commit.clone()).await;
                assert_eq!(outcome, CommitOutcome::Moved);
                assert_eq!(first.committer().commit(commit).await, CommitOutcome::Done);
                other.close().await;
            }
        }
        first.close().await;
        Store::open(place.config()).await.expect("free again").close().await;
    }

    pub async fn a_killed_worker_is_succeeded_under_a_higher_epoch(backend: Backend) {
        let place = TempPlace::new(backend).await.unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_process_that_holds_the_store", "--exact", "--ignored", "--nocapture"])
            .env("HELD_URL", place.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("holding")), "the child did not open");
        if backend == Backend::Sqlite {
            let held = Store::open(place.config()).await.err().expect("refused");
            let StoreError::Held { by } = &held else { panic!("{held}") };
            assert!(by.contains(&format!("process {}", child.id())), "{by}");
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let before = count(&place, "SELECT min(epoch) FROM shard").await;
        let store = Store::open(place.config()).await.expect("the holder is dead");
        // At once when its session is seen to be gone, otherwise when its beat has stood still.
        let mut held = store.held();
        let all = held.wait_for(|held| held.len() == 16);
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("it has all").unwrap();
        assert_eq!(count(&place, "SELECT min(epoch) FROM shard").await, before + 1);
        let alive = "SELECT count(*) FROM worker WHERE dead_at IS NULL";
        assert_eq!(count(&place, alive).await, 1);
        // What the killed one had committed is there.
        let tenant = temp_brand(&store, "one").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        assert_eq!(load(&store, tenant, contact).await.revision, 1);
    }

    pub async fn a_wrong_root_key_is_refused(backend: Backend) {
        let place = TempPlace::new(backend).await.unwrap();
        Store::open(place.config()).await.unwrap().close().await;
        let wrong = RootKeySource::Hex("ff".repeat(32));
        let refused = Store::open(StoreConfig { root_key: wrong, ..place.config() }).await;
        let refused = refused.err().expect("refused");
        assert!(matches!(refused, StoreError::Key(KeyFault::WrongRoot)), "{refused}");
        // A lost key file is not replaced by a new key.
        let dir = tempfile::tempdir().unwrap();
        let file = RootKeySource::File(dir.path().join("root.key"), true);
        let refused = Store::open(StoreConfig { root_key: file, ..place.config() }).await;
        assert!(matches!(refused.err(), Some(StoreError::Key(KeyFault::Missing(_)))));
        assert!(!dir.path().join("root.key").exists());
        Store::open(place.config()).await.expect("the right key opens").close().await;
    }

    pub async fn a_store_opens_again_as_what_it_was(backend: Backend) {
        let place = TempPlace::new(backend).await.unwrap();
        let store = Store::open(place.config()).await.unwrap();
        let (install, incarnation) = (store.install_id(), store.incarnation());
        let tenant = temp_brand(&store, "one").await.unwrap();
        let sealed = store.keys(tenant).await.unwrap().cipher.seal(b"aad", b"text").unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        store.close().await;
        let config = StoreConfig { shards: 64, ..place.config() };
        let store = Store::open(config).await.unwrap();
        assert_eq!((store.install_id(), store.shards()), (install, 16));
        assert_ne!(store.incarnation(), incarnation);
        let keys = store.keys(tenant).await.unwrap();
        assert_eq!(keys.cipher.open(b"aad", &sealed).unwrap(), b"text");
        assert_eq!(temp_contact(&store.for_tenant(tenant), "anna").await.unwrap(), contact);
        store.ping().await.unwrap();
    }

    pub async fn the_product_clock_is_kept_with_the_install(backend: Backend) {
        let place = TempPlace::new(backend).await.unwrap();
        let at = |ms| Timestamp::from_millis(ms);
        let config =
            StoreConfig { product_clock_start: Some(at(852_076_800_000)), ..place.config() };
        let store = Store::open(config.clone()).await.unwrap();
        let clock = store.product_clock().await.unwrap().expect("moved");
        assert_eq!((clock.at, clock.speed), (at(852_076_800_000), 0));
        store.set_product_clock(at(900_000_000_000), true).await.unwrap();
        store.close().await;
        let store = Store::open(config).await.unwrap();
        let clock = store.product_clock().await.unwrap().expect("moved");
        assert_eq!((clock.at, clock.speed), (at(900_000_000_000), 1));
        let plain = temp_store(backend).await.unwrap();
        assert_eq!(plain.product_clock().await.unwrap(), None);
    }

    pub async fn a_full_disk_does_nothing_by_halves(backend: Backend) {
        let place = TempPlace::new(backend).await.unwrap();
        let mount = match place.directory() {
            Some(directory) => match SmallDisk::mount(directory) {
                Some(mount) => Some(mount),
                None => {
                    println!("SKIPPED: a small file system cannot be mounted here");
                    return;
                }
            },
            None => None,
        };
        let store = Store::open(place.config()).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        let mut commit = event_commit(&store, (tenant, contact), 0, "m1");
        if backend == Backend::Postgres {
            // The server says "disk full" in the middle of the batch.
            execute(
                &place,
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$",
            )
            .await;
            let on = "CREATE TRIGGER full_disk BEFORE INSERT ON run EXECUTE FUNCTION full_disk()";
            execute(&place, on).await;
            commit.runs = vec![run_row(run_id(), "waiting")];
        } else {
            commit.events[0].body = "x".repeat(6 << 20);
        }
        for _ in 0..3 {
            assert_eq!(store.committer().commit(commit.clone()).await, CommitOutcome::Unknown);
        }
        let small = event_commit(&store, (tenant, contact), 0, "m2");
        assert_eq!(store.committer().commit(small).await, CommitOutcome::Done);
        assert_eq!(count(&place, "SELECT count(*) FROM event_key").await, 1);
        assert_eq!(load(&store, tenant, contact).await.revision, 1);
        store.close().await;
        drop(mount);
    }

    /// A file system of a few megabytes.
    struct SmallDisk(std::path::PathBuf);

    impl SmallDisk {
        fn mount(at: &std::path::Path) -> Option<Self> {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(at);
            let mounted = mount.status().is_ok_and(|status| status.success());
            mounted.then(|| Self(at.to_owned()))
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _status = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }

    pub async fn a_store_of_a_newer_version_is_refused(backend: Backend) {
        let place = TempPlace::new(backend).await.unwrap();
        Store::open(place.config()).await.unwrap().close().await;
        execute(&place, "INSERT INTO seaql_migrations (version, applied_at) VALUES ('v9', 1)")
            .await;
        let refused = Store::open(place.config()).await.err().expect("refused");
        assert!(matches!(refused, StoreError::Damaged(_)), "{refused}");
    }
}

/// Run by another test as a process of its own: opens, commits, says so, and waits to be killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "not a check: the process that another test kills"]
async fn a_process_that_holds_the_store() {
    use std::io::Read as _;

    use parcours_store::{CommitOutcome, RootKeySource, Store, StoreConfig};
    use parcours_testkit::store::{ROOT_KEY, temp_brand, temp_contact};

    let Ok(url) = std::env::var("HELD_URL") else { return };
    let key = RootKeySource::Hex(ROOT_KEY.to_owned());
    let store =
        Store::open(StoreConfig { shards: 16, ..StoreConfig::new(url, key) }).await.unwrap();
    let tenant = temp_brand(&store, "one").await.unwrap();
    let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
    let commit = common::event_commit(&store, (tenant, contact), 0, "m1");
    assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
    println!("holding");
    let _end = std::io::stdin().read(&mut [0]);
}

#[tokio::test]
async fn postgres_without_fsync_is_refused() {
    use parcours_store::{RootKeySource, Store, StoreConfig, StoreError};
    use parcours_testkit::{pg::TempDatabase, store::ROOT_KEY};

    let key = RootKeySource::Hex(ROOT_KEY.to_owned());
    for setting in ["fsync=off", "synchronous_commit=off", "full_page_writes=off"] {
        let database = TempDatabase::with_settings(&format!("-c {setting}")).await.unwrap();
        let opened = Store::open(StoreConfig::new(database.url(), key.clone())).await;
        match opened.err() {
            Some(StoreError::Unsafe(why)) => assert!(why.contains(setting), "{why}"),
            other => panic!("{setting}: {other:?}"),
        }
        let mut connection = database.connect().await.unwrap();
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut connection).await.unwrap();
        assert_eq!(tables, 0, "something was written before the refusal");
    }
}

#[tokio::test]
async fn postgres_keeps_records_in_the_partition_of_their_month() {
    use parcours_domain::Timestamp;
    use parcours_store::{Backend, CommitOutcome};
    use parcours_testkit::store::{temp_brand, temp_contact, temp_store};

    let store = temp_store(Backend::Postgres).await.unwrap();
    let tenant = temp_brand(&store, "one").await.unwrap();
    let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
    let old = common::event_commit(&store, (tenant, contact), 0, "old");
    assert_eq!(store.committer().commit(old).await, CommitOutcome::Done);
    let mut new = common::event_commit(&store, (tenant, contact), 1, "new");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let now = Timestamp::from_millis(i64::try_from(now).unwrap());
    new.events[0].id = parcours_domain::EventId::v7(now, [1; 10]);
    new.events[0].day = now.utc_day();
    let mut undated = new.events[0].clone();
    undated.id = parcours_domain::EventId::v7(now, [2; 10]);
    undated.day = i64::MIN / 2;
    new.events.push(undated);
    assert_eq!(store.committer().commit(new).await, CommitOutcome::Done);
    let place = &store.place;
    assert_eq!(common::count(place, "SELECT count(*) FROM event_default").await, 1);
    assert_eq!(common::count(place, "SELECT count(*) FROM event").await, 3);
    assert_eq!(common::count(place, "SELECT count(*) FROM event_key_undated").await, 1);
    assert_eq!(common::count(place, "SELECT count(*) FROM event_key_default").await, 1);
    // The window is over for the old one; the undated goes by the age of its receipt.
    let sweep = store.sweep();
    let month = parcours_domain::Millis::days(30);
    sweep.forget_event_keys(now, month).await.unwrap();
    let keys = "SELECT count(*) FROM event_key";
    assert_eq!(common::count(place, keys).await, 1);
}
