//! The machine's clock is set an hour on, and then an hour back, under a running server: no timer
//! fires early, none is an hour late, and messages keep leaving. Measured by the test's own clock.

use crate::witness::{Ground, Spans, Stage, assert_none, order};

/// The second wait is longer than the test and shorter than the jump.
const SPANS: Spans = Spans { pause: 3, listen: 1_800 };
const HOUR_MS: i64 = 3_600_000;

#[test]
fn an_hour_either_way() {
    let stage = Stage::new(&Ground::Sqlite, 1, SPANS);
    let client = stage.client();
    let listening = "SELECT count(*) FROM run WHERE live = 1 AND step = 'listen'";
    for (count, offset) in [(1, HOUR_MS), (2, -HOUR_MS), (3, 0)] {
        let sent = stage.runtime.block_on(client.batch(&[order("u0", &format!("o{count}"))]));
        assert_eq!(sent, Some(200));
        // Under a timer that has just been set, and under those that listen for half an hour.
        stage.shim.shift_clock(offset).unwrap();
        stage.until("the letter of before is sent", listening, |now| now == 2 * count - 1);
        // Another is taken in, waits and is sent while the clock is wrong.
        let more = order("u0", &format!("p{count}"));
        assert_eq!(stage.runtime.block_on(client.batch(&[more])), Some(200));
        stage.until("the letter of after is sent", listening, |now| now == 2 * count);
    }
    let history = stage.history(SPANS);
    println!("clock moved an hour on and back\n{}", history.figures());
    assert_none(&history.check());
    assert_eq!(history.figures().arrived, 6, "one letter for each order, the second not yet");
}
