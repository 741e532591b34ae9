//! The built-in mailbox as pages: each message as its recipient sees it, and nothing more.

#![expect(clippy::unwrap_used, reason = "what cannot happen here ends the test")]

mod support;

use parcours_domain::{
    AddressHash, Channel, MessageClass, MessageId, Millis, SendOutcome, Timestamp,
    value::Properties,
};
use parcours_kit::{Chance as _, OsChance, machine_now};
use parcours_store::{
    ApiMessage, ClaimOrder, Finished, IdentityQuery, KeyScope, MailboxPut, Moments, Resolution,
};
use support::{Desk, NOW, call};

const RAW: &str = "From: Le Sillon <hello@sillon.example>\r\nTo: <anna@example.org>\r\n\
    Subject: =?utf-8?q?Merci_=3Cb=3E?=\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/alternative; boundary=x\r\n\r\n\
    --x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nThank you & more\r\n\
    --x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
    <p onclick=\"x\">Thanks</p><script>alert('1')</script>\"><b>\r\n--x--\r\n";

/// Lets one message be caught.
async fn caught(desk: &Desk) -> MessageId {
    let now: Timestamp = NOW.parse().unwrap();
    let store = desk.store.for_tenant(desk.tenant);
    let query = IdentityQuery { user_id: Some("u".into()), ..IdentityQuery::default() };
    let chance = |kind: &str, value: &str| OsChance.contact(desk.tenant, kind, value);
    let resolved = store.resolve(&[query], &chance, now).await.unwrap();
    let Resolution::Contact(contact) = resolved[0].contact else { panic!("no contact") };
    let message = ApiMessage {
        id: MessageId::v7(now, OsChance.tail()),
        idempotency_key: "k".into(),
        contact,
        template: "thanks".parse().unwrap(),
        template_version: 1,
        sender: "shop".parse().unwrap(),
        topic: "orders".parse().unwrap(),
        class: MessageClass::Transactional,
        channel: Channel::Email,
        data: Properties::new(),
        lane: 0,
        not_before: now,
        expires_at: now + Millis::hours(1),
    };
    store.enqueue_api_message(&message, now).await.unwrap();
    let door = desk.store.delivery();
    let moments = Moments { product: now, machine: machine_now() };
    let order =
        ClaimOrder { tenant: desk.tenant, lane: 0, count: 1, lease_ms: 60_000, now: moments };
    let claimed = door.claim(&order).await.unwrap();
    let finished = Finished {
        tenant: desk.tenant,
        message: message.id,
        claim_id: claimed[0].claim_id,
        outcome: SendOutcome::Sent,
        counted: None,
        reason: None,
        receipt_json: Some("{\"ground\":\"transactional\"}".into()),
        attempt: None,
        suppress: None,
        mailbox: Some(MailboxPut { recipient: AddressHash([7; 32]), raw: RAW.into() }),
        now,
    };
    door.finish(vec![finished]).await.unwrap();
    message.id
}

#[actix_web::test]
async fn a_message_is_shown_in_a_sandbox_with_its_why() {
    let desk = Desk::new().await;
    let message = caught(&desk).await;
    let app = desk.app().await;
    let start = call("GET", "/mailbox").send(&app).await;
    assert_eq!(start.status, 302);
    let list = call("GET", start.header("location")).send(&app).await;
    assert_eq!(list.status, 200);
    assert!(list.text().contains("anna@example.org") && list.text().contains("Merci &lt;b&gt;"));
    let path = format!("/mailbox/{}/{message}", desk.tenant);
    assert!(list.text().contains(&path));

    let page = call("GET", &path).send(&app).await;
    let text = page.text();
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert!(!page.header("content-security-policy").contains("script-src"));
    let frame = text.split("<iframe").nth(1).unwrap().split("</iframe>").next().unwrap();
    assert!(frame.contains("sandbox=\"allow-popups allow-popups-to-escape-sandbox\""), "{frame}");
    assert!(frame.contains("Thanks") && !frame.contains("<script"), "{frame}");
    assert!(!text.contains("<script") && !text.contains("<b>"), "{text}");
    assert!(text.contains("Thank you &amp; more"));
    assert!(text.contains("&quot;ground&quot;: &quot;transactional&quot;"));
    assert!(text.contains("Content-Type: multipart/alternative"));
}

#[actix_web::test]
async fn the_api_gives_the_message_as_it_would_have_been_sent() {
    let desk = Desk::new().await;
    let message = caught(&desk).await;
    let (app, key) = (desk.app().await, desk.key(&[KeyScope::Read]).await);
    let list = call("GET", "/v1/mailbox").key(&key).send(&app).await.is(200);
    assert_eq!(list["items"][0]["message"], message.to_string());
    assert_eq!(list["items"][0]["subject"], "Merci <b>");
    let raw = call("GET", &format!("/v1/mailbox/{message}")).key(&key).send(&app).await;
    assert_eq!((raw.header("content-type"), raw.text().as_str()), ("message/rfc822", RAW));
}

#[actix_web::test]
async fn the_pages_are_there_only_when_the_binary_says_so() {
    let mut desk = Desk::new().await;
    let message = caught(&desk).await;
    let app = desk.app().await;
    let nobody = format!("/mailbox/{message}/{message}");
    call("GET", &nobody).send(&app).await.is_problem(404, "not_found");
    desk.state.mailbox_page = false;
    let app = desk.app().await;
    for path in ["/mailbox".to_owned(), format!("/mailbox/{}/{message}", desk.tenant)] {
        call("GET", &path).send(&app).await.is_problem(404, "unknown_route");
    }
}
