//! Contacts and their timelines.

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A contact in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContactSummary {
    /// Its id.
    pub id: Uuid,
    /// The random handle that the consent log names.
    pub handle: String,
    /// When it was first seen.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// One contact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContactView {
    /// Its id.
    pub id: Uuid,
    /// The random handle that the consent log names.
    pub handle: String,
    /// When it was first seen.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Its present address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// `contact.*` as conditions and templates see it.
    #[schema(value_type = Object)]
    pub attributes: serde_json::Value,
    /// When it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub erased_at: Option<Timestamp>,
    /// How many commits its state has seen.
    pub revision: i64,
    /// Number of its last accepted event.
    pub seq: i64,
    /// Bytes of its stored state, of at most 65,536.
    pub state_bytes: u64,
}

/// One line of a contact's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TimelineItem {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `event`, `run`, `step`, `message` or `consent`.
    pub kind: String,
    /// The record; steps have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// What the record says.
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
}
