//! One brand has enqueued a great campaign when another sends a few messages: they do not wait for
//! it, nor for a next hop of it that stands still. Two senders share the work, each brand has a
//! next hop of its own.

use std::time::{Duration, Instant};

use parcours_testkit::{
    pg::TempDatabase,
    redis::RedisServer,
    smtp_sink::{At, Gate, Rule},
};
use parcours_tests::{fault::supervisor::Supervisor, scaled};

use crate::campaign::{Campaign, House};

const HOUSE: House = House { connections: 4, dkim: None, rate: None, provider: None };
const FRONT: &str = "gateway,worker,consent";
/// What the small brand sends.
const FEW: usize = 100;
/// The stated time for that.
const SOON: Duration = Duration::from_secs(5);
/// The contacts of the great campaign get it in so many rounds.
const ROUNDS: usize = 10;

/// Two brands on one install, with their servers underneath; none where there is no Redis.
struct Town {
    great: Campaign,
    small: Campaign,
    _data: tempfile::TempDir,
    _database: TempDatabase,
    _redis: RedisServer,
    _runtime: tokio::runtime::Runtime,
}

impl Town {
    fn new() -> Option<Self> {
        let redis = RedisServer::start("a_big_campaign_delays_nobody").unwrap()?;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let database = runtime.block_on(TempDatabase::new()).unwrap();
        let data = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::postgres(data.path(), database.url())
            .with("PARCOURS_REDIS_URL", redis.url())
            .with("PARCOURS_RPC_SECRET", &"5e".repeat(16))
            .with("PARCOURS_RPC_LISTEN", "127.0.0.1:0");
        let great = Campaign::new(supervisor, FRONT, &HOUSE);
        let mut small = great.beside(FRONT, ("corner", &HOUSE));
        small.subscribe(FEW);
        let (_data, _database, _redis, _runtime) = (data, database, redis, runtime);
        Some(Self { great, small, _data, _database, _redis, _runtime })
    }

    fn start_senders(&mut self) {
        for sender in ["sender-1", "sender-2"] {
            self.great.supervisor.begin((sender, "delivery"), Vec::new()).unwrap();
        }
    }

    /// The small brand sends its few messages: until they are enqueued, and until they have arrived.
    fn few(&self) -> [Duration; 2] {
        let begun = Instant::now();
        self.small.everybody("Hello");
        let enqueued = begun.elapsed();
        self.small.arrived(FEW);
        let arrived = begun.elapsed();
        let most = if scaled(0, 1) == 1 { SOON } else { 4 * SOON };
        assert!(arrived < most, "{arrived:?}");
        [enqueued, arrived]
    }
}

#[test]
fn of_another_brand() {
    let Some(mut town) = Town::new() else { return };
    let contacts = scaled(400, 50_000);
    town.great.subscribe(contacts);
    for round in 0..ROUNDS {
        town.great.everybody_again("Hello", round);
    }
    town.start_senders();
    town.great.arrived(contacts / 10);
    let before = town.great.sink.count();
    let [enqueued, took] = town.few();
    let meanwhile = town.great.sink.count() - before;
    let left = contacts * ROUNDS - before - meanwhile;
    println!(
        "{FEW} messages of one brand in {took:?} ({enqueued:?} to enqueue them) beside {left} of \
         another, of which {meanwhile} left meanwhile"
    );
    assert!(left > contacts, "the great campaign is still under way");
    // Of two who have work each gets its turns, whatever the other has.
    assert!(meanwhile < 10 * FEW, "{meanwhile} left before {FEW}");
}

#[test]
fn not_even_when_its_next_hop_stands_still() {
    let Some(mut town) = Town::new() else { return };
    let gate = Gate::default();
    town.great.sink.rule(Rule::hold(At::Dot, &gate));
    town.great.subscribe(400);
    town.great.everybody("Hello");
    town.start_senders();
    let reached = async { tokio::time::timeout(Duration::from_secs(60), gate.reached(4)).await };
    town.great.runtime.block_on(reached).expect("it stands still");
    let [_, took] = town.few();
    println!("{FEW} messages of one brand in {took:?} beside one whose next hop stands still");
    assert_eq!(town.great.sink.count(), 0);
    gate.open();
    town.great.arrived(400);
}
