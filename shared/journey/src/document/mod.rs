//! Documents: what authors write, as YAML or JSON, and what publishing keeps.
//!
//! Every document names `apiVersion: parcours/v1`, a `kind` and a `name`; the fields of the kind
//! stand beside them. Reading reports every fault with its place. The stored form (JSON) is a
//! written form too, so what is exported can be applied again.

pub mod brand;
pub mod calendar;
pub mod duration;
mod fields;
pub mod journey;
mod node;
pub mod problem;
mod read;
mod read_brand;
mod read_journey;
mod read_sender;
pub mod sender;
pub mod template;
pub mod topic;

use parcours_domain::Name;
use serde::Serialize;

pub use brand::BrandDocument;
pub use journey::JourneyDocument;
pub use problem::{Places, Problem};
pub use read::{Located, SourceRead, Unreadable, parse_documents, parse_located, read_source};
pub use sender::SenderDocument;
pub use template::{FieldRule, TemplateDocument};
pub use topic::TopicDocument;

/// The version of the document language.
pub const API_VERSION: &str = "parcours/v1";

/// The most bytes one source (a file or a request body) may have.
pub const SOURCE_BYTES_MAX: usize = 1024 * 1024;

/// What a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A brand.
    Brand,
    /// A sender.
    Sender,
    /// A topic.
    Topic,
    /// A template.
    Template,
    /// A journey.
    Journey,
}

impl Kind {
    /// Every kind, in the order in which documents can be applied.
    pub const ALL: [Self; 5] =
        [Self::Brand, Self::Sender, Self::Topic, Self::Template, Self::Journey];

    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Brand => "Brand",
            Self::Sender => "Sender",
            Self::Topic => "Topic",
            Self::Template => "Template",
            Self::Journey => "Journey",
        }
    }
    /// From the word in documents.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A document of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// A brand.
    Brand(BrandDocument),
    /// A sender.
    Sender(SenderDocument),
    /// A topic.
    Topic(TopicDocument),
    /// A template.
    Template(TemplateDocument),
    /// A journey.
    Journey(JourneyDocument),
}

/// A stored document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredDocumentError {
    /// It names no kind that this build knows.
    #[error("stored document has no known kind")]
    Kind,
    /// It names another version of the language.
    #[error("stored document does not say apiVersion parcours/v1")]
    Version,
    /// It is damaged.
    #[error("stored document is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl Document {
    /// What it describes.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Brand(_) => Kind::Brand,
            Self::Sender(_) => Kind::Sender,
            Self::Topic(_) => Kind::Topic,
            Self::Template(_) => Kind::Template,
            Self::Journey(_) => Kind::Journey,
        }
    }

    /// Its name, unique within brand and kind.
    #[must_use]
    pub const fn name(&self) -> &Name {
        match self {
            Self::Brand(document) => &document.name,
            Self::Sender(document) => &document.name,
            Self::Topic(document) => &document.name,
            Self::Template(document) => &document.name,
            Self::Journey(document) => &document.name,
        }
    }

    /// The stored and exported form, with defaults filled in and keys in a fixed order.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let body = match self {
            Self::Brand(document) => serde_json::to_value(document),
            Self::Sender(document) => serde_json::to_value(document),
            Self::Topic(document) => serde_json::to_value(document),
            Self::Template(document) => serde_json::to_value(document),
            Self::Journey(document) => serde_json::to_value(document),
        };
        let mut json = body.unwrap_or_default();
        if let Some(map) = json.as_object_mut() {
            map.insert("apiVersion".to_owned(), API_VERSION.into());
            map.insert("kind".to_owned(), self.kind().as_str().into());
        }
        json
    }

    /// Reads what [`Document::to_json`] wrote.
    ///
    /// # Errors
    /// When it is of another version, of no known kind, or damaged.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, StoredDocumentError> {
        if json.get("apiVersion").and_then(serde_json::Value::as_str) != Some(API_VERSION) {
            return Err(StoredDocumentError::Version);
        }
        let kind = json
            .get("kind")
            .and_then(serde_json::Value::as_str)
            .and_then(Kind::parse)
            .ok_or(StoredDocumentError::Kind)?;
        Ok(match kind {
            Kind::Brand => Self::Brand(serde::Deserialize::deserialize(json)?),
            Kind::Sender => Self::Sender(serde::Deserialize::deserialize(json)?),
            Kind::Topic => Self::Topic(serde::Deserialize::deserialize(json)?),
            Kind::Template => Self::Template(serde::Deserialize::deserialize(json)?),
            Kind::Journey => Self::Journey(serde::Deserialize::deserialize(json)?),
        })
    }
}

impl Serialize for Document {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// Values in their plain JSON form.
pub(crate) mod plain_value {
    use parcours_domain::Value;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Value, to: S) -> Result<S::Ok, S::Error> {
        value.to_json().serialize(to)
    }
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        serde_json::Value::deserialize(from).map(Value::from_json)
    }
}
