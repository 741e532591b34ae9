//! Facts go in, the standing that a claim sees comes out.

#![expect(clippy::unwrap_used, reason = "a story fails by panicking")]

#[macro_use]
mod side_support;

use parcours_domain::{
    Channel, ContactId,
    consent::{FactKind, Refusal, Scope},
};
use parcours_store::{ConsentRef, Store, TimelineItem};
use side_support::*;

on_both!(
    facts_fold_to_the_standing_that_is_claimed,
    the_order_of_acceptance_decides_even_when_the_clock_stands,
    a_repeated_withdrawal_is_one_fact,
    all_marketing_is_withdrawn_again_after_an_opt_in_has_lifted_it,
    a_fact_for_an_address_that_nobody_has_waits_for_it,
    a_fact_reaches_the_contact_through_the_inbox_once,
    nobody_else_can_be_recorded_for,
    facts_of_one_record_are_taken_together,
    facts_of_an_absorbed_contact_go_on_counting,
    a_suppressed_address_does_not_follow_the_contact_to_a_new_one,
);

fn news() -> Scope {
    Scope::Topic(name("news"))
}

async fn facts_fold_to_the_standing_that_is_claimed(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.contact("anna", "anna@example.org").await;
    let story = [
        (None, Err(Refusal::NoConsent)),
        (Some((FactKind::Given, news())), Ok(())),
        (Some((FactKind::Withdrawn, news())), Err(Refusal::Withdrawn)),
        (Some((FactKind::Given, news())), Ok(())),
        (Some((FactKind::Withdrawn, Scope::AllMarketing)), Err(Refusal::WithdrawnAll)),
        (Some((FactKind::Given, news())), Ok(())),
        (Some((FactKind::Objected, Scope::AllMarketing)), Err(Refusal::Objected)),
        (Some((FactKind::Given, news())), Ok(())),
        (Some((FactKind::Suppressed, Scope::AllMarketing)), Err(Refusal::Suppressed)),
        (Some((FactKind::Given, news())), Err(Refusal::Suppressed)),
    ];
    for (minute, (said, expected)) in story.into_iter().enumerate() {
        let minute = i64::try_from(minute).unwrap();
        if let Some((kind, scope)) = said {
            shop.say(anna, kind, scope, at(minute)).await;
        }
        shop.send(anna, &format!("m{minute}")).await;
        let claimed = shop.claim(3_600 + minute).await;
        assert_eq!(judge(&claimed[0]), expected, "after step {minute}");
        let door = shop.store.consent();
        let now = door.standing(shop.tenant, anna, Channel::Email).await.unwrap();
        assert_eq!(now.standing, claimed[0].standing);
        assert_eq!(now.head_version, Some(claimed[0].head_version));
    }
}

async fn the_order_of_acceptance_decides_even_when_the_clock_stands(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.contact("anna", "anna@example.org").await;
    for _ in 0..5 {
        shop.say(anna, FactKind::Given, news(), at(0)).await;
        shop.say(anna, FactKind::Withdrawn, news(), at(0)).await;
    }
    shop.send(anna, "a").await;
    assert_eq!(judge(&shop.claim(1).await[0]), Err(Refusal::Withdrawn));
    // A clock that went back cannot bury a withdrawal either.
    shop.say(anna, FactKind::Given, news(), at(2)).await;
    shop.say(anna, FactKind::Withdrawn, news(), at(1)).await;
    shop.send(anna, "b").await;
    assert_eq!(judge(&shop.claim(1).await[0]), Err(Refusal::Withdrawn));
}

async fn a_repeated_withdrawal_is_one_fact(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let door = shop.store.consent();
    let mut first = None;
    for minute in 1..4 {
        let mut fact = shop.fact(FactKind::Withdrawn, news(), at(minute));
        fact.once = true;
        let ids = door.record(shop.tenant, anna, vec![fact], at(minute)).await.unwrap();
        assert_eq!(*first.get_or_insert(ids[0]), ids[0]);
    }
    assert_eq!(facts_of(&shop, anna).await.len(), 2);
    shop.say(anna, FactKind::Given, news(), at(5)).await;
    let mut fact = shop.fact(FactKind::Withdrawn, news(), at(6));
    fact.once = true;
    let ids = door.record(shop.tenant, anna, vec![fact], at(6)).await.unwrap();
    assert_ne!(Some(ids[0]), first, "a new withdrawal after a new opt-in");
}

async fn all_marketing_is_withdrawn_again_after_an_opt_in_has_lifted_it(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let door = shop.store.consent();
    let withdraw = async |minute| {
        let mut fact = shop.fact(FactKind::Withdrawn, Scope::AllMarketing, at(minute));
        fact.once = true;
        door.record(shop.tenant, anna, vec![fact], at(minute)).await.unwrap()[0]
    };
    let first = withdraw(1).await;
    assert_eq!(withdraw(2).await, first);
    shop.say(anna, FactKind::Given, news(), at(3)).await;
    let second = withdraw(4).await;
    assert_ne!(second, first, "the opt-in had lifted the first");
    assert_eq!(withdraw(5).await, second);
    shop.send(anna, "a").await;
    assert_eq!(judge(&shop.claim(6).await[0]), Err(Refusal::WithdrawnAll));
}

async fn a_fact_for_an_address_that_nobody_has_waits_for_it(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.visitor("anna").await;
    let keys = shop.brand().keys().await.unwrap();
    let mut fact = shop.fact(FactKind::Suppressed, Scope::AllMarketing, at(0));
    fact.address = Some(
        "ben@example.org".parse::<parcours_domain::EmailAddress>().unwrap().hash(&keys.address),
    );
    shop.store.consent().record(shop.tenant, anna, vec![fact], at(0)).await.unwrap();
    let ben = shop.reader("ben").await;
    shop.send(ben, "b").await;
    assert_eq!(judge(&shop.claim(1).await[0]), Err(Refusal::Suppressed));
}

async fn a_fact_reaches_the_contact_through_the_inbox_once(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let told = shop.inbox(anna, "consent").await;
    assert_eq!(told.len(), 1);
    let said: ConsentRef = serde_json::from_str(&told[0].ref_json).unwrap();
    assert_eq!((said.kind, said.scope), (FactKind::Given, news()));
    assert_eq!(facts_of(&shop, anna).await[0].id, said.fact);
}

async fn nobody_else_can_be_recorded_for(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let other = Shop::named(shop.store.clone(), "other").await;
    let fact = other.fact(FactKind::Withdrawn, news(), at(0));
    let door = shop.store.consent();
    assert!(matches!(
        door.record(other.tenant, anna, vec![fact], at(0)).await,
        Err(parcours_store::StoreError::NotFound)
    ));
    let now = door.standing(other.tenant, anna, Channel::Email).await.unwrap();
    assert_eq!(now, parcours_store::StandingNow::default());
}

async fn facts_of_one_record_are_taken_together(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.contact("anna", "anna@example.org").await;
    let door = shop.store.consent();
    let good = shop.fact(FactKind::Given, news(), at(0));
    let twin = parcours_store::NewFact { kind: FactKind::Withdrawn, ..good.clone() };
    assert!(door.record(shop.tenant, anna, vec![good, twin], at(0)).await.is_err());
    assert_eq!(facts_of(&shop, anna).await.len(), 0, "one id twice: nothing was recorded");
    let pair = vec![
        shop.fact(FactKind::Given, news(), at(0)),
        shop.fact(FactKind::Given, Scope::Topic(name("offers")), at(0)),
    ];
    let ids = door.record(shop.tenant, anna, pair, at(0)).await.unwrap();
    let found = facts_of(&shop, anna).await;
    assert_eq!(ids.len(), 2);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|fact| fact.address.is_some()), "said for the present address");
}

async fn facts_of_an_absorbed_contact_go_on_counting(store: Store) {
    let shop = Shop::open(store).await;
    let visitor = shop.contact("visitor", "anna@example.org").await;
    let anna = shop.contact("anna", "anna@example.org").await;
    shop.say(anna, FactKind::Given, news(), at(0)).await;
    shop.send(visitor, "before").await;
    let claimed = shop.claim(1).await;
    shop.commit(visitor, |commit| commit.absorbed_into = Some(anna)).await;
    assert_eq!(shop.dot(&claimed, 2).await, [parcours_store::DotAnswer::Rejudge]);
    let ids = [claimed[0].message];
    let again = shop.store.delivery().reread(shop.tenant, claimed[0].claim_id, &ids).await.unwrap();
    assert_eq!((again[0].contact, judge(&again[0])), (anna, Ok(())));

    // Said by a link in a mail to the contact that is no more.
    shop.say(visitor, FactKind::Withdrawn, news(), at(1)).await;
    assert_eq!(shop.dot(&again, 3).await, [parcours_store::DotAnswer::Rejudge]);
    assert_eq!(shop.inbox(anna, "consent").await.len(), 2);
    shop.send(anna, "after").await;
    assert_eq!(judge(&shop.claim(4).await[0]), Err(Refusal::Withdrawn));
    assert_eq!(facts_of(&shop, visitor).await.len(), 2, "one timeline");
}

async fn a_suppressed_address_does_not_follow_the_contact_to_a_new_one(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.say(anna, FactKind::Suppressed, Scope::AllMarketing, at(1)).await;
    shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    assert_eq!(judge(&claimed[0]), Err(Refusal::Suppressed));
    assert_eq!(shop.contact("anna", "anna@new.example.org").await, anna);
    assert_eq!(shop.dot(&claimed, 2).await, [parcours_store::DotAnswer::Rejudge]);
    let ids = [claimed[0].message];
    let again = shop.store.delivery().reread(shop.tenant, claimed[0].claim_id, &ids).await.unwrap();
    assert_eq!(judge(&again[0]), Ok(()));
    assert_eq!(shop.dot(&again, 3).await, [parcours_store::DotAnswer::Go]);
}

async fn facts_of(shop: &Shop, contact: ContactId) -> Vec<parcours_domain::consent::ConsentFact> {
    let page =
        shop.brand().timeline(contact, &parcours_store::PageRequest::first(500)).await.unwrap();
    page.items
        .into_iter()
        .filter_map(|entry| match entry.item {
            TimelineItem::Fact(fact) => Some(*fact),
            _ => None,
        })
        .collect()
}
