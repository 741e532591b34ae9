//! The disk under the SQLite store is full: what cannot be kept is refused with 503 and a code,
//! nothing that was acknowledged is lost, and the same process goes on once there is room again,
//! with the timers and messages that came due meanwhile.

use std::time::Duration;

use crate::witness::{Ground, Spans, Stage, assert_none, order};

const SPANS: Spans = Spans { pause: 1, listen: 2 };
/// More than fit into what the write-ahead log has allocated.
const MOST: usize = 5_000;

#[test]
fn refused_while_full_and_whole_afterwards() {
    let stage = Stage::new(&Ground::Sqlite, 10, SPANS);
    let client = stage.client();
    let orders = |name: &str, count: usize| {
        (0..count)
            .map(|n| order(&format!("u{}", n % 10), &format!("{name}{n}")))
            .collect::<Vec<_>>()
    };
    assert_eq!(stage.runtime.block_on(client.batch(&orders("before", 20))), Some(200));

    stage.shim.fill_disk(true).unwrap();
    let impatient = client.clone().patient_for(Duration::ZERO);
    let taken = (0..MOST).take_while(|n| {
        let one = order(&format!("u{}", n % 10), &format!("full{n}"));
        stage.runtime.block_on(impatient.batch(&[one])) == Some(200)
    });
    let taken = taken.count();
    assert!(taken < MOST, "the disk never became full");
    let refusals = stage.ledger.refusals();
    assert_eq!(refusals.keys().collect::<Vec<_>>(), [&(503, "unavailable".to_owned())]);

    // A client that goes on trying, while timers of the first orders come due.
    let (patient, items) = (client.clone(), orders("during", 20));
    let trying = stage.runtime.spawn(async move { patient.batch(&items).await });
    let refused = stage.shim.refused_writes().unwrap();
    let more = || stage.shim.refused_writes().unwrap() > refused + 20;
    stage.until_seen("writes are refused again and again", more);
    assert!(!trying.is_finished(), "nothing can be acknowledged while the disk is full");

    stage.shim.fill_disk(false).unwrap();
    assert_eq!(stage.runtime.block_on(trying).unwrap(), Some(200));
    assert_eq!(stage.runtime.block_on(client.batch(&orders("after", 20))), Some(200));
    let quiet = stage.is_quiet();
    let history = stage.history(SPANS);
    println!("full disk on SQLite; taken while full {taken}\n{}", history.figures());
    assert_none(&history.check());
    assert!(quiet, "something is still under way");
}
