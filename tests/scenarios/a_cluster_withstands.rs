//! What a cluster must withstand, each fault against real processes under load: nothing that was
//! acknowledged is lost or applied twice, no delay fires early or twice, nothing is sent twice but
//! what is listed as unknown, and everybody is answered again within the stated time.
//!
//! Faults are done in groups, each group to a cluster of its own; see [`crate::cluster`].

use std::time::{Duration, Instant};

use parcours_testkit::smtp_sink::{At, Gate, Rule};
use parcours_tests::{fault::shim::Shim, scaled};

use crate::{
    backend::Admin,
    cluster::{
        Cluster, GATEWAYS, LIMIT, RECOVERED, SENDERS, WORKERS,
        neighbour::Neighbour,
        ways::{CUTS, lose, mend},
    },
};

/// Who lives and only sends.
const SENDING: &str =
    "SELECT count(*) FROM worker WHERE dead_at IS NULL AND leaving_at IS NOT NULL";
/// Messages that are at their dots: each sender may have two batches of a brand under way.
const HELD: usize = 4;
/// Longer than a worker without a sign of life is believed to be alive.
const BEYOND_ITS_LEASE: Duration = Duration::from_secs(5);
/// From a graceful stop to answers for everybody; twice the stated time, for a busy machine.
const STOPPED: Duration = Duration::from_secs(2);
/// The last statement before the COMMIT of a batch of events.
const EVENTS: &str = "INSERT INTO event ";
/// So many messages are no remainder of what was under way.
const MORE: usize = 20;
/// So many refused writes are no chance.
const REFUSED: i64 = 20;
/// What a sender's claim runs.
const CLAIM: &str = "UPDATE send_queue SET phase = 1";

/// The first worker is thawed, notices what it missed, and ends.
fn thaw_to_its_end(cluster: &mut Cluster) -> String {
    let worker = cluster.stage.supervisor.part(WORKERS[0]).unwrap();
    worker.thaw().unwrap();
    let ended = worker.ended().unwrap();
    assert_eq!(ended.code(), Some(1), "it says so and ends");
    "it ended by itself".to_owned()
}

/// The longest time in which answers came from a worker that is gone.
fn soon(took: Duration) -> String {
    assert!(took < RECOVERED, "{took:?}");
    format!("taken over after {:.1} s", took.as_secs_f32())
}

#[test]
fn what_befalls_workers_and_gateways() {
    let Some(mut cluster) = Cluster::start("workers and gateways") else { return };
    cluster.fault("worker killed, two see it", |cluster| {
        let (before, had) = (cluster.epochs(), cluster.stage.number(&of_the_first(cluster)));
        cluster.stage.supervisor.kill(WORKERS[0]).unwrap();
        let took = cluster.until_taken();
        assert_eq!(cluster.epochs() - before, had, "each of its shards was taken once");
        cluster.stage.supervisor.start(WORKERS[0]).unwrap();
        format!("{}, each of {had} shards once", soon(took))
    });
    freezes(&mut cluster);
    cluster.fault("worker's statements arrive when it has a successor", |cluster| {
        cluster.ways.worker_database.proxy.freeze();
        let took = cluster.until_taken();
        cluster.answers(4);
        cluster.ways.worker_database.proxy.thaw();
        let ended = cluster.stage.supervisor.part(WORKERS[0]).unwrap().ended().unwrap();
        assert_eq!(ended.code(), Some(1), "it says so and ends");
        let log = cluster.stage.supervisor.log(WORKERS[0]).unwrap();
        let refused = log.matches("writes were refused").count();
        format!("{}, {refused} batches refused by the database", soon(took))
    });
    cluster.fault("all workers restarted one by one", |cluster| {
        let mut longest = Duration::ZERO;
        for worker in WORKERS {
            let begun = Instant::now();
            assert!(cluster.stage.supervisor.stop(worker).unwrap().success(), "in order");
            cluster.until_taken();
            longest = longest.max(begun.elapsed());
            cluster.stage.supervisor.start(worker).unwrap();
            cluster.until_whole();
        }
        assert!(longest < STOPPED, "{longest:?}");
        format!("taken over after at most {:.1} s", longest.as_secs_f32())
    });
    cluster.fault("gateway killed", |cluster| {
        cluster.stage.supervisor.restart(GATEWAYS[1]).unwrap();
        String::new()
    });
    cluster.finish();
}

/// A worker stands still where it hurts.
fn freezes(cluster: &mut Cluster) {
    cluster.fault("worker frozen beyond its lease, then thawed", |cluster| {
        cluster.stage.supervisor.part(WORKERS[0]).unwrap().freeze().unwrap();
        let took = cluster.until_taken();
        cluster.answers(4);
        format!("{}, {}", soon(took), thaw_to_its_end(cluster))
    });
    cluster.fault("worker frozen between epoch check and COMMIT", |cluster| {
        let (told, go) = cluster.ways.worker_database.hold_commit(EVENTS);
        told.recv_timeout(LIMIT).expect("it commits");
        cluster.stage.supervisor.part(WORKERS[0]).unwrap().freeze().unwrap();
        let took = cluster.until_taken();
        cluster.answers(4);
        // Its COMMIT arrives at last, then it wakes up.
        go.send(()).unwrap();
        format!("{}, {}", soon(took), thaw_to_its_end(cluster))
    });
    cluster.fault("worker frozen just after a beat", |cluster| {
        let beat = "SELECT CAST(sum(w.beat) AS BIGINT) FROM worker w WHERE w.incarnation = \
                    (SELECT incarnation FROM worker WHERE dead_at IS NULL AND address = $1)";
        let address = cluster.ways.rpc.address().to_string();
        let beat = beat.replace("$1", &format!("'{address}'"));
        let before = cluster.stage.number(&beat);
        cluster.until("a beat", &beat, |now| now > before);
        cluster.stage.supervisor.part(WORKERS[0]).unwrap().freeze().unwrap();
        let took = cluster.until_taken();
        format!("{}, {}", soon(took), thaw_to_its_end(cluster))
    });
}

/// How many shards the first worker has.
fn of_the_first(cluster: &Cluster) -> String {
    format!(
        "SELECT count(*) FROM shard s JOIN worker w ON w.incarnation = s.owner \
         WHERE w.dead_at IS NULL AND w.address = '{}'",
        cluster.ways.rpc.address()
    )
}

#[test]
fn what_befalls_the_ways_of_a_worker() {
    let Some(mut cluster) = Cluster::start("ways of a worker") else { return };
    for (how, directions) in CUTS {
        cluster.fault(name("PostgreSQL", how), |cluster| {
            lose(&cluster.ways.worker_database.proxy, directions);
            let took = cluster.until_taken();
            cluster.answers(4);
            mend(&cluster.ways.worker_database.proxy);
            let ended = cluster.stage.supervisor.part(WORKERS[0]).unwrap().ended().unwrap();
            assert_eq!(ended.code(), Some(1), "it says so and ends");
            soon(took)
        });
    }
    for (how, directions) in CUTS {
        cluster.fault(name("Redis", how), |cluster| {
            lose(&cluster.ways.redis, directions);
            cluster.answers(20);
            mend(&cluster.ways.redis);
            String::new()
        });
    }
    for (how, directions) in CUTS {
        cluster.fault(name("gateways", how), |cluster| {
            lose(&cluster.ways.rpc, directions);
            // It beats, so it stays the owner: its contacts have to wait.
            cluster.lasts(BEYOND_ITS_LEASE);
            mend(&cluster.ways.rpc);
            String::new()
        });
    }
    cluster.finish();
}

/// A row's name for a cut.
fn name(from: &str, how: &str) -> &'static str {
    match (from, how) {
        ("PostgreSQL", "both ways") => "worker cut off from PostgreSQL, both ways",
        ("PostgreSQL", "questions lost") => "worker cut off from PostgreSQL, questions lost",
        ("PostgreSQL", _) => "worker cut off from PostgreSQL, answers lost",
        ("Redis", "both ways") => "worker cut off from Redis, both ways",
        ("Redis", "questions lost") => "worker cut off from Redis, questions lost",
        ("Redis", _) => "worker cut off from Redis, answers lost",
        (_, "both ways") => "worker cut off from gateways, both ways",
        (_, "questions lost") => "worker cut off from gateways, questions lost",
        _ => "worker cut off from gateways, answers lost",
    }
}

#[test]
fn what_befalls_the_database() {
    let Some(mut cluster) = Cluster::start("database") else { return };
    cluster.fault("backends ended, three times", |cluster| {
        let admin = Admin::connect(cluster.stage.database.as_ref().unwrap().url());
        let mut ended = 0;
        for _ in 0..3 {
            ended += admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE pid <> pg_backend_pid() AND datname = current_database()",
            );
            cluster.answers(4);
        }
        format!("{ended} backends")
    });
    cluster.fault("PostgreSQL restarted", |cluster| {
        let database = cluster.stage.database.as_ref().unwrap();
        database.kill_server().unwrap();
        database.start_server().unwrap();
        String::new()
    });
    cluster.fault("PostgreSQL gone", |cluster| {
        let database = cluster.stage.database.as_ref().unwrap();
        database.kill_server().unwrap();
        let gone = Duration::from_secs(u64::try_from(scaled(10, 60)).unwrap());
        cluster.lasts(gone);
        database.start_server().unwrap();
        format!("for {gone:?}")
    });
    full_disk(&mut cluster);
    cluster.fault("PostgreSQL restarted and a worker killed", |cluster| {
        let database = cluster.stage.database.as_ref().unwrap();
        database.kill_server().unwrap();
        cluster.stage.supervisor.kill(WORKERS[2]).unwrap();
        let database = cluster.stage.database.as_ref().unwrap();
        database.start_server().unwrap();
        let took = cluster.until_taken();
        cluster.stage.supervisor.start(WORKERS[2]).unwrap();
        format!("taken over after {:.1} s", took.as_secs_f32())
    });
    cluster.finish();
}

/// The database's server comes upon a disk that can be full.
fn full_disk(cluster: &mut Cluster) {
    let (stage, database) = (&cluster.stage, cluster.stage.database.as_ref().unwrap());
    stage.shim.open_to_all().unwrap();
    for (name, value) in stage.shim.variables(&database.server_folder().unwrap()) {
        database.set_for_server(name, &value).unwrap();
    }
    database.kill_server().unwrap();
    database.start_server().unwrap();
    cluster.fault("PostgreSQL's disk full", |cluster| {
        let shim = &cluster.stage.shim;
        let (begun, before) = (Instant::now(), shim.refused_writes().unwrap());
        let span = Duration::from_secs(u64::try_from(scaled(3, 60)).unwrap());
        let refused = || shim.refused_writes().unwrap() - before;
        shim.fill_disk(true).unwrap();
        let enough = || refused() >= REFUSED && begun.elapsed() >= span;
        cluster.stage.until_seen("writes are refused again and again", enough);
        shim.fill_disk(false).unwrap();
        let full = begun.elapsed();
        // Without room for its log the server ends; then who has made room starts it again.
        let database = cluster.stage.database.as_ref().unwrap();
        let serves = cluster.stage.runtime.block_on(database.connect()).is_ok();
        if !serves {
            database.kill_server().unwrap();
            database.start_server().unwrap();
        }
        let server = if serves { "served on" } else { "had ended" };
        let (full, refused) = (full.as_secs_f32(), refused());
        format!("for {full:.1} s, {refused} writes refused; the server {server}")
    });
}

#[test]
fn what_befalls_redis() {
    let Some(mut cluster) = Cluster::start("Redis") else { return };
    cluster.fault("Redis flushed", |cluster| {
        cluster.redis.ask(&["FLUSHALL"]).unwrap();
        cluster.answers(20);
        String::new()
    });
    cluster.redis.ask(&["SAVE"]).unwrap();
    cluster.fault("Redis killed, back with an old dump", |cluster| {
        cluster.answers(20);
        cluster.redis.kill().unwrap();
        cluster.redis.start_again().unwrap();
        cluster.answers(20);
        String::new()
    });
    cluster.fault("Redis absent", |cluster| {
        let begun = Instant::now();
        cluster.redis.kill().unwrap();
        for _ in 0..scaled(1, 120) {
            cluster.answers(40);
        }
        cluster.redis.start_again().unwrap();
        format!("for {:.0} s", begun.elapsed().as_secs_f32())
    });
    cluster.fault("Redis frozen for twenty batches", |cluster| {
        cluster.redis.freeze().unwrap();
        cluster.answers(20);
        cluster.redis.thaw().unwrap();
        String::new()
    });
    cluster.fault("Redis evicts whatever it can", |cluster| {
        cluster.redis.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]).unwrap();
        cluster.redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
        cluster.answers(20);
        cluster.redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
        String::new()
    });
    cluster.fault("Redis and a worker killed", |cluster| {
        cluster.redis.kill().unwrap();
        cluster.stage.supervisor.kill(WORKERS[1]).unwrap();
        let took = cluster.until_taken();
        cluster.redis.start_again().unwrap();
        cluster.stage.supervisor.start(WORKERS[1]).unwrap();
        soon(took)
    });
    cluster.finish();
}

#[test]
fn what_a_neighbour_does() {
    let Some(mut cluster) = Cluster::start("a neighbour") else { return };
    let neighbour = Neighbour::beside(&mut cluster);
    let more_of_the_others = |cluster: &Cluster| {
        let before = cluster.stage.sink.count();
        let enough = || cluster.stage.sink.count() >= before + MORE;
        cluster.stage.until_seen("the others' messages leave", enough);
    };
    cluster.fault("a brand's next hop stands still", |cluster| {
        neighbour.stalls(cluster);
        more_of_the_others(cluster);
        cluster.answers(20);
        neighbour.flows(cluster);
        String::new()
    });
    cluster.fault("a brand's templates loop", |cluster| {
        neighbour.spins(cluster);
        more_of_the_others(cluster);
        String::new()
    });
    cluster.fault("a brand's events panic the handler", |cluster| {
        let aside = neighbour.panics(cluster);
        more_of_the_others(cluster);
        format!("{aside} events set aside, no process ended")
    });
    cluster.finish();
}

#[test]
fn what_befalls_senders_and_clocks() {
    let Some(mut cluster) = Cluster::start("senders and clocks") else { return };
    cluster.fault("senders killed in the middle of SMTP", |cluster| {
        let gate = Gate::default();
        cluster.stage.sink.rule(Rule::hold(At::Dot, &gate));
        let reached = async { tokio::time::timeout(LIMIT, gate.reached(HELD)).await };
        cluster.stage.runtime.block_on(reached).expect("messages are at their dots");
        for sender in SENDERS {
            cluster.stage.supervisor.kill(sender).unwrap();
        }
        cluster.stage.sink.clear_rules();
        gate.open();
        for sender in SENDERS {
            cluster.stage.supervisor.start(sender).unwrap();
        }
        let claimed = "SELECT count(*) FROM send_queue WHERE phase > 0 AND claim_owner NOT IN \
                       (SELECT incarnation FROM worker WHERE dead_at IS NULL)";
        cluster.until("they are missed", SENDING, |sending| sending == 2);
        let took = cluster.until("their claims are settled", claimed, |left| left == 0);
        format!("claims settled {:.1} s after they were missed", took.as_secs_f32())
    });
    cluster.fault("sender frozen between claim and dot", |cluster| {
        let (told, go) = cluster.ways.sender_database.hold_commit(CLAIM);
        told.recv_timeout(LIMIT).expect("it claims");
        cluster.stage.supervisor.part(SENDERS[0]).unwrap().freeze().unwrap();
        // The claim is in the database.
        go.send(()).unwrap();
        let claimed = "SELECT count(*) FROM send_queue q JOIN worker w \
                       ON w.incarnation = q.claim_owner WHERE w.dead_at IS NOT NULL";
        cluster.until("it is missed", SENDING, |sending| sending == 1);
        let took = cluster.until("its claims are given back", claimed, |left| left == 0);
        cluster.stage.supervisor.part(SENDERS[0]).unwrap().thaw().unwrap();
        format!("given back {:.1} s after it was missed", took.as_secs_f32())
    });
    cuts_of_a_sender(&mut cluster);
    for (name, hours) in
        [("clock of a worker an hour ahead", 1), ("clock of a worker an hour back", -1)]
    {
        cluster.fault(name, |cluster| {
            shift(&cluster.clock, hours);
            cluster.answers(20);
            shift(&cluster.clock, 0);
            String::new()
        });
    }
    cluster.fault("sender killed, and every backend ended", |cluster| {
        cluster.stage.supervisor.kill(SENDERS[1]).unwrap();
        let admin = Admin::connect(cluster.stage.database.as_ref().unwrap().url());
        let ended = admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND datname = current_database()",
        );
        cluster.stage.supervisor.start(SENDERS[1]).unwrap();
        format!("{ended} backends")
    });
    cluster.finish();
}

/// One sender hears nothing of the database, or is not heard; the other one goes on.
fn cuts_of_a_sender(cluster: &mut Cluster) {
    for (name, directions) in [
        ("sender cut off from PostgreSQL, both ways", CUTS[0].1),
        ("sender cut off from PostgreSQL, questions lost", CUTS[1].1),
        ("sender cut off from PostgreSQL, answers lost", CUTS[2].1),
    ] {
        cluster.fault(name, |cluster| {
            let before = cluster.stage.sink.count();
            lose(&cluster.ways.sender_database.proxy, directions);
            cluster.until("it is missed", SENDING, |sending| sending == 1);
            let more = || cluster.stage.sink.count() >= before + MORE;
            cluster.stage.until_seen("the other one sends on", more);
            mend(&cluster.ways.sender_database.proxy);
            String::new()
        });
    }
}

fn shift(clock: &Shim, hours: i64) {
    clock.shift_clock(hours * 3_600_000).unwrap();
}
