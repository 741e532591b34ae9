//! A brand's breaker: its limits, what is counted, and that it is stopped.

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The limits of a brand's breaker from now on, in place of what was set before. What is left out is as
/// by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakerRequest {
    /// Complaints, of the marketing sent in 24 hours; 0.3% by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "0.3%")]
    pub complaints: Option<String>,
    /// Recipients refused for good, of the marketing handed over in an hour; 10% by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10%")]
    pub bounces: Option<String>,
    /// Messages refused by policy, reputation or content, of the same; 20% by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "20%")]
    pub refusals: Option<String>,
    /// Fewer outcomes than these decide nothing; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub sample: Option<u32>,
}

/// A brand's breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BreakerView {
    /// As it was set for the brand.
    pub set: BreakerRequest,
    /// The limits that hold.
    pub limits: BreakerRequest,
    /// That the brand is stopped; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StoppedView>,
    /// When a person last reset it (product time).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub reset_at: Option<Timestamp>,
    /// Marketing of the last hour.
    pub marketing_hour: TallyView,
    /// Marketing of the last 24 hours, with what of it was complained about.
    pub marketing_day: TallyView,
    /// Transactional messages of the last hour.
    pub transactional_hour: TallyView,
}

/// That a brand is stopped by its breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoppedView {
    /// What waits: `marketing`, or `everything` but test sends.
    pub stops: String,
    /// Why: `complaints`, `bounces` or `refusals`.
    pub cause: String,
    /// Since when (product time).
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The counts that said so.
    pub counts: TallyView,
}

/// Outcomes, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TallyView {
    /// Taken by the next hop.
    pub sent: u64,
    /// Recipient refused for good.
    pub bounced: u64,
    /// Refused for good by policy, reputation, content, sender or size.
    pub refused: u64,
    /// Of those sent, complained about.
    pub complained: u64,
}

/// A brand's breaker was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResetAnswer {
    /// Whether it had stopped something.
    pub was_stopped: bool,
}

/// Somebody called a message spam. Name the message, or the address that it went to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ComplaintRequest {
    /// The message; the left part of its Message-ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<uuid::Uuid>,
    /// The address; the newest message that was sent to it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whose feedback loop said so; `feedback-loop` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "yahoo")]
    pub source: Option<String>,
}

/// A complaint was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComplaintAnswer {
    /// The contact that was written to.
    pub contact: uuid::Uuid,
    /// The message, when it is known which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<uuid::Uuid>,
    /// The fact that suppresses the address; absent when it had been reported before, and for a test
    /// send, whose reader is not its contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppression: Option<uuid::Uuid>,
}
