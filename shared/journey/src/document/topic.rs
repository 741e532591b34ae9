//! The Topic document: what a person subscribes to.

use parcours_domain::{Channel, MessageClass, Name};
use serde::{Deserialize, Serialize};

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDocument {
    /// Its name within the brand.
    pub name: Name,
    /// What people read on the preference page.
    pub title: String,
    /// Why they are written to: kept with every consent fact.
    pub purpose: String,
    /// On which channel.
    #[serde(default = "email")]
    pub channel: Channel,
    /// Whether consent is needed; only an admin key publishes a transactional topic.
    #[serde(default = "marketing")]
    pub class: MessageClass,
    /// Whether an agreement counts only once confirmed.
    #[serde(default)]
    pub double_opt_in: bool,
}

pub(super) const fn email() -> Channel {
    Channel::Email
}
pub(super) const fn marketing() -> MessageClass {
    MessageClass::Marketing
}
