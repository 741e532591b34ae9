//! Published documents, as far as delivery reads them.

use parcours_domain::{Name, TenantId};
use parcours_store::{DocumentRow, Store, StoreError};

const BRAND: &str = "Brand";
const SENDER: &str = "Sender";
const TEMPLATE: &str = "Template";

/// One version of a document.
pub(crate) struct Found {
    pub name: Name,
    pub version: i64,
    /// Canonical JSON.
    pub body: String,
}

impl From<DocumentRow> for Found {
    fn from(row: DocumentRow) -> Self {
        Self { name: row.name, version: i64::from(row.version), body: row.body }
    }
}

/// The brand's own document as published now. `known` is its name, when it was read before.
pub(crate) async fn brand(
    store: &Store,
    tenant: TenantId,
    known: Option<Name>,
) -> Result<Option<Found>, StoreError> {
    let door = store.for_tenant(tenant);
    if let Some(name) = known
        && let Some(row) = door.document(BRAND, &name, None).await?
    {
        return Ok(Some(row.into()));
    }
    let all = door.documents().await?;
    Ok(all.into_iter().find(|row| row.kind == BRAND).map(Found::from))
}

/// A sender as published now.
pub(crate) async fn sender(
    store: &Store,
    tenant: TenantId,
    name: &Name,
) -> Result<Option<Found>, StoreError> {
    let found = store.for_tenant(tenant).document(SENDER, name, None).await?;
    Ok(found.map(Found::from))
}

/// The brand's document and all its senders.
pub(crate) async fn house(
    store: &Store,
    tenant: TenantId,
) -> Result<(Option<Found>, Vec<Found>), StoreError> {
    let (mut brand, mut senders) = (None, Vec::new());
    for row in store.for_tenant(tenant).documents().await? {
        match row.kind.as_str() {
            BRAND => brand = Some(Found::from(row)),
            SENDER => senders.push(Found::from(row)),
            _ => {}
        }
    }
    Ok((brand, senders))
}

/// The compiled form of one template version.
pub(crate) async fn template(
    store: &Store,
    tenant: TenantId,
    name: &Name,
    version: i64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Ok(version) = u32::try_from(version) else { return Ok(None) };
    let found = store.for_tenant(tenant).document(TEMPLATE, name, Some(version)).await?;
    Ok(found.and_then(|row| row.compiled))
}
