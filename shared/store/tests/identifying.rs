//! Who is it: identities to contacts, under races and across brands.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use parcours_testkit::on_both_backends;

on_both_backends!(
    a_thousand_first_events_of_one_person_make_one_contact,
    a_visitor_who_logs_in_stays_the_same_contact,
    a_visitor_who_turns_out_to_be_known_is_absorbed,
    two_known_people_are_never_merged,
    who_is_being_absorbed_becomes_nobody_else,
    brands_do_not_share_people,
    one_anonymous_contact_never_gets_two_user_ids,
    an_identity_is_not_stored_in_clear,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absorption_elsewhere_is_learnt_once_it_is_told() {
    checks::an_absorption_elsewhere_is_learnt_once_it_is_told().await;
}

mod checks {
    use std::{collections::BTreeSet, sync::Arc};

    use parcours_domain::{ContactId, Handle};
    use parcours_store::{
        Backend, CommitOutcome, IdentityQuery, NewInbox, Resolution, Resolved, Store, StoreConfig,
        TenantStore,
    };
    use parcours_testkit::store::{TempPlace, TempStore, temp_brand, temp_store};
    use uuid::Uuid;

    use super::common::*;

    fn random(_: &str, _: &str) -> (ContactId, Handle) {
        (ContactId(Uuid::new_v4()), Handle(*Uuid::new_v4().as_bytes()))
    }

    fn query(user_id: Option<&str>, anonymous_id: Option<&str>) -> IdentityQuery {
        IdentityQuery {
            user_id: user_id.map(str::to_owned),
            anonymous_id: anonymous_id.map(str::to_owned),
            email: None,
        }
    }

    async fn ask(brand: &TenantStore, user: Option<&str>, anonymous: Option<&str>) -> Resolved {
        brand.resolve(&[query(user, anonymous)], &random, NOW).await.unwrap().remove(0)
    }

    fn contact(resolved: &Resolved) -> ContactId {
        match &resolved.contact {
            Resolution::Contact(contact) => *contact,
            refused @ Resolution::Refused { .. } => panic!("{refused:?}"),
        }
    }

    async fn brand(backend: Backend) -> (TempStore, TenantStore) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        (store, brand)
    }

    pub async fn a_thousand_first_events_of_one_person_make_one_contact(backend: Backend) {
        let (store, brand) = brand(backend).await;
        let start = Arc::new(tokio::sync::Barrier::new(1_000));
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..1_000 {
            let (brand, start) = (brand.clone(), Arc::clone(&start));
            asking.spawn(async move {
                // Half of them from a device that is new as well.
                let device = format!("device {number}");
                let device = (number % 2 == 0).then_some(device.as_str());
                start.wait().await;
                contact(&ask(&brand, Some("anna"), device).await)
            });
        }
        let contacts: BTreeSet<ContactId> = asking.join_all().await.into_iter().collect();
        assert_eq!(contacts.len(), 1);
        assert_eq!(count(&store.place, "SELECT count(*) FROM contact").await, 1);
        assert_eq!(count(&store.place, "SELECT count(*) FROM identity").await, 501);
    }

    pub async fn a_visitor_who_logs_in_stays_the_same_contact(backend: Backend) {
        let (_store, brand) = brand(backend).await;
        let visitor = ask(&brand, None, Some("device")).await;
        let known = ask(&brand, Some("anna"), Some("device")).await;
        assert_eq!((contact(&known), known.absorb), (contact(&visitor), None));
        assert_eq!(contact(&ask(&brand, Some("anna"), None).await), contact(&visitor));
        // A second device attaches.
        let second = ask(&brand, Some("anna"), Some("phone")).await;
        assert_eq!(contact(&second), contact(&visitor));
        assert_eq!(contact(&ask(&brand, None, Some("phone")).await), contact(&visitor));
    }

    pub async fn a_visitor_who_turns_out_to_be_known_is_absorbed(backend: Backend) {
        let (store, brand) = brand(backend).await;
        let anna = contact(&ask(&brand, Some("anna"), None).await);
        let visitor = contact(&ask(&brand, None, Some("device")).await);
        for _ in 0..2 {
            let both = ask(&brand, Some("anna"), Some("device")).await;
            assert_eq!((contact(&both), both.absorb), (anna, Some(visitor)));
        }
        // The visitor's inbox says so, once; its actor does the rest.
        let inbox = load(&store, brand.tenant(), visitor).await.inbox;
        assert_eq!(inbox.len(), 1);
        assert_eq!(inbox[0].kind, "absorb");
        assert!(inbox[0].ref_json.contains(&anna.to_string()), "{}", inbox[0].ref_json);
        let mut end = state_commit(&store, (brand.tenant(), visitor), 0);
        end.inbox_done = vec![inbox[0].id];
        end.absorbed_into = Some(anna);
        assert_eq!(store.committer().commit(end).await, CommitOutcome::Done);
        let after = ask(&brand, Some("anna"), Some("device")).await;
        assert_eq!((contact(&after), after.absorb), (anna, None));
        assert_eq!(contact(&ask(&brand, None, Some("device")).await), anna);
    }

    /// What one process has learnt of people is not taken from it by another's absorption: it is
    /// told when it asks to apply something, and asks again.
    pub async fn an_absorption_elsewhere_is_learnt_once_it_is_told() {
        let place = TempPlace::new(Backend::Postgres).await.unwrap();
        let worker = Store::open(place.config()).await.unwrap();
        let config = StoreConfig { worker_role: false, ..place.config() };
        let beside = Store::open(config).await.unwrap();
        let tenant = temp_brand(&worker, "one").await.unwrap();
        let brand = beside.for_tenant(tenant);
        let anna = contact(&ask(&brand, Some("anna"), None).await);
        let visitor = contact(&ask(&brand, None, Some("device")).await);
        let mut end = state_commit(&worker, (tenant, visitor), 0);
        end.absorbed_into = Some(anna);
        assert_eq!(worker.committer().commit(end).await, CommitOutcome::Done);

        assert_eq!(contact(&ask(&brand, None, Some("device")).await), visitor, "as learnt");
        let late = event_commit(&worker, (tenant, visitor), 1, "late");
        assert_eq!(worker.committer().commit(late).await, CommitOutcome::Merged(anna));
        brand.forget(&query(None, Some("device"))).await.unwrap();
        assert_eq!(contact(&ask(&brand, None, Some("device")).await), anna);
    }

    pub async fn two_known_people_are_never_merged(backend: Backend) {
        let (store, brand) = brand(backend).await;
        let anna = contact(&ask(&brand, Some("anna"), Some("shared tablet")).await);
        let bert = contact(&ask(&brand, Some("bert"), None).await);
        for _ in 0..3 {
            let both = ask(&brand, Some("bert"), Some("shared tablet")).await;
            assert_eq!((contact(&both), both.absorb, both.differs), (bert, None, Some(anna)));
        }
        assert_eq!(contact(&ask(&brand, None, Some("shared tablet")).await), anna);
        let recorded = "SELECT count(*) FROM quarantine WHERE code = 'known_contacts_differ'";
        assert_eq!(count(&store.place, recorded).await, 1);
        // A new person on a known person's device is a contact of their own.
        let carl = ask(&brand, Some("carl"), Some("shared tablet")).await;
        assert!(contact(&carl) != anna && contact(&carl) != bert);
    }

    pub async fn who_is_being_absorbed_becomes_nobody_else(backend: Backend) {
        let (store, brand) = brand(backend).await;
        let visitor = contact(&ask(&brand, None, Some("device")).await);
        let anna = contact(&ask(&brand, Some("anna"), None).await);
        let bert = contact(&ask(&brand, Some("bert"), None).await);
        let first = ask(&brand, Some("anna"), Some("device")).await;
        assert_eq!((contact(&first), first.absorb), (anna, Some(visitor)));
        // The next person on the device, before the visitor has become the first.
        let second = ask(&brand, Some("bert"), Some("device")).await;
        assert_eq!((contact(&second), second.absorb), (bert, None));
        assert_eq!(second.differs, Some(visitor));
        let carl = ask(&brand, Some("carl"), Some("device")).await;
        assert!(![visitor, anna, bert].contains(&contact(&carl)));
        assert_eq!((carl.absorb, carl.differs), (None, Some(visitor)));
        let again = ask(&brand, Some("anna"), Some("device")).await;
        assert_eq!((contact(&again), again.absorb), (anna, Some(visitor)));
        let inbox = load(&store, brand.tenant(), visitor).await.inbox;
        assert_eq!(inbox.len(), 1);
        // Were there such a row all the same, it would not go over to merge two known people.
        let mut other = state_commit(&store, (brand.tenant(), bert), 0);
        other.inbox_new = vec![NewInbox {
            tenant: brand.tenant(),
            contact: visitor,
            source: [9; 16],
            kind: "absorb",
            ref_json: format!("{{\"into\":\"{bert}\"}}"),
            body: None,
        }];
        assert_eq!(store.committer().commit(other).await, CommitOutcome::Done);
        let mut end = state_commit(&store, (brand.tenant(), visitor), 0);
        end.inbox_done = vec![inbox[0].id];
        end.absorbed_into = Some(anna);
        assert_eq!(store.committer().commit(end).await, CommitOutcome::Done);
        assert!(load(&store, brand.tenant(), anna).await.inbox.is_empty());
    }

    pub async fn brands_do_not_share_people(backend: Backend) {
        let (store, one) = brand(backend).await;
        let two = store.for_tenant(temp_brand(&store, "two").await.unwrap());
        let here = contact(&ask(&one, Some("anna"), Some("device")).await);
        let there = contact(&ask(&two, Some("anna"), Some("device")).await);
        assert_ne!(here, there);
        let hashes = "SELECT count(DISTINCT value_hmac) FROM identity";
        assert_eq!(count(&store.place, hashes).await, 4);
    }

    pub async fn one_anonymous_contact_never_gets_two_user_ids(backend: Backend) {
        let (store, brand) = brand(backend).await;
        contact(&ask(&brand, None, Some("device")).await);
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..20 {
            let brand = brand.clone();
            asking.spawn(async move {
                let user = format!("user {number}");
                contact(&ask(&brand, Some(&user), Some("device")).await)
            });
        }
        let contacts: BTreeSet<ContactId> = asking.join_all().await.into_iter().collect();
        assert_eq!(contacts.len(), 20);
        let most = "SELECT max(n) FROM (SELECT count(*) AS n FROM identity \
                    WHERE kind = 'user_id' GROUP BY contact_id) AS per_contact";
        assert_eq!(count(&store.place, most).await, 1);
    }

    pub async fn an_identity_is_not_stored_in_clear(backend: Backend) {
        let (store, brand) = brand(backend).await;
        ask(&brand, Some("anna-4711"), None).await;
        let clear = match backend {
            Backend::Sqlite => "SELECT count(*) FROM identity WHERE instr(value_hmac, 'anna') > 0",
            Backend::Postgres => {
                "SELECT count(*) FROM identity WHERE position('anna'::bytea IN value_hmac) > 0"
            }
        };
        assert_eq!(count(&store.place, clear).await, 0);
        assert_eq!(count(&store.place, "SELECT count(*) FROM identity").await, 1);
    }
}
