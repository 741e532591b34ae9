//! Tokens from outside: either whole, ours and for this use, or "not found".
//!
//! Every way to be wrong (length, alphabet, unknown brand, unknown key version, wrong MAC, the
//! token of another kind of link) ends in the same error. Brands that do not exist are looked for
//! in the store at a bounded rate, whoever asks: beyond it a list read once a second decides, so
//! that inventing brands costs the database nothing.

use std::{
    collections::HashSet,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parcours_content::{LinkKind, LinkToken};
use parcours_domain::TenantId;
use parcours_store::{Store, StoreError};
use parcours_wire::ConsentError;

use crate::service::refused;

/// Brands nobody knows that are looked for in a second.
const LOOKED_FOR: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

/// How old the list of brands may be.
const LIST_OLD: Duration = Duration::from_secs(1);

/// The token, once its MAC is known to be right.
pub(crate) async fn verified(
    (store, brands): (&Store, &Brands),
    text: &str,
    kind: LinkKind,
) -> Result<LinkToken, ConsentError> {
    let claimed = LinkToken::parse(text).ok_or(ConsentError::NotFound)?;
    if !brands.may_exist(store, claimed.tenant()).await? {
        return Err(ConsentError::NotFound);
    }
    let keys = match store.keys(claimed.tenant()).await {
        Ok(keys) => keys,
        Err(StoreError::NotFound | StoreError::Key(_)) => return Err(ConsentError::NotFound),
        Err(error) => return Err(refused(error)),
    };
    brands.saw([claimed.tenant()]);
    let key = keys.link.iter().find(|(version, _)| *version == claimed.key_version());
    let token = key.and_then(|(_, key)| claimed.verify(key)).ok_or(ConsentError::NotFound)?;
    if token.kind == kind { Ok(token) } else { Err(ConsentError::NotFound) }
}

/// The brands that were seen, and how often others may be looked for.
pub(crate) struct Brands {
    known: Mutex<HashSet<TenantId>>,
    lookups: DefaultDirectRateLimiter,
    listed: tokio::sync::Mutex<Option<Instant>>,
}

impl Default for Brands {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            lookups: RateLimiter::direct(Quota::per_second(LOOKED_FOR)),
            listed: tokio::sync::Mutex::default(),
        }
    }
}

impl Brands {
    /// Whether it is worth asking the store for this brand's keys. Only a brand younger than
    /// [`LIST_OLD`] can be missed, and only while more are invented than [`LOOKED_FOR`].
    async fn may_exist(&self, store: &Store, tenant: TenantId) -> Result<bool, ConsentError> {
        if self.knows(tenant) || self.lookups.check().is_ok() {
            return Ok(true);
        }
        let mut listed = self.listed.lock().await;
        if listed.is_none_or(|at| at.elapsed() > LIST_OLD) {
            let brands = store.admin().brands(None).await.map_err(refused)?;
            self.saw(brands.iter().map(|brand| brand.tenant));
            *listed = Some(Instant::now());
        }
        Ok(self.knows(tenant))
    }

    fn knows(&self, tenant: TenantId) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&tenant)
    }

    fn saw(&self, tenants: impl IntoIterator<Item = TenantId>) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).extend(tenants);
    }
}
