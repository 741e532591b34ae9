//! Quotas of brands: set above them, leased together, nobody else's business.

#![expect(clippy::unwrap_used, reason = "a story fails by panicking")]

#[macro_use]
mod side_support;

use std::time::{Duration, Instant};

use parcours_domain::{CpuShare, Day, EventAsk, EventQuota, Quotas, Rate, TenantId, Weight};
use parcours_store::{Backend, IdentityQuery, NO_ROOM, Resolution, Resolved, Store, StoreError};
use parcours_testkit::store::{derived, temp_brand, temp_store};
use side_support::*;

on_both!(
    a_quota_is_what_was_set_last,
    a_lease_takes_from_its_own_brand_alone,
    a_day_gives_out_its_quota_and_no_more,
    a_day_of_a_sender_gives_out_its_number_and_no_more,
    beyond_its_quota_a_brand_has_no_new_contacts,
    what_is_used_is_counted,
    templates_rest_when_they_have_used_their_share,
);

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

async fn a_quota_is_what_was_set_last(store: Store) {
    let one = temp_brand(&store, "one").await.unwrap();
    let other = temp_brand(&store, "other").await.unwrap();
    let of = async |tenant| store.for_tenant(tenant).quotas().await.unwrap();
    assert_eq!(of(one).await, Quotas::default());
    let set = Quotas {
        events: EventQuota::Rate(rate("500/s burst 5000")),
        contacts: Some(10),
        journeys: None,
        sends_per_day: Some(u32::MAX),
        template_cpu: CpuShare::new(CpuShare::MOST),
        weight: Weight::new(100).unwrap(),
    };
    store.admin().set_quotas(one, &set).await.unwrap();
    assert_eq!((of(one).await, of(other).await), (set, Quotas::default()));
    let later = Quotas { events: EventQuota::Unlimited, journeys: Some(0), ..Quotas::default() };
    store.admin().set_quotas(one, &later).await.unwrap();
    assert_eq!(of(one).await, later);
    let nobody = store.admin().set_quotas(TenantId(uuid::Uuid::nil()), &later).await;
    assert!(matches!(nobody, Err(StoreError::NotFound)));
}

async fn a_lease_takes_from_its_own_brand_alone(store: Store) {
    let one = temp_brand(&store, "one").await.unwrap();
    let other = temp_brand(&store, "other").await.unwrap();
    let (rate, begun) = (rate("10/min burst 10"), Instant::now());
    let lease = async |tenant, need, back, seconds| {
        let ask = EventAsk { need, want: need, back };
        let at = begun + Duration::from_secs(seconds);
        store.for_tenant(tenant).lease_events(rate, ask, at).await.unwrap().count
    };
    assert_eq!(lease(one, 10, 0, 0).await, 10);
    assert_eq!(lease(one, 1, 0, 0).await, 0);
    assert_eq!(lease(other, 10, 0, 0).await, 10, "another brand's are untouched");
    assert_eq!(lease(one, 4, 4, 0).await, 4, "what was given back");
    assert_eq!(lease(one, 2, 0, 12).await, 2, "what the time has brought");
    assert_eq!(lease(one, 1, 0, 12).await, 0);
}

async fn templates_rest_when_they_have_used_their_share(store: Store) {
    let one = temp_brand(&store, "one").await.unwrap();
    let other = temp_brand(&store, "other").await.unwrap();
    let (half, begun) = (CpuShare::new(50).unwrap(), Instant::now());
    let rest = async |tenant, used_ms, after_ms| {
        let at = begun + Duration::from_millis(after_ms);
        let used = Duration::from_millis(used_ms);
        let rest = store.for_tenant(tenant).charge_templates(half, used, at).await.unwrap();
        u64::try_from(rest.as_millis()).unwrap()
    };
    assert_eq!(rest(one, 0, 0).await, 0);
    assert_eq!(rest(one, 500, 0).await, 0, "half of a second is there after a pause");
    assert_eq!(rest(one, 100, 0).await, 200);
    assert_eq!(rest(one, 50, 0).await, 300, "whoever was rendering adds to it");
    assert_eq!(rest(other, 0, 0).await, 0, "another brand's is untouched");
    assert_eq!([rest(one, 0, 299).await, rest(one, 0, 300).await], [1, 0]);
    assert_eq!(rest(one, 600, 60_000).await, 200, "a pause brings a second's, and no more");
    // Learnt by senders: only who has a quota.
    let quotas = Quotas { template_cpu: Some(half), ..Quotas::default() };
    store.admin().set_quotas(one, &quotas).await.unwrap();
    let shares = store.delivery().template_shares().await.unwrap();
    assert_eq!(shares.into_iter().collect::<Vec<_>>(), [(one, half)]);
}

async fn a_day_gives_out_its_quota_and_no_more(store: Store) {
    let one = temp_brand(&store, "one").await.unwrap();
    let other = temp_brand(&store, "other").await.unwrap();
    let free = temp_brand(&store, "free").await.unwrap();
    for tenant in [one, other] {
        let quotas = Quotas { sends_per_day: Some(10), ..Quotas::default() };
        store.admin().set_quotas(tenant, &quotas).await.unwrap();
    }
    let lease =
        async |tenant, day, want| store.for_tenant(tenant).lease_sends(day, want).await.unwrap();
    assert_eq!([lease(one, 1, 7).await, lease(one, 1, 7).await], [Some(7), Some(3)]);
    assert_eq!(lease(one, 1, 7).await, Some(0));
    assert_eq!(lease(other, 1, 7).await, Some(7), "another brand's day is untouched");
    assert_eq!(lease(one, 2, 7).await, Some(7), "and so is the next");
    assert_eq!(lease(free, 1, 7).await, None);
    assert_eq!(store.for_tenant(one).sends_granted(1).await.unwrap(), 10);
}

async fn a_day_of_a_sender_gives_out_its_number_and_no_more(store: Store) {
    let one = temp_brand(&store, "one").await.unwrap();
    let other = temp_brand(&store, "other").await.unwrap();
    let lease = async |tenant, sender: &str, day, most, want| {
        let (store, sender) = (store.for_tenant(tenant), sender.parse().unwrap());
        store.lease_sender_day(&sender, (Day(day), most), want).await.unwrap()
    };
    assert_eq!([lease(one, "news", 1, 10, 7).await, lease(one, "news", 1, 10, 7).await], [7, 3]);
    assert_eq!(lease(one, "news", 1, 10, 7).await, 0);
    assert_eq!(lease(one, "shop", 1, 10, 7).await, 7, "another sender's day is untouched");
    assert_eq!(lease(other, "news", 1, 10, 7).await, 7, "and another brand's");
    assert_eq!(lease(one, "news", 2, 20, 17).await, 17, "and the next day");
    assert_eq!(lease(one, "news", 1, 12, 7).await, 2, "a number that was raised counts at once");
    assert_eq!(lease(one, "news", 1, 5, 7).await, 0, "and so does one that was lowered");
    assert_eq!(lease(one, "news", 30, 10, 1).await, 1);
    assert_eq!(lease(one, "news", 1, 10, 1).await, 1, "long past days are forgotten");
}

async fn beyond_its_quota_a_brand_has_no_new_contacts(store: Store) {
    let one = temp_brand(&store, "one").await.unwrap();
    let other = temp_brand(&store, "other").await.unwrap();
    let come = async |tenant, users: std::ops::Range<u32>| {
        let query =
            |n| IdentityQuery { user_id: Some(format!("u{n}")), ..IdentityQuery::default() };
        let queries: Vec<_> = users.map(query).collect();
        let store = store.for_tenant(tenant);
        let answers = store.resolve_within(&queries, &derived, START, Some(25)).await.unwrap();
        let refused = |answer: &&Resolved| {
            matches!(answer.contact, Resolution::Refused { code: NO_ROOM, .. })
        };
        answers.iter().filter(refused).count()
    };
    // One by one, so that most of them are not counted for.
    for n in 0..20 {
        assert_eq!(come(one, n..n + 1).await, 0, "{n}");
    }
    assert_eq!(come(one, 15..30).await, 5, "as many as there is room, and the known");
    assert_eq!([come(one, 30..31).await, come(one, 0..25).await], [1, 0]);
    assert_eq!(store.for_tenant(one).quota_use(0).await.unwrap().contacts, 25);
    assert_eq!(come(other, 0..25).await, 0);
}

async fn what_is_used_is_counted(store: Store) {
    let shop = Shop::named(store.clone(), "shop").await;
    let before = store.for_tenant(shop.tenant).quota_use(0).await.unwrap();
    shop.reader("anna").await;
    shop.reader("bert").await;
    let after = store.for_tenant(shop.tenant).quota_use(0).await.unwrap();
    assert_eq!(after.contacts, before.contacts + 2);
    assert_eq!(after.sends, 0);
    let other = temp_brand(&store, "other").await.unwrap();
    assert_eq!(store.for_tenant(other).quota_use(0).await.unwrap().contacts, 0);
}

/// Two processes lease from one database, each as fast as it can and at moments of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_keep_one_rate() {
    let first = temp_store(Backend::Postgres).await.unwrap();
    let mut second = first.place.config();
    second.worker_role = false;
    let second = Store::open(second).await.unwrap();
    let tenant = temp_brand(&first, "one").await.unwrap();
    let (rate, begun) = (rate("1000/s"), Instant::now());
    let asking = |store: &Store| {
        let store = store.for_tenant(tenant);
        async move {
            let mut taken = 0;
            for step in 0..200 {
                let ask = EventAsk { need: 7, want: 60, back: 0 };
                let at = begun + Duration::from_millis(step * 10);
                taken += store.lease_events(rate, ask, at).await.unwrap().count;
            }
            taken
        }
    };
    let (one, two) = tokio::join!(asking(&first), asking(&second));
    // 1.99 s and what may come at once. Their clocks are the database's, as each of them follows it:
    // each look at it takes a moment.
    let most = 1_000 + 1_990;
    let together = one + two;
    assert!(one > 0 && two > 0, "{one} {two}");
    assert!((most - 60..=most + 50).contains(&together), "{one} and {two}");
    second.close().await;
}
