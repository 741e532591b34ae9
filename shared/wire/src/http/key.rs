//! API keys.

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A key to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// `public` (track, page, screen, anonymous identify: may be shipped to browsers) or
    /// `secret`, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of `ingest`, `read`, `manage`, `admin`. `admin` includes all, `manage` includes `read`.
    /// A public key has `ingest` and nothing else.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// For people: who uses it.
    #[schema(example = "shop backend")]
    pub label: String,
    /// When it stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// `brand` (the default), `organisation`, or `install` (for install keys): what it reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<String>,
}

/// A key that was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyAnswer {
    /// The key without its secret.
    pub key: KeyView,
    /// The secret, shown this once; a repeat of the request does not show it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl std::fmt::Debug for KeyAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyAnswer").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A key as others may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// Its id.
    pub id: Uuid,
    /// The part by which it is looked up and recognised.
    #[schema(example = "sk_7f3kq2ma")]
    pub prefix: String,
    /// `public` or `secret`.
    pub kind: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// For people.
    pub label: String,
    /// `brand`, `organisation` or `install`.
    pub reach: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

/// Keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// The keys, oldest first.
    pub items: Vec<KeyView>,
}
