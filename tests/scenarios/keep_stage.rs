//! Where brands are moved and kept: stores on either database, a shop that sends to a sink, and
//! who got what.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use parcours_testkit::{
    pg::TempDatabase,
    smtp_sink::{Received, SmtpSink},
};
use parcours_tests::{Server, parcours};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tokio::runtime::Runtime;

use crate::api::{self, Api};

pub const PASSPHRASE: &str = "a passphrase for the scenarios";

/// A store that is not there yet: a folder, and perhaps a database.
pub struct Place {
    pub data: tempfile::TempDir,
    database: Option<TempDatabase>,
}

impl Place {
    pub fn sqlite() -> Self {
        Self { data: tempfile::tempdir().unwrap(), database: None }
    }

    pub fn postgres(runtime: &Runtime) -> Self {
        let database = runtime.block_on(TempDatabase::new()).unwrap();
        Self { database: Some(database), ..Self::sqlite() }
    }

    /// A command on this store.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = parcours(self.data.path());
        if let Some(database) = &self.database {
            command.env("PARCOURS_DATABASE_URL", database.url());
            command.env("PARCOURS_ROOT_KEY", "2e".repeat(32));
        }
        command.env("PARCOURS_PASSPHRASE", PASSPHRASE).args(arguments);
        command
    }

    /// Runs a command on this store; what it said, when it went well.
    pub fn run(&self, arguments: &[&str]) -> String {
        let (well, said) = said(&self.command(arguments).output().expect("the binary starts"));
        assert!(well, "{arguments:?}: {said}");
        said
    }

    pub fn serve(&self) -> Server {
        Server::start_with(&mut self.command(&[])).unwrap()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// The first column of every row, as text, read past the product.
    pub fn column(&self, runtime: &Runtime, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        runtime.block_on(async {
            match &self.database {
                Some(database) => {
                    let mut on = database.connect().await.unwrap();
                    sqlx::query_scalar(sql).fetch_all(&mut on).await.unwrap()
                }
                None => {
                    let file = self.data.path().join("parcours.sqlite");
                    let url = format!("sqlite://{}?mode=ro", file.display());
                    let mut on = SqliteConnection::connect(&url).await.unwrap();
                    sqlx::query_scalar(sql).fetch_all(&mut on).await.unwrap()
                }
            }
        })
    }

    /// How many rows a table has.
    pub fn count(&self, runtime: &Runtime, what: &str) -> usize {
        let sql = format!("SELECT CAST(count(*) AS TEXT) FROM {what}");
        self.column(runtime, &sql).remove(0).parse().unwrap()
    }

    /// Bytes of a UUID column in hexadecimal.
    pub fn hex(&self, column: &str) -> String {
        match &self.database {
            Some(_) => format!("encode(uuid_send({column}), 'hex')"),
            None => format!("lower(hex({column}))"),
        }
    }
}

/// Whether a command went well, and all that it said.
pub fn said(output: &Output) -> (bool, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
}

/// Journeys by the event that starts them: the template they send, and after what wait.
const JOURNEYS: [(&str, &str); 5] = [
    ("Now", "  - {id: send, send: {template: now, topic: news}}\n"),
    (
        "Soon",
        "  - {id: pause, wait: {for: 6s}}\n  - {id: send, send: {template: soon, topic: news}}\n",
    ),
    (
        "Moving",
        "  - {id: pause, wait: {for: 12s}}\n  - {id: send, send: {template: soon, topic: news}}\n",
    ),
    (
        "Chain",
        "  - {id: pause, wait: {for: 4s}}\n\
         \x20 - {id: first, send: {template: first, topic: news, on: {refused: end}}}\n\
         \x20 - {id: rest, wait: {for: 1s}}\n\
         \x20 - {id: second, send: {template: second, topic: news}}\n",
    ),
    (
        "Later",
        "  - {id: pause, wait: {for: 20s}}\n  - {id: send, send: {template: later, topic: news}}\n",
    ),
];

fn documents(port: u16) -> String {
    let mut text = format!(
        "apiVersion: parcours/v1\nkind: Brand\nname: shop\norganisation: test\n\
         display_name: The Shop\ncontroller: {{ name: The Shop Ltd, contact: privacy@shop.example }}\n\
         postal_address: 1 High Street, York\npublic_url: https://news.shop.example\n\
         time_zone: Europe/London\nlocale: en-GB\ndefaults: {{ sender: main }}\n---\n\
         apiVersion: parcours/v1\nkind: Sender\nname: main\n\
         from: {{ name: The Shop, address: hello@shop.example }}\n\
         transport: {{ kind: smtp, host: 127.0.0.1, port: {port}, security: none }}\n---\n\
         apiVersion: parcours/v1\nkind: Topic\nname: news\ntitle: News\npurpose: News\n---\n\
         apiVersion: parcours/v1\nkind: Journey\nname: hours\nentry: {{ event: Hours }}\nsteps:\n\
         \x20 - {{id: pause, wait: {{for: 5h}}}}\n\
         \x20 - {{id: send, send: {{template: now, topic: news}}}}\n"
    );
    for template in ["now", "soon", "first", "second", "later"] {
        text.push_str(&format!(
            "---\napiVersion: parcours/v1\nkind: Template\nname: {template}\nsubject: \"{template}\"\n\
             html: |\n  <html><body><p>{template}</p><a href=\"{{{{ unsubscribe_url }}}}\">Stop</a></body></html>\n"
        ));
    }
    for (event, steps) in JOURNEYS {
        let name = event.to_lowercase();
        text.push_str(&format!(
            "---\napiVersion: parcours/v1\nkind: Journey\nname: {name}\n\
             entry: {{ event: {event} }}\nsteps:\n{steps}"
        ));
    }
    text
}

/// The shop's brand at a server; an API with its admin key.
pub fn shop(server: &Server, data: &Path, sink: &SmtpSink) -> Api {
    let file = data.join("shop.yaml");
    std::fs::write(&file, documents(sink.port())).unwrap();
    let brand = api::brand_of(server, data, &file, "shop");
    Api::new(server, &brand.admin_key)
}

/// Contacts of these names with an address and consent.
pub fn people(api: &Api, names: &[String]) {
    for chunk in names.chunks(500) {
        let items: Vec<Value> = chunk
            .iter()
            .map(|name| {
                json!({"type": "identify", "userId": name, "messageId": format!("i-{name}"),
                       "traits": {"email": format!("{name}@customers.example")}})
            })
            .collect();
        let answer = api.post("/v1/batch", &json!({ "batch": items }));
        assert_eq!(answer["set_aside"], json!([]), "{answer}");
    }
    let facts = json!({"facts": [{"kind": "given", "topic": "news", "source": "test"}]});
    for name in names {
        let found = api.get(&format!("/v1/contacts?user_id={name}"));
        let id = found["items"][0]["id"].as_str().expect("the contact").to_owned();
        api.post(&format!("/v1/contacts/{id}/consents"), &facts);
    }
}

/// One event for each of these people.
pub fn happens(api: &Api, event: &str, names: &[String]) {
    for chunk in names.chunks(500) {
        let items: Vec<Value> = chunk
            .iter()
            .map(|name| {
                json!({"type": "track", "userId": name, "event": event,
                       "messageId": format!("{event}-{name}")})
            })
            .collect();
        let answer = api.post("/v1/batch", &json!({ "batch": items }));
        assert_eq!(answer["set_aside"], json!([]), "{answer}");
    }
}

/// `count` names that begin so.
pub fn names(begin: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{begin}{n}")).collect()
}

/// How often each person got each template.
pub fn got(mails: &[Received]) -> BTreeMap<(String, String), usize> {
    let mut got = BTreeMap::new();
    for mail in mails {
        let who = mail.rcpt.concat().replace(['<', '>'], "");
        let who = who.split('@').next().unwrap_or_default().to_owned();
        let text = String::from_utf8_lossy(&mail.raw).into_owned();
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
        *got.entry((who, subject.expect("a subject").trim().to_owned())).or_default() += 1;
    }
    got
}

/// Those who got something twice.
pub fn doubles(mails: &[Received]) -> Vec<(String, String)> {
    got(mails).into_iter().filter(|(_, times)| *times > 1).map(|(what, _)| what).collect()
}

/// The path of a mail's one-click link.
pub fn unsubscribe_path(mail: &Received) -> String {
    let text = String::from_utf8_lossy(&mail.raw).replace("\r\n ", "").replace("\r\n\t", "");
    let header = text.lines().find(|line| line.starts_with("List-Unsubscribe: ")).expect("a link");
    let (_, token) = header.split_once("/u/").expect("a token");
    format!("/u/{}", token.split(['>', '?']).next().unwrap_or_default().trim())
}
