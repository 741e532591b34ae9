//! API keys: make, list, revoke. A key makes no key that reaches further than itself.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::{KeyId, OrganisationId, TenantId};
use parcours_kit::{Problem, machine_now};
use parcours_store::{ApiKey, KeyKind, KeyScope, NewApiKey};
use parcours_wire::http::key::{KeyAnswer, KeyList, KeyRequest, KeyView};
use utoipa::OpenApi;
use uuid::Uuid;

use super::{ReadRefusals, WriteRefusals, ask, get, invalid, resource};
use crate::{
    auth::{Above, Admin, BRAND_HEADER, Reach, choose_brand, reach},
    body::{Admitted, JsonBody},
    failure, idempotent,
    reply::{Reply, show},
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(list, create, revoke),
    components(schemas(KeyRequest, KeyAnswer, KeyView, KeyList))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            resource("/v1/keys", "GET, HEAD, POST")
                .route(get().to(list))
                .route(web::post().to(create)),
        )
        .service(resource("/v1/keys/{id}", "DELETE").route(web::delete().to(revoke)));
}

/// List the keys that reach no further than yours
#[utoipa::path(
    get,
    path = "/v1/keys",
    tag = "Keys",
    responses((status = 200, description = "The keys, never their secrets", body = KeyList), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(access: Above<Admin>) -> Result<HttpResponse, Problem> {
    let keys = visible(&access).await?;
    show(&KeyList { items: keys.iter().map(view).collect() })
}

/// Make a key
///
/// Its secret is in this answer and nowhere else; a repeat with the same Idempotency-Key shows
/// the key without it.
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "Keys",
    request_body = KeyRequest,
    responses((status = 201, description = "Made", body = KeyAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn create(
    request: HttpRequest,
    Admitted(access, body): Admitted<Above<Admin>, JsonBody<KeyRequest>>,
) -> Result<HttpResponse, Problem> {
    let new = new_key(&request, &access, &body.value).await?;
    let scope = new.tenant.map(Uuid::from).or(new.organisation.map(Uuid::from)).unwrap_or_default();
    let work = async {
        let made = access.gateway.state.store.admin().create_key(&new, machine_now()).await;
        let (key, secret) = ask(made)?;
        let with = |secret| KeyAnswer { key: view(&key), secret };
        Ok(Reply::created(&with(Some(secret.expose().to_owned()))).keeping(&with(None)))
    };
    idempotent::once(&access.gateway, scope, &request, &body.bytes, work).await
}

/// Revoke a key
///
/// It opens nothing from then on; other processes notice within seconds.
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    tag = "Keys",
    params(("id" = Uuid, Path, description = "The key")),
    responses((status = 200, description = "Revoked", body = KeyView), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn revoke(
    request: HttpRequest,
    access: Above<Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, Problem> {
    let work = async {
        let id = KeyId(*id);
        let keys = visible(&access).await?;
        let key = keys.into_iter().find(|key| key.id == id);
        let mut key = key.ok_or_else(|| failure::not_found("your key reaches no such key"))?;
        let now = machine_now();
        ask(access.gateway.state.store.admin().revoke_key(id, now).await)?;
        access.gateway.keys.forget_keys();
        key.revoked_at = key.revoked_at.or(Some(now));
        Ok(Reply::ok(&view(&key)))
    };
    idempotent::once(&access.gateway, above_scope(&access.key), &request, b"", work).await
}

/// What idempotency keys of this caller are kept under, above brands.
#[must_use]
pub fn above_scope(key: &ApiKey) -> Uuid {
    match reach(key) {
        Reach::Install => Uuid::nil(),
        Reach::Organisation(organisation) => organisation.0,
        Reach::Brand(tenant) => tenant.0,
    }
}

async fn visible(access: &Above<Admin>) -> Result<Vec<ApiKey>, Problem> {
    let admin = access.gateway.state.store.admin();
    match reach(&access.key) {
        Reach::Install => ask(admin.api_keys(None, None).await),
        Reach::Brand(tenant) => ask(admin.api_keys(None, Some(tenant)).await),
        Reach::Organisation(organisation) => {
            let mut keys = ask(admin.api_keys(Some(organisation), None).await)?;
            for brand in ask(admin.brands(Some(organisation)).await)? {
                keys.extend(ask(admin.api_keys(None, Some(brand.tenant)).await)?);
            }
            Ok(keys)
        }
    }
}

async fn new_key(
    request: &HttpRequest,
    access: &Above<Admin>,
    wanted: &KeyRequest,
) -> Result<NewApiKey, Problem> {
    let kind = match wanted.kind.as_deref() {
        None => KeyKind::Secret,
        Some(text) => {
            KeyKind::parse(text).ok_or_else(|| invalid("kind", "`kind` is public or secret"))?
        }
    };
    if wanted.label.trim().is_empty() || wanted.label.chars().count() > 100 {
        return Err(invalid("label", "`label` has 1 to 100 characters"));
    }
    let (organisation, tenant) = reach_of(request, access, wanted.reach.as_deref()).await?;
    Ok(NewApiKey {
        organisation,
        tenant,
        kind,
        scopes: scopes(kind, &wanted.scopes)?,
        label: wanted.label.clone(),
        expires_at: wanted.expires_at,
    })
}

async fn reach_of(
    request: &HttpRequest,
    access: &Above<Admin>,
    wanted: Option<&str>,
) -> Result<(Option<OrganisationId>, Option<TenantId>), Problem> {
    match (wanted, reach(&access.key)) {
        (None | Some("brand"), _) => {
            let tenant = choose_brand(&access.gateway, &access.key, request.headers()).await?;
            Ok((None, Some(tenant)))
        }
        (Some("install"), Reach::Install) => Ok((None, None)),
        (Some("organisation"), Reach::Organisation(organisation)) => Ok((Some(organisation), None)),
        (Some("organisation"), Reach::Install) => {
            let tenant = choose_brand(&access.gateway, &access.key, request.headers()).await;
            let tenant = tenant.map_err(|problem| problem.at(BRAND_HEADER))?;
            let brand = ask(access.gateway.state.store.admin().brand(tenant).await)?;
            let brand = brand.ok_or_else(|| failure::not_found("there is no such brand"))?;
            Ok((Some(brand.organisation), None))
        }
        (Some("organisation"), Reach::Brand(_)) => {
            let detail = "a brand's key makes keys for its brand only";
            Err(Problem::new(403, "reach_required", "Key does not reach so far", detail)
                .at("reach"))
        }
        (Some(_), _) => Err(invalid("reach", "`reach` is brand or organisation")),
    }
}

fn scopes(kind: KeyKind, wanted: &[String]) -> Result<BTreeSet<KeyScope>, Problem> {
    let scopes: Option<BTreeSet<_>> = wanted.iter().map(|text| KeyScope::parse(text)).collect();
    let scopes =
        scopes.ok_or_else(|| invalid("scopes", "`scopes` holds of ingest, read, manage, admin"))?;
    match kind {
        KeyKind::Public if scopes.iter().all(|scope| *scope == KeyScope::Ingest) => {
            Ok(BTreeSet::from([KeyScope::Ingest]))
        }
        KeyKind::Public => Err(invalid("scopes", "a public key has the scope ingest and no other")),
        KeyKind::Secret if scopes.is_empty() => {
            Err(invalid("scopes", "a secret key has at least one of ingest, read, manage, admin"))
        }
        KeyKind::Secret => Ok(scopes),
    }
}

fn view(key: &ApiKey) -> KeyView {
    KeyView {
        id: key.id.0,
        prefix: key.prefix.clone(),
        kind: key.kind.as_str().to_owned(),
        scopes: key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        label: key.label.clone(),
        reach: match reach(key) {
            Reach::Install => "install",
            Reach::Organisation(_) => "organisation",
            Reach::Brand(_) => "brand",
        }
        .to_owned(),
        created_at: key.created_at,
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
        last_used_at: key.last_used_at,
    }
}
