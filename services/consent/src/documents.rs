//! Published documents, as far as consent reads them.

use parcours_domain::{Name, TenantId};
use parcours_store::{Store, StoreError};
use serde::{Deserialize, de::DeserializeOwned};

/// What a page says of a brand.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct BrandTexts {
    #[serde(default)]
    pub display_name: String,
    #[serde(default)]
    pub locale: String,
}

/// What a fact and a page say of a topic.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct TopicTexts {
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub purpose: String,
}

fn parse<T: DeserializeOwned>(body: &str) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|_| StoreError::Damaged("document.body"))
}

/// The topic as published now, archived or not: who wants out must get out.
pub(crate) async fn topic(
    store: &Store,
    tenant: TenantId,
    name: &Name,
) -> Result<Option<TopicTexts>, StoreError> {
    let found = store.for_tenant(tenant).document("Topic", name, None).await?;
    found.map(|row| parse(&row.body)).transpose()
}

/// The brand's texts; empty when it has no document yet.
pub(crate) async fn brand(store: &Store, tenant: TenantId) -> Result<BrandTexts, StoreError> {
    let door = store.for_tenant(tenant);
    let known = store.admin().brand(tenant).await?;
    let name: Option<Name> = known.as_ref().and_then(|brand| brand.name.parse().ok());
    let mut found = match name {
        Some(name) => door.document("Brand", &name, None).await?,
        None => None,
    };
    if found.is_none() {
        found = door.documents().await?.into_iter().find(|row| row.kind == "Brand");
    }
    let mut texts: BrandTexts = match found {
        Some(row) => parse(&row.body)?,
        None => BrandTexts::default(),
    };
    if texts.display_name.is_empty() {
        texts.display_name = known.map(|brand| brand.name).unwrap_or_default();
    }
    Ok(texts)
}
