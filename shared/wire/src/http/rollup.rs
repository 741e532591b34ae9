//! What happened in each brand: the agency's view.

use std::collections::BTreeMap;

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Which days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct RollupQuery {
    /// How many days, today included; from 1 to 400, and 7 unless said.
    pub days: Option<u16>,
}

/// How often each thing was counted: `events`, `set_aside` (at their contact), `contacts_absorbed`, `runs_entered`,
/// `runs_finished`, `runs_goal`, `runs_exited`, `runs_failed`, `runs_repaired`, `messages` (asked
/// for), and `messages_` with an outcome; what was never counted is left out.
pub type Counts = BTreeMap<String, i64>;

/// What happened in the brands that the key reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RollupAnswer {
    /// Product time of the reading.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The first day (UTC, product time), such as `2026-11-16`.
    pub from: String,
    /// All brands over all days.
    pub total: Counts,
    /// All brands, day by day; days on which nothing was counted are left out.
    pub days: Vec<DayCounts>,
    /// Each brand over all days, by organisation and name.
    pub brands: Vec<BrandCounts>,
}

/// A day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DayCounts {
    /// The day (UTC, product time), such as `2026-11-16`.
    pub day: String,
    /// What was counted.
    pub counts: Counts,
}

/// A brand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrandCounts {
    /// The brand.
    pub id: Uuid,
    /// The organisation that owns it.
    pub organisation: String,
    /// Its name.
    pub name: String,
    /// What was counted.
    pub counts: Counts,
    /// Messages that wait to be sent now, also those for later.
    pub waiting: u64,
    /// Inputs set aside that nobody has taken in again.
    pub quarantine_open: u64,
}
