//! A brand with many subscribers that sends over SMTP to a sink inside the test: what the scenarios
//! about sending share.
//!
//! Everything goes the product's own way: documents by `apply`, contacts, consent and events over
//! HTTP, withdrawals by the one-click address of a mail that arrived.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Once,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use parcours_testkit::smtp_sink::{Received, SmtpSink};
use parcours_tests::fault::supervisor::Supervisor;
use serde_json::{Value, json};

/// Requests that are on their way at once.
const AT_ONCE: usize = 16;

/// How the brand sends.
pub struct House {
    /// Connections to the sink.
    pub connections: usize,
    /// `rsa`, `ed25519`, or none: how its mail is signed.
    pub dkim: Option<&'static str>,
    /// What the brand may send, such as `20/s`.
    pub rate: Option<&'static str>,
    /// Its recipients are this provider's: its name, a domain of it, and what it may be sent.
    pub provider: Option<Provider>,
}

/// See [`House::provider`].
pub struct Provider {
    pub name: &'static str,
    pub domain: &'static str,
    pub rate: &'static str,
}

/// A run that sends at once, for each of two events.
const JOURNEYS: &str = r#"---
apiVersion: parcours/v1
kind: Journey
name: greet
entry: { event: Hello, reentry: always }
steps:
  - id: greet
    send: { template: hello, topic: news }
---
apiVersion: parcours/v1
kind: Journey
name: sale
entry: { event: Sale, reentry: always }
steps:
  - id: sale
    send: { template: hello, topic: news }
"#;

/// The brand's documents; its sender sends to `port`.
fn documents(brand: &str, house: &House, port: u16) -> String {
    let connections = house.connections;
    let rate = house.rate.map_or(String::new(), |rate| format!("rate: {rate}"));
    let domains = house.provider.as_ref().map_or(String::new(), |provider| {
        format!("domains: [{{ match: {}, rate: {} }}]", provider.name, provider.rate)
    });
    let dkim = house.dkim.map_or(String::new(), |algorithm| {
        format!(
            "dkim: [{{ selector: s1, domain: shop.example, algorithm: {algorithm}, \
             key: {{ secret: dkim-{algorithm} }} }}]"
        )
    });
    let paragraph = "<p>New this week: records from a house that presses its own, and the tools \
                     to play them with. Come in, listen, and take your time.</p>\n";
    let body = paragraph.repeat(12);
    let body = body.replace('\n', "\n    ");
    format!(
        r#"
apiVersion: parcours/v1
kind: Brand
name: {brand}
organisation: test
display_name: The Shop
controller: {{ name: The Shop Ltd, contact: privacy@shop.example }}
postal_address: 1 High Street, York
public_url: https://news.shop.example
time_zone: Europe/London
locale: en-GB
defaults: {{ sender: main }}
{rate}
---
apiVersion: parcours/v1
kind: Sender
name: main
from: {{ name: The Shop, address: hello@shop.example }}
transport: {{ kind: smtp, host: 127.0.0.1, port: {port}, security: none, connections: {connections} }}
{dkim}
{domains}
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
subject: "Hello {{{{ contact.first_name }}}}"
fields:
  contact.first_name: {{ default: there }}
html: |
  <html><body><p>Hello {{{{ contact.first_name }}}}</p>
    {body}
  <a href="https://shop.example/new">New</a> <a href="{{{{ unsubscribe_url }}}}">Stop</a></body></html>
{JOURNEYS}"#
    )
}

/// See the head of this file.
pub struct Campaign {
    pub supervisor: Supervisor,
    /// Under which domain its contacts have their addresses.
    domain: &'static str,
    pub sink: SmtpSink,
    pub runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    front: String,
    key: String,
    /// userId -> contact id.
    pub contacts: BTreeMap<String, String>,
}

impl Campaign {
    /// The install's part `front` serves HTTP and runs; the brand is published.
    pub fn new(mut supervisor: Supervisor, front: &str, house: &House) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // A second scenario of this process may have been quicker; either is fine.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        supervisor.start(front).unwrap();
        Self::publish(supervisor, front, ("shop", house))
    }

    /// Another brand with a sink of its own on the same install.
    pub fn beside(&self, front: &str, (brand, house): (&str, &House)) -> Self {
        Self::publish(self.supervisor.visitor(), front, (brand, house))
    }

    fn publish(supervisor: Supervisor, front: &str, (brand, house): (&str, &House)) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let sink = runtime.block_on(SmtpSink::start()).unwrap();
        let file = supervisor.data().join(format!("{brand}.yaml"));
        std::fs::write(&file, documents(brand, house, sink.port())).unwrap();
        supervisor.command(front, &["apply", file.to_str().unwrap()]).unwrap();
        let scopes = "ingest,read,manage,admin";
        let said = ["key", "create", "--brand", brand, "--scopes", scopes];
        let said = supervisor.command(front, &said).unwrap();
        let key = said.lines().last().expect("the key is the last line").trim().to_owned();
        let front = supervisor.url(front).unwrap();
        let this = Self {
            supervisor,
            domain: house.provider.as_ref().map_or("customers.example", |one| one.domain),
            sink,
            runtime,
            http: reqwest::Client::new(),
            front,
            key,
            contacts: BTreeMap::new(),
        };
        if let Some(algorithm) = house.dkim {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
            let pem = std::fs::read_to_string(format!("{folder}/dkim-{algorithm}.pem")).unwrap();
            let path = format!("/v1/secrets/dkim-{algorithm}");
            this.runtime.block_on(this.ask("PUT", &path, Some(json!({ "value": pem }))));
        }
        this
    }

    /// A request that must be answered with 2xx.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let method = method.parse().expect("a method");
        let mut request =
            self.http.request(method, format!("{}{path}", self.front)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the server answers");
        let status = answer.status();
        let body = answer.text().await.unwrap_or_default();
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or(Value::Null)
    }

    /// GET that must be answered with 2xx.
    pub fn get(&self, path: &str) -> Value {
        self.runtime.block_on(self.ask("GET", path, None))
    }

    /// POST that must be answered with 2xx.
    pub fn post(&self, path: &str, body: Value) -> Value {
        self.runtime.block_on(self.ask("POST", path, Some(body)))
    }

    /// Does this for each, many at once; the answers in any order.
    async fn each<T, R, F: Future<Output = R>>(
        items: impl IntoIterator<Item = T>,
        act: impl Fn(T) -> F,
    ) -> Vec<R> {
        stream::iter(items).map(act).buffer_unordered(AT_ONCE).collect().await
    }

    /// Contacts `u0`... who have agreed to the topic.
    pub fn subscribe(&mut self, count: usize) {
        let users: Vec<String> = (0..count).map(|n| format!("u{n}")).collect();
        let this = &*self;
        let contacts = this.runtime.block_on(async {
            Self::each(users.chunks(100), |chunk| async move {
                let identify = |user: &String| {
                    json!({"type": "identify", "userId": user, "messageId": format!("i-{user}"),
                           "traits": {"email": format!("{user}@{}", this.domain),
                                      "first_name": "Zoé"}})
                };
                let batch: Vec<Value> = chunk.iter().map(identify).collect();
                let answer = this.ask("POST", "/v1/batch", Some(json!({ "batch": batch }))).await;
                assert_eq!(answer["accepted"], json!(chunk.len()), "{answer}");
            })
            .await;
            Self::each(users, |user| async move {
                let found = this.ask("GET", &format!("/v1/contacts?user_id={user}"), None).await;
                let id = found["items"][0]["id"].as_str().expect("the contact").to_owned();
                let facts =
                    json!({"facts": [{"kind": "given", "topic": "news", "source": "test"}]});
                this.ask("POST", &format!("/v1/contacts/{id}/consents"), Some(facts)).await;
                (user, id)
            })
            .await
        });
        self.contacts = contacts.into_iter().collect();
    }

    /// Sends everybody's event.
    pub fn everybody(&self, event: &str) {
        self.everybody_again(event, 0);
    }

    /// Sends everybody's event, not for the first time.
    pub fn everybody_again(&self, event: &str, round: usize) {
        let users: Vec<&String> = self.contacts.keys().collect();
        self.runtime.block_on(Self::each(users.chunks(100), |chunk| async move {
            let track = |user: &&String| {
                json!({"type": "track", "event": event, "userId": user,
                       "messageId": format!("{event}-{user}-{round}")})
            };
            let batch: Vec<Value> = chunk.iter().map(track).collect();
            let answer = self.ask("POST", "/v1/batch", Some(json!({ "batch": batch }))).await;
            assert_eq!(answer["accepted"], json!(chunk.len()), "{answer}");
        }));
    }

    /// One contact's event; when it was sent off.
    pub async fn one(&self, event: &str, user: &str, number: usize) -> Instant {
        let begun = Instant::now();
        let body =
            json!({"event": event, "userId": user, "messageId": format!("{event}-{number}")});
        self.ask("POST", "/v1/track", Some(body)).await;
        begun
    }

    /// Posts one-click withdrawals to these addresses; for each, its place in the list, when it was
    /// acknowledged, and how long that took.
    pub fn withdraw(&self, links: &[String]) -> Vec<(usize, Instant, Duration)> {
        self.runtime.block_on(Self::each(links.iter().enumerate(), |(place, link)| async move {
            let path = link.split_once("/u/").map(|(_, token)| token).expect("an address");
            let begun = Instant::now();
            let answer = self
                .http
                .post(format!("{}/u/{path}", self.front))
                .header("content-type", "application/x-www-form-urlencoded")
                .body("List-Unsubscribe=One-Click")
                .timeout(Duration::from_secs(60))
                .send()
                .await
                .expect("the server answers");
            assert_eq!(answer.status().as_u16(), 200);
            (place, Instant::now(), begun.elapsed())
        }))
    }

    /// Waits until so many messages have arrived since the test began.
    pub fn arrived(&self, count: usize) -> Vec<Received> {
        let wait = self.sink.wait_for(count);
        let most = Duration::from_secs(600);
        let arrived = self.runtime.block_on(async { tokio::time::timeout(most, wait).await });
        arrived.unwrap_or_else(|_| {
            panic!("{} of {count} messages arrived in ten minutes", self.sink.count())
        })
    }

    /// Every message with this status.
    pub fn messages(&self, status: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/v1/messages?status={status}&limit=500{cursor}"));
            found.extend(page["items"].as_array().expect("a page has items").iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }

    /// Waits until no message waits or leaves.
    pub fn until_quiet(&self) {
        self.until("nothing is queued", || {
            let page = self.get("/v1/messages?status=queued&limit=1");
            page["items"].as_array().expect("a page has items").is_empty()
        });
    }

    /// Asks until it is so.
    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed().as_secs() < 600, "waited ten minutes: {what}");
            std::thread::yield_now();
        }
    }

    /// One of the product's figures, summed over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let answer = self.runtime.block_on(async {
            self.http.get(format!("{}/metrics", self.front)).send().await?.text().await
        });
        answer
            .expect("the figures")
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}

/// To whom a mail came: the userId.
pub fn user(mail: &Received) -> String {
    mail.rcpt[0].split_once('@').expect("an address").0.to_owned()
}

/// The one-click address of a mail.
pub fn one_click(mail: &Received) -> String {
    let text = String::from_utf8_lossy(&mail.raw);
    let header = text.lines().find_map(|line| line.strip_prefix("List-Unsubscribe: "));
    let header = header.expect("marketing has the header").trim();
    header.trim_start_matches('<').trim_end_matches('>').to_owned()
}

/// The value below which this share of them lies.
pub fn percentile(values: &[Duration], share: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among some thousands"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
