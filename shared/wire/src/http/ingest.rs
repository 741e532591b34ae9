//! Ingest: what Segment's clients send is read item by item in the gateway; these are the answers,
//! and our own route for a single event.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The answer to every ingest call that was taken: nothing in it is a reason to send again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IngestAnswer {
    /// Always true: everything was taken, applied or set aside.
    pub success: bool,
    /// Items applied by this call.
    pub accepted: u32,
    /// Items that an earlier call had brought already.
    pub duplicates: u32,
    /// Items kept but not applied, each with its cause.
    pub set_aside: Vec<SetAsideItem>,
}

/// One item that was kept but not applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetAsideItem {
    /// Its place in the batch, from 0.
    pub index: u32,
    /// Stable word.
    #[schema(example = "no_identity")]
    pub code: String,
    /// What was wrong and how to mend it, without the values.
    pub message: String,
}

/// One event by our own route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventRequest {
    /// `track`, `identify`, `page`, `screen`, `group` or `alias`.
    #[schema(example = "track")]
    pub r#type: String,
    /// The brand's own id of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The id of a visitor who is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<String>,
    /// Name of a track event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Order Completed")]
    pub event: Option<String>,
    /// Name of a page or screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What happened (track, page, screen).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub properties: Option<serde_json::Value>,
    /// Attributes to set (identify) or the group's traits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub traits: Option<serde_json::Value>,
    /// The group (group).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// The other id of the person (alias).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_id: Option<String>,
    /// When it happened, by the caller's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Recognises a repeat; one is made when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

/// What became of the one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventAnswer {
    /// `applied` or `duplicate`.
    pub status: String,
    /// The event.
    pub id: Uuid,
    /// The contact it belongs to.
    pub contact: Uuid,
}
