//! Whatever is wrong with a token, and whatever is tried with it, the answer is the same.

use actix_web::http::Method;
use data_encoding::BASE64URL_NOPAD;
use parcours_content::LinkKind;
use parcours_testkit::store::temp_brand;

use crate::stage::Stage;

#[actix_web::test]
async fn a_bent_token_is_not_found() {
    let stage = Stage::new().await;
    let messages = stage.messages(1).await;
    let before = stage.state(&messages).await;
    let mut bad = Vec::new();
    for (kind, route) in [(LinkKind::Unsubscribe, "u"), (LinkKind::Click, "c")] {
        let token = stage.token(kind, messages[0]).await;
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            bad.push(format!("/{route}/{}", BASE64URL_NOPAD.encode(&bent)));
        }
        for length in [0, 1, 20, token.len() - 1] {
            bad.push(format!("/{route}/{}", &token[..length]));
        }
        bad.push(format!("/{route}/{token}A"));
        bad.push(format!("/{route}/{token}/x"));
        bad.push(format!("/{route}/%F0%9F"));
        let other = if route == "u" { "c" } else { "u" };
        bad.push(format!("/{other}/{token}"));
        let stranger = temp_brand(&stage.store, "stranger").await.unwrap();
        bad.push(format!("/{route}/{}", stage.token_of(stranger, kind, messages[0]).await));
    }
    let expected = stage.get("/u/nothing").await;
    assert_eq!(expected.status, 404);
    for path in &bad {
        let answer = stage.get(path).await;
        assert_eq!((answer.status, &answer.body), (expected.status, &expected.body), "{path}");
        assert_eq!(answer.headers.len(), expected.headers.len(), "{path}");
    }
    for path in bad.iter().step_by(97) {
        for method in [Method::POST, Method::OPTIONS, Method::PUT] {
            let answer = stage.ask(method, path, ("", "")).await;
            assert_eq!((answer.status, &answer.body), (expected.status, &expected.body), "{path}");
        }
    }
    assert_eq!(stage.state(&messages).await, before);
}
