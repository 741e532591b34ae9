//! A million guesses of one network: a few thousand hear "not found", the rest "too many", and the
//! real link of the same network works all the while.

use std::{sync::Arc, time::Instant};

use actix_web::{App, http::Method, test};
use data_encoding::BASE64URL_NOPAD;
use parcours_consent::configure;
use parcours_content::{LinkKind, LinkToken};

use crate::stage::{Stage, now};

/// As many as the test can afford at once; the arithmetic of a million is tested beside the code.
const GUESSES: usize = 5_000;

#[actix_web::test]
async fn guesses_are_slowed_and_links_are_not() {
    let stage = Stage::new().await;
    let message = stage.messages(1).await[0];
    let real = stage.token(LinkKind::Unsubscribe, message).await;
    let app = App::new().configure(configure(Arc::clone(&stage.service)));
    let app = test::init_service(app).await;
    let ask = async |path: &str, peer: &str| {
        let request = test::TestRequest::with_uri(path).peer_addr(peer.parse().unwrap());
        test::call_service(&app, request.to_request()).await.status().as_u16()
    };
    let begun = Instant::now();
    let bytes = BASE64URL_NOPAD.decode(real.as_bytes()).unwrap();
    let (mut not_found, mut too_many) = (0, 0);
    for guess in 0..GUESSES {
        // Another MAC each time; every third invents a brand as well.
        let mut bent = bytes.clone();
        bent[60..64].copy_from_slice(&u32::try_from(guess).unwrap().to_be_bytes());
        if guess % 3 == 0 {
            bent[8] ^= 1 + u8::try_from(guess % 200).unwrap();
        }
        let path = format!("/u/{}", BASE64URL_NOPAD.encode(&bent));
        match ask(&path, "192.0.2.66:5000").await {
            404 => not_found += 1,
            429 => too_many += 1,
            other => panic!("{other} for guess {guess}"),
        }
        if guess % 500 == 0 {
            assert_eq!(ask(&format!("/u/{real}"), "192.0.2.66:5000").await, 200);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!(not_found >= 2_000, "{not_found} within the burst");
    assert!(f64::from(not_found) <= 2_001.0 + 20.0 * seconds, "{not_found} in {seconds} s");
    assert_eq!(not_found + too_many, i32::try_from(GUESSES).unwrap());
    // Who asks from elsewhere is not held to account for it.
    assert_eq!(ask("/u/nothing", "192.0.2.67:5000").await, 404);
    let answer = stage.ask(Method::POST, &format!("/u/{real}"), ("", "")).await;
    assert_eq!(answer.status, 200);
    println!("{GUESSES} guesses in {seconds:.1} s: {not_found} not found, {too_many} too many");
}

/// Time of a check must not tell how much of a MAC was right. Guesses wrong in the first and in the
/// last byte take turns, so that whatever else the machine does slows both alike.
#[::core::prelude::v1::test]
fn a_near_miss_takes_as_long_as_a_far_miss() {
    let key = parcours_domain::hash::MacKey([5; 32]);
    let token = LinkToken {
        kind: LinkKind::Click,
        key_version: 1,
        tenant: parcours_domain::TenantId::v7(now(), [1; 10]),
        message: parcours_domain::MessageId::v7(now(), [2; 10]),
        handle: parcours_domain::Handle([9; 16]),
        link: 1,
    };
    let bytes = BASE64URL_NOPAD.decode(token.sign(&key).as_bytes()).unwrap();
    let bent = |place: usize| {
        let mut bent = bytes.clone();
        bent[place] ^= 0x55;
        LinkToken::parse(&BASE64URL_NOPAD.encode(&bent)).unwrap()
    };
    let (far, near) = (bent(bytes.len() - 16), bent(bytes.len() - 1));
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..8_000 {
        for turn in 0..2 {
            let which = (round + turn) % 2;
            let guess = if which == 0 { &far } else { &near };
            let begun = Instant::now();
            for _ in 0..4 {
                assert!(std::hint::black_box(guess.verify(std::hint::black_box(&key))).is_none());
            }
            times[which].push(begun.elapsed().as_nanos());
        }
    }
    let [far, near] = times.map(|mut all| {
        all.sort_unstable();
        all[all.len() / 2] as f64
    });
    let ratio = near / far;
    println!("median of four checks: far miss {far} ns, near miss {near} ns, ratio {ratio:.4}");
    assert!((0.9..1.1).contains(&ratio), "far miss {far} ns, near miss {near} ns");
}
