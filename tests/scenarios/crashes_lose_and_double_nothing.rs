//! Under load, into a journey that waits, sends, listens and sends again, the process is killed
//! (`kill -9`) twenty times at random moments and started again on the same data. At the end each
//! acknowledged event is applied exactly once, each timer fired exactly once and not early, each
//! recorded outcome reached its run exactly once, and each message is at the sink exactly once
//! but for those recorded as unknown.

use std::time::Duration;

use parcours_tests::{client::Item, dice::Dice, fault::supervisor::ALL_ROLES, scaled};

use crate::witness::{CONNECTIONS, Ground, Spans, Stage, assert_none, order, reply};

const KILLS: usize = 20;
const CLIENTS: usize = 4;
const ITEMS: usize = 5;
const SPANS: Spans = Spans { pause: 1, listen: 2 };
/// A kill comes at any moment of so many milliseconds after a batch was answered: longer than a
/// batch takes from arrival to answer, and a message from its step to its outcome.
const SPREAD_MS: usize = 120;
/// Clients that have had no answer for so long will have none.
const STUCK: Duration = Duration::from_secs(100);

/// One client's batches: orders of random users, and replies to some of its earlier ones.
fn batches(client: usize, count: usize, users: usize, mut dice: Dice) -> Vec<Vec<Item>> {
    let mut orders: Vec<(String, String)> = Vec::new();
    let batch = |batch: usize| {
        let item = |item: usize| {
            if !orders.is_empty() && dice.below(3) == 0 {
                let (user, id) = orders.swap_remove(dice.below(orders.len()));
                return reply(&user, &id);
            }
            let user = format!("u{}", dice.below(users));
            let id = format!("c{client}-b{batch}-i{item}");
            orders.push((user.clone(), id.clone()));
            order(&user, &id)
        };
        (0..ITEMS).map(item).collect()
    };
    (0..count).map(batch).collect()
}

fn crash_run(test: &str, ground: &Ground) {
    let mut dice = Dice::thrown(test);
    let (users, count) = (scaled(40, 400), scaled(42, 1_000));
    let mut stage = Stage::new(ground, users, SPANS);
    let syncs_before = stage.syncs();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (client, batches) = (stage.client(), batches(n, count, users, dice.split()));
            stage.runtime.spawn(async move {
                for batch in batches {
                    assert_eq!(client.batch(&batch).await, Some(200));
                }
            })
        })
        .collect();

    let before = stage.ledger.answered();
    for kill in 1..=KILLS {
        let wanted = before + kill * CLIENTS * count / (KILLS + 1);
        // The moment is random; nothing is waited for.
        let moment = Duration::from_millis(dice.below(SPREAD_MS) as u64);
        let answered = stage.runtime.block_on(async {
            let answers = stage.ledger.until_answered(wanted);
            let answered = tokio::time::timeout(STUCK, answers).await;
            tokio::time::sleep(moment).await;
            answered
        });
        assert!(answered.is_ok(), "no answers before kill {kill}: {:?}", stage.ledger);
        stage.supervisor.kill(ALL_ROLES).unwrap();
        // What is on disk is whole at any moment, not only once it was repaired.
        assert_none(&stage.history(SPANS).check_midway());
        stage.supervisor.start(ALL_ROLES).unwrap();
    }
    for client in clients {
        stage.runtime.block_on(client).expect("a client's batches are all answered");
    }
    let quiet = stage.is_quiet();

    let history = stage.history(SPANS);
    let figures = history.figures();
    let syncs = stage.syncs() - syncs_before;
    println!("{test}\nkills                                  {KILLS:>6}\n{figures}");
    println!("requests with repeats                  {:>6}", stage.ledger.attempts());
    println!("syncs to disk                          {syncs:>6}");
    assert_none(&history.check());
    assert!(quiet, "something is still under way");
    assert_eq!(figures.acknowledged, figures.sent, "each batch was answered in the end");
    // On each connection the message in its data, and the one before it, whose reply is being
    // recorded.
    assert!(figures.unknown <= KILLS * CONNECTIONS * 2, "{} unknown", figures.unknown);
    assert!(figures.recorded > 0 && figures.fired > 0 && figures.heard == figures.outcomes);
    // So many clients wait for their answers at once; a commit can be the answer of them all.
    let least = figures.batches.div_ceil(CLIENTS);
    assert!(
        usize::try_from(syncs).unwrap_or(0) >= least,
        "{syncs} syncs, {least} commits at least"
    );
}

#[test]
fn on_sqlite() {
    crash_run("crash run on SQLite", &Ground::Sqlite);
}

#[test]
fn on_postgres() {
    crash_run("crash run on PostgreSQL", &Ground::Postgres);
}
