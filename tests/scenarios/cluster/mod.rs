//! A cluster under observation and under load: two gateways, three workers, two senders, on a
//! PostgreSQL and a Redis of its own. One worker and one sender reach the others through proxies, so
//! that what is between them can be broken.
//!
//! A group of faults is done to one cluster, one after another. Each leaves a row of the table: what
//! was acknowledged meanwhile, the longest that a client waited for an answer (with its repeats),
//! and the worst lateness of a timer. At the end the history of everybody is checked as a whole.

pub mod neighbour;
pub mod table;
pub mod ways;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parcours_testkit::redis::RedisServer;
use parcours_tests::{
    client::{Client, Item, wall_ms},
    dice::Dice,
    fault::{shim::Shim, supervisor::free_port},
    history::{History, read::Database},
    scaled,
};
use tokio::task::JoinHandle;

use crate::witness::{Ground, Spans, Stage, assert_none, order, reply};
use table::Row;
use ways::Ways;

/// Waits of the journey.
const SPANS: Spans = Spans { pause: 2, listen: 3 };
/// Users.
const USERS: usize = 40;
/// Events in a batch.
const ITEMS: usize = 4;
/// How often each client sends a batch.
const PACE: Duration = Duration::from_millis(250);
/// How long a client repeats a batch.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long anything may take for which no time is stated.
pub const LIMIT: Duration = Duration::from_secs(90);
/// From a death to answers for everybody.
pub const RECOVERED: Duration = Duration::from_secs(10);

/// How often is looked whether something is so.
const LOOK: Duration = Duration::from_millis(20);
/// How much of a log a failure shows.
const LINES: usize = 30;

/// The gateways.
pub const GATEWAYS: [&str; 2] = ["gateway-1", "gateway-2"];
/// The workers; the first can be cut off.
pub const WORKERS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];
/// The senders; the first can be cut off from the database.
pub const SENDERS: [&str; 2] = ["sender-1", "sender-2"];

/// Who has how many shards, the poorest of those that live; 0 while one of the three has none.
const POOREST: &str = "SELECT CASE WHEN count(*) = 3 THEN min(n) ELSE 0 END FROM \
     (SELECT count(s.id) AS n FROM worker w JOIN shard s ON s.owner = w.incarnation \
      WHERE w.dead_at IS NULL GROUP BY w.incarnation) AS counted";
/// Workers that are neither dead nor leaving.
const WORKING: &str = "SELECT count(*) FROM worker WHERE dead_at IS NULL AND leaving_at IS NULL";
/// Shards that nobody alive has.
const ORPHANS: &str = "SELECT count(*) FROM shard s LEFT JOIN worker w \
     ON w.incarnation = s.owner AND w.dead_at IS NULL WHERE w.incarnation IS NULL";
const EPOCHS: &str = "SELECT CAST(sum(epoch) AS BIGINT) FROM shard";

/// See the head of this file.
pub struct Cluster {
    /// Processes, database, sink, clients' ledger.
    pub stage: Stage,
    /// What the processes share.
    pub redis: RedisServer,
    /// What is between worker-1, sender-1 and the others.
    pub ways: Ways,
    /// The machine under worker-2.
    pub clock: Shim,
    name: &'static str,
    spans: Spans,
    load: Load,
    rows: Vec<Row>,
}

/// Clients that go on until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Cluster {
    /// Starts everything; none, said and counted, where there is no Redis.
    pub fn start(name: &'static str) -> Option<Self> {
        Some(Self::begin(
            name,
            SPANS,
            RedisServer::start(name).unwrap()?,
            Stage::bare(&Ground::Postgres),
        ))
    }

    /// Starts everything as another version, whose login is no superuser.
    pub fn older(name: &'static str, spans: Spans, binary: PathBuf) -> Option<Self> {
        let redis = RedisServer::start(name).unwrap()?;
        let mut stage = Stage::bare(&Ground::Postgres);
        let database = stage.database.as_ref().expect("on PostgreSQL");
        let url = stage.runtime.block_on(database.owned_by("app", "CREATEROLE NOINHERIT")).unwrap();
        stage.supervisor = stage.supervisor.with("PARCOURS_DATABASE_URL", &url);
        stage.supervisor.becomes(Some(binary));
        Some(Self::begin(name, spans, redis, stage))
    }

    fn begin(name: &'static str, spans: Spans, redis: RedisServer, mut stage: Stage) -> Self {
        let folder = stage.supervisor.data().join("worker-2");
        std::fs::create_dir(&folder).unwrap();
        let clock = Shim::build(&folder).unwrap();
        stage.supervisor = stage
            .supervisor
            .with("PARCOURS_REDIS_URL", redis.url())
            .with("PARCOURS_RPC_SECRET", &"5e".repeat(16))
            .with("PARCOURS_RPC_LISTEN", "127.0.0.1:0")
            .with(neighbour::PANICS_AT.0, neighbour::PANICS_AT.1);
        let port = free_port().unwrap();
        let ways = Ways::new(&stage.supervisor.database(), redis.socket(), port);
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let supervisor = &mut stage.supervisor;
        supervisor.begin((GATEWAYS[0], "gateway,consent"), Vec::new()).unwrap();
        supervisor.begin((GATEWAYS[1], "gateway"), Vec::new()).unwrap();
        let settings = vec![
            own("PARCOURS_DATABASE_URL", &ways.worker_database.url),
            own("PARCOURS_REDIS_URL", &ways.redis_url()),
            own("PARCOURS_RPC_LISTEN", &format!("127.0.0.1:{port}")),
            own("PARCOURS_RPC_ADVERTISE", &ways.rpc.address().to_string()),
        ];
        supervisor.begin((WORKERS[0], "worker"), settings).unwrap();
        let shim = clock.variables(&folder).map(|(name, value)| own(name, &value));
        supervisor.begin((WORKERS[1], "worker"), shim.to_vec()).unwrap();
        supervisor.begin((WORKERS[2], "worker"), Vec::new()).unwrap();
        let settings = vec![own("PARCOURS_DATABASE_URL", &ways.sender_database.url)];
        supervisor.begin((SENDERS[0], "delivery"), settings).unwrap();
        supervisor.begin((SENDERS[1], "delivery"), Vec::new()).unwrap();
        stage.open(GATEWAYS[0], spans);
        stage.welcome(USERS);
        let load = Load { stop: Arc::default(), clients: Vec::new() };
        let mut this = Self { stage, redis, ways, clock, name, spans, load, rows: Vec::new() };
        this.until_whole();
        this.load = this.begin_load();
        this
    }

    /// One client for each gateway.
    fn begin_load(&self) -> Load {
        let stop = Arc::<AtomicBool>::default();
        let mut dice = Dice::thrown(self.name);
        let clients = (0..).zip(GATEWAYS).map(|(number, gateway)| {
            let client = self.stage.client_of(gateway).patient_for(PATIENCE);
            let sending = sends(client, number, dice.split(), Arc::clone(&stop));
            self.stage.runtime.spawn(sending)
        });
        let clients = clients.collect();
        Load { stop, clients }
    }

    /// Looks until a number is as it should be; parts that have ended meanwhile stay so.
    pub fn until(&self, what: &str, sql: &str, wanted: impl Fn(i64) -> bool) -> Duration {
        let (begun, mut database) = (Instant::now(), self.stage.look());
        while !self.stage.runtime.block_on(looks(&mut database, sql, &wanted)) {
            assert!(begun.elapsed() < LIMIT, "waited too long: {what}");
        }
        begun.elapsed()
    }

    /// Starts again what has ended by itself, and waits until each worker has its part.
    pub fn until_whole(&mut self) {
        let (begun, mut database) = (Instant::now(), self.stage.look());
        let enough = |poorest| poorest >= 60;
        while !self.stage.runtime.block_on(looks(&mut database, POOREST, enough)) {
            self.stage.supervisor.tend().unwrap();
            assert!(begun.elapsed() < LIMIT, "the workers do not share the shards");
        }
    }

    /// A fault lasts for this long.
    pub fn lasts(&self, span: Duration) {
        self.stage.runtime.block_on(async { tokio::time::sleep(span).await });
    }

    /// Waits until one of the workers is gone for the others and no shard is left to it; how long
    /// that took.
    pub fn until_taken(&self) -> Duration {
        let missed = self.until("a worker is missed", WORKING, |working| working == 2);
        missed + self.until("every shard has somebody", ORPHANS, |orphans| orphans == 0)
    }

    /// How often shards were taken so far.
    pub fn epochs(&self) -> i64 {
        self.stage.number(EPOCHS)
    }

    /// Waits until the clients have had so many more answers.
    pub fn answers(&self, more: usize) {
        let wanted = self.stage.ledger.answered() + more;
        let answers = self.stage.ledger.until_answered(wanted);
        let answered =
            self.stage.runtime.block_on(async { tokio::time::timeout(LIMIT, answers).await });
        assert!(answered.is_ok(), "no answers any more: {:?}", self.stage.ledger);
    }

    /// Does a fault to the running cluster; `act` returns when it is over, with what it has seen.
    /// Afterwards whatever ended is started again, as a machine's supervisor does.
    pub fn fault(&mut self, name: &'static str, act: impl FnOnce(&mut Self) -> String) {
        // Nobody waits for an answer from before.
        self.answers(2 * GATEWAYS.len());
        let from = wall_ms();
        let seen = act(self);
        self.answers(2 * GATEWAYS.len());
        let restarted = self.stage.supervisor.tend().unwrap();
        self.until_whole();
        self.answers(2 * GATEWAYS.len());
        println!("{}: {name}: done; {seen}", self.name);
        let seen = if restarted.is_empty() {
            seen
        } else {
            format!("{seen}; ended by itself: {}", restarted.join(", "))
        };
        self.rows.push(Row { name, from, until: wall_ms(), seen });
    }

    /// Ends the load, waits for quiet, and checks everybody's history.
    pub fn finish(mut self) -> History {
        self.load.stop.store(true, Ordering::SeqCst);
        for client in self.load.clients.drain(..) {
            let ended = async { tokio::time::timeout(PATIENCE, client).await };
            self.stage.runtime.block_on(ended).expect("clients end").expect("all is answered");
        }
        let quiet = self.stage.is_quiet();
        let history = self.stage.history(self.spans);
        let figures = history.figures();
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let deadlocks = self.stage.number(deadlocks);
        table::publish(self.name, &self.rows, &history, deadlocks);
        assert_none(&history.check());
        assert!(quiet, "something is still under way");
        let answered = figures.acknowledged + figures.set_aside;
        assert_eq!(answered, figures.sent, "each batch was answered in the end");
        assert!(figures.recorded > 0 && figures.fired > 0 && figures.heard == figures.outcomes);
        assert_eq!(deadlocks, 0);
        history
    }
}

impl Drop for Cluster {
    /// A failure shows what everybody has said last.
    fn drop(&mut self) {
        let parts = [&GATEWAYS[..], &WORKERS, &SENDERS].concat();
        for part in parts.iter().filter(|_| std::thread::panicking()) {
            let log = self.stage.supervisor.log(part).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
            eprintln!("\n{part} said last:\n{}", last.join("\n"));
        }
    }
}

/// Looks at a number for a moment, until it is as it should be; whether it is.
async fn looks(database: &mut Database, sql: &str, wanted: impl Fn(i64) -> bool) -> bool {
    for _ in 0..10 {
        if wanted(database.number(sql).await.expect("a number")) {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}

/// One client: orders of random users, and replies to some of them.
async fn sends(client: Client, number: usize, mut dice: Dice, stop: Arc<AtomicBool>) {
    let mut orders: Vec<(String, String)> = Vec::new();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let most = scaled(4_000, 40_000);
    for batch in 0..most {
        pace.tick().await;
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let item = |item: usize| -> Item {
            if !orders.is_empty() && dice.below(3) == 0 {
                let (user, id) = orders.swap_remove(dice.below(orders.len()));
                return reply(&user, &id);
            }
            let user = format!("u{}", dice.below(USERS));
            let id = format!("c{number}-b{batch}-i{item}");
            orders.push((user.clone(), id.clone()));
            order(&user, &id)
        };
        let items: Vec<Item> = (0..ITEMS).map(item).collect();
        assert_eq!(client.batch(&items).await, Some(200));
    }
}
