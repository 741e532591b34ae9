//! Secrets: set and deleted by name, never shown.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::Name;
use parcours_kit::Problem;
use parcours_wire::http::secret::{SecretList, SecretRequest, SecretView};
use utoipa::OpenApi;

use super::{ReadRefusals, WriteRefusals, ask, get, invalid, read, resource};
use crate::{
    auth::{Access, Manage, Read},
    body::JsonBody,
    failure, idempotent,
    reply::{Reply, show},
};

/// The most bytes of a secret.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(list, put, delete), components(schemas(SecretRequest, SecretView, SecretList)))]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/secrets", "GET, HEAD").route(get().to(list))).service(
        resource("/v1/secrets/{name}", "DELETE, PUT")
            .route(web::put().to(put))
            .route(web::delete().to(delete)),
    );
}

/// List the names of secrets
#[utoipa::path(
    get,
    path = "/v1/secrets",
    tag = "Secrets",
    responses((status = 200, description = "Names and versions, never values", body = SecretList), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(access: Access<Read>) -> Result<HttpResponse, Problem> {
    let names = ask(access.store().secret_names().await)?;
    let view = |(name, version): (Name, i64)| SecretView { name: name.to_string(), version };
    show(&SecretList { items: names.into_iter().map(view).collect() })
}

/// Set or replace a secret
#[utoipa::path(
    put,
    path = "/v1/secrets/{name}",
    tag = "Secrets",
    params(("name" = String, Path, description = "The name that documents use")),
    request_body = SecretRequest,
    responses((status = 200, description = "Set", body = SecretView), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn put(
    request: HttpRequest,
    access: Access<Manage>,
    name: web::Path<String>,
    body: JsonBody<SecretRequest>,
) -> Result<HttpResponse, Problem> {
    let name: Name = read(&name, "name", "a secret's name")?;
    let value = body.value.value.as_bytes();
    if value.is_empty() || value.len() > SECRET_BYTES_MAX {
        return Err(invalid("value", format!("`value` has 1 to {SECRET_BYTES_MAX} bytes")));
    }
    // A plain hash of a short password could be guessed from the database; a keyed one cannot.
    let keys = ask(access.gateway.state.store.keys(access.tenant).await)?;
    let hashed = keys.identity.mac(&[b"idempotency", &body.bytes]);
    let work = async {
        let version = ask(access.store().put_secret(&name, value, access.now()).await)?;
        Ok(Reply::ok(&SecretView { name: name.to_string(), version }))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, &hashed, work).await
}

/// Delete a secret
#[utoipa::path(
    delete,
    path = "/v1/secrets/{name}",
    tag = "Secrets",
    params(("name" = String, Path, description = "The secret")),
    responses((status = 200, description = "Deleted; what names it cannot be used any more", body = SecretView), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn delete(
    request: HttpRequest,
    access: Access<Manage>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let name: Name = read(&name, "name", "a secret's name")?;
    let work = async {
        if !ask(access.store().delete_secret(&name).await)? {
            return Err(failure::not_found("there is no such secret in this brand"));
        }
        Ok(Reply::ok(&SecretView { name: name.to_string(), version: 0 }))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, b"", work).await
}
