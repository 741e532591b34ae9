//! A cluster of an older version becomes this one, process by process, while clients go on: runs that
//! began under the older version's plans end as they would have ended there, line by line.
//!
//! Needs the older binary, so it is run by `tests/long rolling`, which builds it. With
//! `PARCOURS_BLESS` the older version is replaced by itself, and what its runs then say is kept in
//! `golden`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use parcours_tests::{
    client::{Client, Item},
    history::{History, read::Database},
};

use crate::{
    cluster::{Cluster, GATEWAYS, SENDERS, WORKERS},
    witness::{Spans, order, reply},
};

/// Long enough that a reply comes in time although everything is being replaced.
const SPANS: Spans = Spans { pause: 2, listen: 15 };
/// Orders whose runs are compared; every second one has a reply.
const GOLDEN: usize = 60;
/// One of them comes every so often, so that some begin under either version and most in between.
const PACE: Duration = Duration::from_millis(300);

/// The parts in the order in which they are replaced: no tier as a whole before another.
const ORDER: [&str; 7] =
    [SENDERS[0], GATEWAYS[0], WORKERS[0], WORKERS[1], GATEWAYS[1], SENDERS[1], WORKERS[2]];

const GAPS: &str = "SELECT count(*) FROM pg_policy WHERE polname = 'before'";

#[test]
#[ignore = "needs an older version's binary: tests/long rolling"]
fn with_runs_under_way() {
    let older = std::env::var_os("PARCOURS_OLDER").expect("PARCOURS_OLDER: the older binary");
    let bless = std::env::var_os("PARCOURS_BLESS").is_some();
    let Some(mut cluster) = Cluster::older("rolling", SPANS, PathBuf::from(older)) else { return };
    let client = cluster.stage.client_of(GATEWAYS[1]).patient_for(Duration::from_secs(60));
    let database = cluster.stage.look();
    let cohort = cluster.stage.runtime.spawn(cohort(client, database));
    cluster.fault("each process replaced by the new version", |cluster| {
        if !bless {
            cluster.stage.supervisor.becomes(None);
        }
        let mut gaps = 0;
        for part in ORDER {
            let supervisor = &mut cluster.stage.supervisor;
            assert!(supervisor.stop(part).unwrap().success(), "{part} ends in order");
            supervisor.start(part).unwrap();
            cluster.until_whole();
            cluster.answers(2 * GATEWAYS.len());
            gaps = cluster.stage.number(GAPS).max(gaps);
        }
        assert!(bless || gaps > 0, "the older version goes on through a gap in the wall");
        let closed = cluster.until("the wall is closed", GAPS, |gaps| gaps == 0);
        format!(
            "{gaps} gaps for the older version, closed {:.1} s after its end",
            closed.as_secs_f32()
        )
    });
    cluster.stage.runtime.block_on(cohort).unwrap();
    let history = cluster.finish();
    let kinds =
        [("with a reply", "rolling_reply.trace", 0), ("without", "rolling_timeout.trace", 1)];
    for (kind, file, first) in kinds {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/golden").join(file);
        if bless {
            std::fs::write(&file, lines(&history, &key(first))).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap();
        let numbers: Vec<_> = (first..GOLDEN).step_by(2).collect();
        for number in &numbers {
            assert_eq!(lines(&history, &key(*number)), golden, "{}", key(*number));
        }
        println!(
            "{} runs {kind} equal the golden trace, {} lines",
            numbers.len(),
            golden.lines().count()
        );
    }
}

fn key(number: usize) -> String {
    format!("golden-{number}")
}

fn user(number: usize) -> String {
    format!("u{}", number % 40)
}

/// Sends the orders, and a reply to every second one once its run listens.
async fn cohort(client: Client, mut database: Database) {
    let (mut pace, mut next, mut silent) = (tokio::time::interval(PACE), 0, Vec::new());
    while next < GOLDEN || !silent.is_empty() {
        pace.tick().await;
        if next < GOLDEN {
            take(&client, order(&user(next), &key(next))).await;
            silent.extend((next % 2 == 0).then_some(next));
            next += 1;
        }
        let mut waiting = Vec::new();
        for number in silent {
            let run = format!("FROM run WHERE run_key = '{}' AND step = 'listen'", key(number));
            match database.number(&format!("SELECT count(*) {run}")).await.unwrap() {
                0 => waiting.push(number),
                _ => take(&client, reply(&user(number), &key(number))).await,
            }
        }
        silent = waiting;
    }
}

async fn take(client: &Client, item: Item) {
    assert_eq!(client.batch(&[item]).await, Some(200));
}

/// What happened in the run of an order, without times and ids.
fn lines(history: &History, key: &str) -> String {
    let run = history.held.runs.iter().find(|run| run.key == key).expect("a run of each order");
    let mut trace: Vec<_> = history.held.trace.iter().filter(|line| line.run == run.id).collect();
    trace.sort_by_key(|line| line.at);
    let mut text = String::new();
    for line in trace {
        let cause = line.cause.split(':').next().unwrap_or_default();
        let said = format!("{cause} {} {} {}", line.step, line.what, line.detail);
        text.push_str(said.trim_end());
        text.push('\n');
    }
    text
}
