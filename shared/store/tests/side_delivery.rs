//! Claims, returns and ends of messages.

#![expect(clippy::unwrap_used, reason = "a story fails by panicking")]

#[macro_use]
mod side_support;

use parcours_domain::{
    AddressHash, Channel, MessageClass, SendOutcome,
    consent::{FactKind, Refusal, Scope},
};
use parcours_store::{
    DotAnswer, DotTimes, Enqueued, MailboxPut, OutcomeRef, PageRequest, Retry, Store, Suppress,
    UnknownPolicy,
};
use side_support::*;

on_both!(
    a_claim_brings_what_the_verdict_and_the_template_need,
    a_claim_whose_lease_is_over_before_the_dot_can_be_claimed_again,
    a_lost_reply_is_resent_under_the_same_id_where_policy_says_so,
    a_lost_reply_is_settled_by_the_class_under_which_the_message_left,
    a_suppression_at_the_end_of_a_message_refuses_the_next,
    an_end_is_told_to_the_run_once,
    a_returned_message_waits_for_its_time,
    a_message_that_is_not_sent_in_time_expires,
    a_queued_message_can_be_cancelled_and_a_claimed_one_cannot,
    heads_name_the_lanes_that_have_work,
    a_send_key_is_used_once,
    an_api_message_is_idempotent,
    a_mail_is_kept_in_the_mailbox_with_its_end,
    a_test_goes_to_its_address_and_rests_on_nothing_of_the_contact,
    a_test_waits_for_a_new_verdict_when_its_address_or_its_brand_moved,
);

async fn a_claim_brings_what_the_verdict_and_the_template_need(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    let one = &claimed[0];
    let (_, address, standing, version) = one.address.clone().unwrap();
    assert_eq!(address.expose(), "anna@example.org");
    assert_eq!((standing.suppressed_at, standing.objected_at), (None, None));
    assert!(version >= 0);
    assert_eq!((one.contact, one.attempt, one.class), (anna, 1, MessageClass::Marketing));
    let topic = one.topic.clone().unwrap();
    assert_eq!((topic.title.as_str(), topic.class), ("news", MessageClass::Marketing));
    assert_eq!((one.row.status.as_str(), one.halted), ("queued", false));
    assert!(shop.claim(1).await.is_empty(), "claimed once");
    let stranger = Shop::named(shop.store.clone(), "other").await;
    assert!(stranger.claim(1).await.is_empty(), "another brand sees nothing");
}

async fn a_claim_whose_lease_is_over_before_the_dot_can_be_claimed_again(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.send(anna, "a").await;
    assert_eq!(shop.claim(1).await.len(), 1);
    assert_eq!(shop.settle(20, UnknownPolicy::Final).await.requeued, 0);
    assert!(shop.claim(20).await.is_empty());
    assert_eq!(shop.settle(32, UnknownPolicy::Final).await.requeued, 1);
    assert_eq!(shop.store.delivery().heads(at(1)).await.unwrap(), [(shop.tenant, 0)]);
    assert_eq!(shop.claim(33).await[0].attempt, 2);
}

async fn a_lost_reply_is_resent_under_the_same_id_where_policy_says_so(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let message = shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Go]);
    let settled = shop.settle(700, UnknownPolicy::Again).await;
    assert_eq!((settled.again, settled.unknown), (vec![(shop.tenant, message)], vec![]));
    let again = shop.claim(701).await;
    assert_eq!((again[0].message, again[0].attempt), (message, 2));
}

async fn a_lost_reply_is_settled_by_the_class_under_which_the_message_left(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let policy = |_, class| match class {
        MessageClass::Marketing => UnknownPolicy::Final,
        MessageClass::Transactional => UnknownPolicy::Again,
        MessageClass::Test => UnknownPolicy::Final,
    };
    for (key, receipt, again) in [
        ("a", r#"{"class":"transactional"}"#, 1),
        ("b", r#"{"class":"marketing"}"#, 0),
        ("c", "not a receipt", 0),
    ] {
        shop.send(anna, key).await;
        let claimed = shop.claim(1).await;
        let mut request = dot_request(&claimed[0]);
        request.receipt_json = receipt.to_owned();
        let door = shop.store.delivery();
        let times = DotTimes { now: now(2), lease_ms: 1_000 };
        assert_eq!(door.commit_dot(vec![request], times).await.unwrap(), [DotAnswer::Go]);
        let settled = door.settle_expired_claims(now(700), &policy).await.unwrap();
        assert_eq!(settled.again.len(), again, "{receipt}");
        assert_eq!(settled.unknown.len(), 1 - again, "{receipt}");
        for message in shop.claim(701).await {
            let door = shop.store.delivery();
            door.finish(vec![finished(&message, SendOutcome::Sent)]).await.unwrap();
        }
    }
}

async fn a_suppression_at_the_end_of_a_message_refuses_the_next(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.contact("anna", "family@example.org").await;
    let ben = shop.contact("ben", "family@example.org").await;
    for contact in [anna, ben] {
        shop.say(contact, FactKind::Given, Scope::Topic(name("news")), at(0)).await;
    }
    let first = shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Go]);
    let mut end = finished(&claimed[0], SendOutcome::Bounced);
    end.reason = Some("5.1.1".to_owned());
    end.suppress = Some(Suppress {
        address: claimed[0].address.as_ref().unwrap().0,
        channel: Channel::Email,
        reason: "smtp:5.1.1".to_owned(),
    });
    assert_eq!(shop.store.delivery().finish(vec![end]).await.unwrap(), [true]);
    assert_eq!(shop.status(first).await, "bounced");

    shop.send(anna, "b").await;
    shop.send(ben, "c").await;
    let next = shop.claim(3).await;
    assert_eq!(next.len(), 2);
    for one in &next {
        assert_eq!(judge(one), Err(Refusal::Suppressed), "by contact and by address");
    }
    assert_eq!(shop.dot(&next, 4).await, [DotAnswer::Rejudge; 2], "and the dot refuses it too");
    let now = shop.store.consent().standing(shop.tenant, ben, Channel::Email).await.unwrap();
    assert!(now.address.unwrap().1.suppressed_at.is_some());
    assert_eq!(shop.inbox(anna, "consent").await.len(), 2);
}

async fn an_end_is_told_to_the_run_once(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let message = shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    shop.dot(&claimed, 2).await;
    let end = finished(&claimed[0], SendOutcome::Sent);
    let door = shop.store.delivery();
    assert_eq!(door.finish(vec![end.clone()]).await.unwrap(), [true]);
    assert_eq!(door.finish(vec![end]).await.unwrap(), [false]);
    let told = shop.inbox(anna, "outcome").await;
    assert_eq!(told.len(), 1);
    let outcome: OutcomeRef = serde_json::from_str(&told[0].ref_json).unwrap();
    assert_eq!((outcome.message, outcome.outcome), (message, SendOutcome::Sent));
    assert_eq!((outcome.run, outcome.step), (run_of("a"), name("thanks")));
    let why = shop.brand().message_why(message).await.unwrap().unwrap();
    assert_eq!(why.attempts.len(), 1, "the attempt of the dot was completed");
    assert_eq!(why.attempts[0].result, "accepted");
    assert_eq!((why.message.attempts, why.message.finished_at), (1, Some(at(1))));
    assert!(why.message.receipt.is_some());
}

async fn a_returned_message_waits_for_its_time(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    let back = |counted, minutes| Retry {
        tenant: shop.tenant,
        message: claimed[0].message,
        claim_id: claimed[0].claim_id,
        not_before: at(minutes),
        receipt_json: None,
        attempt: Some(attempt("connect", "deferred")),
        counted,
    };
    let door = shop.store.delivery();
    assert_eq!(door.retry(vec![back(true, 30)]).await.unwrap(), [true]);
    assert_eq!(door.retry(vec![back(true, 30)]).await.unwrap(), [false]);
    assert!(shop.claim(60).await.is_empty());
    assert_eq!(door.next_ready().await.unwrap(), Some(at(30)));
    assert_eq!(door.heads(at(29)).await.unwrap(), []);
    let again = shop.claim(30 * 60).await;
    assert_eq!(again[0].attempt, 2);
    let mut uncounted = back(false, 31);
    uncounted.claim_id = again[0].claim_id;
    assert_eq!(door.retry(vec![uncounted]).await.unwrap(), [true]);
    assert_eq!(shop.claim(31 * 60).await[0].attempt, 2, "did not count");
}

async fn a_message_that_is_not_sent_in_time_expires(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let message = shop.send(anna, "a").await;
    let late = at(24 * 60);
    assert!(shop.claim(24 * 3_600).await.is_empty(), "not from that moment on");
    let door = shop.store.delivery();
    assert_eq!(door.expire(at(24 * 60 - 1)).await.unwrap(), 0);
    assert_eq!(door.expire(late).await.unwrap(), 1);
    assert_eq!(door.expire(late).await.unwrap(), 0);
    assert_eq!(shop.status(message).await, "expired");
    assert_eq!(shop.inbox(anna, "outcome").await.len(), 1);
}

async fn a_queued_message_can_be_cancelled_and_a_claimed_one_cannot(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let door = shop.store.delivery();
    let first = shop.send(anna, "a").await;
    assert!(door.cancel(shop.tenant, first, at(1)).await.unwrap());
    assert_eq!(shop.status(first).await, "cancelled");
    let second = shop.send(anna, "b").await;
    assert_eq!(shop.claim(1).await.len(), 1);
    assert!(!door.cancel(shop.tenant, second, at(1)).await.unwrap());
}

async fn heads_name_the_lanes_that_have_work(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let door = shop.store.delivery();
    assert_eq!(door.heads(at(0)).await.unwrap(), []);
    shop.send(anna, "a").await;
    let mut later = shop.message("b", "news", MessageClass::Marketing);
    later.not_before = at(60);
    shop.commit(anna, |commit| commit.sends.push(later)).await;
    assert_eq!(door.heads(at(0)).await.unwrap(), [(shop.tenant, 0)]);
    assert_eq!(shop.claim(1).await.len(), 1);
    assert_eq!(door.heads(at(1)).await.unwrap(), [], "the lane is exhausted until later");
    assert_eq!(door.heads(at(60)).await.unwrap(), [(shop.tenant, 0)]);
    assert_eq!(shop.claim(3_600).await.len(), 1);
    assert_eq!(door.next_ready().await.unwrap(), None);
    door.rebuild_heads().await.unwrap();
    assert_eq!(door.next_ready().await.unwrap(), None, "claimed rows make no head");
}

async fn a_send_key_is_used_once(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.send(anna, "a").await;
    let mut again = shop.message("a", "news", MessageClass::Marketing);
    again.id = parcours_domain::MessageId::v7(at(5), [5; 10]);
    let repeated = again.id;
    shop.commit(anna, |commit| commit.sends.push(again)).await;
    assert_eq!(shop.claim(1).await.len(), 1);
    assert_eq!(shop.brand().message(repeated).await.unwrap(), None);
}

async fn an_api_message_is_idempotent(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.contact("anna", "anna@example.org").await;
    let message = shop.api_message(anna, "order-1");
    let brand = shop.brand();
    let id = message.id;
    assert_eq!(brand.enqueue_api_message(&message, at(0)).await.unwrap(), Enqueued::Fresh(id));
    let repeat = shop.api_message(anna, "order-1");
    assert_eq!(brand.enqueue_api_message(&repeat, at(1)).await.unwrap(), Enqueued::Already(id));
    let claimed = shop.claim(1).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].row.properties().unwrap(), message.data);
    assert_eq!(judge(&claimed[0]), Ok(()), "transactional needs no consent");
    assert!(claimed[0].row.address.is_some());
    let nobody = shop.api_message(parcours_domain::ContactId(uuid::Uuid::nil()), "order-2");
    assert!(brand.enqueue_api_message(&nobody, at(0)).await.is_err());
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Go]);
    let end = finished(&claimed[0], SendOutcome::Sent);
    shop.store.delivery().finish(vec![end]).await.unwrap();
    assert!(shop.inbox(anna, "outcome").await.is_empty(), "no run to tell");
}

async fn a_mail_is_kept_in_the_mailbox_with_its_end(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let message = shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    shop.dot(&claimed, 2).await;
    let mut end = finished(&claimed[0], SendOutcome::Sent);
    end.mailbox = Some(MailboxPut { recipient: AddressHash([3; 32]), raw: b"mail".to_vec() });
    shop.store.delivery().finish(vec![end]).await.unwrap();
    let page = shop.brand().mailbox(&PageRequest::default()).await.unwrap();
    assert_eq!((page.items[0].message, page.items[0].size), (message, 4));
    assert_eq!(shop.brand().mail(message).await.unwrap().as_deref(), Some(b"mail".as_slice()));
}

const TEAM: &str = "team@shop.example";

/// A test for the team, rendered with anna, who agreed to nothing.
async fn test_message(shop: &Shop, key: &str) -> parcours_domain::MessageId {
    let anna = shop.contact("anna", "anna@example.org").await;
    let message = shop.api_message(anna, key);
    let to = TEAM.parse().unwrap();
    let enqueued = shop.brand().enqueue_test_message(&message, &to, at(0)).await.unwrap();
    assert_eq!(enqueued, Enqueued::Fresh(message.id));
    message.id
}

async fn list_for_tests(shop: &Shop, addresses: &[&str]) {
    let body = serde_json::json!({"name": "records", "test_addresses": addresses});
    let document = parcours_store::NewDocument {
        kind: "Brand".to_owned(),
        name: name("records"),
        body_json: body.to_string(),
        compiled: None,
        version: None,
    };
    shop.brand().publish(vec![document], None, at(0)).await.unwrap();
}

async fn a_test_goes_to_its_address_and_rests_on_nothing_of_the_contact(store: Store) {
    let shop = Shop::open(store).await;
    list_for_tests(&shop, &[TEAM]).await;
    let id = test_message(&shop, "t1").await;
    let anna = shop.visitor("anna").await;
    shop.say(anna, FactKind::Objected, Scope::AllMarketing, at(1)).await;
    let claimed = shop.claim(1).await;
    let one = &claimed[0];
    let (_, address, ..) = one.address.clone().unwrap();
    assert_eq!((address.expose(), one.test_address, one.class), (TEAM, true, MessageClass::Test));
    assert_eq!((one.row.origin.as_str(), one.contact), ("test", anna));
    assert_eq!(judge(one), Ok(()), "what anna said is not said by the team");
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Go]);
    assert_eq!(shop.store.consent().leaving(shop.tenant, anna).await.unwrap(), 0, "not to anna");
    shop.store.delivery().finish(vec![finished(one, SendOutcome::Sent)]).await.unwrap();
    assert_eq!(shop.status(id).await, "sent");
    let counted = shop.brand().counters(0).await.unwrap();
    let names: Vec<&str> = counted.iter().map(|counter| counter.name.as_str()).collect();
    assert_eq!(names, ["test_messages_sent"], "counted apart");
    assert!(shop.brand().table().await.unwrap().messages.is_empty());
    let clicked = shop.brand().record_click(id, 1, at(3)).await.unwrap().unwrap();
    assert!(!clicked.first, "a click in a test is nobody's");
    assert_eq!(shop.brand().message_why(id).await.unwrap().unwrap().links[0].clicked_at, None);
}

async fn a_test_waits_for_a_new_verdict_when_its_address_or_its_brand_moved(store: Store) {
    let shop = Shop::open(store).await;
    list_for_tests(&shop, &[TEAM]).await;
    test_message(&shop, "t1").await;
    let team = shop.contact("team", TEAM).await;
    let claimed = shop.claim(1).await;
    list_for_tests(&shop, &[]).await;
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Rejudge], "the list moved");
    let one = &claimed[0];
    let again = shop.store.delivery().reread(shop.tenant, one.claim_id, &[one.message]).await;
    assert_eq!(judge(&again.unwrap()[0]), Err(Refusal::NotTestAddress));
    list_for_tests(&shop, &[TEAM]).await;
    let again = shop.store.delivery().reread(shop.tenant, one.claim_id, &[one.message]).await;
    let again = again.unwrap();
    shop.say(team, FactKind::Suppressed, Scope::AllMarketing, at(1)).await;
    assert_eq!(shop.dot(&again, 3).await, [DotAnswer::Rejudge], "the address moved");
    let again = shop.store.delivery().reread(shop.tenant, one.claim_id, &[one.message]).await;
    let again = again.unwrap();
    assert_eq!(judge(&again[0]), Err(Refusal::Suppressed));
    assert_eq!(shop.dot(&again, 4).await, [DotAnswer::Rejudge], "the final commit looks itself");
    // A message that is no test does not pass as one.
    let ben = shop.contact("ben", "ben@example.org").await;
    shop.send(ben, "b").await;
    let mut marketing = shop.claim(1).await;
    marketing[0].class = MessageClass::Test;
    assert_eq!(shop.dot(&marketing, 5).await, [DotAnswer::Rejudge]);
}
