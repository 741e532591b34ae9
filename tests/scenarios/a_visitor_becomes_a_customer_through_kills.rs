//! Visitors who turn out to be customers, while the server is killed (`kill -9`) again and again:
//! nothing of what they did is lost, nothing is there twice, and all of it is the customer's.
//!
//! Each person is known before, acts as a visitor on a device, then logs in on it; every visit
//! starts a run of its own, so a lost or doubled one shows. Clients repeat what was not answered.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parcours_tests::scaled;
use serde_json::json;

use crate::{
    api,
    ground::{Ground, on_both},
    sdk::{Sdk, Whereabouts},
};

on_both!(nothing_lost_and_nothing_twice);

const CLIENTS: usize = 8;
const PEOPLE_PER_CLIENT: usize = 6;
/// Visits before the log-in and after it.
const VISITS: (usize, usize) = (3, 2);

/// One person's way: what the brand knows, visits on a device, the log-in, visits as both.
async fn live(sdk: &mut Sdk, person: &str, acknowledged: &AtomicUsize) -> usize {
    let (user, device) = (format!("u-{person}"), format!("a-{person}"));
    let mut refusals = 0;
    let mut steps = vec![(
        "/v1/identify",
        json!({"userId": user, "messageId": format!("known-{person}"),
            "traits": {"email": format!("{user}@disques.example")}}),
    )];
    let visit = |n: usize, who: serde_json::Value| {
        let mut item = json!({"event": "Visite", "messageId": format!("visit-{person}-{n}"),
            "properties": {"visite": format!("{person}-{n}")}});
        for (name, id) in who.as_object().expect("an object") {
            item[name] = id.clone();
        }
        ("/v1/track", item)
    };
    steps.extend((0..VISITS.0).map(|n| visit(n, json!({"anonymousId": device}))));
    steps.push((
        "/v1/identify",
        json!({"userId": user, "anonymousId": device, "messageId": format!("login-{person}"),
            "traits": {"first_name": "Ana"}}),
    ));
    let both = json!({"userId": user, "anonymousId": device});
    steps.extend((VISITS.0..VISITS.0 + VISITS.1).map(|n| visit(n, both.clone())));
    for (path, body) in steps {
        refusals += sdk.deliver(path, &body).await.refusals;
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    refusals
}

/// A small, seeded generator (splitmix64): where the kills fall is random and can be repeated.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn nothing_lost_and_nothing_twice(ground: Ground) {
    let kills = scaled(8, 60);
    let mut server = Some(ground.start());
    let documents = ground.visits();
    let brand = {
        let server = server.as_ref().expect("started");
        api::brand_of(server, ground.data.path(), &documents, "visites")
    };
    let place = Whereabouts::new(&server.as_ref().expect("started").url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let per_person = 2 + VISITS.0 + VISITS.1;
    let mut seed = 20_260_301;
    let mut refusals = 0;
    for round in 0..kills {
        let before = acknowledged.load(Ordering::SeqCst);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let mut sdk = place.client(&brand.ingest_key);
                let acknowledged = Arc::clone(&acknowledged);
                runtime.spawn(async move {
                    let mut refusals = 0;
                    for n in 0..PEOPLE_PER_CLIENT {
                        let person = format!("{round}-{client}-{n}");
                        refusals += live(&mut sdk, &person, &acknowledged).await;
                    }
                    refusals
                })
            })
            .collect();
        let of_round = CLIENTS * PEOPLE_PER_CLIENT * per_person;
        let random = usize::try_from(next_random(&mut seed) % (of_round as u64)).unwrap();
        // The others are anywhere on their way when so many answers have come.
        api::until("the round goes on", || {
            (acknowledged.load(Ordering::SeqCst) >= before + random).then_some(())
        });
        server.take().expect("running").kill().unwrap();
        let restarted = server.insert(ground.start());
        place.moved(&restarted.url);
        for client in clients {
            refusals += runtime.block_on(client).expect("a client");
        }
    }
    verify(&ground, kills, refusals);
}

fn verify(ground: &Ground, kills: usize, refusals: usize) {
    let count = |sql: &str| ground.number(sql);
    api::until("every absorption is through", || {
        (count("SELECT count(*) FROM inbox") == 0).then_some(())
    });
    let people = kills * CLIENTS * PEOPLE_PER_CLIENT;
    let visits = people * (VISITS.0 + VISITS.1);
    let events = count("SELECT count(*) FROM event");
    let distinct = count("SELECT count(DISTINCT message_id) FROM event");
    let runs = count("SELECT count(*) FROM run");
    let keys = count("SELECT count(DISTINCT run_key) FROM run");
    let timers = count("SELECT count(*) FROM timer");
    let merged = count("SELECT count(*) FROM contact WHERE merged_into IS NOT NULL");
    let standing = count("SELECT count(*) FROM contact WHERE merged_into IS NULL");
    let strangers = count(
        "SELECT count(*) FROM run r JOIN contact c ON c.tenant_id = r.tenant_id \
         AND c.id = r.contact_id WHERE c.merged_into IS NOT NULL",
    );
    let homes = count("SELECT count(DISTINCT contact_id) FROM identity");
    let aside = count("SELECT count(*) FROM quarantine");
    println!(
        "{kills} kills, {people} people, requests repeated {refusals}: events {events} (distinct \
         {distinct}), runs {runs} (distinct {keys}), timers {timers}, absorbed {merged}, people \
         standing {standing}, set aside {aside}"
    );
    let deadlocks = ground.deadlocks();
    assert_eq!(deadlocks, 0, "locks are taken in one order");
    let whole = |n: usize| i64::try_from(n).unwrap();
    assert_eq!((events, distinct), (whole(people * 2 + visits), whole(people * 2 + visits)));
    assert_eq!((runs, keys, timers), (whole(visits), whole(visits), whole(visits)));
    assert_eq!((strangers, aside), (0, 0));
    assert_eq!((standing, homes), (whole(people), whole(people)), "each person is one contact");
    assert_eq!(merged, whole(people), "each visitor became one of them");
}
