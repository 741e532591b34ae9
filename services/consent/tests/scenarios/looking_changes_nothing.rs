//! Scanners, prefetchers and the curious: GET, HEAD and OPTIONS on unsubscribe links, and HEAD and
//! OPTIONS on click links, change no fact, no click and no inbox, and burn no token.

use actix_web::http::Method;
use parcours_content::LinkKind;
use parcours_domain::consent::FactKind;

use crate::stage::{Stage, name};

#[actix_web::test]
async fn looking_changes_nothing() {
    let stage = Stage::new().await;
    let messages = stage.messages(30).await;
    let before = stage.state(&messages).await;
    for id in &messages {
        let out = format!("/u/{}", stage.token(LinkKind::Unsubscribe, *id).await);
        let click = format!("/c/{}", stage.token(LinkKind::Click, *id).await);
        for _ in 0..2 {
            assert_eq!(stage.get(&out).await.status, 200);
            assert_eq!(stage.ask(Method::HEAD, &out, ("", "")).await.status, 200);
            let options = stage.ask(Method::OPTIONS, &out, ("", "")).await;
            assert_eq!(options.header("allow"), Some("GET, HEAD, POST, OPTIONS"));
            for method in [Method::PUT, Method::DELETE, Method::PATCH] {
                let answer = stage.ask(method, &out, ("", "")).await;
                assert_eq!(answer.status, 405);
                assert!(answer.header("allow").is_some());
            }
            let head = stage.ask(Method::HEAD, &click, ("", "")).await;
            assert_eq!(head.status, 302);
            assert_eq!(head.header("location"), Some("https://shop.example/sale?a=1&b=2"));
            assert_eq!(stage.ask(Method::OPTIONS, &click, ("", "")).await.status, 204);
            assert_eq!(stage.ask(Method::POST, &click, ("", "")).await.status, 405);
        }
    }
    assert_eq!(stage.state(&messages).await, before);
    assert_eq!(stage.woken.count(), 0);

    let out = format!("/u/{}", stage.token(LinkKind::Unsubscribe, messages[0]).await);
    stage.ask(Method::POST, &out, ("", "")).await;
    let standing = stage.standing().await.standing;
    assert_eq!(standing.topics[&name("news")].kind, FactKind::Withdrawn, "the token still works");
}
