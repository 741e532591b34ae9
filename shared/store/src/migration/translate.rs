//! One schema text, two databases.
//!
//! What always holds: statements end with a semicolon at the end of a line, optionally followed by
//! a marker comment; column names stay, only types and table options change.

use super::partition::{DAY, MONTH};

/// One statement without its semicolon and comments, and the marker that followed it.
fn statements(text: &str) -> Vec<(String, Option<&str>)> {
    let mut found = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        let (code, comment) = match line.split_once("--") {
            Some((code, comment)) => (code.trim_end(), Some(comment.trim())),
            None => (line.trim_end(), None),
        };
        if code.is_empty() {
            continue;
        }
        match code.strip_suffix(';') {
            Some(end) => {
                open.push_str(end);
                let marker = comment.filter(|comment| comment.starts_with('@'));
                found.push((std::mem::take(&mut open), marker));
            }
            None => {
                open.push_str(code);
                open.push('\n');
            }
        }
    }
    found
}

pub(super) fn for_sqlite(text: &str) -> Vec<String> {
    let rename = |word: &str| match word {
        "UUID" | "BYTEA" => "BLOB".to_owned(),
        "BIGINT" => "INTEGER".to_owned(),
        other => other.to_owned(),
    };
    let strict = |statement: String| {
        if statement.starts_with("CREATE TABLE") { statement + " STRICT" } else { statement }
    };
    statements(text)
        .into_iter()
        .map(|(statement, _)| {
            let mut renamed = String::with_capacity(statement.len());
            for word in statement.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            {
                let cut = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                renamed.push_str(&rename(cut));
                renamed.push_str(&word[cut.len()..]);
            }
            strict(renamed)
        })
        .collect()
}

pub(super) fn for_postgres(text: &str) -> Vec<String> {
    statements(text)
        .into_iter()
        .map(|(statement, marker)| match marker {
            Some(MONTH) => statement + " PARTITION BY RANGE (id)",
            Some(DAY) => statement + " PARTITION BY RANGE (day)",
            Some(_) | None => statement,
        })
        .collect()
}

/// The tables that carry this marker.
pub(super) fn marked(text: &str, wanted: &str) -> Vec<String> {
    statements(text)
        .into_iter()
        .filter(|(_, marker)| *marker == Some(wanted))
        .filter_map(|(statement, _)| statement.split_whitespace().nth(2).map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "-- a comment\nCREATE TABLE event (\n  id UUID NOT NULL, -- why;\n  \
                        day BIGINT,\n  uuid_like TEXT\n); -- @month\nCREATE INDEX e ON event (id);\n";

    #[test]
    fn sqlite_gets_its_own_types_and_strict_tables() {
        let found = for_sqlite(TEXT);
        assert_eq!(found.len(), 2);
        let one = found[0].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            one,
            "CREATE TABLE event ( id BLOB NOT NULL, day INTEGER, uuid_like TEXT ) STRICT"
        );
        assert_eq!(found[1], "CREATE INDEX e ON event (id)");
    }

    #[test]
    fn postgres_partitions_the_marked_tables() {
        assert!(for_postgres(TEXT)[0].ends_with("PARTITION BY RANGE (id)"));
        assert_eq!(marked(TEXT, MONTH), ["event"]);
        assert!(marked(TEXT, DAY).is_empty());
    }

    #[test]
    fn the_records_are_the_partitioned_tables() {
        let text = include_str!("v1.sql");
        assert_eq!(marked(text, MONTH), ["consent_fact", "event", "trace", "message", "attempt"]);
        assert_eq!(marked(text, DAY), ["event_key"]);
    }
}
