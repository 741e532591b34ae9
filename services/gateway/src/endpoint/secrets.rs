//! Secrets: set, made and deleted by name, never shown.

use actix_web::{HttpRequest, HttpResponse, web};
use data_encoding::BASE64;
use parcours_domain::Name;
use parcours_kit::Problem;
use parcours_wire::http::secret::{
    SecretGenerateRequest, SecretGenerated, SecretList, SecretRequest, SecretView,
};
use ring::{
    error::Unspecified,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use utoipa::OpenApi;

use super::{ReadRefusals, WriteRefusals, ask, get, invalid, read, resource};
use crate::{
    auth::{Access, Admin, Manage, Read},
    body::{Admitted, JsonBody, json_or_default},
    failure, idempotent,
    reply::{Reply, show},
};

/// The most bytes of a secret.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(list, put, delete, generate),
    components(schemas(
        SecretRequest,
        SecretView,
        SecretList,
        SecretGenerateRequest,
        SecretGenerated
    ))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/secrets", "GET, HEAD").route(get().to(list)))
        .service(
            resource("/v1/secrets/{name}", "DELETE, PUT")
                .route(web::put().to(put))
                .route(web::delete().to(delete)),
        )
        .service(resource("/v1/secrets/{name}/generate", "POST").route(web::post().to(generate)));
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
    Admitted(access, body): Admitted<Access<Manage>, JsonBody<SecretRequest>>,
    name: web::Path<String>,
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

/// Make a private key for DKIM and store it as a secret
///
/// The key is Ed25519. It is never shown; the answer holds the TXT record of its public half. A
/// secret that exists already is kept, unless the body says `replace`.
#[utoipa::path(
    post,
    path = "/v1/secrets/{name}/generate",
    tag = "Secrets",
    params(("name" = String, Path, description = "The name that documents use")),
    request_body(content = Option<SecretGenerateRequest>, description = "May be left out"),
    responses((status = 200, description = "Made and stored; publish `dns_txt`", body = SecretGenerated), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn generate(
    request: HttpRequest,
    access: Access<Admin>,
    name: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let name: Name = read(&name, "name", "a secret's name")?;
    let limit = access.gateway.state.limits.body_bytes_max;
    let body: JsonBody<SecretGenerateRequest> = json_or_default(&request, payload, limit).await?;
    let work = async {
        let store = access.store();
        let (private, public) = dkim_key().map_err(|_| {
            tracing::error!("the system gave no randomness for a key");
            failure::internal()
        })?;
        let (private, now) = (private.as_bytes(), access.now());
        let version = if body.value.replace {
            ask(store.put_secret(&name, private, now).await)?
        } else {
            ask(store.create_secret(&name, private, now).await)?.ok_or_else(exists)?
        };
        Ok(Reply::ok(&SecretGenerated {
            name: name.to_string(),
            version,
            algorithm: "ed25519".to_owned(),
            dns_txt: format!("v=DKIM1; k=ed25519; p={public}"),
        }))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, &body.bytes, work).await
}

/// A new Ed25519 key: its PKCS#8 document, and its public half (RFC 8463, section 4); both base64.
fn dkim_key() -> Result<(String, String), Unspecified> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())?;
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| Unspecified)?;
    Ok((BASE64.encode(document.as_ref()), BASE64.encode(pair.public_key().as_ref())))
}

fn exists() -> Problem {
    let detail = "a secret of this name exists; to lose what it holds, send `replace: true`";
    Problem::new(409, "secret_exists", "Secret exists", detail).at("replace")
}
