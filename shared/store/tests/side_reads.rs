//! What people read: pages that cover everything once, timelines in order, clicks, quarantine.

#![expect(clippy::unwrap_used, reason = "a story fails by panicking")]

#[macro_use]
mod side_support;

use std::collections::BTreeSet;

use parcours_domain::{
    ContactId, EventId, EventKey, EventKind, MessageClass, QuarantineId, SendOutcome, Timestamp,
    hash::sha256_head,
};
use parcours_journey::RunRow;
use parcours_store::{
    ClickRef, Cursor, DotAnswer, MailboxPut, MessageFilter, NewEvent, Page, PageRequest,
    QuarantineEntry, Reached, Requeued, RunFilter, Store, StoreError, TimelineItem,
};
use side_support::*;

on_both!(
    cursor_pages_cover_everything_once,
    filters_narrow_a_page,
    a_foreign_cursor_is_refused,
    a_timeline_is_in_order_across_pages,
    a_contact_is_found_by_its_identity_and_its_address,
    a_click_is_recorded_once,
    a_set_aside_input_comes_back_once,
    counters_read_the_same_before_and_after_folding,
    the_table_counts_the_records,
);

/// Walks all pages; every key, in order.
async fn walk<T, K, F>(limit: u32, key: impl Fn(&T) -> K, page: F) -> Vec<K>
where
    F: AsyncFn(&PageRequest) -> Page<T>,
{
    let mut request = PageRequest::first(limit);
    let mut keys = Vec::new();
    loop {
        let page = page(&request).await;
        assert!(page.items.len() <= usize::try_from(limit).unwrap());
        keys.extend(page.items.iter().map(&key));
        let Some(next) = page.next else { return keys };
        request.cursor = Some(Cursor::from_text(next.as_str()));
    }
}

fn run_row(what: &str, journey: &str, status: &'static str, entered: Timestamp) -> RunRow {
    RunRow {
        id: run_of(what),
        journey: name(journey),
        version: 1,
        key: what.to_owned(),
        status,
        step: name("thanks"),
        entered_at: entered,
        wakes_at: None,
        ended_at: None,
        ended_by: None,
    }
}

fn event(what: &str, seq: i64, moment: Timestamp) -> NewEvent {
    NewEvent {
        id: EventId::v7(moment, sha256_head(&[b"event", what.as_bytes()])),
        seq,
        kind: EventKind::Track,
        name: "purchase".to_owned(),
        message_id: what.to_owned(),
        key: EventKey::of(what),
        day: moment.utc_day(),
        body_hash: [0; 32],
        occurred_at: None,
        received_at: moment,
        body: "{}".to_owned(),
        requeued: false,
    }
}

fn aside(what: &str, contact: Option<ContactId>) -> QuarantineEntry {
    QuarantineEntry {
        id: QuarantineId::v7(START, sha256_head(&[b"aside", what.as_bytes()])),
        contact,
        origin: "event".to_owned(),
        code: "refused".to_owned(),
        detail: String::new(),
        payload: what.as_bytes().to_vec(),
        key: Some(EventKey::of(what)),
        body_hash: Some([1; 32]),
    }
}

/// Seven contacts, messages, runs, set-aside inputs and mails.
async fn seven_of_everything(shop: &Shop) -> BTreeSet<parcours_domain::MessageId> {
    let brand = shop.brand();
    let mut ids = BTreeSet::new();
    for n in 0..7 {
        let contact = shop.reader(&format!("c{n}")).await;
        ids.insert(shop.send(contact, &format!("m{n}")).await);
        let row = run_row(&format!("r{n}"), "welcome", "waiting", at(n));
        shop.commit(contact, |commit| commit.runs.push(row)).await;
        brand.quarantine_items(&[aside(&format!("q{n}"), None)], at(0)).await.unwrap();
    }
    let claimed = shop.claim(1).await;
    assert_eq!(shop.dot(&claimed, 2).await, [DotAnswer::Go; 7]);
    let ends = claimed.iter().map(|one| {
        let mut end = finished(one, SendOutcome::Sent);
        let recipient = one.address.as_ref().unwrap().0;
        end.mailbox = Some(MailboxPut { recipient, raw: vec![1] });
        end
    });
    shop.store.delivery().finish(ends.collect()).await.unwrap();
    ids
}

async fn cursor_pages_cover_everything_once(store: Store) {
    let shop = Shop::open(store).await;
    let ids = seven_of_everything(&shop).await;
    let brand = shop.brand();
    for limit in [1, 2, 3, 7, 8, 500] {
        let filter = MessageFilter::default();
        let found = walk(
            limit,
            |m: &parcours_store::MessageRow| m.id,
            async |p: &PageRequest| brand.messages(&filter, p).await.unwrap(),
        )
        .await;
        assert!(found.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (7, ids.clone()));
        let found = walk(
            limit,
            |c: &parcours_store::ContactView| c.id,
            async |p: &PageRequest| brand.contacts(p).await.unwrap(),
        )
        .await;
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>().len()), (7, 7));
        let filter = RunFilter::default();
        let found = walk(
            limit,
            |r: &parcours_store::RunView| r.id,
            async |p: &PageRequest| brand.runs(&filter, p).await.unwrap(),
        )
        .await;
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>().len()), (7, 7));
        let found = walk(
            limit,
            |q: &parcours_store::QuarantineRow| q.id,
            async |p: &PageRequest| brand.quarantine(p).await.unwrap(),
        )
        .await;
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>().len()), (7, 7));
        let found = walk(
            limit,
            |m: &parcours_store::MailboxRow| m.message,
            async |p: &PageRequest| brand.mailbox(p).await.unwrap(),
        )
        .await;
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (7, ids.clone()));
    }
    let other = Shop::named(shop.store.clone(), "other").await;
    assert!(other.brand().contacts(&PageRequest::default()).await.unwrap().items.is_empty());
}

async fn filters_narrow_a_page(store: Store) {
    let shop = Shop::open(store).await;
    let (anna, ben) = (shop.reader("anna").await, shop.reader("ben").await);
    let mine = shop.send(anna, "a").await;
    shop.send(ben, "b").await;
    let filter = MessageFilter {
        class: None,
        contact: Some(anna),
        status: Some("queued".to_owned()),
        journey: Some(name("welcome")),
        template: Some(name("thanks")),
    };
    let page = shop.brand().messages(&filter, &PageRequest::default()).await.unwrap();
    assert_eq!(page.items.iter().map(|m| m.id).collect::<Vec<_>>(), [mine]);
    let rows =
        [run_row("r1", "welcome", "waiting", at(0)), run_row("r2", "other", "finished", at(0))];
    shop.commit(anna, |commit| commit.runs.extend(rows)).await;
    let filter = RunFilter { status: Some("finished".to_owned()), ..RunFilter::default() };
    let page = shop.brand().runs(&filter, &PageRequest::default()).await.unwrap();
    assert_eq!(page.items.iter().map(|run| run.id).collect::<Vec<_>>(), [run_of("r2")]);
    assert_eq!(shop.brand().live_runs(&name("welcome")).await.unwrap(), [(1, 1)]);
}

async fn a_foreign_cursor_is_refused(store: Store) {
    let shop = Shop::open(store).await;
    let request = PageRequest { limit: None, cursor: Some(Cursor::from_text("bm90IG91cnM")) };
    let answer = shop.brand().contacts(&request).await;
    assert!(matches!(answer, Err(StoreError::BadCursor)));
}

async fn a_timeline_is_in_order_across_pages(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    for n in 0..5 {
        let moment = at(n);
        let what = format!("e{n}");
        let mut message = shop.message(&what, "news", MessageClass::Marketing);
        message.id = parcours_domain::MessageId::v7(moment, sha256_head(&[what.as_bytes()]));
        shop.commit(anna, |commit| {
            commit.now = moment;
            commit.events.push(event(&what, n + 1, moment));
            commit.runs.push(run_row(&what, "welcome", "waiting", moment));
            commit.sends.push(message);
            commit.trace = Some((format!("event:{what}"), "[]".to_owned()));
        })
        .await;
    }
    let kind = |item: &TimelineItem| match item {
        TimelineItem::Event { .. } => "event",
        TimelineItem::Run(_) => "run",
        TimelineItem::Message(_) => "message",
        TimelineItem::Fact(_) => "fact",
        TimelineItem::Trace { .. } => "trace",
    };
    let brand = shop.brand();
    let mut walks = Vec::new();
    for limit in [1, 2, 3, 5, 500] {
        walks.push(
            walk(
                limit,
                |e: &parcours_store::TimelineEntry| (e.at, kind(&e.item)),
                async |p: &PageRequest| brand.timeline(anna, p).await.unwrap(),
            )
            .await,
        );
    }
    assert_eq!(walks[0].len(), 5 * 4 + 1);
    assert!(walks.iter().all(|walk| *walk == walks[0]));
    assert!(walks[0].windows(2).all(|pair| pair[0].0 <= pair[1].0));
    let minute: Vec<_> = walks[0].iter().filter(|(moment, _)| *moment == at(2)).collect();
    assert_eq!(
        minute.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(),
        ["event", "run", "message", "trace"]
    );
}

async fn a_contact_is_found_by_its_identity_and_its_address(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.contact("anna", "family@example.org").await;
    let ben = shop.contact("ben", "family@example.org").await;
    let brand = shop.brand();
    assert_eq!(brand.contact_by_identity("user_id", "anna").await.unwrap(), Some(anna));
    assert_eq!(brand.contact_by_identity("user_id", "nobody").await.unwrap(), None);
    assert_eq!(brand.contact_by_identity("anonymous_id", "anna").await.unwrap(), None);
    let address = "family@example.org".parse().unwrap();
    let found = brand.contacts_by_address(parcours_domain::Channel::Email, &address).await.unwrap();
    assert_eq!(BTreeSet::from_iter(found), BTreeSet::from([anna, ben]));
    let view = brand.contact(anna).await.unwrap().unwrap();
    assert_eq!(view.addresses[0].address.as_ref().unwrap().expose(), "family@example.org");
    assert_eq!((view.revision, view.state.is_some()), (1, true));
    let stranger = Shop::named(shop.store.clone(), "other").await;
    assert_eq!(stranger.brand().contact(anna).await.unwrap(), None);
    assert_eq!(stranger.brand().contact_by_identity("user_id", "anna").await.unwrap(), None);
}

async fn a_click_is_recorded_once(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let message = shop.send(anna, "a").await;
    let brand = shop.brand();
    assert_eq!(brand.record_click(message, 1, at(1)).await.unwrap(), None, "not sent yet");
    let claimed = shop.claim(1).await;
    shop.dot(&claimed, 2).await;
    assert_eq!(brand.link(message, 1).await.unwrap().as_deref(), Some("https://shop.example/a"));
    assert!(shop.inbox(anna, "click").await.is_empty(), "looking records nothing");
    for (minute, link, first) in [(3, 1, true), (4, 1, false), (5, 2, true), (6, 1, false)] {
        let clicked = brand.record_click(message, link, at(minute)).await.unwrap().unwrap();
        assert_eq!((clicked.first, clicked.contact), (first, anna));
    }
    assert_eq!(brand.record_click(message, 3, at(7)).await.unwrap(), None);
    let links = brand.message_why(message).await.unwrap().unwrap().links;
    assert_eq!((links[0].clicked_at, links[1].clicked_at), (Some(at(3)), Some(at(5))));
    let told = shop.inbox(anna, "click").await;
    assert_eq!(told.len(), 2);
    let click: ClickRef = serde_json::from_str(&told[0].ref_json).unwrap();
    assert_eq!((click.message, click.link, click.run), (message, 1, run_of("a")));
    let stranger = Shop::named(shop.store.clone(), "other").await;
    assert_eq!(stranger.brand().record_click(message, 1, at(8)).await.unwrap(), None);
}

async fn a_set_aside_input_comes_back_once(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    let brand = shop.brand();
    let (known, unknown) = (aside("known", Some(anna)), aside("unknown", None));
    let both = [known.clone(), unknown.clone()];
    assert_eq!(brand.quarantine_items(&both, at(0)).await.unwrap(), 2);
    let mut repeat = aside("known", Some(anna));
    repeat.id = QuarantineId::v7(at(1), [1; 10]);
    assert_eq!(brand.quarantine_items(&[repeat.clone()], at(1)).await.unwrap(), 0, "same key");

    assert_eq!(brand.requeue(known.id, at(2)).await.unwrap(), Requeued::ToContact(anna));
    assert_eq!(brand.requeue(known.id, at(3)).await.unwrap(), Requeued::Already);
    let back = shop.inbox(anna, "requeue").await;
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].body.as_deref(), Some(b"known".as_slice()));
    assert_eq!(brand.quarantine_items(&[repeat], at(4)).await.unwrap(), 1, "it may fail again");
    assert!(!brand.discard(known.id).await.unwrap(), "it is on its way");

    let Requeued::Payload(row) = brand.requeue(unknown.id, at(5)).await.unwrap() else {
        panic!("has no contact to go to");
    };
    assert_eq!((row.payload.as_slice(), row.requeued_at), (b"unknown".as_slice(), None));
    brand.mark_requeued(unknown.id, at(6)).await.unwrap();
    assert_eq!(brand.requeue(unknown.id, at(7)).await.unwrap(), Requeued::Already);
    let nothing = QuarantineId::v7(at(0), [9; 10]);
    assert_eq!(brand.requeue(nothing, at(8)).await.unwrap(), Requeued::NotFound);
}

async fn counters_read_the_same_before_and_after_folding(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    for n in 0..3 {
        shop.send(anna, &format!("m{n}")).await;
        let claimed = shop.claim(1).await;
        let end = finished(&claimed[0], SendOutcome::Skipped);
        shop.store.delivery().finish(vec![end]).await.unwrap();
    }
    let brand = shop.brand();
    let before = brand.counters(0).await.unwrap();
    let skipped = before.iter().find(|counter| counter.name == "messages_skipped").unwrap();
    assert_eq!((skipped.value, skipped.day), (3, START.utc_day()));
    assert!(shop.store.admin().fold_counters(2).await.unwrap() > 0);
    assert_eq!(brand.counters(0).await.unwrap(), before);
    // So does who reads for several brands: each its own, from a day on.
    let admin = shop.store.admin();
    let other = admin.create_brand("another", "quiet", START).await.unwrap();
    let seen = async |reached, from_day| {
        let counted = admin.counted(reached, from_day).await.unwrap();
        assert!(counted.iter().all(|one| one.tenant == brand.tenant()));
        let mut counted: Vec<_> = counted.into_iter().map(|one| one.counted).collect();
        counted.sort_by(|one, two| (&one.name, one.day).cmp(&(&two.name, two.day)));
        counted
    };
    let of_brand = admin.brand(brand.tenant()).await.unwrap().unwrap().organisation;
    let of_other = admin.brand(other).await.unwrap().unwrap().organisation;
    for reached in
        [Reached::Install, Reached::Organisation(of_brand), Reached::Brand(brand.tenant())]
    {
        assert_eq!(seen(reached, START.utc_day()).await, before, "{reached:?}");
        assert_eq!(seen(reached, START.utc_day() + 1).await, [], "{reached:?}");
    }
    for reached in [Reached::Organisation(of_other), Reached::Brand(other)] {
        assert_eq!(seen(reached, 0).await, [], "{reached:?}");
    }
    while admin.fold_counters(100).await.unwrap() > 0 {}
    assert_eq!(brand.counters(0).await.unwrap(), before);
    assert_eq!(seen(Reached::Install, 0).await, before);
}

async fn the_table_counts_the_records(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.send(anna, "a").await;
    let row = run_row("r1", "welcome", "waiting", at(0));
    shop.commit(anna, |commit| {
        commit.events.push(event("e1", 1, at(0)));
        commit.events.push(event("e2", 2, at(0)));
        commit.runs.push(row);
    })
    .await;
    let table = shop.brand().table().await.unwrap();
    let of = |a: &str, b: &str, n| vec![(a.to_owned(), b.to_owned(), n)];
    assert_eq!((table.contacts, table.clicks, table.quarantined), (1, 0, 0));
    assert_eq!(table.events, of("track", "purchase", 2));
    assert_eq!(table.runs, of("welcome", "waiting", 1));
    assert_eq!(table.messages, of("thanks", "queued", 1));
    assert_eq!(table.facts, of("given", "api", 1));
}
