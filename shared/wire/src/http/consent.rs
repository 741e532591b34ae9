//! Consent facts of a contact, and where it stands.

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Facts to record, in one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentRequest {
    /// 1 to 100 facts.
    #[schema(min_items = 1, max_items = 100)]
    pub facts: Vec<ConsentFactRequest>,
}

/// One fact to record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentFactRequest {
    /// `given`, `confirmed`, `withdrawn`, `objected` or `suppressed`.
    #[schema(example = "given")]
    pub kind: String,
    /// The topic; absent means all marketing on the channel (not for `given` and `confirmed`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// `email`, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Where the person said it: a form, a shop, a call.
    #[schema(example = "checkout")]
    pub source: String,
    /// Reference to the wording shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wording: Option<String>,
    /// The address it was said for; absent means the contact's present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// The facts recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsentAnswer {
    /// Their ids, in the order of the request.
    pub facts: Vec<Uuid>,
}

/// Where a contact stands on a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandingView {
    /// The channel.
    pub channel: String,
    /// Version of the contact's consent: moves with every fact.
    pub version: i64,
    /// The newest word on each topic.
    pub topics: Vec<TopicStanding>,
    /// The newest word on all marketing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_marketing: Option<LatestWord>,
    /// The newest suppression of the contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<LatestWord>,
    /// Whether the present address is suppressed.
    pub address_suppressed: bool,
    /// Whether the holder of the present address objected.
    pub address_objected: bool,
}

/// The newest word on one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicStanding {
    /// The topic.
    pub topic: String,
    /// What was said last.
    pub latest: LatestWord,
}

/// What was said last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LatestWord {
    /// `given`, `confirmed`, `withdrawn`, `objected` or `suppressed`.
    pub kind: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The fact that says so.
    pub fact: Uuid,
}
