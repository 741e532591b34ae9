//! The operator's view: what waits, what is late, what needs a person.
//!
//! The README explains every member of these bodies; a test compares.

use std::collections::BTreeMap;

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::breaker::StoppedView;

/// How things stand, for the brands that the key reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusAnswer {
    /// Product time of the reading.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// When all sending of the install was halted, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub install_halted_at: Option<Timestamp>,
    /// Why; for keys of the install only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_halt_reason: Option<String>,
    /// What a person should look at; empty when nothing.
    pub attention: Vec<Attention>,
    /// What has waited longest, if anything is late at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<OldestWaiting>,
    /// All brands together.
    pub total: Numbers,
    /// Each brand, by organisation and name.
    pub brands: Vec<BrandNumbers>,
}

/// One thing that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attention {
    /// Stable word: `timers_late`, `inbox_late`, `queue_late`, `quarantine`, `unknown`, `stuck`,
    /// `brand_halted`, `breaker`, `install_halted`.
    pub code: String,
    /// `organisation/brand`; none: the install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// For people.
    pub detail: String,
}

/// What has waited longest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OldestWaiting {
    /// `timer`, `inbox`, `message` or `quarantine`.
    pub what: String,
    /// `organisation/brand`.
    pub brand: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// How long, in seconds of product time.
    pub seconds: u64,
}

/// A brand and its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrandNumbers {
    /// The brand.
    pub id: Uuid,
    /// The organisation that owns it.
    pub organisation: String,
    /// Its name.
    pub name: String,
    /// When its sending was halted, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub halted_at: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt_reason: Option<String>,
    /// That its breaker has stopped it, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StoppedView>,
    /// Its numbers.
    pub numbers: Numbers,
}

/// Numbers of one brand, or of all together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Numbers {
    /// Delays that are over and not applied yet.
    pub timers_due: u64,
    /// How late the earliest of them is, in seconds.
    pub timers_late_seconds: u64,
    /// Delays that are held: their journey is paused, or they were set aside.
    pub timers_held: u64,
    /// News for contacts that wait: outcomes, clicks, consent.
    pub inbox_live: u64,
    /// The same in the lane of mass work.
    pub inbox_bulk: u64,
    /// How long the oldest news waits, in seconds.
    pub inbox_late_seconds: u64,
    /// Messages that may leave now.
    pub queue_ready: u64,
    /// How long the first of them has waited, in seconds.
    pub queue_late_seconds: u64,
    /// Messages that may leave later: planned, or deferred by the receiving server.
    pub queue_later: u64,
    /// Messages that a delivery process is working on, before their final commit.
    pub queue_claimed: u64,
    /// Messages between their final commit and the recorded reply.
    pub queue_leaving: u64,
    /// Inputs set aside and not taken in again.
    pub quarantine_open: u64,
    /// The same, by code.
    pub quarantine_codes: BTreeMap<String, u64>,
    /// How long the oldest of them has been there, in seconds.
    pub quarantine_oldest_seconds: u64,
    /// Messages whose outcome is unknown, ever.
    pub messages_unknown: u64,
    /// Of these, the ones of the last 24 hours.
    pub messages_unknown_recent: u64,
    /// Live runs that nothing would wake.
    pub runs_stuck: u64,
    /// Journeys that are paused.
    pub journeys_paused: u64,
}
