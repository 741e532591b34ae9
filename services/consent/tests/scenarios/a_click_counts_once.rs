//! A GET on a click link records the click once per link and message, and always leads to the
//! stored target and nowhere else.

use parcours_content::LinkKind;

use crate::stage::Stage;

#[actix_web::test]
async fn a_click_counts_once() {
    let stage = Stage::new().await;
    let messages = stage.messages(2).await;
    let path = format!("/c/{}", stage.token(LinkKind::Click, messages[0]).await);
    for _ in 0..3 {
        let answer = stage.get(&format!("{path}?url=https://evil.example")).await;
        assert_eq!(answer.status, 302);
        assert_eq!(answer.header("location"), Some("https://shop.example/sale?a=1&b=2"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
    let brand = stage.store.for_tenant(stage.tenant);
    let clicked = |why: parcours_store::MessageWhy| why.links[0].clicked_at.is_some();
    assert!(clicked(brand.message_why(messages[0]).await.unwrap().unwrap()));
    assert!(!clicked(brand.message_why(messages[1]).await.unwrap().unwrap()));
    assert_eq!(stage.woken.count(), 1, "told once");
}
