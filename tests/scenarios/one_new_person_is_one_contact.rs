//! A thousand first events of one new person at once, on several connections: one contact, and
//! every event applied once.

use std::time::Instant;

use parcours_tests::scaled;
use serde_json::json;

use crate::{
    api,
    ground::{Ground, on_both},
    sdk::Whereabouts,
};

on_both!(one_contact_and_every_event);

const CONNECTIONS: usize = 20;

fn one_contact_and_every_event(ground: Ground) {
    let server = ground.start();
    let brand = api::brand(&server, ground.data.path());
    let events = scaled(1_000, 20_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = Whereabouts::new(&server.url);
    let begun = Instant::now();
    let taken = runtime.block_on(async {
        let clients = (0..CONNECTIONS).map(|client| {
            let mut sdk = place.client(&brand.ingest_key);
            tokio::spawn(async move {
                let (mut accepted, mut duplicates, mut refusals) = (0, 0, 0);
                for n in (client..events).step_by(CONNECTIONS) {
                    // Half of them also name a device, each its own.
                    let mut item = json!({"userId": "nouveau", "event": "Vue",
                        "messageId": format!("m{n}"), "properties": {"n": n}});
                    if n % 2 == 0 {
                        item["anonymousId"] = json!(format!("appareil{}", n % 50));
                    }
                    let taken = sdk.deliver("/v1/track", &item).await;
                    accepted += taken.accepted();
                    duplicates += taken.duplicates();
                    refusals += taken.refusals;
                }
                (accepted, duplicates, refusals)
            })
        });
        futures::future::join_all(clients.collect::<Vec<_>>()).await
    });
    let taken: Vec<_> = taken.into_iter().map(|one| one.expect("a client")).collect();
    let accepted: u64 = taken.iter().map(|one| one.0).sum();
    let duplicates: u64 = taken.iter().map(|one| one.1).sum();
    let refusals: usize = taken.iter().map(|one| one.2).sum();
    let contacts = ground.number("SELECT count(*) FROM contact");
    let user_ids = ground.number("SELECT count(*) FROM identity WHERE kind = 'user_id'");
    let pointed = ground.number("SELECT count(DISTINCT contact_id) FROM identity");
    let stored = ground.number("SELECT count(*) FROM event");
    let seq = ground.number("SELECT seq FROM contact_state");
    println!(
        "{events} first events of one userId on {CONNECTIONS} connections in {:?}: contacts \
         {contacts}, userIds {user_ids}, events stored {stored}, last sequence {seq}, accepted \
         {accepted}, duplicates {duplicates}, refused and repeated {refusals}",
        begun.elapsed()
    );
    let events = i64::try_from(events).unwrap();
    assert_eq!((contacts, user_ids, pointed), (1, 1, 1));
    assert_eq!((stored, seq), (events, events));
    assert_eq!(i64::try_from(accepted + duplicates).unwrap(), events);
}
