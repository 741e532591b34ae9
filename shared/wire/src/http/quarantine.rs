//! Inputs that were set aside.

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One input that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantineView {
    /// Its id.
    pub id: Uuid,
    /// The contact, when one was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Uuid>,
    /// `ingest`, `event`, `timer` or `inbox`.
    pub origin: String,
    /// Stable word for why.
    pub code: String,
    /// What was wrong.
    pub detail: String,
    /// The input as it came, as text; bytes that are not UTF-8 are shown as U+FFFD.
    pub payload: String,
    /// When it was set aside.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was given back to its contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub requeued_at: Option<Timestamp>,
}
