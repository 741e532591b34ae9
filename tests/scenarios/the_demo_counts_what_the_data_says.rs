//! The demo's table equals what the data file says, and it is the same twice.

use parcours_tests::parcours;
use serde_json::Value;

use crate::expected::{Expected, Unknown, check, purchases};

fn run() -> Value {
    let data = tempfile::tempdir().unwrap();
    let output = parcours(data.path())
        .args(["demo", "--no-serve", "--json"])
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let json = text.lines().last().expect("the last line is the table");
    serde_json::from_str(json).expect("the last line is JSON")
}

#[test]
fn the_demo_counts_what_the_data_says_and_twice_the_same() {
    let customers = purchases();
    let expected = Expected::of(&customers, &Unknown::new());
    let (mut table, mut again) = (run(), run());
    check(&table, &customers, &expected);
    for table in [&mut table, &mut again] {
        table.as_object_mut().expect("an object").remove("seconds");
    }
    assert_eq!(table, again);
}
