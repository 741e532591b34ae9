//! Runs: where each contact stands in a journey and when it wakes.

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    /// Its id.
    pub id: Uuid,
    /// The contact.
    pub contact: Uuid,
    /// The journey.
    pub journey: String,
    /// The version it entered and stays on.
    pub version: i64,
    /// The run key; empty when the journey has none.
    pub key: String,
    /// `waiting`, `held`, `finished`, `goal`, `exited` or `failed`.
    pub status: String,
    /// Where it stands or ended.
    pub step: String,
    /// When it entered.
    #[schema(value_type = String, format = DateTime)]
    pub entered_at: Timestamp,
    /// When it wakes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub wakes_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
}
