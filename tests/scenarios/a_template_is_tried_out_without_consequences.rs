//! A marketer tries a template out: sees it with a real contact's values, learns whether it would be
//! sent and why not, sends it to the team. Nothing of that changes the contact, whatever the team
//! does with the message; and nobody else can be sent to this way.

use std::path::Path;

use mail_parser::MessageParser;
use parcours_tests::Server;
use serde_json::{Value, json};

use crate::{
    api::{self, Api},
    rows,
};

const BRAND: &str = "apiVersion: parcours/v1
kind: Brand
name: essai
organisation: demo
display_name: Essai & Cie
controller: {name: Essai SARL, contact: dpo@essai.example}
postal_address: 1 rue des Essais, Lyon
public_url: http://localhost:8080
time_zone: Europe/Paris
locale: en-GB
clicks: on
defaults: {sender: shop}
test_addresses: [team@essai.example, Other@Essai.example]
";

const REST: &str = "apiVersion: parcours/v1
kind: Sender
name: shop
from: {name: Essai, address: hello@essai.example}
transport: {kind: mailbox}
---
apiVersion: parcours/v1
kind: Topic
name: news
title: News
purpose: Tell you what is new
---
apiVersion: parcours/v1
kind: Template
name: hello
subject: \"Hello {{ contact.first_name }}\"
fields:
  contact.city: {default: your town}
  run.total: {default: 0}
mjml: |
  <mjml>
    <mj-body>
      <mj-section>
        <mj-column>
          <mj-text>Hello {{ contact.first_name }} of {{ contact.city }}, you have {{ run.total }}.</mj-text>
          <mj-button href=\"https://essai.example/new\">See</mj-button>
          <mj-text><a href=\"{{ unsubscribe_url }}\">Leave</a>, {{ brand.name }}</mj-text>
        </mj-column>
      </mj-section>
    </mj-body>
  </mjml>
---
apiVersion: parcours/v1
kind: Journey
name: welcome
entry: {event: Never Happens}
steps:
  - id: mail
    send: {template: hello, topic: news}
";

struct Shop {
    data: tempfile::TempDir,
    server: Server,
    api: Api,
    zoe: String,
}

fn documents(brand: &str, into: &Path) {
    std::fs::write(into.join("brand.yaml"), brand).unwrap();
    std::fs::write(into.join("rest.yaml"), REST).unwrap();
}

fn contact(api: &Api, user: &str, traits: &Value) -> String {
    api.post("/v1/identify", &json!({"userId": user, "traits": traits}));
    let found = api.get(&format!("/v1/contacts?user_id={user}"));
    found["items"][0]["id"].as_str().expect("the contact").to_owned()
}

fn shop() -> Shop {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(data.path()).unwrap();
    documents(BRAND, folder.path());
    let brand = api::brand_of(&server, data.path(), folder.path(), "essai");
    let api = Api::new(&server, &brand.admin_key);
    let zoe = contact(
        &api,
        "zoe",
        &json!({"email": "zoe@example.org", "first_name": "Zoé <b>", "city": ""}),
    );
    Shop { data, server, api, zoe }
}

impl Shop {
    fn preview(&self, more: &Value) -> Value {
        let mut body = json!({"contact": self.zoe});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.api.post("/v1/templates/hello/preview", &body)
    }
    fn consents(&self, contact: &str, kind: &str, topic: Option<&str>) {
        let mut fact = json!({"kind": kind, "source": "test"});
        if let Some(topic) = topic {
            fact["topic"] = topic.into();
        }
        self.api.post(&format!("/v1/contacts/{contact}/consents"), &json!({"facts": [fact]}));
    }
    fn test_send(&self, to: &str, key: &str) -> (u16, Value) {
        let body = json!({"to": to, "contact": self.zoe, "data": {"total": 7}});
        self.api.post_once("/v1/templates/hello/test", key, &body)
    }
    /// The message, once it has ended.
    fn ended(&self, id: &str) -> Value {
        api::until("the test has ended", || {
            let message = self.api.get(&format!("/v1/messages/{id}"));
            (message["status"] != "queued").then_some(message)
        })
    }
    /// Every row but those that say when a key or an Idempotency-Key was last used.
    fn rows(&self) -> rows::Rows {
        let mut rows = rows::all(self.data.path());
        rows.remove("api_key");
        rows
    }
    fn unchanged_by(&self, what: impl FnOnce()) {
        api::until_quiet(&self.api);
        let before = self.rows();
        what();
        let changed = rows::changed(&before, &self.rows());
        assert!(changed.is_empty(), "{changed:?}");
    }
}

#[test]
fn a_preview_says_what_would_be_sent_and_changes_no_row() {
    let shop = shop();
    shop.unchanged_by(|| {
        let shown = shop.preview(&json!({"data": {"total": 12}}));
        assert_eq!(shown["subject"], "Hello Zoé <b>");
        let html = shown["html"].as_str().unwrap();
        assert!(html.contains("Hello Zoé &lt;b&gt; of your town, you have 12."), "{html}");
        assert!(html.contains("http://localhost:8080/u/preview"), "{html}");
        assert_eq!(shown["links"], json!(["https://essai.example/new"]));
        assert_eq!(
            shown["fields"],
            json!([
                {"path": "brand.name", "source": "brand", "value": "Essai & Cie"},
                {"path": "contact.city", "source": "default", "value": "your town"},
                {"path": "contact.first_name", "source": "contact", "value": "Zoé <b>"},
                {"path": "run.total", "source": "run", "value": 12},
            ])
        );
        let outlook = json!({"would_be_sent": false, "why_not": ["no_consent"], "topic": "news"});
        assert_eq!(shown["outlook"], outlook);
        assert_eq!((&shown["version"], &shown["warnings"]), (&json!(1), &json!([])));
    });
    shop.consents(&shop.zoe, "given", Some("news"));
    let outlook = &shop.preview(&json!({}))["outlook"];
    assert_eq!((&outlook["would_be_sent"], &outlook["ground"]), (&json!(true), &json!("consent")));
    shop.api.post("/v1/halt", &json!({"reason": "test"}));
    assert_eq!(shop.preview(&json!({}))["outlook"]["why_not"], json!(["brand_halted"]));
}

#[test]
fn a_preview_names_what_is_missing_and_a_draft_is_checked_as_when_published() {
    let shop = shop();
    let nobody = contact(&shop.api, "nobody", &json!({}));
    let shown = shop.preview(&json!({"contact": nobody}));
    assert_eq!(shown["subject"], Value::Null);
    let why = json!(["no_address", "missing:contact.first_name"]);
    assert_eq!(shown["outlook"]["why_not"], why);
    let draft = |body: &str| {
        format!(
            "apiVersion: parcours/v1\nkind: Template\nname: hello\nsubject: Draft\nmjml: \"{body}\"\n"
        )
    };
    shop.unchanged_by(|| {
        let good = "<mjml><mj-body><mj-section><mj-column><mj-text>New {{ contact.first_name }} <a href='{{ unsubscribe_url }}'>x</a></mj-text></mj-column></mj-section></mj-body></mjml>";
        let shown = shop.preview(&json!({"source": draft(good)}));
        assert_eq!((&shown["subject"], &shown["version"]), (&json!("Draft"), &Value::Null));
        let bad = "<mjml><mj-body><mj-txt>x</mj-txt></mj-body></mjml>";
        let body = json!({"contact": shop.zoe, "source": draft(bad)});
        let (status, said) = shop.api.send("POST", "/v1/templates/hello/preview", Some(&body));
        assert_eq!(status, 422, "{said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        let error = &said["errors"][0];
        assert_eq!((&error["code"], &error["path"]), (&json!("mjml_element"), &json!("mjml")));
        assert_eq!(error["line"], 5);
        assert!(error["message"].as_str().unwrap().contains("column 16 of the mjml"), "{error}");
        let other = json!({"contact": shop.zoe, "source": draft(good)});
        assert_eq!(shop.api.send("POST", "/v1/templates/other/preview", Some(&other)).0, 422);
    });
}

#[test]
fn a_test_goes_to_the_team_and_touches_nobody_else() {
    let shop = shop();
    shop.consents(&shop.zoe, "given", Some("news"));
    let (status, said) = shop.test_send("TEAM@essai.example", "k1");
    assert_eq!(status, 201, "{said}");
    let id = said["id"].as_str().unwrap().to_owned();
    assert_eq!(
        shop.test_send("TEAM@essai.example", "k1").1["id"],
        id.as_str(),
        "one key, one mail"
    );
    let message = shop.ended(&id);
    assert_eq!((&message["status"], &message["class"]), (&json!("sent"), &json!("test")));
    let why = shop.api.get(&format!("/v1/messages/{id}/why"));
    assert_eq!(why["receipt"]["ground"], "test_address");
    assert_eq!(shop.api.all("/v1/messages?class=test").len(), 1);
    let (_, raw) = shop.api.send("GET", &format!("/v1/mailbox/{id}"), None);
    let mail = MessageParser::default().parse(raw.as_bytes()).unwrap();
    assert_eq!(mail.subject(), Some("[Test] Hello Zoé <b>"));
    let to = mail.to().unwrap().first().unwrap().address();
    assert_eq!(to, Some("team@essai.example"));
    assert!(raw.contains("X-Parcours-Test: yes\r\n"), "{raw}");
    assert!(raw.contains("List-Unsubscribe: <http"), "it looks like what it tries out: {raw}");

    let html = mail.body_html(0).unwrap();
    let path = |start: &str| {
        let links = html.split("href=\"").skip(1).filter_map(|rest| rest.split_once('"'));
        let found = links.map(|(url, _)| url).find(|url| url.contains(start)).unwrap();
        found[found.find(start).unwrap()..].to_owned()
    };
    let web = Api::new(&shop.server, "");
    shop.unchanged_by(|| {
        let clicked = web.visit("GET", &path("/c/"), None);
        assert_eq!(
            (clicked.status, clicked.location.as_deref()),
            (302, Some("https://essai.example/new"))
        );
        for form in [api::URLENCODED, api::MULTIPART] {
            let answer = web.visit("POST", &path("/u/"), Some(form));
            assert_eq!(answer.status, 200);
            assert!(answer.body.contains("nothing was changed"), "{}", answer.body);
        }
    });
    assert_eq!(shop.preview(&json!({}))["outlook"]["would_be_sent"], true, "zoe is still a reader");
}

#[test]
fn nobody_is_sent_to_by_way_of_a_test() {
    let shop = shop();
    let messages = || shop.api.all("/v1/messages").len();
    for (to, status, code) in [
        ("zoe@example.org", 403, "not_test_address"),
        ("team@essai.example.org", 403, "not_test_address"),
        ("no address", 422, "invalid_value"),
    ] {
        let (got, said) = shop.test_send(to, &to.replace(' ', "-"));
        assert_eq!((got, said["code"].as_str()), (status, Some(code)), "{to}");
    }
    let body = json!({"to": "team@essai.example", "contact": shop.zoe});
    let (status, said) = shop.api.send("POST", "/v1/templates/hello/test", Some(&body));
    assert_eq!(status, 400, "{said}");
    assert_eq!(messages(), 0);

    // A holder who does not want mail is left alone, listed or not.
    let team = contact(&shop.api, "team", &json!({"email": "team@essai.example"}));
    shop.consents(&team, "suppressed", None);
    let (_, said) = shop.test_send("team@essai.example", "k1");
    let message = shop.ended(said["id"].as_str().unwrap());
    assert_eq!((&message["status"], &message["reason"]), (&json!("refused"), &json!("suppressed")));
    let other = contact(&shop.api, "other", &json!({"email": "other@essai.example"}));
    shop.consents(&other, "objected", None);
    let (_, said) = shop.test_send("other@essai.example", "k2");
    let message = shop.ended(said["id"].as_str().unwrap());
    assert_eq!((&message["status"], &message["reason"]), (&json!("refused"), &json!("objected")));

    // Who may not send without consent may not list addresses either.
    let arguments = ["key", "create", "--brand", "essai", "--scopes", "manage"];
    let said = shop.server.command(shop.data.path(), &arguments).unwrap();
    let manager = Api::new(&shop.server, said.lines().last().unwrap().trim());
    let brand = BRAND.replace("team@", "stranger@");
    let files = json!({"files": [{"name": "brand.yaml", "source": brand}]});
    let (status, said) = manager.send("POST", "/v1/documents", Some(&files));
    assert_eq!(status, 403, "{said}");
    assert!(said.contains("needs_admin_key"), "{said}");
    let fewer =
        json!({"files": [{"name": "b.yaml", "source": BRAND.replace("team@essai.example, ", "")}]});
    let (status, said) = manager.send("POST", "/v1/documents", Some(&fewer));
    assert_eq!(status, 200, "{said}");
    assert_eq!(shop.test_send("team@essai.example", "k3").0, 403, "not listed any more");
}
