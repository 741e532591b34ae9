//! The table of faults: a row for each, from the history of everybody.

use std::{fmt::Write as _, fs::OpenOptions, io::Write as _};

use parcours_tests::history::{Answer, History};

/// A fault and when it was.
pub struct Row {
    pub name: &'static str,
    /// Milliseconds since the epoch.
    pub from: i64,
    /// Until everything was as before.
    pub until: i64,
    /// What was seen.
    pub seen: String,
}

/// Prints the table of a group, and appends it to the file that `PARCOURS_TEST_TABLES` names.
pub fn publish(group: &str, rows: &[Row], history: &History, deadlocks: i64) {
    let text = text(group, rows, history, deadlocks);
    println!("{text}");
    if let Some(path) = std::env::var_os("PARCOURS_TEST_TABLES") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        // One write, so that tables of tests that end together stay apart.
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the table is kept");
    }
}

fn text(group: &str, rows: &[Row], history: &History, deadlocks: i64) -> String {
    let lateness = history.lateness();
    let mut text = format!(
        "\n{group}\n{:<46} {:>6} {:>8} {:>8} {:>8}  seen\n",
        "fault", "acked", "longest", "latest", "seconds"
    );
    for Row { name, from, until, seen } in rows {
        let within = |at: i64| (*from..*until).contains(&at);
        let sent: Vec<_> = history.events.iter().filter(|event| within(event.at)).collect();
        let acked = sent.iter().filter(|event| event.answer == Answer::Acknowledged).count();
        let waits = sent.iter().filter_map(|event| Some(event.answered_at? - event.at));
        let longest = waits.max().unwrap_or(0);
        let latest = lateness.iter().filter(|(at, _)| within(*at)).map(|(_, late)| *late);
        let latest = latest.max().unwrap_or(0);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{name:<46} {acked:>6} {longest:>5} ms {latest:>5} ms {:>8}  {seen}",
            (until - from) / 1_000
        );
    }
    let figures = history.figures();
    let findings = history.check().len();
    let _ = writeln!(text, "{figures}\nfindings {findings}; deadlocks {deadlocks}");
    text
}
