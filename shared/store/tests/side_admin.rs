//! Brands, keys, secrets, documents, idempotency.

#![expect(clippy::unwrap_used, reason = "a story fails by panicking")]

#[macro_use]
mod side_support;

use std::collections::BTreeSet;

use parcours_store::{
    Begun, DocumentStatus, IdempotencyKey, KeyKind, KeyScope, NewApiKey, NewDocument, Store,
    StoreError,
};
use side_support::*;

on_both!(
    creating_a_brand_again_gives_the_same_brand,
    a_key_opens_until_it_is_revoked_or_expires,
    a_secret_is_replaced_listed_by_name_and_deleted,
    an_unchanged_document_keeps_its_version,
    a_set_is_published_whole_or_not_at_all,
    an_archived_topic_permits_nothing,
    a_keyed_request_does_its_work_once,
);

async fn creating_a_brand_again_gives_the_same_brand(store: Store) {
    let admin = store.admin();
    let one = admin.create_brand("agency", "records", START).await.unwrap();
    assert_eq!(admin.create_brand("agency", "records", at(1)).await.unwrap(), one);
    let other = admin.create_brand("agency", "books", START).await.unwrap();
    let elsewhere = admin.create_brand("rival", "records", START).await.unwrap();
    assert_eq!(BTreeSet::from([one, other, elsewhere]).len(), 3);
    let organisations = admin.organisations().await.unwrap();
    assert_eq!(organisations.len(), 2);
    let brands = admin.brands(Some(organisations[0].id)).await.unwrap();
    let names: Vec<_> = brands.iter().map(|brand| brand.name.as_str()).collect();
    assert_eq!(names, ["books", "records"]);
    assert_eq!(admin.brands(None).await.unwrap().len(), 3);
    assert_eq!(admin.brand(one).await.unwrap().unwrap().organisation_name, "agency");
    assert!(store.keys(one).await.is_ok());
}

async fn a_key_opens_until_it_is_revoked_or_expires(store: Store) {
    let admin = store.admin();
    let tenant = admin.create_brand("agency", "records", START).await.unwrap();
    let new = NewApiKey {
        organisation: None,
        tenant: Some(tenant),
        kind: KeyKind::Secret,
        scopes: BTreeSet::from([KeyScope::Ingest, KeyScope::Read]),
        label: "shop".to_owned(),
        expires_at: Some(at(60)),
    };
    let (key, secret) = admin.create_key(&new, START).await.unwrap();
    let text = secret.expose().to_owned();
    assert!(text.starts_with("sk_") && text.starts_with(&key.prefix));
    assert!(!format!("{secret:?}").contains(&text[12..]));
    assert_eq!(admin.authenticate(&text, at(1)).await.unwrap().as_ref(), Some(&key));
    for cut in [text.len() - 1, 20, 11, 3, 0] {
        assert_eq!(admin.authenticate(&text[..cut], at(1)).await.unwrap(), None);
    }
    let flipped = if text.ends_with('a') { "b" } else { "a" };
    let bent = format!("{}{flipped}", &text[..text.len() - 1]);
    assert_eq!(admin.authenticate(&bent, at(1)).await.unwrap(), None);
    assert_eq!(admin.authenticate(&text, at(60)).await.unwrap(), None, "expired");
    assert_eq!(admin.api_keys(None, Some(tenant)).await.unwrap(), std::slice::from_ref(&key));
    assert!(admin.revoke_key(key.id, at(2)).await.unwrap());
    assert_eq!(admin.authenticate(&text, at(3)).await.unwrap(), None, "revoked");
}

async fn a_secret_is_replaced_listed_by_name_and_deleted(store: Store) {
    let shop = Shop::open(store).await;
    let brand = shop.brand();
    let password = name("smtp-password");
    assert_eq!(brand.put_secret(&password, b"one", START).await.unwrap(), 1);
    assert_eq!(brand.put_secret(&password, b"two", START).await.unwrap(), 2);
    let (plain, version) = brand.open_secret(&password).await.unwrap().unwrap();
    assert_eq!((plain.as_slice(), version), (b"two".as_slice(), 2));
    assert_eq!(brand.secret_names().await.unwrap(), [(password.clone(), 2)]);
    let other = Shop::named(shop.store.clone(), "other").await;
    assert!(other.brand().open_secret(&password).await.unwrap().is_none());
    assert!(brand.put_secret(&password, &vec![0; 70_000], START).await.is_err());
    assert!(brand.delete_secret(&password).await.unwrap());
    assert!(!brand.delete_secret(&password).await.unwrap());
    assert!(brand.open_secret(&password).await.unwrap().is_none());
}

fn template(body: &str) -> NewDocument {
    NewDocument {
        kind: "Template".to_owned(),
        name: name("thanks"),
        body_json: body.to_owned(),
        compiled: Some(body.as_bytes().to_vec()),
        version: None,
    }
}

async fn an_unchanged_document_keeps_its_version(store: Store) {
    let shop = Shop::open(store).await;
    let brand = shop.brand();
    for (body, version, changed) in [("{}", 1, true), ("{}", 1, false), (r#"{"a":1}"#, 2, true)] {
        let done = brand.publish(vec![template(body)], None, START).await.unwrap();
        assert_eq!((done[0].version, done[0].changed), (version, changed), "{body}");
    }
    let head = brand.document("Template", &name("thanks"), None).await.unwrap().unwrap();
    assert_eq!((head.version, head.body.as_str()), (2, r#"{"a":1}"#));
    assert_eq!(head.compiled.as_deref(), Some(br#"{"a":1}"#.as_slice()));
    let old = brand.document("Template", &name("thanks"), Some(1)).await.unwrap().unwrap();
    assert_eq!((old.version, old.head_version, old.body.as_str()), (1, 2, "{}"));
    let versions = brand.document_versions("Template", &name("thanks")).await.unwrap();
    assert_eq!(versions.iter().map(|d| d.version).collect::<Vec<_>>(), [2, 1]);
    let heads = brand.documents().await.unwrap();
    let heads: Vec<_> = heads.iter().map(|d| format!("{}/{}", d.kind, d.name)).collect();
    assert_eq!(heads, ["Template/thanks", "Topic/news", "Topic/receipts"]);
    let before = shop.store.admin().brand(shop.tenant).await.unwrap().unwrap().consent_version;
    brand.publish(vec![template("{}")], None, START).await.unwrap();
    let after = shop.store.admin().brand(shop.tenant).await.unwrap().unwrap().consent_version;
    assert_eq!(before, after, "a template moves no verdict");
}

async fn a_set_is_published_whole_or_not_at_all(store: Store) {
    let shop = Shop::open(store).await;
    let brand = shop.brand();
    let mut expects = template(r#"{"b":1}"#);
    expects.name = name("second");
    expects.version = Some(7);
    let set = vec![template("{}"), expects];
    assert!(matches!(brand.publish(set, None, START).await, Err(StoreError::Conflict)));
    assert!(brand.document("Template", &name("thanks"), None).await.unwrap().is_none());
}

async fn an_archived_topic_permits_nothing(store: Store) {
    let shop = Shop::open(store).await;
    let anna = shop.reader("anna").await;
    shop.send(anna, "a").await;
    let claimed = shop.claim(1).await;
    let status = DocumentStatus::Archived;
    let before = shop.brand().set_document_status("Topic", &name("news"), status, at(1)).await;
    assert_eq!(before.unwrap(), Some(DocumentStatus::Live));
    assert_eq!(shop.dot(&claimed, 2).await, [parcours_store::DotAnswer::Rejudge]);
    let ids = [claimed[0].message];
    let again = shop.store.delivery().reread(shop.tenant, claimed[0].claim_id, &ids).await.unwrap();
    assert_eq!(again[0].topic, None);
    let none = shop.brand().set_document_status("Topic", &name("nothing"), status, at(1)).await;
    assert_eq!(none.unwrap(), None);
}

async fn a_keyed_request_does_its_work_once(store: Store) {
    let shop = Shop::open(store).await;
    let door = shop.store.admin();
    let key = IdempotencyKey { scope: shop.tenant.0, key: "k1", route: "POST /v1/messages" };
    let begin = |hash, seconds| door.idempotency_begin(&key, [hash; 32], now(seconds).machine);
    assert_eq!(begin(1, 0).await.unwrap(), Begun::Fresh);
    assert_eq!(begin(1, 1).await.unwrap(), Begun::InProgress);
    assert_eq!(begin(2, 1).await.unwrap(), Begun::Conflict);
    door.idempotency_finish(&key, 201, "{}").await.unwrap();
    let answer = Begun::Replay { status: 201, response: "{}".to_owned() };
    assert_eq!(begin(1, 2).await.unwrap(), answer);
    assert_eq!(begin(2, 2).await.unwrap(), Begun::Conflict);
    let elsewhere = IdempotencyKey { route: "PUT /v1/secrets", ..key };
    let machine = now(3).machine;
    assert_eq!(door.idempotency_begin(&elsewhere, [2; 32], machine).await.unwrap(), Begun::Fresh);
    door.idempotency_abandon(&elsewhere).await.unwrap();
    assert_eq!(door.idempotency_begin(&elsewhere, [3; 32], machine).await.unwrap(), Begun::Fresh);
    let later = now(3 + 121).machine;
    let taken = door.idempotency_begin(&elsewhere, [3; 32], later).await.unwrap();
    assert_eq!(taken, Begun::Fresh, "the first one's process is dead");
    door.idempotency_abandon(&key).await.unwrap();
    assert_eq!(begin(1, 5).await.unwrap(), answer, "a finished answer stays");
    assert_eq!(door.idempotency_clean(now(10).machine).await.unwrap(), 1);
}
