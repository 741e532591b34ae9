//! What a brand has published already, as far as a new set has to fit to it.

use parcours_content::CompiledTemplate;
use parcours_domain::Name;
use parcours_journey::{Document, Kind, Plan};

/// One published document: its head version.
#[derive(Clone, Debug)]
pub struct ExistingDocument {
    /// The document.
    pub document: Document,
    /// Its version.
    pub version: u32,
    /// Plan or compiled template, as stored.
    pub compiled: Option<Vec<u8>>,
    /// Whether it is archived: it takes no new entries any more.
    pub archived: bool,
}

/// Everything that a brand has published.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// The brand's name; none when a set is checked for no brand in particular.
    pub brand: Option<Name>,
    /// The heads.
    pub documents: Vec<ExistingDocument>,
}

impl Existing {
    /// The document of this kind and name.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &Name) -> Option<&ExistingDocument> {
        self.documents
            .iter()
            .find(|existing| existing.document.kind() == kind && existing.document.name() == name)
    }

    /// The version that publishing this document would have: the same as now if nothing changed.
    #[must_use]
    pub fn next_version(&self, document: &Document) -> u32 {
        match self.get(document.kind(), document.name()) {
            Some(existing) if existing.document.to_json() == document.to_json() => existing.version,
            Some(existing) => existing.version.saturating_add(1),
            None => 1,
        }
    }

    /// Whether publishing this document would change anything.
    #[must_use]
    pub fn is_changed_by(&self, document: &Document) -> bool {
        self.get(document.kind(), document.name())
            .is_none_or(|existing| existing.document.to_json() != document.to_json())
    }
}

impl ExistingDocument {
    /// The compiled template, if this is one that can be read.
    #[must_use]
    pub fn template(&self) -> Option<CompiledTemplate> {
        CompiledTemplate::decode(self.compiled.as_deref()?).ok()
    }

    /// The plan, if this is a journey that can be read.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        Plan::decode(self.compiled.as_deref()?).ok()
    }
}
