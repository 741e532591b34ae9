//! Nothing but the gate's own file makes a cleared message, and nothing but a transport's data
//! stage, which takes a cleared one, hands over data. The sources say so.

use std::{fs, path::Path};

/// Lines of the crate's sources that hold the text, by file; tests in the files are left out.
fn files_with(text: &str) -> Vec<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for entry in fs::read_dir(sources).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = fs::read_to_string(entry.path()).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        if code.contains(text) {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found.sort();
    found
}

#[test]
fn only_the_gate_clears() {
    assert_eq!(files_with("Cleared {"), ["gate.rs"]);
    assert_eq!(files_with("commit_dot("), ["gate.rs"]);
    assert_eq!(files_with("Self::data(self, "), ["transport.rs"]);
    assert_eq!(files_with("Ending::Kept("), ["ending.rs", "mailbox.rs"]);
    assert_eq!(files_with("MailboxPut {"), ["ending.rs"]);
}
