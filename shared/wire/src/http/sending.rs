//! What is in the queue, and letting a restored install send again.

use parcours_domain::{MessageClass, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What is in the queue, of all brands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SendingView {
    /// Why nothing leaves, when the install was restored from a backup and not released since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<RestoredView>,
    /// Whether all sending of the install is halted, by a restore or by somebody's order.
    pub halted: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt_reason: Option<String>,
    /// Messages in the queue.
    pub queued: Vec<QueuedView>,
}

/// A restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredView {
    /// When the backup was taken: what happened later is not in the store.
    #[schema(value_type = String, format = DateTime)]
    pub backup_at: Timestamp,
    /// Until when everything that came due since was worked off: what was asked for until then
    /// may have left before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub caught_up_at: Option<Timestamp>,
}

/// Messages of one brand, template and class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuedView {
    /// The brand.
    pub brand_id: Uuid,
    /// Its name.
    pub brand: String,
    /// The template.
    pub template: String,
    /// `marketing` or `transactional`.
    #[schema(value_type = String)]
    pub class: MessageClass,
    /// Messages that would leave.
    pub would_leave: i64,
    /// Messages that may have left before the store was restored.
    pub may_have_left: i64,
    /// When the first of them was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub first_at: Timestamp,
    /// When the last of them was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Timestamp,
}

/// How to release sending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// `skip` (the default): what may have left is not sent, and ends as `unknown`. `send`: it is
    /// sent, perhaps for the second time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "skip")]
    pub may_have_left: Option<String>,
}

/// What a release did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseAnswer {
    /// Messages that ended as `unknown`.
    pub skipped: u64,
    /// Messages that were put back into the queue.
    pub queued: u64,
    /// Whether the install is still halted, by somebody's order.
    pub still_halted: bool,
}
