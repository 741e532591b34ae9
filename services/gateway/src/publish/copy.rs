//! Copying a journey from brand to brand.
//!
//! With the journey goes what it is made of: the templates that its steps send. What is each brand's
//! own stays where it is and has to be there already: its Brand document, senders and their secrets,
//! and topics, because a topic is what people of that brand said yes to. So a copy never decides who
//! may be written to.
//!
//! What always holds: the copy passes the same checks as a set that is applied, and is published whole
//! or not at all; nothing of the other brand's is changed unless that was asked for; a copy that was
//! made already changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{Name, TenantId, Timestamp};
use parcours_journey::{Document, Kind, Problem, document::journey::ActionDocument};
use parcours_store::{DocumentStatus, Store, StoreError};
use parcours_wire::http::document::{DocumentDiff, SourceFile};

use super::{
    Existing, PublishError, Publisher,
    check::sends,
    diff::{diff, fields},
    needed::missing,
    set,
    store::{check_apart, existing, publish},
};

/// Which journey, and under which names.
#[derive(Clone, Debug)]
pub struct CopyWanted {
    /// Its name where it is.
    pub journey: Name,
    /// Its name where it goes, when that is another.
    pub named: Option<Name>,
    /// New names of templates.
    pub templates: BTreeMap<Name, Name>,
    /// Whether documents that differ there are replaced.
    pub replace: bool,
    /// Whether it is only said what would happen.
    pub dry_run: bool,
}

/// What was copied, or would be.
#[derive(Clone, Debug)]
pub struct Copied {
    /// Each document, with what it changes.
    pub documents: Vec<DocumentDiff>,
    /// The status of the journey where it went.
    pub status: DocumentStatus,
}

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The brand has no such journey.
    #[error("there is no journey {0} in the brand to copy from")]
    NoJourney(Name),
    /// A new name for a template that the journey does not send.
    #[error("the journey sends no template {0}")]
    NoTemplate(Name),
    /// What the other brand must have first, and what differs there.
    #[error("the other brand lacks what the journey needs")]
    Missing(Vec<Problem>),
    /// What differs there.
    #[error("the other brand has {} of these documents with another content", .0.len())]
    Differs(Vec<Problem>),
    /// It was not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Copies a journey with its templates, all or nothing.
///
/// # Errors
/// What is missing or differs, everything at once; what publishing says.
pub async fn copy(
    store: &Store,
    (from, to): (TenantId, TenantId),
    wanted: &CopyWanted,
    publisher: Publisher,
    now: Timestamp,
) -> Result<Copied, CopyError> {
    let (source, there) = (existing(store, from).await?, existing(store, to).await?);
    let store_there = store.for_tenant(to);
    let secrets = store_there.secret_names().await?;
    let secrets = secrets.into_iter().map(|(name, _)| name).collect();
    let documents = gather(&source, wanted)?;
    let mut problems = missing(&documents, &source, &there, &secrets);
    let lacks = !problems.is_empty();
    if !wanted.replace && !wanted.dry_run {
        problems.extend(differing(&documents, &there));
    }
    if !problems.is_empty() {
        return Err(if lacks {
            CopyError::Missing(problems)
        } else {
            CopyError::Differs(problems)
        });
    }
    let (checked, there) = check_apart(set::read(&sources(&documents)), there).await?;
    let mut told = diff(&checked, &there);
    if !wanted.dry_run {
        let published = publish(store, to, (checked, &there), publisher, now).await?;
        for (told, published) in told.iter_mut().zip(published) {
            told.version = Some(published.version);
        }
    }
    let named = wanted.named.as_ref().unwrap_or(&wanted.journey);
    let head = store_there.document(Kind::Journey.as_str(), named, None).await?;
    Ok(Copied { documents: told, status: head.map_or(DocumentStatus::Live, |head| head.status) })
}

/// The journey and its templates, under the names that they will have.
fn gather(source: &Existing, wanted: &CopyWanted) -> Result<Vec<Document>, CopyError> {
    let found = source.get(Kind::Journey, &wanted.journey).map(|found| &found.document);
    let Some(Document::Journey(journey)) = found else {
        return Err(CopyError::NoJourney(wanted.journey.clone()));
    };
    let sent: BTreeSet<&Name> = sends(journey).map(|(template, _)| template).collect();
    if let Some(other) = wanted.templates.keys().find(|name| !sent.contains(name)) {
        return Err(CopyError::NoTemplate(other.clone()));
    }
    let named = |name: &Name| wanted.templates.get(name).unwrap_or(name).clone();
    let mut journey = journey.clone();
    let mut documents = Vec::new();
    for name in sent {
        if let Some(Document::Template(template)) =
            source.get(Kind::Template, name).map(|found| &found.document)
        {
            let mut template = template.clone();
            template.name = named(name);
            documents.push(Document::Template(template));
        }
    }
    if let Some(name) = &wanted.named {
        journey.name = name.clone();
    }
    for step in &mut journey.steps {
        if let ActionDocument::Send(send) = &mut step.action {
            send.template = named(&send.template);
        }
    }
    documents.push(Document::Journey(journey));
    Ok(documents)
}

/// The documents as sources: what is stored can be read again.
fn sources(documents: &[Document]) -> Vec<SourceFile> {
    let source = |document: &Document| SourceFile {
        name: titled(document),
        source: document.to_json().to_string(),
    };
    documents.iter().map(source).collect()
}

pub(super) fn titled(document: &Document) -> String {
    format!("{} {}", document.kind().as_str(), document.name())
}

/// What is there under the same name with another content.
fn differing(documents: &[Document], there: &Existing) -> Vec<Problem> {
    let differs = |document: &Document| {
        let (kind, name) = (document.kind(), document.name());
        let old = there.get(kind, name).filter(|_| there.is_changed_by(document))?;
        let what = fields(&old.document, document).join(", ");
        let (option, used) = match kind {
            Kind::Template => {
                ("`--template OLD=NEW` or `templates`".to_owned(), users(name, there))
            }
            Kind::Journey | Kind::Brand | Kind::Sender | Kind::Topic => {
                ("`--as NEW` or `as`".to_owned(), String::new())
            }
        };
        let title = titled(document);
        let mut problem = Problem::at(
            "differs",
            "",
            format!("the brand has another {title} (version {}): {what}{used}", old.version),
            format!("replace it (`--replace` or `replace`), or copy under another name ({option})"),
        );
        problem.file = title;
        Some(problem)
    };
    documents.iter().filter_map(differs).collect()
}

/// Who else there would send the other text.
fn users(template: &Name, there: &Existing) -> String {
    let journeys = there.documents.iter().filter(|one| !one.archived);
    let names = journeys.filter_map(|one| match &one.document {
        Document::Journey(journey) => {
            sends(journey).any(|(sent, _)| sent == template).then_some(journey.name.as_str())
        }
        Document::Brand(_) | Document::Sender(_) | Document::Topic(_) | Document::Template(_) => {
            None
        }
    });
    let names: Vec<_> = names.collect();
    if names.is_empty() { String::new() } else { format!("; sent by journey {}", names.join(", ")) }
}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> Self {
        Self::Publish(PublishError::Store(error))
    }
}
