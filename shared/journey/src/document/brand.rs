//! The Brand document: who speaks, from where, in which zone, under which defaults.

use parcours_domain::{Name, Rate};
use serde::{Deserialize, Serialize};

use super::duration::Duration;

/// A brand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrandDocument {
    /// The brand's name within its organisation.
    pub name: Name,
    /// The organisation that runs it.
    pub organisation: Name,
    /// What recipients read.
    pub display_name: String,
    /// Who answers for the data (Art. 4(7) GDPR).
    pub controller: Controller,
    /// The postal address shown in messages.
    pub postal_address: String,
    /// Where links lead: `https://…`, or `http://` on this machine.
    pub public_url: String,
    /// IANA zone, used where a contact has none of its own.
    pub time_zone: String,
    /// Language and region, such as `fr-FR`.
    pub locale: String,
    /// What steps use when they name nothing.
    #[serde(default)]
    pub defaults: BrandDefaults,
    /// Whether links are rewritten to count clicks; off until the brand says so.
    #[serde(default)]
    pub clicks: Switch,
    /// How fast the brand may send in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What happens to messages whose outcome is unknown.
    #[serde(default)]
    pub unknown_policy: UnknownPolicies,
    /// After how long a message that has not left expires.
    #[serde(default)]
    pub expiry: Expiry,
    /// For how many days a repeated event is recognised.
    #[serde(default = "event_window_days_default")]
    pub event_window_days: u32,
    /// Whether an e-mail address identifies a contact; off, since families share mailboxes.
    #[serde(default)]
    pub identify_by_email: bool,
    /// Addresses that templates may be tried out on: a test send needs no consent of theirs. Only an
    /// admin key adds one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test_addresses: Vec<String>,
}

/// The default of [`BrandDocument::event_window_days`].
#[must_use]
pub const fn event_window_days_default() -> u32 {
    30
}

/// Who answers for the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// Legal name.
    pub name: String,
    /// An e-mail address or a web address.
    pub contact: String,
}

/// What steps use when they name nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrandDefaults {
    /// The sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Name>,
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    #[default]
    Off,
}

impl Switch {
    /// Whether it is on.
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

/// What to do with a message whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPolicy {
    /// Leave it.
    NeverAgain,
    /// Send it again with the same Message-ID.
    Again,
}

/// [`UnknownPolicy`] by class of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownPolicies {
    /// Of marketing.
    #[serde(default = "marketing_policy")]
    pub marketing: UnknownPolicy,
    /// Of transactional messages.
    #[serde(default = "transactional_policy")]
    pub transactional: UnknownPolicy,
}

const fn marketing_policy() -> UnknownPolicy {
    UnknownPolicy::NeverAgain
}
const fn transactional_policy() -> UnknownPolicy {
    UnknownPolicy::Again
}
impl Default for UnknownPolicies {
    fn default() -> Self {
        Self { marketing: marketing_policy(), transactional: transactional_policy() }
    }
}

/// After how long a message that has not left expires, by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// Of marketing.
    #[serde(default = "marketing_expiry")]
    pub marketing: Duration,
    /// Of transactional messages.
    #[serde(default = "transactional_expiry")]
    pub transactional: Duration,
}

const fn marketing_expiry() -> Duration {
    Duration::hours(24)
}
const fn transactional_expiry() -> Duration {
    Duration::hours(72)
}
impl Default for Expiry {
    fn default() -> Self {
        Self { marketing: marketing_expiry(), transactional: transactional_expiry() }
    }
}
