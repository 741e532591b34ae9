//! The kinds of client event.

use serde::{Deserialize, Serialize};

/// Which call of the tracking API an event came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Something the contact did; has a name.
    Track,
    /// Attributes of the contact.
    Identify,
    /// A page view.
    Page,
    /// A screen view in an app.
    Screen,
    /// Membership of a group.
    Group,
    /// Two ids of one person.
    Alias,
}

impl EventKind {
    /// Every kind, in a fixed order.
    pub const ALL: [Self; 6] =
        [Self::Track, Self::Identify, Self::Page, Self::Screen, Self::Group, Self::Alias];

    /// The stored and shown word, which is also the last part of the route.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Identify => "identify",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
        }
    }

    /// From the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}
