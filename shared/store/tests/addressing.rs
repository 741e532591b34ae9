//! Addresses of contacts: shared, changed, gone; and what becomes of permissions judged before.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use parcours_testkit::on_both_backends;

on_both_backends!(
    an_address_is_shared_by_contacts_and_keeps_its_standing,
    an_address_that_changes_moves_the_head,
    an_address_that_is_gone_leaves_its_contact_only_and_moves_the_head,
);

mod checks {
    use parcours_domain::{AddressHash, Channel};
    use parcours_store::{Backend, CommitOutcome, NewAddress};
    use parcours_testkit::store::{temp_brand, temp_contact, temp_store};

    use super::common::*;

    fn address(n: u8) -> Option<NewAddress> {
        let hmac = AddressHash([n; 32]);
        Some(NewAddress { channel: Channel::Email, hmac, key_version: 1, ciphertext: vec![n] })
    }

    pub async fn an_address_that_changes_moves_the_head(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        // Given, repeated, changed, changed back: a verdict for one address is none for another.
        for (revision, (hmac, version)) in (0..).zip([(5, 0), (5, 0), (6, 1), (5, 2)]) {
            let mut commit = state_commit(&store, (tenant, contact), revision);
            commit.address = address(hmac);
            assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
            let head = count(&store.place, "SELECT version FROM consent_head").await;
            assert_eq!(head, version, "at revision {revision}");
        }
    }

    pub async fn an_address_is_shared_by_contacts_and_keeps_its_standing(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let mut commits = Vec::new();
        for user in ["anna", "bert"] {
            let contact = temp_contact(&brand, user).await.unwrap();
            let mut commit = state_commit(&store, (tenant, contact), 0);
            commit.address = address(5);
            commits.push(commit);
        }
        let again = commits.clone();
        let outcomes = commit_all(&store, commits).await;
        assert_eq!(outcomes, [CommitOutcome::Done, CommitOutcome::Done]);
        execute(&store.place, "UPDATE address SET suppressed_at = 1, version = 8").await;
        for mut commit in again {
            commit.read_revision = 1;
            assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        }
        assert_eq!(count(&store.place, "SELECT count(*) FROM address").await, 1);
        assert_eq!(count(&store.place, "SELECT version FROM address").await, 8);
        assert_eq!(count(&store.place, "SELECT count(*) FROM contact_address").await, 2);
    }

    pub async fn an_address_that_is_gone_leaves_its_contact_only_and_moves_the_head(
        backend: Backend,
    ) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        for user in ["anna", "bert"] {
            let contact = temp_contact(&brand, user).await.unwrap();
            let mut commit = state_commit(&store, (tenant, contact), 0);
            commit.address = address(5);
            assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        }
        let anna = temp_contact(&brand, "anna").await.unwrap();
        let mut commit = state_commit(&store, (tenant, anna), 1);
        commit.address_gone = true;
        commit.sends = vec![message(1, run_id())];
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        assert_eq!(count(&store.place, "SELECT count(*) FROM contact_address").await, 1);
        let unaddressed = "SELECT count(*) FROM message WHERE address_hmac IS NULL";
        assert_eq!(count(&store.place, unaddressed).await, 1);
        // What was judged by the head as it was does not pass; the other contact's stays.
        for (version, heads) in [(0, 1), (1, 1)] {
            let sql = format!("SELECT count(*) FROM consent_head WHERE version = {version}");
            assert_eq!(count(&store.place, &sql).await, heads);
        }
    }
}
