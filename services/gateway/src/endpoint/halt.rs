//! Stopping all sending at once, of a brand or of the install. A halt that was acknowledged stops
//! every message that is not past its final commit.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_kit::Problem;
use parcours_wire::http::brand::{HaltAnswer, HaltRequest};
use utoipa::OpenApi;
use uuid::Uuid;

use super::{WriteRefusals, ask, invalid, resource};
use crate::{
    auth::{Above, Access, Admin, Reach, reach},
    body::{Admitted, JsonBody},
    failure, idempotent,
    reply::Reply,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(halt, unhalt, halt_install, unhalt_install),
    components(schemas(HaltRequest, HaltAnswer))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/halt", "POST").route(web::post().to(halt)))
        .service(resource("/v1/unhalt", "POST").route(web::post().to(unhalt)))
        .service(resource("/v1/install/halt", "POST").route(web::post().to(halt_install)))
        .service(resource("/v1/install/unhalt", "POST").route(web::post().to(unhalt_install)));
}

/// Halt a brand's sending
#[utoipa::path(
    post,
    path = "/v1/halt",
    tag = "Halt",
    request_body = HaltRequest,
    responses((status = 200, description = "Halted", body = HaltAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn halt(
    request: HttpRequest,
    Admitted(access, body): Admitted<Access<Admin>, JsonBody<HaltRequest>>,
) -> Result<HttpResponse, Problem> {
    let reason = reason(&body.value)?;
    let work = async {
        let admin = access.gateway.state.store.admin();
        known(ask(admin.halt_brand(access.tenant, reason, access.now()).await)?)?;
        Ok(Reply::ok(&HaltAnswer { halted: true }))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, &body.bytes, work).await
}

/// Let a brand send again
#[utoipa::path(
    post,
    path = "/v1/unhalt",
    tag = "Halt",
    responses((status = 200, description = "Not halted", body = HaltAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn unhalt(request: HttpRequest, access: Access<Admin>) -> Result<HttpResponse, Problem> {
    let work = async {
        known(ask(access.gateway.state.store.admin().unhalt_brand(access.tenant).await)?)?;
        Ok(Reply::ok(&HaltAnswer { halted: false }))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, b"", work).await
}

/// Halt all sending of the install
#[utoipa::path(
    post,
    path = "/v1/install/halt",
    tag = "Halt",
    request_body = HaltRequest,
    responses((status = 200, description = "Halted", body = HaltAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn halt_install(
    request: HttpRequest,
    Admitted(access, body): Admitted<Above<Admin>, JsonBody<HaltRequest>>,
) -> Result<HttpResponse, Problem> {
    reaches_all(&access)?;
    let reason = reason(&body.value)?;
    let work = async {
        let state = &access.gateway.state;
        ask(state.store.admin().halt_install(reason, state.clock.now()).await)?;
        Ok(Reply::ok(&HaltAnswer { halted: true }))
    };
    idempotent::once(&access.gateway, Uuid::nil(), &request, &body.bytes, work).await
}

/// Let the install send again; brands may still be halted on their own
#[utoipa::path(
    post,
    path = "/v1/install/unhalt",
    tag = "Halt",
    responses((status = 200, description = "Not halted", body = HaltAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn unhalt_install(
    request: HttpRequest,
    access: Above<Admin>,
) -> Result<HttpResponse, Problem> {
    reaches_all(&access)?;
    let work = async {
        if ask(access.gateway.state.store.admin().unhalt_install().await)? {
            return Ok(Reply::ok(&HaltAnswer { halted: false }));
        }
        let detail = "the store was restored from a backup; look at /v1/sending, then POST \
                      /v1/sending/release";
        Err(Problem::new(409, "held_by_restore", "Held since a restore", detail))
    };
    idempotent::once(&access.gateway, Uuid::nil(), &request, b"", work).await
}

fn reason(request: &HaltRequest) -> Result<&str, Problem> {
    let reason = request.reason.trim();
    if reason.is_empty() || reason.chars().count() > 500 {
        return Err(invalid("reason", "`reason` has 1 to 500 characters"));
    }
    Ok(reason)
}

fn known(there: bool) -> Result<(), Problem> {
    if there { Ok(()) } else { Err(failure::not_found("there is no such brand")) }
}

/// Whether the key reaches the whole install.
///
/// # Errors
/// 403 when it does not.
pub fn reaches_all(access: &Above<Admin>) -> Result<(), Problem> {
    match reach(&access.key) {
        Reach::Install => Ok(()),
        Reach::Organisation(_) | Reach::Brand(_) => {
            let detail = "this needs an admin key of the install";
            Err(Problem::new(403, "reach_required", "Key does not reach so far", detail))
        }
    }
}
