//! The final commit before DATA: nothing leaves that was withdrawn, halted or taken over before.

#![expect(clippy::unwrap_used, reason = "a story fails by panicking")]

#[macro_use]
mod side_support;

use parcours_domain::{
    Channel, MessageClass, SendOutcome,
    consent::{FactKind, Refusal, Scope},
};
use parcours_store::{DotAnswer, DotTimes, Store, UnknownPolicy};
use side_support::*;

on_both!(
    a_withdrawal_between_claim_and_dot_is_judged_again,
    an_objection_recorded_for_another_contact_of_the_address_counts,
    what_did_not_move_leaves_and_the_rest_is_answered_for,
    a_halt_between_claim_and_dot_stops_the_message,
    a_changed_topic_between_claim_and_dot_is_judged_again,
    a_claim_that_was_taken_over_is_lost,
    a_claim_past_its_lease_is_lost,
    a_message_past_its_dot_is_never_claimed_again,
    a_contact_without_a_consent_head_has_no_permission,
    locks_are_taken_in_one_order,
);

async fn a_withdrawal_between_claim_and_dot_is_judged_again(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let message = shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    assert_eq!(judge(&claimed[0]), Ok(()));

    shop.say(anna, FactKind::Withdrawn, Scope::Topic(name("news")), at(1)).await;
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Rejudge]);

    let again =
        shop.store.delivery().reread(shop.tenant, claimed[0].claim_id, &[message]).await.unwrap();
    assert_eq!(judge(&again[0]), Err(Refusal::Withdrawn));
    let why = shop.brand().message_why(message).await.unwrap().unwrap();
    assert_eq!((why.message.receipt, why.attempts, why.links), (None, vec![], vec![]));
}

async fn an_objection_recorded_for_another_contact_of_the_address_counts(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.contact("anna", "family@example.org").await;
    let ben = shop.contact("ben", "Family@Example.org").await;
    shop.say(anna, FactKind::Given, Scope::Topic(name("news")), at(0)).await;
    shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    assert_eq!(judge(&claimed[0]), Ok(()));

    shop.say(ben, FactKind::Objected, Scope::AllMarketing, at(1)).await;
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Rejudge]);
    let ids = [claimed[0].message];
    let again = shop.store.delivery().reread(shop.tenant, claimed[0].claim_id, &ids).await.unwrap();
    assert_eq!(judge(&again[0]), Err(Refusal::Objected));
}

async fn what_did_not_move_leaves_and_the_rest_is_answered_for(store: Store) {
    let shop = Shop::open(store).await;
    let mut contacts = Vec::new();
    for n in 0..6 {
        let contact = shop.reader(&format!("reader{n}")).await;
        shop.send(contact, &format!("m{n}")).await;
        contacts.push(contact);
    }
    let claimed = shop.claim(1).await;
    assert_eq!(claimed.len(), 6);
    let third = claimed[2].contact;
    shop.say(third, FactKind::Withdrawn, Scope::AllMarketing, at(1)).await;

    let mut batch: Vec<_> = claimed.iter().map(dot_request).collect();
    batch.push(batch[0].clone());
    batch[4].claim_id = uuid::Uuid::nil();
    let times = DotTimes { now: now(2), lease_ms: 1_000 };
    let answers = shop.store.delivery().commit_dot(batch, times).await.unwrap();
    use DotAnswer::{Go, Lost, Rejudge};
    assert_eq!(answers, [Go, Go, Rejudge, Go, Lost, Go, Lost]);

    let why = shop.brand().message_why(claimed[0].message).await.unwrap().unwrap();
    assert_eq!(why.message.receipt.as_deref(), Some(r#"{"verdict":"consent"}"#));
    assert_eq!(why.attempts.len(), 1);
    assert_eq!(why.links.len(), 2);
    assert_eq!(why.message.address, claimed[0].address.as_ref().map(|a| a.0));
}

async fn a_halt_between_claim_and_dot_stops_the_message(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    let admin = shop.store.admin();

    assert!(admin.halt_brand(shop.tenant, "complaints", at(1)).await.unwrap());
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Halted]);
    assert_eq!(shop.store.delivery().heads(at(2)).await.unwrap(), []);
    assert!(shop.claim(3).await.is_empty());
    admin.unhalt_brand(shop.tenant).await.unwrap();

    admin.halt_install("restored", at(1)).await.unwrap();
    assert_eq!(shop.dot(&claimed, 4).await, [DotAnswer::Halted]);
    let install = admin.install().await.unwrap();
    assert_eq!(install.halt_reason.as_deref(), Some("restored"));
    admin.unhalt_install().await.unwrap();
    assert_eq!(shop.dot(&claimed, 5).await, [DotAnswer::Go]);
}

async fn a_changed_topic_between_claim_and_dot_is_judged_again(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    shop.publish_topic("news", "profiling", "marketing").await;
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Rejudge]);
}

async fn a_claim_that_was_taken_over_is_lost(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.send(anna, "a").await;
    let first = shop.claim(1).await;
    assert_eq!(shop.settle(40, UnknownPolicy::Final).await.requeued, 1);
    let second = shop.claim(41).await;
    assert_eq!(second[0].attempt, 2);

    assert_eq!(shop.dot(&first, 42).await, [DotAnswer::Lost]);
    let late = finished(&first[0], SendOutcome::Failed);
    assert_eq!(shop.store.delivery().finish(vec![late]).await.unwrap(), [false]);
    assert_eq!(shop.dot(&second, 42).await, [DotAnswer::Go]);
}

async fn a_claim_past_its_lease_is_lost(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    assert_eq!(shop.dot(&claimed, 31).await, [DotAnswer::Lost]);
    assert_eq!(shop.dot(&claimed, 30).await, [DotAnswer::Go]);
}

async fn a_message_past_its_dot_is_never_claimed_again(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let message = shop.send(anna, "a").await;
    let other = shop.send(anna, "b").await;
    let claimed = shop.claim(1).await;
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Go, DotAnswer::Go]);
    assert_eq!(shop.dot(&claimed, 3).await, [DotAnswer::Lost, DotAnswer::Lost]);
    assert!(shop.claim(10_000).await.is_empty());
    assert_eq!(shop.settle(500, UnknownPolicy::Final).await.unknown, []);

    let policy = move |_, class| match class {
        MessageClass::Marketing => UnknownPolicy::Final,
        MessageClass::Transactional => UnknownPolicy::Again,
        MessageClass::Test => UnknownPolicy::Final,
    };
    let settled = shop.store.delivery().settle_expired_claims(now(700), &policy).await.unwrap();
    let mut unknown = settled.unknown;
    unknown.sort();
    let mut both = vec![(shop.tenant, message), (shop.tenant, other)];
    both.sort();
    assert_eq!((unknown, settled.again, settled.requeued), (both, vec![], 0));
    assert_eq!(shop.status(message).await, "unknown");
    assert_eq!(shop.inbox(anna, "outcome").await.len(), 2);
    assert!(shop.claim(20_000).await.is_empty());
    let late = finished(&claimed[0], SendOutcome::Sent);
    assert_eq!(shop.store.delivery().finish(vec![late]).await.unwrap(), [false]);
}

async fn a_contact_without_a_consent_head_has_no_permission(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.visitor("anna").await;
    shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    assert_eq!(claimed[0].address, None);
    assert_eq!(claimed[0].head_version, -1);
    assert_eq!(judge(&claimed[0]), Err(Refusal::NoAddress));

    let ben = shop.reader("ben").await;
    shop.send(ben, "b").await;
    let claimed = shop.claim(1).await;
    let mut stranger = dot_request(&claimed[0]);
    stranger.contact = anna;
    let mut nowhere = dot_request(&claimed[0]);
    nowhere.address = parcours_domain::AddressHash([1; 32]);
    for request in [stranger, nowhere] {
        let times = DotTimes { now: now(2), lease_ms: 1_000 };
        let answers = shop.store.delivery().commit_dot(vec![request], times).await.unwrap();
        assert_eq!(answers, [DotAnswer::Rejudge]);
    }
}

/// Withdrawals, suppressing ends, halts, publications and final commits at once: no deadlock, and
/// every message that left had its permission when it did.
async fn locks_are_taken_in_one_order(store: Store) {
    let shop = std::sync::Arc::new(Shop::open(store).await);
    let mut readers = Vec::new();
    for n in 0..8 {
        // All share two addresses, so that everything meets.
        let reader = shop.contact(&format!("r{n}"), &format!("shared{}@example.org", n % 2)).await;
        shop.say(reader, FactKind::Given, Scope::Topic(name("news")), at(0)).await;
        for m in 0..3 {
            shop.send(reader, &format!("{n}-{m}")).await;
        }
        readers.push(reader);
    }
    let mut tasks = Vec::new();
    for n in 0..4 {
        let (shop, readers) = (shop.clone(), readers.clone());
        tasks.push(tokio::spawn(async move {
            let claimed = shop.claim_some(6, 1).await;
            let answers = shop.dot(&claimed, 2).await;
            let ends = claimed.iter().zip(&answers).filter(|(_, a)| **a == DotAnswer::Go);
            let ends = ends.map(|(one, _)| {
                let mut end = finished(one, SendOutcome::Bounced);
                end.suppress = one.address.as_ref().map(|(hash, ..)| parcours_store::Suppress {
                    address: *hash,
                    channel: Channel::Email,
                    reason: "smtp:5.1.1".to_owned(),
                });
                end
            });
            shop.store.delivery().finish(ends.collect()).await.unwrap();
            for reader in readers.iter().skip(n) {
                let mut fact = shop.fact(FactKind::Objected, Scope::AllMarketing, at(1));
                fact.once = true;
                let door = shop.store.consent();
                door.record(shop.tenant, *reader, vec![fact], at(1)).await.unwrap();
            }
            shop.store.admin().halt_brand(shop.tenant, "test", at(1)).await.unwrap();
            shop.publish_topic("news", &format!("purpose {n}"), "marketing").await;
            shop.store.admin().unhalt_brand(shop.tenant).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    shop.settle(1_000, UnknownPolicy::Final).await;
    for claimed in shop.claim(1_001).await {
        assert!(judge(&claimed).is_err());
    }
}
