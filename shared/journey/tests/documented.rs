//! The journey in the documentation of the language is one that can be published.

use parcours_domain::{Channel, MessageClass, Name};
use parcours_journey::{
    Catalogue, Document, compile, parse_documents,
    plan::{FieldUse, TopicInfo},
};

struct Everything;

impl Catalogue for Everything {
    fn topic(&self, _: &Name) -> Option<TopicInfo> {
        Some(TopicInfo { class: MessageClass::Marketing, channel: Channel::Email })
    }
    fn has_template(&self, _: &Name) -> bool {
        true
    }
    fn template_fields(&self, _: &Name) -> Option<Vec<FieldUse>> {
        None
    }
    fn has_sender(&self, _: &Name) -> bool {
        true
    }
    fn default_sender(&self) -> Option<Name> {
        None
    }
}

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
