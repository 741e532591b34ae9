//! Who calls, and what the caller may do.
//!
//! A key comes as Bearer token or as Basic user name (as Segment's clients send it). An extractor
//! is the proof of permission: a handler that holds an [`Access`] was called with a key of that
//! scope, for that brand; it is asked before any body is read (`body::Admitted`). Keys of an organisation or of the install choose a brand by the header
//! `Parcours-Brand: name` (or `organisation/name`); a brand's key is bound to its brand.

mod cache;
mod credential;
mod permission;
mod used;

pub use cache::{KEY_SEEN_MAX, KeyCache};
pub use permission::{Above, Access, Admin, Ingest, Manage, Permission, Read};
pub use used::UsedKeys;

use actix_web::http::header::HeaderMap;
use parcours_domain::{OrganisationId, TenantId};
use parcours_kit::{Problem, machine_now};
use parcours_store::{ApiKey, BrandRow, KeyScope};

use crate::{failure, state::Gateway};

/// Names the brand for keys that reach several.
pub const BRAND_HEADER: &str = "parcours-brand";

/// What a key reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every brand of the install.
    Install,
    /// Every brand of one organisation.
    Organisation(OrganisationId),
    /// One brand.
    Brand(TenantId),
}

/// What the key reaches.
#[must_use]
pub const fn reach(key: &ApiKey) -> Reach {
    match (key.tenant, key.organisation) {
        (Some(tenant), _) => Reach::Brand(tenant),
        (None, Some(organisation)) => Reach::Organisation(organisation),
        (None, None) => Reach::Install,
    }
}

/// Whether the key is one of those above brands: what protects other brands is not a brand's own to say.
///
/// # Errors
/// 403 when it is a brand's.
pub fn above_brands(key: &ApiKey, what: &str) -> Result<(), Problem> {
    match reach(key) {
        Reach::Install | Reach::Organisation(_) => Ok(()),
        Reach::Brand(_) => {
            let detail =
                format!("{what} with an admin key of the brand's organisation or of the install");
            Err(Problem::new(403, "reach_required", "Key does not reach so far", detail))
        }
    }
}

/// Whether the key may do this. `admin` includes all, `manage` includes `read`.
#[must_use]
pub fn may(key: &ApiKey, scope: KeyScope) -> bool {
    let has = |scope| key.scopes.contains(&scope);
    match scope {
        KeyScope::Ingest => has(KeyScope::Ingest) || has(KeyScope::Admin),
        KeyScope::Read => has(KeyScope::Read) || has(KeyScope::Manage) || has(KeyScope::Admin),
        KeyScope::Manage => has(KeyScope::Manage) || has(KeyScope::Admin),
        KeyScope::Admin => has(KeyScope::Admin),
    }
}

/// The live key that the headers carry.
///
/// # Errors
/// 401 without one, 503 when the store does not answer.
pub async fn authenticate(gateway: &Gateway, headers: &HeaderMap) -> Result<ApiKey, Problem> {
    let text = credential::key_text(headers)
        .ok_or_else(|| unauthorised("no key came with the request"))?;
    let now = machine_now();
    if let Some(key) = gateway.keys.get(&text, now) {
        gateway.used.note(&gateway.state.store, key.id, now);
        return Ok(key);
    }
    let found = gateway.state.store.admin().authenticate(&text, now).await;
    match found.map_err(|error| failure::of_store(&error))? {
        Some(key) => {
            gateway.keys.put(&text, key.clone());
            gateway.used.note(&gateway.state.store, key.id, now);
            Ok(key)
        }
        None => Err(unauthorised("the key is unknown, revoked or expired")),
    }
}

/// The brand that the request is about.
///
/// # Errors
/// 400 when none is named, 403 when the key does not reach it.
pub async fn choose_brand(
    gateway: &Gateway,
    key: &ApiKey,
    headers: &HeaderMap,
) -> Result<TenantId, Problem> {
    let named =
        headers.get(BRAND_HEADER).map(|value| value.to_str().unwrap_or("").trim().to_owned());
    match (reach(key), named) {
        (Reach::Brand(tenant), None) => Ok(tenant),
        (Reach::Brand(tenant), Some(name)) => {
            let found = find_brand(gateway, None, &name).await?;
            found.filter(|found| *found == tenant).ok_or_else(|| unknown_brand(&name))
        }
        (Reach::Organisation(organisation), Some(name)) => {
            let found = find_brand(gateway, Some(organisation), &name).await?;
            found.ok_or_else(|| unknown_brand(&name))
        }
        (Reach::Install, Some(name)) => {
            find_brand(gateway, None, &name).await?.ok_or_else(|| unknown_brand(&name))
        }
        (Reach::Organisation(_) | Reach::Install, None) => Err(Problem::new(
            400,
            "brand_required",
            "Brand required",
            "the key reaches several brands; name one in the header Parcours-Brand",
        )
        .at(BRAND_HEADER)),
    }
}

/// The brand of this name that the key reaches, in one organisation when that is said. Whether there
/// is none or the key does not reach it is the same.
///
/// # Errors
/// 503 when the store does not answer.
pub async fn brand_named(
    gateway: &Gateway,
    key: &ApiKey,
    within: Option<OrganisationId>,
    name: &str,
) -> Result<Option<TenantId>, Problem> {
    match reach(key) {
        Reach::Install => find_brand(gateway, within, name).await,
        Reach::Organisation(own) if within.is_none_or(|within| within == own) => {
            find_brand(gateway, Some(own), name).await
        }
        Reach::Organisation(_) => Ok(None),
        Reach::Brand(tenant) => {
            let brand = gateway.state.store.admin().brand(tenant).await;
            let brand = brand.map_err(|error| failure::of_store(&error))?;
            Ok(one_named(brand.as_slice(), name))
        }
    }
}

async fn find_brand(
    gateway: &Gateway,
    organisation: Option<OrganisationId>,
    name: &str,
) -> Result<Option<TenantId>, Problem> {
    let scope = organisation.map_or(uuid::Uuid::nil(), uuid::Uuid::from);
    if let Some(tenant) = gateway.keys.brand(scope, name) {
        return Ok(Some(tenant));
    }
    let brands = gateway.state.store.admin().brands(organisation).await;
    let brands = brands.map_err(|error| failure::of_store(&error))?;
    let found = one_named(&brands, name);
    if let Some(tenant) = found {
        gateway.keys.put_brand(scope, name, tenant);
    }
    Ok(found)
}

/// By `organisation/name`, by id, or by a name that only one brand has.
fn one_named(brands: &[BrandRow], name: &str) -> Option<TenantId> {
    let id = name.parse::<TenantId>().ok();
    let mut found = brands.iter().filter(|brand| match name.split_once('/') {
        Some((organisation, own)) => brand.organisation_name == organisation && brand.name == own,
        None => brand.name == name || id == Some(brand.tenant),
    });
    let first = found.next()?;
    if found.next().is_some() { None } else { Some(first.tenant) }
}

/// 401.
#[must_use]
pub fn unauthorised(detail: &str) -> Problem {
    let detail = format!("{detail}; send it as Bearer token or as Basic user name");
    Problem::new(401, "unauthorised", "Key required", detail)
}

/// 403 for a scope that the key does not have.
#[must_use]
pub fn forbidden(scope: KeyScope) -> Problem {
    let detail = format!("this needs a key with the scope `{}`", scope.as_str());
    Problem::new(403, "scope_required", "Scope required", detail)
}

fn unknown_brand(name: &str) -> Problem {
    let detail = format!("the key reaches no brand (or more than one) called {name:?}");
    Problem::new(403, "unknown_brand", "No such brand", detail).at(BRAND_HEADER)
}
