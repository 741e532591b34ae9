//! Messages: channel, class, and how a send ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// By what a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// E-mail.
    Email,
}

impl Channel {
    /// The stored and shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
        }
    }
    /// From the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "email" => Some(Self::Email),
            _ => None,
        }
    }
}
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a message may be sent at all: a topic's class decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageClass {
    /// Needs consent; unknown outcomes are not sent again; expires after 24 h by default.
    Marketing,
    /// Needs no consent, only an admin can publish it; unknown outcomes are sent again with the
    /// same Message-ID; expires after 72 h by default.
    Transactional,
    /// A template tried out, at an address that the brand lists for tests. Nothing of the contact
    /// that it was rendered with is touched by it, or by what its reader does.
    Test,
}

impl MessageClass {
    /// The stored and shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Marketing => "marketing",
            Self::Transactional => "transactional",
            Self::Test => "test",
        }
    }
    /// From the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "marketing" => Some(Self::Marketing),
            "transactional" => Some(Self::Transactional),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}
impl fmt::Display for MessageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a message ended, as recorded and as told to the run that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendOutcome {
    /// The next hop answered 2xx to the data.
    Sent,
    /// The gate said no; the message's reason says why.
    Refused,
    /// A required merge field was missing; nothing was sent.
    Skipped,
    /// The recipient was permanently refused (and suppressed).
    Bounced,
    /// A permanent failure that is not the recipient's fault, or attempts ran out.
    Failed,
    /// Not sent in time.
    Expired,
    /// The connection or process was lost between the final commit and the recorded reply.
    Unknown,
    /// Cancelled before it left (run exited, operator).
    Cancelled,
}

impl SendOutcome {
    /// Every outcome, in a fixed order.
    pub const ALL: [Self; 8] = [
        Self::Sent,
        Self::Refused,
        Self::Skipped,
        Self::Bounced,
        Self::Failed,
        Self::Expired,
        Self::Unknown,
        Self::Cancelled,
    ];

    /// The stored and shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
            Self::Bounced => "bounced",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
        }
    }
    /// From the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}
impl fmt::Display for SendOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_words_round_trip() {
        for outcome in SendOutcome::ALL {
            assert_eq!(SendOutcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(MessageClass::parse("marketing"), Some(MessageClass::Marketing));
        assert_eq!(MessageClass::parse("Marketing"), None);
    }
}
