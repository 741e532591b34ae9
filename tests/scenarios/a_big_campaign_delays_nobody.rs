//! One brand has enqueued a great campaign when another sends a few messages: they do not wait for
//! it. Two senders share the work, each brand has a next hop of its own.

use std::time::{Duration, Instant};

use parcours_testkit::{pg::TempDatabase, redis::RedisServer};
use parcours_tests::{fault::supervisor::Supervisor, scaled};

use crate::campaign::{Campaign, House};

const HOUSE: House = House { connections: 4, dkim: None, rate: None };
const FRONT: &str = "gateway,worker,consent";
/// What the small brand sends.
const FEW: usize = 100;
/// The stated time for that.
const SOON: Duration = Duration::from_secs(5);
/// The contacts of the great campaign get it in so many rounds.
const ROUNDS: usize = 10;

#[test]
fn of_another_brand() {
    let Some(redis) = RedisServer::start("a_big_campaign_delays_nobody").unwrap() else { return };
    let server = tokio::runtime::Runtime::new().unwrap();
    let database = server.block_on(TempDatabase::new()).unwrap();
    let data = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::postgres(data.path(), database.url())
        .with("PARCOURS_REDIS_URL", redis.url())
        .with("PARCOURS_RPC_SECRET", &"5e".repeat(16))
        .with("PARCOURS_RPC_LISTEN", "127.0.0.1:0");
    let mut great = Campaign::new(supervisor, FRONT, &HOUSE);
    let mut small = great.beside(FRONT, ("corner", &HOUSE));
    let contacts = scaled(400, 50_000);
    great.subscribe(contacts);
    small.subscribe(FEW);
    for round in 0..ROUNDS {
        great.everybody_again("Hello", round);
    }
    for sender in ["sender-1", "sender-2"] {
        great.supervisor.begin((sender, "delivery"), Vec::new()).unwrap();
    }
    great.arrived(contacts / 10);
    let (begun, before) = (Instant::now(), great.sink.count());
    small.everybody("Hello");
    let enqueued = begun.elapsed();
    small.arrived(FEW);
    let (took, meanwhile) = (begun.elapsed(), great.sink.count() - before);
    let left = contacts * ROUNDS - before - meanwhile;
    println!(
        "{FEW} messages of one brand in {took:?} ({enqueued:?} to enqueue them) beside {left} of \
         another, of which {meanwhile} left meanwhile"
    );
    assert!(left > contacts, "the great campaign is still under way");
    // Of two who have work each gets its turns, whatever the other has.
    assert!(meanwhile < 10 * FEW, "{meanwhile} left before {FEW}");
    assert!(took < if scaled(0, 1) == 1 { SOON } else { 4 * SOON }, "{took:?}");
}
