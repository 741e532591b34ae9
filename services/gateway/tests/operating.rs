//! What whoever runs the install sees and relies on: the numbers, the last use of keys, and that
//! odd methods are refused everywhere.

#![expect(clippy::unwrap_used, reason = "what cannot happen here ends the test")]

mod support;

use parcours_domain::{QuarantineId, TenantId, Timestamp};
use parcours_store::{KeyKind, KeyScope, NewApiKey, QuarantineEntry};
use serde_json::json;
use support::{Desk, NOW, call};

async fn set_aside(desk: &Desk, tenant: TenantId) {
    let now: Timestamp = NOW.parse().unwrap();
    let entry = QuarantineEntry {
        id: QuarantineId::v7(now, [7; 10]),
        contact: None,
        origin: "ingest".into(),
        code: "too_old".into(),
        detail: String::new(),
        payload: Vec::new(),
        key: None,
        body_hash: None,
    };
    desk.store.for_tenant(tenant).quarantine_items(&[entry], now).await.unwrap();
}

#[actix_web::test]
async fn each_key_sees_the_numbers_that_it_reaches() {
    let desk = Desk::new().await;
    let (app, now) = (desk.app().await, NOW.parse().unwrap());
    let admin = desk.store.admin();
    let sister = admin.create_brand("maison", "face-b", now).await.unwrap();
    let stranger = admin.create_brand("ailleurs", "sillon", now).await.unwrap();
    for tenant in [desk.tenant, sister, stranger] {
        set_aside(&desk, tenant).await;
    }
    admin.halt_install("a wave of complaints", now).await.unwrap();
    let organisation = admin.brand(desk.tenant).await.unwrap().unwrap().organisation;
    let new = NewApiKey {
        organisation: Some(organisation),
        tenant: None,
        kind: KeyKind::Secret,
        scopes: [KeyScope::Read].into(),
        label: "maison".into(),
        expires_at: None,
    };
    let of_organisation = admin.create_key(&new, parcours_kit::machine_now()).await.unwrap().1;
    let of_brand = desk.key(&[KeyScope::Read]).await;
    let of_install = desk.key_of(None, KeyKind::Secret, &[KeyScope::Read]).await;
    let table: [(&str, Option<&str>, &[&str]); 5] = [
        (&of_brand, None, &["maison/sillon"]),
        (of_organisation.expose(), None, &["maison/face-b", "maison/sillon"]),
        (of_organisation.expose(), Some("face-b"), &["maison/face-b"]),
        (&of_install, None, &["ailleurs/sillon", "maison/face-b", "maison/sillon"]),
        (&of_install, Some("ailleurs/sillon"), &["ailleurs/sillon"]),
    ];
    for (key, narrowed, seen) in table {
        let ask = |route| {
            let request = call("GET", route).key(key);
            match narrowed {
                Some(brand) => request.header("parcours-brand", brand),
                None => request,
            }
        };
        let answer = ask("/v1/status").send(&app).await.is(200);
        let rollup = ask("/v1/rollup").send(&app).await.is(200);
        let name = |one: &serde_json::Value| {
            format!("{}/{}", one["organisation"].as_str().unwrap(), one["name"].as_str().unwrap())
        };
        for answer in [&answer, &rollup] {
            let brands = answer["brands"].as_array().unwrap();
            assert_eq!(brands.iter().map(name).collect::<Vec<_>>(), seen);
        }
        let open = rollup["brands"].as_array().unwrap().iter();
        assert!(open.into_iter().all(|brand| brand["quarantine_open"] == 1), "{rollup}");
        assert_eq!(answer["total"]["quarantine_open"], seen.len());
        assert_eq!(answer["total"]["quarantine_codes"], json!({ "too_old": seen.len() }));
        assert_eq!(answer["attention"].as_array().unwrap().len(), seen.len() + 1);
        assert_eq!(answer["attention"][0]["code"], "install_halted");
        // Everybody sees that nothing leaves; why is a word between those who run the install.
        assert!(answer["install_halted_at"].is_string(), "{answer}");
        let told = answer["install_halt_reason"].is_string();
        assert_eq!(told, key == of_install, "{answer}");
    }
    let foreign = call("GET", "/v1/status").key(&of_brand).header("parcours-brand", "face-b");
    foreign.send(&app).await.is_problem(403, "unknown_brand");
    let ingest = desk.key(&[KeyScope::Ingest]).await;
    call("GET", "/v1/status").key(&ingest).send(&app).await.is_problem(403, "scope_required");
}

#[actix_web::test]
async fn the_list_of_keys_says_when_each_was_last_used() {
    let desk = Desk::new().await;
    let (app, admin) = (desk.app().await, desk.key(&[KeyScope::Admin]).await);
    let unused = desk.key(&[KeyScope::Read]).await;
    let before = parcours_kit::machine_now();
    call("GET", "/v1/contacts").key(&admin).send(&app).await.is(200);
    // It is written behind the request's back: ask until it is there.
    let begun = std::time::Instant::now();
    let keys = loop {
        assert!(begun.elapsed().as_secs() < 60, "it was never written");
        let list = call("GET", "/v1/keys").key(&admin).send(&app).await.is(200);
        let items = list["items"].as_array().unwrap().clone();
        if items.iter().any(|key| key["last_used_at"].is_string()) {
            break items;
        }
        tokio::task::yield_now().await;
    };
    for key in keys {
        let prefix = key["prefix"].as_str().unwrap();
        if unused.starts_with(prefix) {
            assert!(key["last_used_at"].is_null(), "{key}");
        } else {
            let used: Timestamp = key["last_used_at"].as_str().unwrap().parse().unwrap();
            assert!(used >= before && used <= parcours_kit::machine_now(), "{key}");
        }
    }
}

#[actix_web::test]
async fn of_two_who_make_a_secret_at_once_one_is_told_that_it_exists() {
    let desk = Desk::new().await;
    let (app, admin) = (desk.app().await, desk.key(&[KeyScope::Admin]).await);
    for round in 0..5 {
        let path = format!("/v1/secrets/dkim-{round}/generate");
        let asked = (0..3).map(|_| call("POST", &path).key(&admin).send(&app));
        let answers = futures::future::join_all(asked).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409, 409]);
        for refused in answers.iter().filter(|answer| answer.status == 409) {
            refused.is_problem(409, "secret_exists");
        }
    }
}

#[actix_web::test]
async fn pages_too_refuse_methods_that_they_do_not_take() {
    let desk = Desk::new().await;
    let app = desk.app().await;
    let one = "/mailbox/0197f6a0-0000-7000-8000-000000000000";
    let message = format!("{one}/0197f6a0-0000-7000-8000-000000000000");
    for path in ["/docs", "/docs/", "/mailbox", one, &message, "/livez", "/openapi.json"] {
        for method in ["TRACE", "CONNECT", "PATCH", "PURGE", "POST"] {
            let answer = call(method, path).send(&app).await;
            answer.is_problem(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), "GET, HEAD", "{method} {path}");
        }
    }
}
