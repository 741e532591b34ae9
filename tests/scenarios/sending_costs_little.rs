//! What a message costs the process that sends it, beside a bare loop that builds, signs and sends
//! the same mail; and how long an event takes to become a message at the next hop.
//!
//! Both send at the same time and as many: the same work costs a third more where the other half of
//! a processor core is busy with a database, so one after the other would compare machines.
//!
//! Figures mean something in a release build on a quiet machine: `tests/long sending-cost` and
//! `tests/long sending-latency`. In `tests/run` a few messages keep the scenarios from rotting.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use parcours_delivery::mail::{
    dkim::{self, DkimAlgorithm, DkimKey},
    mime::{self, MailParts},
    smtp::{Connection, SmtpSecurity, SmtpTarget, SmtpTimeouts, TlsTrust},
};
use parcours_testkit::{
    pg::TempDatabase,
    smtp_sink::{Received, SmtpSink},
};
use parcours_tests::{
    fault::supervisor::{ALL_ROLES, Supervisor},
    scaled,
};
use rustix::time::{ClockId, clock_gettime};

use crate::campaign::{Campaign, House, percentile, user};

const CONNECTIONS: usize = 8;
/// How many messages the bare loop sends at a time.
const ROUND: usize = 64;
/// The most that a message may cost, as a multiple of the bare loop.
const MOST: f64 = 2.5;
/// The longest way from an event to the next hop, for 99 of 100.
const WAY: Duration = Duration::from_millis(100);

/// Whether what is measured is what would run in earnest.
pub fn in_earnest() -> bool {
    scaled(0, 1) == 1 && !cfg!(debug_assertions)
}

/// CPU time of another process, user and system, from `/proc`.
pub fn cpu_of(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let behind_the_name = stat.rsplit_once(')').expect("its form").1;
    let fields: Vec<&str> = behind_the_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // A tick is a hundredth of a second on Linux (USER_HZ).
    Duration::from_millis(ticks * 10)
}

/// CPU time of this thread.
fn cpu_of_this_thread() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// What one message of so many cost, in microseconds.
fn micros_each(cpu: Duration, messages: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let messages = messages as f64;
    cpu.as_secs_f64() * 1e6 / messages
}

/// A mail's bodies and headers, as the bare loop builds them again.
struct Bare {
    html: String,
    text: String,
    keys: Vec<DkimKey>,
    target: SmtpTarget,
}

impl Bare {
    fn of(mail: &Received, algorithm: Option<&str>, port: u16) -> Self {
        let parsed = mail_parser::MessageParser::default().parse(&mail.raw).expect("a message");
        let key = algorithm.map(|algorithm| {
            let pem = format!("{}/fixtures/dkim-{algorithm}.pem", env!("CARGO_MANIFEST_DIR"));
            let pem = std::fs::read_to_string(pem).unwrap();
            let kind = if algorithm == "rsa" { DkimAlgorithm::Rsa } else { DkimAlgorithm::Ed25519 };
            DkimKey::parse(kind, "s1", "shop.example", &pem).unwrap()
        });
        Self {
            html: parsed.body_html(0).expect("HTML").into_owned(),
            text: parsed.body_text(0).expect("text").into_owned(),
            keys: key.into_iter().collect(),
            target: SmtpTarget {
                host: "127.0.0.1".to_owned(),
                port,
                security: SmtpSecurity::None,
                credentials: None,
                hello: "localhost".to_owned(),
                timeouts: SmtpTimeouts::default(),
                trust: TlsTrust::only([]).unwrap(),
            },
        }
    }

    fn letter(&self, number: usize) -> (parcours_domain::EmailAddress, Vec<u8>) {
        let to = format!("u{number}@customers.example").parse().unwrap();
        let parts = MailParts {
            from_name: "The Shop",
            from_address: "hello@shop.example",
            reply_to: None,
            to: &to,
            subject: "Hello Zoé",
            html: &self.html,
            text: &self.text,
            message_id: &format!("<{number}@shop.example>"),
            date: parcours_kit::machine_now(),
            list_unsubscribe_url: Some("https://news.shop.example/u/0123456789abcdef"),
            list_id: Some("<news.0123456789abcdef.news.shop.example>"),
            feedback_id: Some("greet:hello:news:0123456789abcdef"),
            is_test: false,
        };
        let plain = mime::build(&parts).unwrap();
        (to, dkim::sign(plain, &self.keys).unwrap())
    }

    /// Sends as many as have arrived at `beside` since it began, over as many connections as the
    /// product has, on one thread, until `most` are sent; its CPU time.
    fn run_beside(&self, beside: &SmtpSink, most: usize) -> Duration {
        let begun = beside.count();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                connections.push(Connection::connect(&self.target).await.unwrap());
            }
            let before = cpu_of_this_thread();
            let mut sent = 0;
            while sent < most {
                let goal = (beside.count() - begun).min(most);
                if goal < (sent + ROUND).min(most) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
                let lines = connections.iter_mut().enumerate().map(|(line, connection)| {
                    let numbers = (sent + line..goal).step_by(CONNECTIONS);
                    async move {
                        for number in numbers {
                            let (to, raw) = self.letter(number);
                            connection.envelope("b-token@shop.example", &to).await.unwrap();
                            connection.data(&raw).await.unwrap();
                        }
                    }
                });
                futures::future::join_all(lines).await;
                sent = goal;
            }
            cpu_of_this_thread() - before
        })
    }
}

/// Both costs under one algorithm, or unsigned; prints them; their ratio.
fn cost(algorithm: Option<&'static str>, messages: usize) -> f64 {
    let server = tokio::runtime::Runtime::new().unwrap();
    let database = server.block_on(TempDatabase::new()).unwrap();
    let other = server.block_on(SmtpSink::start()).unwrap();
    let data = tempfile::tempdir().unwrap();
    let (front, sender) = ("gateway,worker,consent", "delivery");
    let supervisor = Supervisor::postgres(data.path(), database.url());
    let house = House { connections: CONNECTIONS, dkim: algorithm, rate: None, provider: None };
    let mut campaign = Campaign::new(supervisor, front, &house);
    campaign.subscribe(messages);
    campaign.everybody("Hello");
    let first = messages / 10;
    campaign.supervisor.start(sender).unwrap();
    let mails = campaign.arrived(first);
    let process = campaign.supervisor.part(sender).unwrap().id();
    let bare = Bare::of(&mails[0], algorithm, other.port());
    let (begun, before, sent_before) = (Instant::now(), cpu_of(process), campaign.sink.count());
    let sent = messages - sent_before;
    let (spent, bare, took) = std::thread::scope(|scope| {
        let sink = &campaign.sink;
        let bare = scope.spawn(move || bare.run_beside(sink, sent.saturating_sub(ROUND)));
        campaign.arrived(messages);
        campaign.until_quiet();
        let spent = cpu_of(process).saturating_sub(before);
        (spent, bare.join().unwrap(), begun.elapsed())
    });
    campaign.supervisor.kill(sender).unwrap();
    let ours = micros_each(spent, sent);
    let bare = micros_each(bare, other.count());
    let ratio = ours / bare.max(0.001);
    println!(
        "{}: {:.0} messages/s; {ours:.0} us of CPU a message in the delivery process, {bare:.0} us in the \
         bare loop beside it: {ratio:.2} times; {sent} messages of {} bytes, {} by the bare loop, \
         in {took:?}",
        algorithm.unwrap_or("unsigned"),
        1e6 / micros_each(took, sent),
        mails[0].raw.len(),
        other.count(),
    );
    ratio
}

#[test]
fn a_message_costs_little_more_than_signing_and_sending_it() {
    let messages = scaled(200, 10_000);
    if scaled(0, 1) == 1 {
        // Shown, not bounded: nothing but a queue, a verdict and a template stands beside it.
        cost(None, messages);
    }
    let algorithms: &[&'static str] =
        if scaled(0, 1) == 1 { &["rsa", "ed25519"] } else { &["ed25519"] };
    let ratios: Vec<f64> = algorithms.iter().map(|one| cost(Some(one), messages)).collect();
    if in_earnest() {
        assert!(ratios.iter().all(|ratio| *ratio <= MOST), "{ratios:?}");
    }
}

/// Sends 50 events a second; how long each took to the next hop.
fn ways(campaign: &mut Campaign, events: usize) -> Vec<Duration> {
    campaign.subscribe(events.min(500));
    let users: Vec<&String> = campaign.contacts.keys().collect();
    let this = &*campaign;
    let begun: Vec<(&String, Instant)> = this.runtime.block_on(async {
        let first = tokio::time::Instant::now();
        let sent = (0_u32..).zip(0..events).map(|(number, event)| {
            let user = users[event % users.len()];
            async move {
                tokio::time::sleep_until(first + Duration::from_millis(20) * number).await;
                (user, this.one("Hello", user, event).await)
            }
        });
        futures::future::join_all(sent).await
    });
    let mut arrivals: BTreeMap<String, VecDeque<Instant>> = BTreeMap::new();
    for mail in this.arrived(events) {
        arrivals.entry(user(&mail)).or_default().push_back(mail.accepted);
    }
    let way = |(user, at): (&String, Instant)| {
        let arrived = arrivals.get_mut(user).and_then(VecDeque::pop_front);
        arrived.expect("each event made its message").saturating_duration_since(at)
    };
    begun.into_iter().map(way).collect()
}

fn latency(name: &str, supervisor: Supervisor) -> Duration {
    let house =
        House { connections: CONNECTIONS, dkim: Some("ed25519"), rate: None, provider: None };
    let mut campaign = Campaign::new(supervisor, ALL_ROLES, &house);
    let ways = ways(&mut campaign, scaled(100, 6_000));
    let [half, most, all] = [0.5, 0.99, 1.0].map(|share| percentile(&ways, share));
    println!(
        "{name}: event to message at the next hop, {} events at 50/s: p50 {half:?}, p99 {most:?}, \
         longest {all:?}",
        ways.len()
    );
    most
}

#[test]
fn an_event_is_a_message_at_the_next_hop_at_once() {
    let data = tempfile::tempdir().unwrap();
    let sqlite = latency("SQLite", Supervisor::sqlite(data.path()));
    let server = tokio::runtime::Runtime::new().unwrap();
    let database = server.block_on(TempDatabase::new()).unwrap();
    let data = tempfile::tempdir().unwrap();
    let postgres = latency("PostgreSQL", Supervisor::postgres(data.path(), database.url()));
    if in_earnest() {
        assert!(sqlite < WAY && postgres < WAY, "SQLite {sqlite:?}, PostgreSQL {postgres:?}");
    }
}
