//! Templates tried out: previews, which change nothing, and test sends.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// With what a template is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The contact whose values stand in it.
    pub contact: Uuid,
    /// A live run of the contact, whose data is `run.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Uuid>,
    /// `run.*`, over what the run has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<serde_json::Value>,
    /// The topic it would be sent under; absent means that of the journey that sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// A published version; absent means the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// A Template document (YAML or JSON) that is not published: shown in place of the published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A template as the contact would get it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreviewView {
    /// The template.
    pub template: String,
    /// Its version; absent for a source that is not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The subject; absent when there would be no message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The HTML; show it in a frame with `sandbox`. Links lead to their targets, and are not
    /// counted; the unsubscribe link leads nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// The text part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Where the counted links lead.
    pub links: Vec<String>,
    /// Each merge field.
    pub fields: Vec<FieldView>,
    /// Whether it would be sent.
    pub outlook: OutlookView,
    /// What is worth a second look, though it can be sent.
    pub warnings: Vec<String>,
}

/// A merge field and what stands for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldView {
    /// Its path.
    #[schema(example = "contact.first_name")]
    pub path: String,
    /// `contact`, `run`, `brand` or `message` where the value stands there; `default`; `missing`: the
    /// message is skipped where it is printed; `required_missing`: it is skipped.
    pub source: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<serde_json::Value>,
}

/// Whether the message would be sent now. The same verdict as at the last moment before sending;
/// nothing is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutlookView {
    /// Whether it would.
    pub would_be_sent: bool,
    /// Why not: a refusal of the gate (`no_consent`), why there is no message
    /// (`missing:contact.first_name`), or a halt (`brand_halted`, `breaker`, `install_halted`).
    pub why_not: Vec<String>,
    /// On what ground: `consent` or `transactional`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ground: Option<String>,
    /// The fact that permits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<Uuid>,
    /// The topic that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// A test send: the newest published version, marked as a test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestSendRequest {
    /// An address of the brand's `test_addresses`.
    #[schema(example = "team@shop.example")]
    pub to: String,
    /// The contact whose values stand in it. It gets nothing, and nothing of it changes.
    pub contact: Uuid,
    /// A live run of the contact, whose data is `run.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Uuid>,
    /// `run.*`, over what the run has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<serde_json::Value>,
    /// The topic it is shown under; absent means that of the journey that sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// A published sender; absent means the brand's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
}
