//! For machines that watch: alive, ready, metrics, and the description of the API.

use std::sync::Arc;

use actix_web::{HttpResponse, http::header, web};
use parcours_kit::{
    Problem,
    health::{Phase, Readiness},
    telemetry,
};
use parcours_store::Store;
use utoipa::OpenApi;

use super::{ask, get, resource};
use crate::openapi;

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(livez, readyz, metrics, openapi_json))]
pub struct Api;

/// What the probes look at.
#[derive(Clone)]
pub struct Probed {
    /// Answers, or not.
    pub store: Store,
    /// How far the process is.
    pub readiness: Arc<Readiness>,
}

/// The group's routes; they find [`Probed`] among the application's data.
pub fn routes(config: &mut web::ServiceConfig) {
    probe_routes(config);
    config.service(resource("/openapi.json", "GET, HEAD").route(get().to(openapi_json)));
}

/// What a process without the gateway role serves too: whether it is alive and ready, and its metrics.
pub fn probes(probed: Probed) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
    let probed = web::Data::new(probed);
    move |config: &mut web::ServiceConfig| {
        config.app_data(probed.clone());
        probe_routes(config);
    }
}

fn probe_routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/livez", "GET, HEAD").route(get().to(livez)))
        .service(resource("/readyz", "GET, HEAD").route(get().to(readyz)))
        .service(resource("/metrics", "GET, HEAD").route(get().to(metrics)));
}

/// Whether the process runs
#[utoipa::path(
    get,
    path = "/livez",
    tag = "System",
    responses((status = 200, description = "It runs", body = String, content_type = "text/plain"))
)]
async fn livez() -> HttpResponse {
    text("ok\n")
}

/// Whether the process wants traffic and its store answers
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "System",
    responses(
        (status = 200, description = "It wants traffic", body = String, content_type = "text/plain"),
        (status = 503, description = "Not now", body = parcours_wire::http::ProblemBody, content_type = "application/problem+json")
    )
)]
async fn readyz(probed: web::Data<Probed>) -> Result<HttpResponse, Problem> {
    let detail = match probed.readiness.phase() {
        Phase::Ready => {
            ask(probed.store.ping().await)?;
            return Ok(text("ok\n"));
        }
        Phase::Starting => "the process is starting",
        Phase::Draining => "the process is finishing what it has",
    };
    Err(Problem::new(503, "not_ready", "Not ready", detail).retry_after(1))
}

/// Metrics in Prometheus' text format
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "System",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::render())
}

/// This description
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "System",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
async fn openapi_json() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(openapi::json())
}

fn text(body: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}
