//! A catalogue in which every name is published, for tests that are about something else.

use parcours_domain::{Channel, MessageClass, Name};
use parcours_journey::{
    Catalogue,
    plan::{FieldUse, TopicInfo},
};

/// Every name is published.
pub struct Everything;

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
        "shop".parse().ok()
    }
}
