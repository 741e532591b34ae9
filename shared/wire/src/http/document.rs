//! Documents: sets of sources to validate, compare and publish, and what is published.

use std::collections::BTreeMap;

use parcours_domain::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fault;

/// A set of sources, published together or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentsRequest {
    /// 1 to 500 files.
    #[schema(min_items = 1, max_items = 500)]
    pub files: Vec<SourceFile>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its name, for the places of problems.
    #[schema(example = "journeys.yaml")]
    pub name: String,
    /// YAML (several documents parted by `---`) or JSON; at most 1 MiB.
    pub source: String,
}

/// The set is without faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ValidAnswer {
    /// Always true.
    pub valid: bool,
    /// How many documents there are.
    pub documents: u32,
    /// What publishes but deserves a look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Fault>,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedAnswer {
    /// One line for each document of the set.
    pub documents: Vec<AppliedDocument>,
}

/// What became of one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedDocument {
    /// `Brand`, `Sender`, `Topic`, `Template` or `Journey`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its version now.
    pub version: u32,
    /// Whether this call made that version.
    pub changed: bool,
}

/// What publishing the set would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiffAnswer {
    /// One line for each document of the set.
    pub documents: Vec<DocumentDiff>,
}

/// What publishing one document would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentDiff {
    /// `Brand`, `Sender`, `Topic`, `Template` or `Journey`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `new`, `changed` or `unchanged`.
    pub change: String,
    /// The published version, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Members that differ (dotted paths), for documents that are not journeys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// For journeys: what happens to the steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<StepsDiff>,
}

/// What happens to the steps of a journey.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepsDiff {
    /// New ids.
    pub added: Vec<String>,
    /// Ids that are gone. Runs stay on the version they entered.
    pub removed: Vec<String>,
    /// Same content under another id.
    pub renamed: Vec<RenamedStep>,
    /// Same id, other content.
    pub changed: Vec<String>,
}

/// A step that has another id now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenamedStep {
    /// Its id in the published version.
    pub from: String,
    /// Its id in the set.
    pub to: String,
}

/// One published document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DocumentView {
    /// `Brand`, `Sender`, `Topic`, `Template` or `Journey`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The version shown.
    pub version: u32,
    /// `live`, `paused` or `archived`; of the head, whatever version is shown.
    pub status: String,
    /// When that version was published.
    #[schema(value_type = String, format = DateTime)]
    pub published_at: Timestamp,
    /// The document; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub body: Option<serde_json::Value>,
}

/// Everything a brand has published, as sources that `apply` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportAnswer {
    /// One JSON file for each document.
    pub files: Vec<SourceFile>,
}

/// A journey's status after pausing, resuming or archiving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JourneyStatus {
    /// The journey.
    pub name: String,
    /// `live`, `paused` or `archived`.
    pub status: String,
}

/// A journey to copy from brand to brand, with the templates that it sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// The journey's name.
    #[schema(example = "welcome")]
    pub journey: String,
    /// The brand that has it: its name, `organisation/name`, or its id.
    pub from: String,
    /// The brand of the same organisation that gets it.
    pub to: String,
    /// The journey's name there, when that is another.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
    /// New names of templates, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, String>,
    /// Whether documents that are there with another content are replaced; a conflict otherwise.
    #[serde(default)]
    pub replace: bool,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was copied, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyAnswer {
    /// Whether it was done; false for a dry run.
    pub copied: bool,
    /// Each document, as a comparison with what the brand had; `version` is the one that it has now.
    pub documents: Vec<DocumentDiff>,
    /// `live`, `paused` or `archived`: the status of the journey there. A copy does not change it.
    pub status: String,
}
