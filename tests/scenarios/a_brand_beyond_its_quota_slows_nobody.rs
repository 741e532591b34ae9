//! One brand sends fifty times its quota of events: it gets what its quota says, through however many
//! gateways, and another brand is served as before.
//!
//! The generator is this process: it sends on a schedule, whether or not answers have come, and a
//! request's time counts from when it was due.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parcours_tests::{Server, fault::process::Process, scaled};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    runtime::Runtime,
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{
    api::Api,
    campaign::percentile,
    ground::Ground,
    sending_costs_little::{cpu_of, in_earnest},
};

/// Events a second that the loud brand may bring.
const QUOTA: u32 = 100;
/// How many times that it sends.
const TIMES: u32 = 50;
/// Events of one of its requests.
const BATCH: u32 = 5;
/// Connections of each brand.
const CLIENTS: u32 = 16;
/// Events a second of the quiet brand, each a request of its own.
const QUIET: u32 = 200;
/// How much slower the quiet brand may be, at the 99th percentile.
const MOST: f64 = 1.5;

/// An install with the two brands, and the servers of its gateways.
struct Town {
    ground: Ground,
    front: Server,
    second: Option<Process>,
    loud: String,
    quiet: String,
    runtime: Runtime,
    http: reqwest::Client,
}

/// What became of the loud brand's requests.
#[derive(Debug, Default)]
struct Loud {
    offered: u64,
    admitted: u64,
    refused: u64,
    others: BTreeMap<String, u64>,
    took: Duration,
}

impl Town {
    /// With a second gateway, or without.
    fn new(second: bool) -> Self {
        let ground = Ground::postgres();
        let secret = |command: &mut std::process::Command| {
            command.env("PARCOURS_RPC_SECRET", "5e".repeat(16));
        };
        let mut command = ground.command();
        secret(&mut command);
        let front = Server::start_with(command.env("PARCOURS_RPC_LISTEN", "127.0.0.1:0")).unwrap();
        let second = second.then(|| {
            let mut command = ground.command();
            secret(&mut command);
            Process::start(command.env("PARCOURS_ROLES", "gateway")).unwrap()
        });
        let admin = Api::new(&front, &front.admin_key);
        for name in ["loud", "quiet"] {
            admin.post("/v1/brands", &json!({"organisation": "town", "name": name}));
        }
        let say = |words: &[&str]| front.command(ground.data.path(), words).unwrap();
        let key = |brand: &str| {
            let said = say(&["key", "create", "--brand", brand, "--scopes", "ingest"]);
            said.lines().last().expect("the key is the last line").trim().to_owned()
        };
        let (loud, quiet) = (key("loud"), key("quiet"));
        let rate = format!("{QUOTA}/s");
        let said = say(&["quota", "set", "--brand", "loud", "--events", &rate]);
        assert!(said.contains(&format!("events: {rate}\n")), "{said}");
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Self { ground, front, second, loud, quiet, runtime, http }
    }

    fn gateways(&self) -> Vec<String> {
        let second = self.second.iter().map(|process| process.url.clone());
        std::iter::once(self.front.url.clone()).chain(second).collect()
    }

    /// One request; its status, and its body.
    async fn post(
        http: &reqwest::Client,
        url: String,
        key: &str,
        body: &Value,
    ) -> (Option<StatusCode>, Value) {
        match http.post(url).basic_auth(key, Some("")).json(body).send().await {
            Ok(answer) => (Some(answer.status()), answer.json().await.unwrap_or(Value::Null)),
            Err(error) => (None, Value::String(error.to_string())),
        }
    }

    /// The loud brand begins; it goes on until told to stop, and tells when it was first refused.
    fn shout(&self, run: usize) -> (Arc<AtomicBool>, watch::Receiver<bool>, JoinSet<Loud>) {
        let (stop, (tell, told)) = (Arc::new(AtomicBool::new(false)), watch::channel(false));
        let every = Duration::from_secs(1) * CLIENTS * BATCH / (QUOTA * TIMES);
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (stop, tell, http) = (Arc::clone(&stop), tell.clone(), self.http.clone());
            let gateways = self.gateways();
            let url = format!("{}/v1/batch", gateways[client as usize % gateways.len()]);
            let key = self.loud.clone();
            let work = async move {
                let (begun, mut loud) = (Instant::now(), Loud::default());
                let mut due = tokio::time::interval(every);
                while !stop.load(Ordering::SeqCst) {
                    due.tick().await;
                    let body = shout(&format!("{run}-{client}-{}", loud.offered));
                    loud.offered += u64::from(BATCH);
                    let (status, said) = Self::post(&http, url.clone(), &key, &body).await;
                    match status.map(|status| status.as_u16()) {
                        Some(200) => loud.admitted += said["accepted"].as_u64().unwrap_or(0),
                        Some(429) if said["code"] == "events_quota" => {
                            loud.refused += u64::from(BATCH);
                            tell.send_replace(true);
                        }
                        other => *loud.others.entry(format!("{other:?} {said}")).or_default() += 1,
                    }
                }
                loud.took = begun.elapsed();
                loud
            };
            clients.spawn_on(work, self.runtime.handle());
        }
        (stop, told, clients)
    }

    fn until_refused(&self, refused: &mut watch::Receiver<bool>) {
        let refused = refused.wait_for(|refused| *refused);
        let refused = async { tokio::time::timeout(Duration::from_secs(30), refused).await };
        self.runtime.block_on(refused).expect("the loud brand is refused").unwrap();
    }

    fn hush(&self, stop: &AtomicBool, clients: JoinSet<Loud>) -> Loud {
        stop.store(true, Ordering::SeqCst);
        let all = self.runtime.block_on(clients.join_all());
        let mut sum = Loud::default();
        for one in all {
            sum.offered += one.offered;
            sum.admitted += one.admitted;
            sum.refused += one.refused;
            sum.others.extend(one.others);
            sum.took = sum.took.max(one.took);
        }
        sum
    }

    /// The quiet brand's events, on their schedule: how long each took from when it was due.
    fn speak(&self, events: u32, run: &str) -> Vec<Duration> {
        let url = format!("{}/v1/track", self.front.url);
        // Fewer at a time than one brand may have worked on: a slow machine costs time, not errors.
        let places = Arc::new(Semaphore::new(32));
        let first = tokio::time::Instant::now();
        let spoken = (0..events).map(|number| {
            let (http, url, key) = (self.http.clone(), url.clone(), self.quiet.clone());
            let places = Arc::clone(&places);
            let body = json!({
                "userId": format!("person-{}", number % 50), "event": "Seen",
                "messageId": format!("{run}-{number}"),
            });
            let work = async move {
                let due = first + Duration::from_secs(1) * number / QUIET;
                tokio::time::sleep_until(due).await;
                let _place = places.acquire().await;
                let (status, said) = Self::post(&http, url, &key, &body).await;
                assert_eq!(status, Some(StatusCode::OK), "{said}");
                assert_eq!(said["accepted"], 1, "{said}");
                due.elapsed()
            };
            self.runtime.spawn(work)
        });
        let spoken: Vec<_> = spoken.collect();
        let all = self.runtime.block_on(futures::future::join_all(spoken));
        all.into_iter().map(|one| one.expect("no request of the quiet brand fails")).collect()
    }

    /// Events of a brand in the database.
    fn events(&self, brand: &str) -> u64 {
        let sql = format!(
            "SELECT count(*) FROM event JOIN brand USING (tenant_id) WHERE brand.name = '{brand}'"
        );
        self.ground.number(&sql).unsigned_abs()
    }
}

/// A request of the loud brand.
fn shout(id: &str) -> Value {
    let item = |n| {
        json!({
            "type": "track", "event": "Shouted", "userId": format!("voice-{n}"),
            "messageId": format!("{id}-{n}"),
        })
    };
    json!({ "batch": (0..BATCH).map(item).collect::<Vec<_>>() })
}

/// The most that may be admitted in that time: what is leased keeps for a second, and what a second
/// allows may come at once.
fn most(took: Duration) -> f64 {
    f64::from(QUOTA) * (took.as_secs_f64() + 2.0)
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn keeps_its_quota(loud: &Loud) {
    assert!(loud.admitted as f64 <= most(loud.took), "{loud:?}");
    assert!(loud.admitted > 0 && loud.refused > 0, "{loud:?}");
    assert_eq!(loud.others, BTreeMap::new(), "nothing but 200 and 429");
}

#[test]
fn and_gets_what_its_quota_says() {
    let town = Town::new(false);
    let (events, runs) = (u32::try_from(scaled(300, 2_000)).unwrap(), scaled(1, 3));
    town.speak(100, "warm");
    let (mut ratios, mut admitted) = (Vec::new(), 0);
    for run in 0..runs {
        let own = std::process::id();
        let before = town.speak(events, &format!("before-{run}"));
        let (cpu, begun) = (cpu_of(own), Instant::now());
        let (stop, mut refused, clients) = town.shout(run);
        town.until_refused(&mut refused);
        let beside = town.speak(events, &format!("beside-{run}"));
        let loud = town.hush(&stop, clients);
        let spent = cpu_of(own).saturating_sub(cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
        keeps_its_quota(&loud);
        admitted += loud.admitted;
        let [p50, p99] =
            [0.5, 0.99].map(|share| [percentile(&before, share), percentile(&beside, share)]);
        let ratio = p99[1].as_secs_f64() / p99[0].as_secs_f64().max(1e-9);
        ratios.push(ratio);
        println!(
            "{} events of one brand: p50 {:?} alone, {:?} beside; p99 {:?} alone, {:?} beside: {ratio:.2} \
             times; the other offered {} and was admitted {} in {:?} with {QUOTA}/s; the generator \
             used {spent:.2} CPUs",
            events, p50[0], p50[1], p99[0], p99[1], loud.offered, loud.admitted, loud.took,
        );
    }
    assert_eq!(town.events("loud"), admitted, "what was admitted is there, and nothing else");
    let runs = u32::try_from(runs).unwrap();
    assert_eq!(town.events("quiet"), u64::from(100 + 2 * runs * events));
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("median of {runs}: {median:.2} times");
    if in_earnest() {
        assert!(median <= MOST, "{ratios:?}");
    }
}

#[test]
fn through_two_gateways_as_through_one() {
    let town = Town::new(true);
    let (stop, mut refused, clients) = town.shout(0);
    town.until_refused(&mut refused);
    // As long as it takes: the quiet brand's events pass the time.
    town.speak(u32::try_from(scaled(600, 2_000)).unwrap(), "beside");
    let loud = town.hush(&stop, clients);
    println!("{loud:?}");
    keeps_its_quota(&loud);
    assert_eq!(town.events("loud"), loud.admitted);
}
