//! One-click (RFC 8058): a POST with whatever body withdraws the message's topic: 200, no redirect,
//! no cookie, and the same again.

use actix_web::http::Method;
use parcours_content::LinkKind;
use parcours_domain::consent::{FactKind, Scope};

use crate::stage::{Stage, name};

const PARTS: &str = "--b1\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\n\
                     One-Click\r\n--b1--\r\n";

#[actix_web::test]
async fn one_click_works_in_both_encodings() {
    for body in [
        ("application/x-www-form-urlencoded", "List-Unsubscribe=One-Click"),
        ("multipart/form-data; boundary=b1", PARTS),
        ("", ""),
        ("application/json", "{\"broken\":"),
    ] {
        let stage = Stage::new().await;
        let messages = stage.messages(1).await;
        let url = format!("/u/{}", stage.token(LinkKind::Unsubscribe, messages[0]).await);
        let mut facts = Vec::new();
        for _ in 0..3 {
            let answer = stage.ask(Method::POST, &url, body).await;
            assert_eq!(answer.status, 200, "{body:?}");
            assert!(answer.header("location").is_none() && answer.header("set-cookie").is_none());
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert!(!answer.body.contains("anna"));
            let standing = stage.standing().await.standing;
            let latest = standing.topics[&name("news")];
            assert_eq!(latest.kind, FactKind::Withdrawn, "{body:?}");
            assert!(standing.all_marketing.is_none(), "only the topic");
            facts.push(latest.fact);
        }
        facts.dedup();
        assert_eq!(facts.len(), 1, "a repeat records nothing new");
        assert_eq!(stage.woken.count(), 1);
    }
}

#[actix_web::test]
async fn the_second_button_ends_all_marketing() {
    let stage = Stage::new().await;
    let messages = stage.messages(1).await;
    let url = format!("/u/{}", stage.token(LinkKind::Unsubscribe, messages[0]).await);
    let page = stage.get(&url).await.body;
    assert!(page.contains("The news") && page.contains("The Shop"), "{page}");
    assert!(page.contains("value=\"all\"") && !page.contains("<script"));
    let form = ("application/x-www-form-urlencoded", "scope=all");
    assert_eq!(stage.ask(Method::POST, &url, form).await.status, 200);
    let standing = stage.standing().await.standing;
    assert_eq!(standing.all_marketing.unwrap().kind, FactKind::Withdrawn);
    assert_eq!(standing.topics[&name("news")].kind, FactKind::Given);
    assert!(stage.get(&url).await.body.contains("no more"));
}

#[actix_web::test]
async fn who_came_back_can_leave_again() {
    let stage = Stage::new().await;
    let messages = stage.messages(1).await;
    let url = format!("/u/{}", stage.token(LinkKind::Unsubscribe, messages[0]).await);
    stage.ask(Method::POST, &url, ("", "")).await;
    stage.says(FactKind::Given, Scope::Topic(name("news"))).await;
    assert_eq!(stage.standing().await.standing.topics[&name("news")].kind, FactKind::Given);
    stage.ask(Method::POST, &url, ("", "")).await;
    assert_eq!(stage.standing().await.standing.topics[&name("news")].kind, FactKind::Withdrawn);
}
