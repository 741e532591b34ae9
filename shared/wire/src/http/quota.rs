//! What a brand may use, and what it uses.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a brand may use from now on, in place of what was set before. What is left out has no quota of
/// its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotasRequest {
    /// Events: a rate with the burst that may come at once (what a second allows always may), or
    /// `none`. Left out: what the install says for brands without a quota of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "500/s burst 5000")]
    pub events: Option<String>,
    /// The most contacts, absorbed ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contacts: Option<u32>,
    /// The most published journeys that are not archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journeys: Option<u32>,
    /// The most messages of a day (UTC), each attempt counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sends_per_day: Option<u32>,
    /// How much of a processor the rendering of its templates may take, all processes together, in
    /// percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 6400)]
    pub template_cpu: Option<u32>,
    /// Its weight beside other brands in delivery, 1 to 100; 10 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub weight: Option<u32>,
}

/// A brand's quotas, and what it uses of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotasView {
    /// As they were set.
    pub quotas: QuotasRequest,
    /// The rate of events that holds, of the brand or of the install; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_in_force: Option<String>,
    /// What is used.
    pub used: QuotaUseView,
}

/// What a brand uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaUseView {
    /// Contacts, absorbed ones included.
    pub contacts: u64,
    /// Published journeys that are not archived.
    pub journeys: u64,
    /// Sends of today (UTC) that senders have taken for themselves; 0 without a quota of sends.
    pub sends_today: u64,
}
