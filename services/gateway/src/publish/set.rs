//! A set of sources, read to documents that remember where they stand.

use std::collections::BTreeMap;

use parcours_domain::Name;
use parcours_journey::{
    Document, Kind, Problem,
    document::{Located, Unreadable, read_source},
};
use parcours_wire::http::document::SourceFile;

/// Documents to be published together.
#[derive(Clone, Debug, Default)]
pub struct DocumentSet {
    /// Those that can be read, in the order of the sources.
    pub documents: Vec<Located>,
    /// Those that cannot.
    pub unreadable: Vec<Unreadable>,
    /// What is wrong with those, and each document that stands there twice: with one of these
    /// nothing of the set is published.
    pub problems: Vec<Problem>,
}

/// Reads sources; [`super::check()`] tells every problem at once.
#[must_use]
pub fn read(files: &[SourceFile]) -> DocumentSet {
    let mut set = DocumentSet::default();
    for file in files {
        let read = read_source(&file.source, &file.name);
        set.documents.extend(read.documents);
        set.unreadable.extend(read.unreadable);
        set.problems.extend(read.problems);
    }
    let twice = set.twice();
    set.problems.extend(twice);
    set
}

impl DocumentSet {
    /// The document of this kind and name.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &Name) -> Option<&Located> {
        self.documents
            .iter()
            .find(|located| located.document.kind() == kind && located.document.name() == name)
    }

    /// Whether a document that cannot be read may be this one: then nobody can say that it is
    /// missing.
    #[must_use]
    pub fn may_hold(&self, kind: Kind, name: Option<&Name>) -> bool {
        self.unreadable.iter().any(|one| {
            let named = |own: &Name| name.is_none_or(|name| name == own);
            one.kind.is_none_or(|own| own == kind) && one.name.as_ref().is_none_or(named)
        })
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
