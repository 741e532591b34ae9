//! Pause, resume and archive a journey. Pausing freezes its runs; it never ejects them.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::{Millis, Name};
use parcours_journey::Kind;
use parcours_kit::Problem;
use parcours_store::DocumentStatus;
use parcours_wire::http::document::JourneyStatus;
use utoipa::OpenApi;

use super::{WriteRefusals, ask, found, read, resource};
use crate::{
    auth::{Access, Manage},
    idempotent, quota,
    reply::Reply,
};

/// Over how long the timers that a pause held come back, so that they do not all fire at once.
const RESUME_JITTER: Millis = Millis::minutes(1);

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(pause, resume, archive), components(schemas(JourneyStatus)))]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/journeys/{name}/pause", "POST").route(web::post().to(pause)))
        .service(resource("/v1/journeys/{name}/resume", "POST").route(web::post().to(resume)))
        .service(resource("/v1/journeys/{name}/archive", "POST").route(web::post().to(archive)));
}

/// Pause a journey: its runs freeze where they stand
#[utoipa::path(
    post,
    path = "/v1/journeys/{name}/pause",
    tag = "Journeys",
    params(("name" = String, Path, description = "The journey")),
    responses((status = 200, description = "Paused", body = JourneyStatus), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn pause(
    request: HttpRequest,
    access: Access<Manage>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    set(&request, &access, &name, DocumentStatus::Paused).await
}

/// Resume a journey: its runs go on from where they stand
#[utoipa::path(
    post,
    path = "/v1/journeys/{name}/resume",
    tag = "Journeys",
    params(("name" = String, Path, description = "The journey")),
    responses((status = 200, description = "Live", body = JourneyStatus), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn resume(
    request: HttpRequest,
    access: Access<Manage>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    set(&request, &access, &name, DocumentStatus::Live).await
}

/// Archive a journey: nobody enters any more; live runs go on
#[utoipa::path(
    post,
    path = "/v1/journeys/{name}/archive",
    tag = "Journeys",
    params(("name" = String, Path, description = "The journey")),
    responses((status = 200, description = "Archived", body = JourneyStatus), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn archive(
    request: HttpRequest,
    access: Access<Manage>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    set(&request, &access, &name, DocumentStatus::Archived).await
}

async fn set(
    request: &HttpRequest,
    access: &Access<Manage>,
    name: &str,
    status: DocumentStatus,
) -> Result<HttpResponse, Problem> {
    let name: Name = read(name, "name", "a journey's name")?;
    let work = async {
        let (state, now) = (&access.gateway.state, access.now());
        let kind = Kind::Journey.as_str();
        if status != DocumentStatus::Archived {
            quota::may_open(&access.store(), &name).await?;
        }
        let changed = access.store().set_document_status(kind, &name, status, now).await;
        found(changed, "journey")?;
        state.worker.plans_changed(access.tenant);
        // Also after archiving: live runs of an archived journey go on.
        if status != DocumentStatus::Paused {
            let sweep = state.store.sweep();
            ask(sweep.resume_journey(access.tenant, &name, now, RESUME_JITTER).await)?;
        }
        Ok(Reply::ok(&JourneyStatus { name: name.to_string(), status: status.as_str().to_owned() }))
    };
    idempotent::once(&access.gateway, access.tenant.0, request, b"", work).await
}
