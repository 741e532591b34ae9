//! The demo is killed (`kill -9`) in its middle, more than once, and started again: it goes on to the same
//! table, but for the messages that it lists as unknown (at most one for each open connection and
//! kill) and what follows from them, which is computed here from that list.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Stdio},
};

use parcours_tests::{parcours, scaled};
use serde_json::Value;

use crate::expected::{Expected, check, purchases, unknown};

/// Connections of the demo's sender.
const CONNECTIONS: usize = 8;

fn demo(data: &Path) -> Child {
    parcours(data)
        .args(["demo", "--no-serve", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// Kills the demo when it says for the `months`th time where it stands.
fn kill_after(data: &Path, months: usize) {
    let mut child = demo(data);
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let seen = lines.map_while(Result::ok).filter(|line| line.contains("simulated")).take(months);
    assert_eq!(seen.count(), months, "the demo says where it stands");
    child.kill().expect("kill -9");
    child.wait().expect("it ends");
}

#[test]
fn killed_on_its_way_it_ends_with_the_same_table() {
    let data = tempfile::tempdir().unwrap();
    let kills = scaled(2, 12);
    for kill in 0..kills {
        kill_after(data.path(), if kill == 0 { 3 } else { 2 });
    }
    let mut last = demo(data.path());
    let (mut said, mut cried) = (String::new(), String::new());
    let mut stderr = last.stderr.take().expect("piped");
    let listener = std::thread::spawn(move || {
        stderr.read_to_string(&mut cried).expect("text");
        cried
    });
    last.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    let cried = listener.join().expect("a text");
    assert!(last.wait().expect("it ends").success(), "{cried}");
    let table: Value = serde_json::from_str(said.lines().last().expect("a table")).expect("JSON");
    let unknown = unknown(&table);
    assert!(unknown.len() <= kills * CONNECTIONS, "{unknown:?}");
    let customers = purchases();
    check(&table, &customers, &Expected::of(&customers, &unknown));
    println!("killed {kills} times; unknown: {}; the rest of the table is the same", unknown.len());
}
