//! A set of sources, read to documents that remember where they stand.

use std::collections::BTreeMap;

use parcours_domain::Name;
use parcours_journey::{
    Document, Kind, Problem,
    document::{Located, parse_located},
};
use parcours_wire::http::document::SourceFile;

/// Documents to be published together.
#[derive(Clone, Debug, Default)]
pub struct DocumentSet {
    /// In the order of the sources.
    pub documents: Vec<Located>,
}

/// Reads sources.
///
/// # Errors
/// Every problem of every source, and each document that stands there twice.
pub fn read(files: &[SourceFile]) -> Result<DocumentSet, Vec<Problem>> {
    let (mut set, mut problems) = (DocumentSet::default(), Vec::new());
    for file in files {
        match parse_located(&file.source, &file.name) {
            Ok(documents) => set.documents.extend(documents),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(set.twice());
    if problems.is_empty() { Ok(set) } else { Err(problems) }
}

impl DocumentSet {
    /// The document of this kind and name.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &Name) -> Option<&Located> {
        self.documents
            .iter()
            .find(|located| located.document.kind() == kind && located.document.name() == name)
    }

    /// The set's Brand document.
    #[must_use]
    pub fn brand(&self) -> Option<&Located> {
        self.documents.iter().find(|located| matches!(located.document, Document::Brand(_)))
    }

    fn twice(&self) -> Vec<Problem> {
        let mut seen: BTreeMap<(Kind, &Name), &Located> = BTreeMap::new();
        let (mut problems, mut brands) = (Vec::new(), 0);
        for located in &self.documents {
            let (kind, name) = (located.document.kind(), located.document.name());
            brands += usize::from(kind == Kind::Brand);
            if seen.insert((kind, name), located).is_some() {
                problems.push(located.places.locate(Problem::at(
                    "duplicate_document",
                    "name",
                    format!("the set holds another {} named {name}", kind.as_str()),
                    "rename one of them, or remove it",
                )));
            } else if kind == Kind::Brand && brands > 1 {
                problems.push(located.places.locate(Problem::at(
                    "several_brands",
                    "kind",
                    "the set holds more than one Brand document",
                    "apply each brand's documents on their own",
                )));
            }
        }
        problems
    }
}
