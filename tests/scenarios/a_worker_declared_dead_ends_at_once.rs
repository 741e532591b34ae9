//! Another declares this worker dead, as the successor of a frozen one does: the process ends by
//! itself, says why, and what it was asked meanwhile is not acknowledged.

use std::{process::Stdio, time::Instant};

use crate::{backend::Admin, ground::Ground};

#[test]
fn it_says_why_and_ends() {
    let ground = Ground::postgres();
    // A first start makes the tables, and leaves a row of its own.
    drop(ground.start());
    let admin = Admin::connect(ground.url());
    let mut child = ground.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let alive = "UPDATE worker SET dead_at = 1 WHERE dead_at IS NULL AND beat > 0 \
                 AND (SELECT count(*) FROM worker) = 2";
    let begun = Instant::now();
    while admin.execute(alive) == 0 {
        assert!(begun.elapsed().as_secs() < 60, "it beats");
        assert!(child.try_wait().unwrap().is_none(), "it runs");
    }
    // It is killed when it does not, so that the test ends too.
    let mut ended = None;
    while ended.is_none() && begun.elapsed().as_secs() < 60 {
        ended = child.try_wait().unwrap();
    }
    child.kill().unwrap();
    let said = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(ended.is_some_and(|status| status.code() == Some(1)), "{ended:?} {words}");
    assert!(words.contains("declared dead"), "{words}");
}
