//! The built-in mailbox: what would have been sent.

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One caught message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailboxItem {
    /// The message.
    pub message: Uuid,
    /// When it arrived.
    #[schema(value_type = String, format = DateTime)]
    pub arrived_at: Timestamp,
    /// Its subject.
    pub subject: String,
    /// To whom, as the message itself says.
    pub to: String,
}
