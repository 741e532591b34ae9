//! The journey in the documentation of the language is one that can be published.

mod everything;

use everything::Everything;
use parcours_journey::{Document, compile, parse_documents};

#[test]
fn the_documented_journey_can_be_published() {
    let source: String = include_str!("../src/document/journey.rs")
        .lines()
        .skip_while(|line| *line != "//! ```yaml")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| format!("{}\n", line.get(4..).unwrap_or("")))
        .collect();
    let documents = parse_documents(&source, "journey.rs").unwrap();
    let Some(Document::Journey(journey)) = documents.first() else { panic!("a journey") };
    let problems = compile(journey, 1, &Everything).err();
    assert_eq!(problems, None);
}
