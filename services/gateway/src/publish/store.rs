//! Documents in and out of a brand's store.

use parcours_domain::{KeyId, Name, TenantId, Timestamp};
use parcours_journey::{
    Document, Kind, Problem,
    document::{BrandDocument, StoredDocumentError},
};
use parcours_store::{
    DocumentRow, DocumentStatus, NewDocument, Published, Store, StoreError, TenantStore,
};
use parcours_wire::http::document::SourceFile;

use super::{Checked, DocumentSet, Existing, ExistingDocument, check};

/// Who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// Whoever can open the store itself: may publish everything.
    Operator,
    /// A key.
    Key {
        /// Its id.
        id: KeyId,
        /// Whether it has the scope `admin`.
        admin: bool,
    },
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The documents have problems.
    #[error("the documents have {} problems", .0.len())]
    Problems(Vec<Problem>),
    /// These would send without consent; only an admin key publishes them.
    #[error("only an admin key publishes what is sent without consent: {}", .0.join(", "))]
    NeedsAdmin(Vec<String>),
    /// The brand may have only so many journeys.
    #[error("the brand may have {0} journeys that are not archived")]
    TooManyJourneys(u32),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A published document cannot be read back.
    #[error(transparent)]
    Stored(#[from] StoredDocumentError),
    /// The check did not end.
    #[error("checking the documents was interrupted")]
    Interrupted,
}

/// Everything that the brand has published.
///
/// # Errors
/// What the store says, or a stored document that cannot be read.
pub async fn existing(store: &Store, tenant: TenantId) -> Result<Existing, PublishError> {
    let brand = store.admin().brand(tenant).await?.ok_or(StoreError::NotFound)?;
    let rows = store.for_tenant(tenant).documents().await?;
    let documents = rows.into_iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Existing { brand: brand.name.parse().ok(), documents })
}

fn of_row(row: DocumentRow) -> Result<ExistingDocument, StoredDocumentError> {
    Ok(ExistingDocument {
        document: read(&row)?,
        version: row.version,
        compiled: row.compiled,
        archived: row.status == DocumentStatus::Archived,
    })
}

fn read(row: &DocumentRow) -> Result<Document, StoredDocumentError> {
    Document::from_json(&serde_json::from_str(&row.body)?)
}

/// Checks a set over what is published, on a thread of its own: compiling can take long.
///
/// # Errors
/// All problems.
pub async fn check_apart(
    set: DocumentSet,
    existing: Existing,
) -> Result<(Checked, Existing), PublishError> {
    let checked = tokio::task::spawn_blocking(move || {
        check(&set, &existing).map(|checked| (checked, existing))
    });
    checked.await.map_err(|_| PublishError::Interrupted)?.map_err(PublishError::Problems)
}

/// Publishes a set whole or not at all.
///
/// # Errors
/// All problems; or that an admin key is needed; or what the store says.
pub async fn apply(
    store: &Store,
    tenant: TenantId,
    set: DocumentSet,
    publisher: Publisher,
    now: Timestamp,
) -> Result<Vec<Published>, PublishError> {
    let (checked, existing) = check_apart(set, existing(store, tenant).await?).await?;
    publish(store, tenant, (checked, &existing), publisher, now).await
}

/// Publishes a set that was checked over what is published, unless that has changed since.
///
/// # Errors
/// As [`apply`], and `Conflict` from the store.
pub(super) async fn publish(
    store: &Store,
    tenant: TenantId,
    (checked, existing): (Checked, &Existing),
    publisher: Publisher,
    now: Timestamp,
) -> Result<Vec<Published>, PublishError> {
    let by = match publisher {
        Publisher::Operator | Publisher::Key { admin: true, .. } => Vec::new(),
        Publisher::Key { admin: false, .. } => needing_admin(&checked),
    };
    if !by.is_empty() {
        return Err(PublishError::NeedsAdmin(by));
    }
    if let Some(most) = store.for_tenant(tenant).quotas().await?.journeys
        && adds_beyond(&checked, existing, most)
    {
        return Err(PublishError::TooManyJourneys(most));
    }
    let documents = checked.documents.into_iter().map(|one| NewDocument {
        kind: one.document.kind().as_str().to_owned(),
        name: one.document.name().clone(),
        body_json: one.document.to_json().to_string(),
        compiled: one.compiled,
        version: Some(one.version),
    });
    let key = match publisher {
        Publisher::Operator => None,
        Publisher::Key { id, .. } => Some(id),
    };
    Ok(store.for_tenant(tenant).publish(documents.collect(), key, now).await?)
}

/// Whether the set has journeys that are new, and with them the brand more than it may have. Two sets
/// that are published at one moment do not see each other.
fn adds_beyond(checked: &Checked, existing: &Existing, most: u32) -> bool {
    let is_new = |document: &Document| {
        document.kind() == Kind::Journey && existing.get(Kind::Journey, document.name()).is_none()
    };
    let new = checked.documents.iter().filter(|one| is_new(&one.document)).count();
    let open = existing.documents.iter();
    let open = open.filter(|one| one.document.kind() == Kind::Journey && !one.archived).count();
    new > 0 && u32::try_from(open + new).is_ok_and(|all| all > most)
}

fn needing_admin(checked: &Checked) -> Vec<String> {
    let documents = checked.documents.iter().filter(|one| one.changed && one.transactional);
    documents
        .map(|one| format!("{} {}", one.document.kind().as_str(), one.document.name()))
        .collect()
}

/// The brand's published Brand document.
///
/// # Errors
/// What the store says.
pub async fn brand_document(
    store: &Store,
    tenant: TenantId,
) -> Result<Option<BrandDocument>, StoreError> {
    let brand = store.admin().brand(tenant).await?;
    let Some(name) = brand.and_then(|brand| brand.name.parse::<Name>().ok()) else {
        return Ok(None);
    };
    match head(&store.for_tenant(tenant), Kind::Brand, &name).await? {
        Some(Document::Brand(brand)) => Ok(Some(brand)),
        Some(_) | None => Ok(None),
    }
}

/// The head of a document.
///
/// # Errors
/// What the store says.
pub async fn head(
    store: &TenantStore,
    kind: Kind,
    name: &Name,
) -> Result<Option<Document>, StoreError> {
    let Some(row) = store.document(kind.as_str(), name, None).await? else { return Ok(None) };
    read(&row).map(Some).map_err(|_| StoreError::Damaged("document.body"))
}

/// All heads as sources that `apply` takes, one JSON file for each.
///
/// # Errors
/// What the store says.
pub async fn export(store: &TenantStore) -> Result<Vec<SourceFile>, StoreError> {
    let rows = store.documents().await?;
    rows.iter()
        .map(|row| {
            let body: serde_json::Value = serde_json::from_str(&row.body)
                .map_err(|_| StoreError::Damaged("document.body"))?;
            let name = format!("{}.{}.json", row.kind.to_lowercase(), row.name);
            let source = serde_json::to_string_pretty(&body)
                .map_err(|_| StoreError::Damaged("document.body"))?;
            Ok(SourceFile { name, source })
        })
        .collect()
}
