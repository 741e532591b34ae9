//! Messages: asked for by journeys or by the API.

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A transactional message asked for by the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageRequest {
    /// To whom.
    pub contact: Uuid,
    /// A published template.
    #[schema(example = "receipt")]
    pub template: String,
    /// A published transactional topic.
    #[schema(example = "orders")]
    pub topic: String,
    /// A published sender; absent means the brand's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// `run.*` for the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<serde_json::Value>,
}

/// The message asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageAnswer {
    /// Its id: the same for a repeat of the request.
    pub id: Uuid,
    /// `queued`.
    pub status: String,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageView {
    /// Its id.
    pub id: Uuid,
    /// To whom.
    pub contact: Uuid,
    /// `journey`, `api` or `test`.
    pub origin: String,
    /// The run that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Uuid>,
    /// Its journey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journey: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journey_version: Option<i64>,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The template.
    pub template: String,
    /// Its version.
    pub template_version: i64,
    /// The sender.
    pub sender: String,
    /// The topic.
    pub topic: String,
    /// `marketing`, `transactional` or `test`.
    pub class: String,
    /// The channel.
    pub channel: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// After which moment it is not sent any more.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// `queued`, or how it ended.
    pub status: String,
    /// Why, when it was not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Attempts so far.
    pub attempts: i64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

/// Why a message left or did not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhyView {
    /// The message.
    pub message: MessageView,
    /// The gate's decision; absent before the gate saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub receipt: Option<serde_json::Value>,
    /// The attempts, in order.
    #[schema(value_type = Vec<Object>)]
    pub attempts: Vec<serde_json::Value>,
    /// The links it carries, and which were followed.
    #[schema(value_type = Vec<Object>)]
    pub links: Vec<serde_json::Value>,
}
