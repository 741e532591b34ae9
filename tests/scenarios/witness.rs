//! A brand under observation: a journey that waits, sends, listens and sends again, on either
//! database; and everything about it in the form that the history checker takes.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use mail_parser::MessageParser;
use parcours_testkit::{
    pg::TempDatabase,
    smtp_sink::{Received, SmtpSink},
};
use parcours_tests::{
    client::{Client, Item, Ledger, ms_of, wall_ms},
    fault::{
        shim::Shim,
        supervisor::{ALL_ROLES, Supervisor},
    },
    history::{
        Answer, Arrival, Finding, History, Journey, Person, Promises, Send, SentFact, Wait, Word,
        read::Database,
    },
    scaled,
};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::api::Api;

/// The brand's name.
pub const BRAND: &str = "shop";
/// Connections of the brand's sender.
pub const CONNECTIONS: usize = 4;
/// How long quiet may take: more than any wait of the journey.
const QUIET: Duration = Duration::from_secs(60);
/// How often is looked whether something is so.
const LOOK: Duration = Duration::from_millis(20);

/// Where an install keeps its data.
pub enum Ground {
    Sqlite,
    /// A server of its own, so that its figures are this install's alone.
    Postgres,
}

/// A running install, its brand, and who watches.
pub struct Stage {
    /// Its processes.
    pub supervisor: Supervisor,
    /// What lies under them.
    pub shim: Shim,
    /// Where its mail goes.
    pub sink: SmtpSink,
    /// Where the mail of brands beside it goes.
    pub beside: Vec<SmtpSink>,
    /// What clients wrote down.
    pub ledger: Arc<Ledger>,
    /// An admin key of the brand.
    pub key: String,
    /// Runs clients and sink.
    pub runtime: Runtime,
    /// Its database, when it is not SQLite.
    pub database: Option<TempDatabase>,
    /// The part that clients speak to.
    front: String,
    people: Vec<Person>,
    facts: Vec<SentFact>,
    _folders: [tempfile::TempDir; 2],
}

/// How long the journey waits, in seconds.
#[derive(Clone, Copy)]
pub struct Spans {
    pub pause: i64,
    pub listen: i64,
}

fn documents(port: u16, Spans { pause, listen }: Spans) -> String {
    format!(
        r#"
apiVersion: parcours/v1
kind: Brand
name: {BRAND}
organisation: test
display_name: The Shop
controller: {{ name: The Shop Ltd, contact: privacy@shop.example }}
postal_address: 1 High Street, York
public_url: https://news.shop.example
time_zone: Europe/London
locale: en-GB
defaults: {{ sender: main }}
---
apiVersion: parcours/v1
kind: Sender
name: main
from: {{ name: The Shop, address: hello@shop.example }}
transport: {{ kind: smtp, host: 127.0.0.1, port: {port}, security: none, connections: {CONNECTIONS} }}
---
apiVersion: parcours/v1
kind: Topic
name: news
title: News
purpose: Telling you what is new
---
apiVersion: parcours/v1
kind: Template
name: hello
subject: "Hello"
html: <html><body><p>Hello</p><a href="{{{{ unsubscribe_url }}}}">Stop</a></body></html>
---
apiVersion: parcours/v1
kind: Journey
name: order
entry: {{ event: Order Completed, key: event.order, reentry: always }}
steps:
  - id: pause
    wait: {{ for: {pause}s }}
  - id: first
    send: {{ template: hello, topic: news, on: {{ sent: listen, unknown: listen }} }}
  - id: listen
    wait_for:
      events: [{{ id: replied, event: Replied, when: event.order == run.order, next: second }}]
      limit: {listen}s
      timeout: second
  - id: second
    send: {{ template: hello, topic: news, on: {{ sent: end }} }}
    next: end
"#
    )
}

/// What the documents promise.
fn promises(Spans { pause, listen }: Spans) -> Promises {
    let wait = |step: &str, seconds: i64, until_event| Wait {
        step: step.to_owned(),
        span_ms: seconds * 1_000,
        until_event,
    };
    let send = |step: &str| Send { step: step.to_owned(), least_ms: pause * 1_000, awaited: true };
    Promises {
        journeys: vec![Journey {
            name: "order".to_owned(),
            waits: vec![wait("pause", pause, false), wait("listen", listen, true)],
            sends: vec![send("first"), send("second")],
        }],
        late_ms: i64::try_from(scaled(60_000, 120_000)).expect("milliseconds"),
        leaving_most: 0,
    }
}

/// An order: starts a run of its own.
pub fn order(user: &str, id: &str) -> Item {
    Item {
        user: user.to_owned(),
        message_id: id.to_owned(),
        starts: Some(("order".to_owned(), id.to_owned())),
        body: json!({"type": "track", "event": "Order Completed", "properties": {"order": id}}),
    }
}

/// A reply to an order: its run goes on if it listens.
pub fn reply(user: &str, id: &str) -> Item {
    Item {
        user: user.to_owned(),
        message_id: format!("{id}-reply"),
        starts: None,
        body: json!({"type": "track", "event": "Replied", "properties": {"order": id}}),
    }
}

impl Stage {
    /// Starts an install with the brand and so many users who said yes.
    pub fn new(ground: &Ground, users: usize, spans: Spans) -> Self {
        let mut stage = Self::bare(ground);
        stage.supervisor = stage.supervisor.under(&stage.shim);
        stage.supervisor.start(ALL_ROLES).unwrap();
        stage.open(ALL_ROLES, spans);
        stage.welcome(users);
        stage
    }

    /// An install of which nothing runs yet.
    pub fn bare(ground: &Ground) -> Self {
        let runtime = Runtime::new().unwrap();
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let shim = Shim::build(folders[0].path()).unwrap();
        let sink = runtime.block_on(SmtpSink::start()).unwrap();
        let data = folders[1].path();
        let (supervisor, database) = match ground {
            Ground::Sqlite => (Supervisor::sqlite(data), None),
            Ground::Postgres => {
                let database = runtime.block_on(TempDatabase::with_settings("")).unwrap();
                (Supervisor::postgres(data, database.url()), Some(database))
            }
        };
        Self {
            supervisor,
            shim,
            sink,
            beside: Vec::new(),
            ledger: Arc::default(),
            key: String::new(),
            runtime,
            front: String::new(),
            people: Vec::new(),
            facts: Vec::new(),
            database,
            _folders: folders,
        }
    }

    /// Publishes the brand by a part that serves HTTP; clients speak to it from now on.
    pub fn open(&mut self, front: &str, spans: Spans) {
        front.clone_into(&mut self.front);
        let file = self.supervisor.data().join("shop.yaml");
        std::fs::write(&file, documents(self.sink.port(), spans)).unwrap();
        self.key = publish(&self.supervisor, front, (BRAND, &file));
    }

    /// Publishes another brand beside it; an admin key of that one.
    pub fn neighbour(&self, brand: &str, documents: &str) -> String {
        let file = self.supervisor.data().join(format!("{brand}.yaml"));
        std::fs::write(&file, documents).unwrap();
        publish(&self.supervisor, &self.front, (brand, &file))
    }

    /// Somebody has said that this is their address.
    pub fn met(&mut self, brand: &str, user: &str, address: &str) {
        let [brand, user, address] = [brand, user, address].map(str::to_owned);
        self.people.push(Person { brand, user, address });
    }

    /// The URL of the part that clients speak to.
    pub fn url(&self) -> String {
        self.supervisor.url(&self.front).unwrap()
    }

    /// A client of the brand.
    pub fn client(&self) -> Client {
        self.client_of(&self.front)
    }

    /// A client of the brand that speaks to this part.
    pub fn client_of(&self, part: &str) -> Client {
        let url = self.supervisor.url(part).unwrap();
        Client::new(&url, BRAND, &self.key, &self.ledger).unwrap()
    }

    /// The API with the brand's admin key.
    pub fn api(&self) -> Api {
        Api::at(&self.supervisor.url(&self.front).unwrap(), &self.key)
    }

    /// Users `u0`, `u1`, ... come in and say yes.
    pub fn welcome(&mut self, users: usize) {
        let names: Vec<String> = (0..users).map(|n| format!("u{n}")).collect();
        let address = |user: &str| format!("{user}@customers.example");
        let identify = |user: &String| Item {
            user: user.clone(),
            message_id: format!("{user}-identify"),
            starts: None,
            body: json!({"type": "identify", "traits": {"email": address(user)}}),
        };
        let items: Vec<Item> = names.iter().map(identify).collect();
        assert_eq!(self.runtime.block_on(self.client().batch(&items)), Some(200));
        let api = self.api();
        let yes = json!({"facts": [{"kind": "given", "topic": "news", "source": "test"}]});
        for user in names {
            let found = api.get(&format!("/v1/contacts?user_id={user}"));
            let id = found["items"][0]["id"].as_str().expect("the contact").to_owned();
            let at = wall_ms();
            api.post(&format!("/v1/contacts/{id}/consents"), &yes);
            let brand = BRAND.to_owned();
            self.met(&brand, &user, &address(&user));
            let answered_at = Some(wall_ms());
            let (word, answer) = (Word::Given, Answer::Acknowledged);
            self.facts.push(SentFact { brand, user, word, at, answered_at, answer });
        }
    }

    /// A connection that looks in from outside.
    pub fn look(&self) -> Database {
        self.runtime.block_on(async {
            match &self.database {
                None => Database::sqlite(self.supervisor.data()).await,
                Some(database) => Database::postgres(database.url()).await,
            }
            .expect("the database can be read")
        })
    }

    /// A number from the database.
    pub fn number(&self, sql: &str) -> i64 {
        let mut database = self.look();
        self.runtime.block_on(database.number(sql)).expect("a number")
    }

    /// How many syncs to disk there were so far: of the process, or of its database server.
    pub fn syncs(&self) -> i64 {
        match self.database {
            None => self.shim.syncs().unwrap(),
            Some(_) => self.number("SELECT wal_sync FROM pg_stat_wal"),
        }
    }

    /// A number that grows with every write to disk and with nothing else: syncs, or the place up
    /// to which PostgreSQL has flushed its log.
    pub fn flushed(&self) -> i64 {
        let flushed = "SELECT CAST(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0') AS BIGINT)";
        match self.database {
            None => self.shim.syncs().unwrap(),
            Some(_) => self.number(flushed),
        }
    }

    /// Returns once a number has become what it should.
    pub fn until(&self, what: &str, sql: &str, wanted: impl Fn(i64) -> bool) {
        assert!(self.becomes(sql, wanted), "waited too long: {what}");
    }

    /// Returns once something is so, looking again and again.
    pub fn until_seen(&self, what: &str, seen: impl Fn() -> bool) {
        let begun = Instant::now();
        while !seen() {
            assert!(begun.elapsed() < QUIET, "waited too long: {what}");
            self.runtime.block_on(async { tokio::time::sleep(LOOK).await });
        }
    }

    /// Whether nothing is under way any more: no run, timer, inbox row or queued message. Waits
    /// for it; when it does not come, the checker can say what is left lying.
    pub fn is_quiet(&self) -> bool {
        let sql = "SELECT (SELECT count(*) FROM run WHERE live = 1) \
                   + (SELECT count(*) FROM timer) + (SELECT count(*) FROM inbox) \
                   + (SELECT count(*) FROM send_queue)";
        self.becomes(sql, |left| left == 0)
    }

    /// Whether a number becomes what it should within the time that quiet may take.
    fn becomes(&self, sql: &str, wanted: impl Fn(i64) -> bool) -> bool {
        let mut database = self.look();
        let looking = async {
            let mut looks = tokio::time::interval(LOOK);
            while !wanted(database.number(sql).await.expect("a number")) {
                looks.tick().await;
            }
        };
        let limited = async { tokio::time::timeout(QUIET, looking).await };
        self.runtime.block_on(limited).is_ok()
    }

    /// Everything that was sent, is held and was received.
    pub fn history(&self, spans: Spans) -> History {
        let mut database = self.look();
        let sinks = self.beside.iter().chain([&self.sink]);
        let held = self.runtime.block_on(database.held(wall_ms())).expect("the rows");
        History {
            events: self.ledger.events(),
            facts: self.facts.clone(),
            people: self.people.clone(),
            held,
            arrivals: sinks.flat_map(SmtpSink::received).map(|one| arrival(&one)).collect(),
            promises: promises(spans),
        }
    }
}

fn publish(supervisor: &Supervisor, front: &str, (brand, file): (&str, &Path)) -> String {
    let file = file.to_str().expect("a path in UTF-8");
    supervisor.command(front, &["apply", file]).unwrap();
    let scopes = "ingest,read,manage,admin";
    let create = ["key", "create", "--brand", brand, "--scopes", scopes];
    let said = supervisor.command(front, &create).unwrap();
    said.lines().last().expect("the key is the last line").trim().to_owned()
}

/// A received mail as a witness.
pub fn arrival(received: &Received) -> Arrival {
    let mail = MessageParser::default().parse(&received.raw);
    let id = mail.as_ref().and_then(|mail| mail.message_id()).and_then(|id| id.split('@').next());
    Arrival {
        message: id.map(|id| id.replace('-', "")),
        recipient: received.rcpt.first().cloned().unwrap_or_default(),
        at: ms_of(received.at),
    }
}

/// Fails with the findings, if there are any.
pub fn assert_none(findings: &[Finding]) {
    let said: Vec<String> = findings.iter().take(40).map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), said.join("\n"));
}
