//! Keeping and moving: a brand through a file and into another store, a whole install into an
//! empty one, and files that are not what they should be.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;
mod keep_support;

use parcours_testkit::on_both_backends;

on_both_backends!(
    a_brand_is_the_same_after_the_way_through_a_file,
    keys_and_secrets_open_under_another_root_key_and_are_not_in_the_file,
    what_is_not_a_whole_file_of_ours_changes_nothing,
    a_brand_that_is_there_is_not_loaded_again,
    a_dump_is_taken_beside_the_process_that_has_the_store,
    a_brand_whose_source_still_sends_arrives_halted,
    a_backup_goes_into_an_empty_store_only,
    a_restored_store_sends_nothing_until_it_is_released,
    what_may_have_left_is_sent_only_when_told_so,
    old_rows_find_their_own_partitions,
);

mod checks {
    use parcours_domain::{MessageClass, Timestamp};
    use parcours_store::{
        Backend, MayHaveLeft, RootKeySource, Store, StoreConfig, StoreError,
        keep::{KeepError, KeptFile, Passphrase, SOURCE_NOT_HALTED, Snapshot},
    };
    use parcours_testkit::store::{ROOT_KEY, TempPlace, temp_brand};

    use super::{common::*, keep_support::*};

    const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];

    pub async fn a_brand_is_the_same_after_the_way_through_a_file(from: Backend) {
        let source = full_store(from).await;
        let file = dump(&source.place, source.tenant, true).await;
        for to in BOTH {
            let place = TempPlace::new(to).await.unwrap();
            let store = Store::open(other_install(&place)).await.unwrap();
            let arrived = load_file(&store, &file).await.unwrap();
            assert!(
                !arrived.halted && arrived.rows.values().all(|count| *count > 0),
                "{arrived:?}"
            );
            store.close().await;
            let again = dump_of(&other_install(&place), source.tenant, true).await;
            let (first, second) = (rows_of(&file), rows_of(&again));
            for (table, rows) in &first {
                assert_eq!(rows, &second[table], "{table}, {from:?} to {to:?}");
            }
            assert_eq!(first.len(), second.len());
            assert_eq!(misplaced(&again, SHARDS), Vec::<String>::new());
        }
    }

    pub async fn keys_and_secrets_open_under_another_root_key_and_are_not_in_the_file(
        from: Backend,
    ) {
        let source = full_store(from).await;
        let file = dump(&source.place, source.tenant, true).await;
        let place = TempPlace::new(Backend::Sqlite).await.unwrap();
        let target = Store::open(other_install(&place)).await.unwrap();
        load_file(&target, &file).await.unwrap();
        let store = Store::open(source.place.config()).await.unwrap();
        let (old, new) =
            (store.keys(source.tenant).await.unwrap(), target.keys(source.tenant).await.unwrap());
        assert_eq!((&old.identity, &old.address), (&new.identity, &new.address));
        assert_eq!(old.link, new.link);
        let secret = target.for_tenant(source.tenant).open_secret(&SECRET.parse().unwrap()).await;
        assert_eq!(secret.unwrap().unwrap().0.as_slice(), PASSWORD.as_bytes());
        let keys = [&old.identity, &old.address, &old.link[0].1].map(|key| key.0.to_vec());
        let root = data_encoding::HEXLOWER.decode(ROOT_KEY.as_bytes()).unwrap();
        for clear in keys.into_iter().chain([root, PASSWORD.into(), PASSPHRASE.into()]) {
            assert!(!holds(&file, &clear), "a secret is in the file in clear");
        }
    }

    pub async fn what_is_not_a_whole_file_of_ours_changes_nothing(to: Backend) {
        let source = full_store(Backend::Sqlite).await;
        let file = dump(&source.place, source.tenant, true).await;
        let place = TempPlace::new(to).await.unwrap();
        let store = Store::open(other_install(&place)).await.unwrap();
        let mut bad: Vec<(String, Vec<u8>)> = bent(&file);
        bad.push(("empty".to_owned(), Vec::new()));
        bad.push(("an SQL dump".to_owned(), b"CREATE TABLE brand (id int);\n".to_vec()));
        for (what, file) in &bad {
            let refused = load_file(&store, file).await.err();
            assert!(refused.is_some(), "{what} was loaded");
            assert_eq!(everything(&place).await, 0, "{what} left something: {refused:?}");
        }
        let newer = load_file(&store, &with_header(&file, "format", 2.into())).await.err();
        assert!(matches!(newer, Some(KeepError::Newer(_))), "{newer:?}");
        let newer =
            load_file(&store, &with_header(&file, "schema", ["v1", "v2"].into())).await.err();
        assert!(matches!(newer, Some(KeepError::Newer(_))), "{newer:?}");
        let other = Passphrase::new("another passphrase").unwrap();
        let wrong = KeptFile::open(Box::new(std::io::Cursor::new(file.clone())), &other).err();
        assert!(matches!(wrong, Some(KeepError::WrongPassphrase)), "{wrong:?}");
        let mut kept = kept(&file).unwrap();
        let refused = store.restore(&mut kept, &mut |_| {}).await.err();
        assert!(matches!(refused, Some(KeepError::WrongKind(_))), "{refused:?}");
        load_file(&store, &file).await.expect("the file itself is well");
    }

    pub async fn a_brand_that_is_there_is_not_loaded_again(to: Backend) {
        let source = full_store(Backend::Sqlite).await;
        let file = dump(&source.place, source.tenant, true).await;
        let place = TempPlace::new(to).await.unwrap();
        let store = Store::open(other_install(&place)).await.unwrap();
        let other = temp_brand(&store, "other").await.unwrap();
        load_file(&store, &file).await.unwrap();
        let before = everything(&place).await;
        let refused = load_file(&store, &file).await.err();
        assert!(matches!(refused, Some(KeepError::BrandExists(_))), "{refused:?}");
        assert_eq!(everything(&place).await, before);
        // The brands of this store are as they were.
        assert!(store.admin().brand(other).await.unwrap().is_some());
        // A brand of that name, made here, is in the way too.
        let place = TempPlace::new(to).await.unwrap();
        let store = Store::open(other_install(&place)).await.unwrap();
        temp_brand(&store, BRAND).await.unwrap();
        let refused = load_file(&store, &file).await.err();
        assert!(matches!(refused, Some(KeepError::BrandExists(_))), "{refused:?}");
    }

    pub async fn a_dump_is_taken_beside_the_process_that_has_the_store(from: Backend) {
        let source = full_store(from).await;
        let store = Store::open(source.place.config()).await.unwrap();
        let snapshot = Snapshot::take(&source.place.config()).await.unwrap();
        // What is committed after the moment is not in it.
        let late = temp_brand(&store, "late").await.unwrap();
        let brands = snapshot.brands().await.unwrap();
        assert!(brands.iter().all(|brand| brand.tenant != late));
        if from == Backend::Sqlite {
            let refused = Store::open(source.place.config()).await.err();
            assert!(matches!(refused, Some(StoreError::Held { .. })), "a second writer is refused");
        }
        let mut file = Vec::new();
        let passphrase = Passphrase::new(PASSPHRASE).unwrap();
        snapshot.backup(&passphrase, (&mut file, &mut |_| {})).await.unwrap();
        assert!(!rows_of(&file)["brand"].iter().any(|row| row.contains(&late.to_string())));
        let wrong = RootKeySource::Hex("ab".repeat(32));
        let config = StoreConfig { root_key: wrong, ..source.place.config() };
        assert!(matches!(Snapshot::take(&config).await.err(), Some(KeepError::Store(_))));
    }

    pub async fn a_brand_whose_source_still_sends_arrives_halted(to: Backend) {
        let source = full_store(Backend::Sqlite).await;
        let file = dump(&source.place, source.tenant, false).await;
        let place = TempPlace::new(to).await.unwrap();
        let store = Store::open(other_install(&place)).await.unwrap();
        assert!(load_file(&store, &file).await.unwrap().halted);
        let brand = store.admin().brand(source.tenant).await.unwrap().unwrap();
        assert_eq!(brand.halt_reason.as_deref(), Some(SOURCE_NOT_HALTED));
    }

    pub async fn a_backup_goes_into_an_empty_store_only(to: Backend) {
        let source = full_store(Backend::Sqlite).await;
        let file = backup(&source.place).await;
        let place = TempPlace::new(to).await.unwrap();
        let store = Store::open(other_install(&place)).await.unwrap();
        restore(&store, &file).await.unwrap();
        let before = everything(&place).await;
        let refused = restore(&store, &file).await.err();
        assert!(matches!(refused, Some(KeepError::NotEmpty)), "{refused:?}");
        let refused = load_file(&store, &file).await.err();
        assert!(matches!(refused, Some(KeepError::WrongKind(_))), "{refused:?}");
        assert_eq!(everything(&place).await, before);
        store.close().await;
        let again = backup_of(&other_install(&place)).await;
        let (first, mut second) = (rows_of(&file), rows_of(&again));
        for (table, rows) in &first {
            assert_eq!(Some(rows), second.remove(table).as_ref(), "{table}");
        }
    }

    pub async fn a_restored_store_sends_nothing_until_it_is_released(to: Backend) {
        let (place, store, tenant) = restored(to).await;
        let admin = store.admin();
        let now = store_now();
        assert!(store.delivery().heads(now).await.unwrap().is_empty());
        let order = order(tenant, 0, now);
        assert!(store.delivery().claim(&order).await.unwrap().is_empty());
        // Neither before it has caught up nor after can a plain command lift the hold.
        assert!(!admin.unhalt_install().await.unwrap());
        let early = admin.release(MayHaveLeft::Skip, now).await;
        assert!(matches!(early, Err(StoreError::Conflict)), "{early:?}");
        let queue = "SELECT count(*) FROM send_queue";
        let may = "SELECT count(*) FROM send_queue WHERE phase = 3";
        let waiting = count(&place, queue).await;
        let until = now;
        let held = admin.hold_back(until, now).await.unwrap();
        assert!(held > 0);
        assert_eq!(count(&place, may).await, i64::try_from(held).unwrap());
        let later = Timestamp::from_millis(i64::MAX);
        while store.delivery().expire(later).await.unwrap() > 0 {}
        assert_eq!(count(&place, may).await, i64::try_from(held).unwrap(), "they do not expire");
        admin.caught_up(until).await.unwrap();
        assert!(!admin.unhalt_install().await.unwrap());
        let listed: i64 = admin.queued().await.unwrap().iter().map(|one| one.may_have_left).sum();
        assert_eq!(u64::try_from(listed).unwrap(), held);

        let released = admin.release(MayHaveLeft::Skip, now).await.unwrap().unwrap();
        assert_eq!((released.skipped, released.queued), (held, 0));
        assert!(!released.still_halted && admin.restored().await.unwrap().is_none());
        assert_eq!(count(&place, may).await, 0);
        let unknown = "SELECT count(*) FROM message WHERE status = 'unknown' \
                       AND reason = 'may_have_left'";
        assert_eq!(count(&place, unknown).await, i64::try_from(held).unwrap());
        assert!(waiting >= i64::try_from(held).unwrap());
        assert!(admin.release(MayHaveLeft::Skip, now).await.unwrap().is_none(), "once");
    }

    pub async fn what_may_have_left_is_sent_only_when_told_so(to: Backend) {
        let (place, store, tenant) = restored(to).await;
        let admin = store.admin();
        let now = store_now();
        let held = admin.hold_back(now, now).await.unwrap();
        admin.caught_up(now).await.unwrap();
        admin.halt_install("by hand", now).await.unwrap();
        let released = admin.release(MayHaveLeft::Send, now).await.unwrap().unwrap();
        assert_eq!((released.skipped, released.queued), (0, held));
        assert!(released.still_halted, "a halt by somebody stays");
        assert!(admin.unhalt_install().await.unwrap());
        assert_eq!(count(&place, "SELECT count(*) FROM send_queue WHERE phase = 3").await, 0);
        assert!(!store.delivery().heads(now).await.unwrap().is_empty());
        let claimed = store.delivery().claim(&order(tenant, 7, now)).await.unwrap();
        assert!(claimed.iter().all(|one| one.class == MessageClass::Marketing));
    }

    pub async fn old_rows_find_their_own_partitions(from: Backend) {
        let source = full_store(from).await;
        let file = dump(&source.place, source.tenant, true).await;
        let place = TempPlace::new(Backend::Postgres).await.unwrap();
        let store = Store::open(other_install(&place)).await.unwrap();
        load_file(&store, &file).await.unwrap();
        for table in ["event", "message", "attempt", "trace", "consent_fact", "event_key"] {
            let all = count(&place, &format!("SELECT count(*) FROM {table}")).await;
            let left = count(&place, &format!("SELECT count(*) FROM {table}_default")).await;
            assert!(all > 0 && left == 0, "{table}: {left} of {all} in the default partition");
        }
    }
}
