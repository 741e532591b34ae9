//! The Template document: only its shape; compiling the text is another crate's work.

use std::collections::BTreeMap;

use parcours_domain::{Channel, Name, Value};
use serde::{Deserialize, Serialize};

use super::plain_value;

/// A template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateDocument {
    /// Its name within the brand.
    pub name: Name,
    /// On which channel.
    #[serde(default = "super::topic::email")]
    pub channel: Channel,
    /// The subject line.
    pub subject: String,
    /// The HTML part; this or `mjml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// MJML that the HTML part is made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mjml: Option<String>,
    /// The text part; made from the HTML when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Language of the text, such as `fr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// What happens when a merge field is missing, by path (`contact.first_name`).
    #[serde(default)]
    pub fields: BTreeMap<String, FieldRule>,
}

/// What happens when a merge field is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldRule {
    /// The message is skipped.
    Required,
    /// This stands in its place.
    Default(#[serde(with = "plain_value")] Value),
}
