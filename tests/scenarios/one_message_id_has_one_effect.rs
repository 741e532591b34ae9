//! The same messageId at the same moment as a visitor's and as a customer's: one effect.
//!
//! Two requests that differ in who it was are two bodies under one id, so the second one to be
//! applied is set aside, visibly; a customer's request that names the visitor too belongs to the
//! same person and is the same once more. In no case does anything happen twice.

use parcours_tests::scaled;
use serde_json::{Value, json};

use crate::{
    api::{self, Api},
    ground::{Ground, on_both},
    sdk::{Sdk, Whereabouts},
};

on_both!(as_visitor_and_as_customer);

/// Both at once; how many items were applied.
async fn at_once(one: &mut Sdk, two: &mut Sdk, (first, second): (Value, Value)) -> u64 {
    let (first, second) =
        futures::join!(one.deliver("/v1/track", &first), two.deliver("/v1/track", &second));
    for taken in [&first, &second] {
        for aside in taken.answer["set_aside"].as_array().into_iter().flatten() {
            assert_eq!(aside["code"], "duplicate_id_other_body", "{aside}");
        }
    }
    first.accepted() + second.accepted()
}

fn as_visitor_and_as_customer(ground: Ground) {
    let server = ground.start();
    let brand = api::brand_of(&server, ground.data.path(), &ground.visits(), "visites");
    let pairs = scaled(200, 5_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = Whereabouts::new(&server.url);
    let (mut one, mut two) = (place.client(&brand.ingest_key), place.client(&brand.ingest_key));
    let mut accepted = 0;
    for n in 0..pairs {
        let item = |who: Value| {
            let mut item = json!({"event": "Visite", "messageId": format!("m{n}"),
                "properties": {"visite": format!("v{n}")}});
            for (name, id) in who.as_object().expect("an object") {
                item[name] = id.clone();
            }
            item
        };
        let visitor = item(json!({"anonymousId": format!("a{n}")}));
        // Unknown, known, and named together with the visitor.
        let customer = match n % 3 {
            0 => item(json!({"userId": format!("u{n}")})),
            1 => item(json!({"userId": "connu"})),
            _ => item(json!({"userId": format!("u{n}"), "anonymousId": format!("a{n}")})),
        };
        accepted += runtime.block_on(at_once(&mut one, &mut two, (visitor, customer)));
    }
    let api = Api::new(&server, &brand.admin_key);
    let aside = api.all("/v1/quarantine").len();
    let (events, runs) =
        (ground.number("SELECT count(*) FROM event"), ground.number("SELECT count(*) FROM run"));
    let keys = ground.number("SELECT count(*) FROM event_key");
    println!(
        "{pairs} messageIds, each as a visitor's and a customer's at once: accepted {accepted}, \
         events {events}, keys {keys}, runs {runs}, the other body set aside {aside}"
    );
    let pairs = i64::try_from(pairs).unwrap();
    assert_eq!((events, keys, runs), (pairs, pairs, pairs), "one effect each");
    assert_eq!(i64::try_from(accepted).unwrap(), pairs);
    assert_eq!(i64::try_from(aside).unwrap(), pairs, "the other one is there to be seen");
}
