//! Breakers of brands: what is counted, what trips one, what it holds back, and who lets it go.

#![expect(clippy::unwrap_used, reason = "a story fails by panicking")]

#[macro_use]
mod side_support;

use std::collections::BTreeMap;

use parcours_domain::{
    Channel, ContactId, EmailAddress, MessageClass, MessageId, Millis, Quotas, SendOutcome,
    TenantId, Weight,
    breaker::{BreakerRules, Cause, Counted, Stops, Tally},
    consent::{FactKind, Scope},
};
use parcours_store::{ApiMessage, Claimed, DotAnswer, Finished, Reached, Store, StoreError};
use side_support::*;
use uuid::Uuid;

use Counted::{Bounced, Refused, Sent};
use MessageClass::{Marketing, Test, Transactional};

on_both!(
    a_bad_share_stops_marketing_and_nothing_else,
    another_brand_and_small_numbers_are_left_alone,
    transactional_mail_stops_when_it_is_refused_hard,
    what_was_claimed_before_the_trip_does_not_pass_its_final_commit,
    a_reset_lets_it_send_and_counts_anew,
    what_is_older_than_an_hour_does_not_count,
    an_outcome_counts_once_however_often_it_is_reported,
    a_message_is_complained_about_once,
    complaints_stop_marketing_and_are_compared_with_what_they_are_part_of,
    a_complaint_about_a_test_touches_nobody,
    an_address_leads_to_its_newest_message,
    a_stopped_brand_is_seen_in_the_status,
    weights_are_those_that_were_set,
);

/// Queues so many messages of a class, to leave at the minute.
async fn queue(shop: &Shop, to: ContactId, class: MessageClass, count: usize, minute: i64) {
    let topic = if class == Transactional { "receipts" } else { "news" };
    for _ in 0..count {
        let key = Uuid::new_v4().to_string();
        let message = ApiMessage {
            class,
            topic: name(topic),
            not_before: at(minute),
            ..shop.api_message(to, &key)
        };
        let brand = shop.brand();
        if class == Test {
            let to = "team@example.org".parse().unwrap();
            brand.enqueue_test_message(&message, &to, at(minute)).await.unwrap();
        } else {
            brand.enqueue_api_message(&message, at(minute)).await.unwrap();
        }
    }
}

/// Ends claimed messages, each as this is counted.
async fn end(shop: &Shop, claimed: &[Claimed], counted: &[Counted], minute: i64) {
    assert_eq!(claimed.len(), counted.len());
    let ends = claimed.iter().zip(counted).map(|(claimed, counted)| {
        let outcome = match counted {
            Sent => SendOutcome::Sent,
            Bounced => SendOutcome::Bounced,
            Refused => SendOutcome::Failed,
        };
        let counted = Some((claimed.class, *counted));
        Finished { counted, now: at(minute), ..finished(claimed, outcome) }
    });
    let taken = shop.store.delivery().finish(ends.collect()).await.unwrap();
    assert!(taken.iter().all(|taken| *taken));
}

/// Queues, claims and ends messages of a class.
async fn play(shop: &Shop, to: ContactId, class: MessageClass, counted: &[Counted], minute: i64) {
    queue(shop, to, class, counted.len(), minute).await;
    let claimed = shop.claim(minute * 60).await;
    end(shop, &claimed, counted, minute).await;
}

async fn stopped(shop: &Shop) -> Option<(Stops, Cause, Tally)> {
    let stopped = shop.brand().breaker().await.unwrap().stopped;
    stopped.map(|stopped| (stopped.stops, stopped.cause, stopped.tally))
}

fn tally(sent: u64, bounced: u64, refused: u64, complained: u64) -> Tally {
    Tally { sent, bounced, refused, complained }
}

/// A brand that ten outcomes are enough for, and a contact.
async fn small(store: &Store, brand: &str) -> (Shop, ContactId) {
    let shop = Shop::named(store.clone(), brand).await;
    let rules = BreakerRules { sample: Some(10), ..BreakerRules::default() };
    shop.store.admin().set_breaker(shop.tenant, &rules).await.unwrap();
    let anna = shop.reader("anna").await;
    (shop, anna)
}

async fn a_bad_share_stops_marketing_and_nothing_else(store: Store) {
    let (shop, anna) = small(&store, "records").await;
    play(&shop, anna, Marketing, &[[Sent; 7].as_slice(), &[Bounced; 2]].concat(), 0).await;
    assert_eq!(stopped(&shop).await, None, "nine are too few");
    play(&shop, anna, Marketing, &[Bounced], 1).await;
    let trip = Some((Stops::Marketing, Cause::Bounces, tally(7, 3, 0, 0)));
    assert_eq!(stopped(&shop).await, trip);

    queue(&shop, anna, Marketing, 3, 2).await;
    assert_eq!(shop.store.delivery().heads(at(3)).await.unwrap(), []);
    assert_eq!(shop.store.delivery().next_ready().await.unwrap(), None, "nothing to wait for");
    assert_eq!(shop.claim(180).await, []);
    queue(&shop, anna, Transactional, 2, 2).await;
    assert_eq!(shop.store.delivery().heads(at(3)).await.unwrap(), [(shop.tenant, 0)]);
    let claimed = shop.claim(180).await;
    assert_eq!(claimed.iter().map(|one| one.class).collect::<Vec<_>>(), [Transactional; 2]);
    assert_eq!(shop.dot(&claimed, 181).await, [DotAnswer::Go; 2]);
    end(&shop, &claimed, &[Sent; 2], 3).await;
    assert_eq!(shop.store.delivery().heads(at(3)).await.unwrap(), []);
    assert_eq!(stopped(&shop).await, trip, "it stays so, whatever else is sent");
}

async fn another_brand_and_small_numbers_are_left_alone(store: Store) {
    let (bad, anna) = small(&store, "records").await;
    let (good, ben) = small(&store, "books").await;
    queue(&bad, anna, Marketing, 20, 0).await;
    queue(&good, ben, Marketing, 20, 0).await;
    // Outcomes of both in one commit.
    let mut claimed = bad.claim(0).await;
    let theirs = claimed.len();
    claimed.extend(good.claim(0).await);
    let counted: Vec<_> =
        (0..claimed.len()).map(|n| if n < theirs { Refused } else { Sent }).collect();
    end(&bad, &claimed, &counted, 0).await;
    let trip = Some((Stops::Marketing, Cause::Refusals, tally(0, 0, 20, 0)));
    assert_eq!((stopped(&bad).await, stopped(&good).await), (trip, None));
    queue(&good, ben, Marketing, 1, 1).await;
    assert_eq!(good.claim(60).await.len(), 1);
    let counted = good.brand().outcomes(at(1)).await.unwrap();
    assert_eq!(counted.marketing, tally(20, 0, 0, 0));
    // Without a limit of its own a brand needs a hundred.
    let usual = Shop::named(store, "films").await;
    let cleo = usual.reader("cleo").await;
    play(&usual, cleo, Marketing, &[Bounced; 99], 0).await;
    assert_eq!(stopped(&usual).await, None);
    play(&usual, cleo, Marketing, &[Sent], 0).await;
    assert_eq!(stopped(&usual).await, None, "nothing bad came");
    play(&usual, cleo, Marketing, &[Bounced], 0).await;
    assert!(stopped(&usual).await.is_some());
}

async fn transactional_mail_stops_when_it_is_refused_hard(store: Store) {
    let (shop, anna) = small(&store, "records").await;
    play(&shop, anna, Transactional, &[[Sent; 6].as_slice(), &[Refused; 5]].concat(), 0).await;
    play(&shop, anna, Test, &[Refused; 30], 0).await;
    assert_eq!(stopped(&shop).await, None);
    play(&shop, anna, Transactional, &[Refused], 0).await;
    let trip = Some((Stops::Everything, Cause::Refusals, tally(6, 0, 6, 0)));
    assert_eq!(stopped(&shop).await, trip);
    queue(&shop, anna, Transactional, 1, 1).await;
    queue(&shop, anna, Marketing, 1, 1).await;
    assert_eq!(shop.store.delivery().heads(at(1)).await.unwrap(), []);
    queue(&shop, anna, Test, 1, 1).await;
    let claimed = shop.claim(60).await;
    assert_eq!(claimed.iter().map(|one| one.class).collect::<Vec<_>>(), [Test]);
}

async fn what_was_claimed_before_the_trip_does_not_pass_its_final_commit(store: Store) {
    let (shop, anna) = small(&store, "records").await;
    queue(&shop, anna, Marketing, 12, 0).await;
    queue(&shop, anna, Transactional, 1, 0).await;
    let mut claimed = shop.claim(0).await;
    claimed.sort_by_key(|one| one.class);
    let (last, first) = (claimed.split_off(10), claimed);
    end(&shop, &first, &[Refused; 10], 0).await;
    let answers = shop.dot(&last, 1).await;
    assert_eq!(answers, [DotAnswer::Halted, DotAnswer::Halted, DotAnswer::Go]);
    let ids: Vec<MessageId> = last.iter().map(|one| one.message).collect();
    let again = shop.store.delivery().reread(shop.tenant, last[0].claim_id, &ids).await.unwrap();
    assert!(again.iter().all(|one| one.stops == Stops::Marketing && !one.halted));
}

async fn a_reset_lets_it_send_and_counts_anew(store: Store) {
    let (shop, anna) = small(&store, "records").await;
    let admin = shop.store.admin();
    play(&shop, anna, Marketing, &[Bounced; 10], 0).await;
    queue(&shop, anna, Marketing, 9, 1).await;
    assert_eq!(shop.claim(60).await, []);
    assert!(admin.reset_breaker(shop.tenant, at(2)).await.unwrap());
    assert!(!admin.reset_breaker(shop.tenant, at(2)).await.unwrap(), "nothing is stopped now");
    let now = shop.brand().breaker().await.unwrap();
    assert_eq!((now.stopped, now.reset_at), (None, Some(at(2))));
    assert_eq!(now.rules.sample, Some(10), "its limits stay");
    assert_eq!(shop.store.delivery().heads(at(2)).await.unwrap(), [(shop.tenant, 0)]);
    let claimed = shop.claim(120).await;
    end(&shop, &claimed, &[Bounced; 9], 2).await;
    assert_eq!(stopped(&shop).await, None, "nine since the reset");
    play(&shop, anna, Marketing, &[Bounced], 3).await;
    let trip = Some((Stops::Marketing, Cause::Bounces, tally(0, 10, 0, 0)));
    assert_eq!(stopped(&shop).await, trip);
    assert!(!admin.reset_breaker(TenantId(Uuid::nil()), at(4)).await.unwrap());
    let nobody = admin.set_breaker(TenantId(Uuid::nil()), &BreakerRules::default()).await;
    assert!(matches!(nobody, Err(StoreError::NotFound)));
}

async fn what_is_older_than_an_hour_does_not_count(store: Store) {
    let (shop, anna) = small(&store, "records").await;
    play(&shop, anna, Marketing, &[Bounced; 9], 0).await;
    play(&shop, anna, Marketing, &[Bounced; 3], 61).await;
    assert_eq!(stopped(&shop).await, None);
    let day = shop.brand().outcomes(at(61)).await.unwrap();
    assert_eq!((day.marketing, day.marketing_day), (tally(0, 3, 0, 0), tally(0, 12, 0, 0)));
    let admin = shop.store.admin();
    assert_eq!(admin.forget_outcomes(at(61)).await.unwrap(), 0);
    assert_eq!(admin.forget_outcomes(at(24 * 60 + 10)).await.unwrap(), 1);
}

async fn an_outcome_counts_once_however_often_it_is_reported(store: Store) {
    let (shop, anna) = small(&store, "records").await;
    queue(&shop, anna, Marketing, 1, 0).await;
    let claimed = shop.claim(0).await;
    let one = Finished {
        counted: Some((Marketing, Refused)),
        now: at(0),
        ..finished(&claimed[0], SendOutcome::Failed)
    };
    let door = shop.store.delivery();
    assert_eq!(door.finish(vec![one.clone()]).await.unwrap(), [true]);
    for _ in 0..20 {
        assert_eq!(door.finish(vec![one.clone()]).await.unwrap(), [false]);
    }
    let counted = shop.brand().outcomes(at(0)).await.unwrap();
    assert_eq!((counted.marketing, stopped(&shop).await), (tally(0, 0, 1, 0), None));
}

/// Sends so many messages to a contact of their own each; which.
async fn sent(shop: &Shop, count: usize, minute: i64) -> Vec<(MessageId, ContactId)> {
    for n in 0..count {
        let reader = shop.reader(&format!("reader{minute}-{n}")).await;
        queue(shop, reader, Marketing, 1, minute).await;
    }
    let claimed = shop.claim(minute * 60).await;
    assert_eq!(shop.dot(&claimed, minute * 60).await, vec![DotAnswer::Go; count]);
    end(shop, &claimed, &vec![Sent; count], minute).await;
    claimed.iter().map(|one| (one.message, one.contact)).collect()
}

async fn complain(shop: &Shop, message: MessageId, minute: i64) -> parcours_store::Complained {
    let fact = shop.fact(FactKind::Suppressed, Scope::AllMarketing, at(minute));
    shop.store.consent().complain((shop.tenant, message), fact, at(minute)).await.unwrap()
}

async fn a_message_is_complained_about_once(store: Store) {
    let (shop, _) = small(&store, "records").await;
    let mails = sent(&shop, 10, 0).await;
    let (message, contact) = mails[0];
    let first = complain(&shop, message, 1).await;
    assert_eq!((first.contact, first.suppression.is_some()), (contact, true));
    for _ in 0..5 {
        assert_eq!(complain(&shop, message, 2).await.suppression, None);
    }
    assert_eq!(shop.brand().outcomes(at(2)).await.unwrap().marketing_day, tally(10, 0, 0, 1));
    assert_eq!(stopped(&shop).await, None, "one is chance");
    let now = shop.store.consent().standing(shop.tenant, contact, Channel::Email).await.unwrap();
    assert!(now.address.unwrap().1.suppressed_at.is_some());
    let other = Shop::named(store, "books").await;
    let fact = other.fact(FactKind::Suppressed, Scope::AllMarketing, at(3));
    let theirs = other.store.consent().complain((other.tenant, message), fact, at(3)).await;
    assert!(matches!(theirs, Err(StoreError::NotFound)), "{theirs:?}");
}

async fn complaints_stop_marketing_and_are_compared_with_what_they_are_part_of(store: Store) {
    let (shop, _) = small(&store, "records").await;
    let yesterday = sent(&shop, 12, 0).await;
    let today = sent(&shop, 12, 24 * 60).await;
    for (message, _) in &yesterday {
        complain(&shop, *message, 24 * 60 + 1).await;
    }
    assert_eq!(stopped(&shop).await, None, "what was sent a day ago is judged no more");
    for (message, _) in &today[..3] {
        assert_eq!(stopped(&shop).await, None);
        complain(&shop, *message, 24 * 60 + 1).await;
    }
    let trip = Some((Stops::Marketing, Cause::Complaints, tally(12, 0, 0, 3)));
    assert_eq!(stopped(&shop).await, trip);
    let moment = at(24 * 60 + 2);
    shop.store.admin().reset_breaker(shop.tenant, moment).await.unwrap();
    sent(&shop, 10, 24 * 60 + 3).await;
    for (message, _) in &today[3..] {
        complain(&shop, *message, 24 * 60 + 4).await;
    }
    assert_eq!(stopped(&shop).await, None, "these are about what was sent before the reset");
    let day = shop.brand().outcomes(moment + Millis::minutes(3)).await.unwrap().marketing_day;
    assert_eq!(day, tally(10, 0, 0, 0));
}

async fn a_complaint_about_a_test_touches_nobody(store: Store) {
    let (shop, anna) = small(&store, "records").await;
    queue(&shop, anna, Test, 1, 0).await;
    let claimed = shop.claim(0).await;
    end(&shop, &claimed, &[Sent], 0).await;
    let said = complain(&shop, claimed[0].message, 1).await;
    assert_eq!(said.suppression, None);
    let now = shop.store.consent().standing(shop.tenant, anna, Channel::Email).await.unwrap();
    assert_eq!(now.address.unwrap().1.suppressed_at, None);
}

async fn an_address_leads_to_its_newest_message(store: Store) {
    let (shop, anna) = small(&store, "records").await;
    let keys = shop.brand().keys().await.unwrap();
    let door = shop.store.consent();
    let find = async |email: &str| {
        let hash = email.parse::<EmailAddress>().unwrap().hash(&keys.address);
        door.recipient(shop.tenant, Channel::Email, hash).await.unwrap()
    };
    assert_eq!(find("nobody@example.org").await, None);
    let found = find("anna@example.org").await.unwrap();
    assert_eq!((found.contact, found.message, found.is_suppressed), (anna, None, false));
    shop.say(anna, FactKind::Suppressed, Scope::AllMarketing, at(0)).await;
    assert!(find("anna@example.org").await.unwrap().is_suppressed);
    let mails = sent(&shop, 2, 0).await;
    let found = find("reader0-1@example.org").await.unwrap();
    assert!(mails.contains(&(found.message.unwrap(), found.contact)));
}

async fn a_stopped_brand_is_seen_in_the_status(store: Store) {
    let (shop, anna) = small(&store, "records").await;
    let (other, _) = small(&store, "books").await;
    play(&shop, anna, Marketing, &[Bounced; 10], 0).await;
    let seen = async |reached| {
        let brands = store.admin().status(reached, at(1)).await.unwrap();
        brands.into_iter().map(|one| (one.brand.tenant, one.stopped)).collect::<BTreeMap<_, _>>()
    };
    let all = seen(Reached::Install).await;
    let trip = all[&shop.tenant].unwrap();
    assert_eq!((trip.stops, trip.cause, trip.at), (Stops::Marketing, Cause::Bounces, at(0)));
    assert_eq!(all[&other.tenant], None);
    let own = seen(Reached::Brand(other.tenant)).await;
    assert_eq!(own, BTreeMap::from([(other.tenant, None)]));
}

async fn weights_are_those_that_were_set(store: Store) {
    let (one, other) = (Shop::named(store.clone(), "one").await, Shop::open(store.clone()).await);
    let door = store.delivery();
    assert_eq!(door.weights().await.unwrap(), BTreeMap::new());
    let heavy = Quotas { weight: Weight::new(30).unwrap(), ..Quotas::default() };
    store.admin().set_quotas(one.tenant, &heavy).await.unwrap();
    store.admin().set_quotas(other.tenant, &Quotas::default()).await.unwrap();
    let expected = BTreeMap::from([(one.tenant, Weight::new(30).unwrap())]);
    assert_eq!(door.weights().await.unwrap(), expected);
    assert_eq!(one.brand().quotas().await.unwrap(), heavy);
    // Beside it its breaker keeps what it has.
    let rules = BreakerRules { sample: Some(7), ..BreakerRules::default() };
    store.admin().set_breaker(one.tenant, &rules).await.unwrap();
    store.admin().set_quotas(one.tenant, &Quotas::default()).await.unwrap();
    assert_eq!(one.brand().breaker().await.unwrap().rules, rules);
    assert_eq!(door.weights().await.unwrap(), BTreeMap::new());
}
