//! A brand beside the one under observation that does what a bad neighbour does: its next hop
//! stands still, its templates never come to an end, its events panic the handler.

use parcours_testkit::smtp_sink::{At, Gate, Rule, SmtpSink};
use parcours_tests::client::{Client, Item};
use serde_json::json;

use super::{Cluster, LIMIT};

/// The brand's name.
const BRAND: &str = "noisy";
/// Messages that stand: more than all senders together work on for one brand.
const STANDING: usize = 400;
/// Messages that loop.
const LOOPING: usize = 60;
/// Events that panic the handler.
const PANICKING: usize = 200;
/// Their name; workers panic at it because they are told to (see `PANICS_AT`).
const PANIC: &str = "Panic";
/// What workers of debug builds are started with, beside a neighbour or not.
pub const PANICS_AT: (&str, &str) = ("PARCOURS_PANICS_AT", PANIC);
/// Items in a batch.
const BATCH: usize = 100;
/// Things in the list that each of its events brings.
const LIST: usize = 400;
/// Connections to its next hop.
const CONNECTIONS: usize = 4;

/// See the head of this file.
pub struct Neighbour {
    client: Client,
    gate: Gate,
}

fn documents(port: u16) -> String {
    // 64 million turns, for a list of four hundred, as deep as templates may.
    let (begin, end) = ("{% for item in run.items %}".repeat(3), "{% endfor %}".repeat(3));
    format!(
        r#"
apiVersion: parcours/v1
kind: Brand
name: {BRAND}
organisation: test
display_name: The Neighbour
controller: {{ name: The Neighbour Ltd, contact: privacy@noisy.example }}
postal_address: 2 High Street, York
public_url: https://news.noisy.example
time_zone: Europe/London
locale: en-GB
defaults: {{ sender: main }}
---
apiVersion: parcours/v1
kind: Sender
name: main
from: {{ name: The Neighbour, address: hello@noisy.example }}
transport: {{ kind: smtp, host: 127.0.0.1, port: {port}, security: none, connections: {CONNECTIONS} }}
---
apiVersion: parcours/v1
kind: Topic
name: orders
title: Orders
purpose: To tell what happens to an order
class: transactional
---
apiVersion: parcours/v1
kind: Template
name: plain
subject: "Hello"
html: "<html><body><p>Hello</p></body></html>"
---
apiVersion: parcours/v1
kind: Template
name: endless
subject: "Hello"
html: "<html><body>{begin}{end}<p>Hello</p></body></html>"
---
apiVersion: parcours/v1
kind: Journey
name: stall
entry: {{ event: Stall, reentry: always }}
steps:
  - id: send
    send: {{ template: plain, topic: orders, on: {{ sent: end }} }}
---
apiVersion: parcours/v1
kind: Journey
name: spin
entry: {{ event: Spin, reentry: always }}
steps:
  - id: send
    send: {{ template: endless, topic: orders, on: {{ failed: end }} }}
"#
    )
}

impl Neighbour {
    /// Moves in: its next hop stands still at every RCPT.
    pub fn beside(cluster: &mut Cluster) -> Self {
        let stage = &mut cluster.stage;
        let sink = stage.runtime.block_on(SmtpSink::start()).unwrap();
        let gate = Gate::default();
        sink.rule(Rule::hold(At::Rcpt, &gate));
        let key = stage.neighbour(BRAND, &documents(sink.port()));
        let client = Client::new(&stage.url(), BRAND, &key, &stage.ledger).unwrap();
        stage.beside.push(sink);
        Self { client, gate }
    }

    /// So many people come, and each does this.
    fn sends(&self, cluster: &mut Cluster, event: &str, messages: usize) {
        let list = if event == "Spin" { vec!["one"; LIST] } else { Vec::new() };
        let item = |user: &str, id: String, body| Item {
            user: user.to_owned(),
            message_id: id,
            starts: None,
            body,
        };
        let items = (0..messages).flat_map(|n| {
            let user = format!("{event}-{n}");
            let email = format!("{}@customers.example", user.to_lowercase());
            cluster.stage.met(BRAND, &user, &email);
            let came = json!({"type": "identify", "traits": {"email": email}});
            let did = json!({"type": "track", "event": event, "properties": {"items": list}});
            [item(&user, format!("{user}-came"), came), item(&user, format!("{user}-did"), did)]
        });
        let items: Vec<Item> = items.collect();
        for batch in items.chunks(BATCH) {
            let answer = cluster.stage.runtime.block_on(self.client.batch(batch));
            assert_eq!(answer, Some(200));
        }
    }

    /// Its messages stand before a next hop that does not answer.
    pub fn stalls(&self, cluster: &mut Cluster) {
        self.sends(cluster, "Stall", STANDING);
        let reached =
            async { tokio::time::timeout(LIMIT, self.gate.reached(CONNECTIONS)).await.is_ok() };
        assert!(cluster.stage.runtime.block_on(reached), "nothing came to its next hop");
    }

    /// The next hop answers; returns once all of it has left.
    pub fn flows(&self, cluster: &Cluster) {
        self.gate.open();
        cluster.until("its messages leave", &ended("sent"), |sent| sent == count(STANDING));
    }

    /// Its templates loop; returns once each message has failed for it.
    pub fn spins(&self, cluster: &mut Cluster) {
        self.sends(cluster, "Spin", LOOPING);
        cluster.until("its messages fail", &ended("failed"), |failed| failed == count(LOOPING));
    }

    /// Its events panic the handler; returns once each is kept aside, and no worker has ended for it:
    /// how many.
    pub fn panics(&self, cluster: &mut Cluster) -> usize {
        let epochs = cluster.epochs();
        self.sends(cluster, PANIC, PANICKING);
        let aside = "SELECT count(*) FROM quarantine WHERE code = 'panic'";
        cluster.until("its events are set aside", aside, |aside| aside == count(PANICKING));
        assert_eq!(cluster.epochs(), epochs, "shards changed hands");
        PANICKING
    }
}

fn count(messages: usize) -> i64 {
    i64::try_from(messages).expect("a small number")
}

/// How many messages of the brand ended so.
fn ended(status: &str) -> String {
    format!(
        "SELECT count(*) FROM message m JOIN brand b ON b.tenant_id = m.tenant_id \
         WHERE b.name = '{BRAND}' AND m.status = '{status}'"
    )
}
