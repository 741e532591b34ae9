//! Runs: where each contact stands and when it wakes.

use actix_web::{HttpResponse, web};
use parcours_domain::{ContactId, Name, RunId};
use parcours_kit::Problem;
use parcours_store::{RunFilter, RunView as Stored};
use parcours_wire::http::{PageOf, run::RunView};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

use super::{ReadRefusals, ask, found, get, page_of, page_request, read, resource};
use crate::{
    auth::{Access, Read},
    reply::show,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(list, one), components(schemas(PageOf<RunView>, RunView)))]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/runs", "GET, HEAD").route(get().to(list)))
        .service(resource("/v1/runs/{id}", "GET, HEAD").route(get().to(one)));
}

/// Which runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunQuery {
    /// How many items, at most 500; 50 unless asked otherwise.
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Only runs of this journey.
    journey: Option<String>,
    /// Only runs with this status.
    status: Option<String>,
    /// Only runs of this contact.
    contact: Option<Uuid>,
}

/// List runs
#[utoipa::path(
    get,
    path = "/v1/runs",
    tag = "Runs",
    params(RunQuery),
    responses((status = 200, description = "A page of runs", body = PageOf<RunView>), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(access: Access<Read>, query: web::Query<RunQuery>) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let journey = query.journey.as_deref();
    let filter = RunFilter {
        journey: journey
            .map(|text| read::<Name>(text, "journey", "a journey's name"))
            .transpose()?,
        status: query.status,
        contact: query.contact.map(ContactId),
    };
    let page = page_request(query.limit, query.cursor.as_deref());
    show(&page_of(ask(access.store().runs(&filter, &page).await)?, view))
}

/// Read one run
#[utoipa::path(
    get,
    path = "/v1/runs/{id}",
    tag = "Runs",
    params(("id" = Uuid, Path, description = "The run")),
    responses((status = 200, description = "The run", body = RunView), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn one(access: Access<Read>, id: web::Path<Uuid>) -> Result<HttpResponse, Problem> {
    show(&view(found(access.store().run(RunId(*id)).await, "run")?))
}

/// A run for callers.
#[must_use]
pub fn view(run: Stored) -> RunView {
    RunView {
        id: run.id.0,
        contact: run.contact.0,
        journey: run.journey.to_string(),
        version: run.version,
        key: run.key,
        status: run.status,
        step: run.step.to_string(),
        entered_at: run.entered_at,
        wakes_at: run.wakes_at,
        ended_at: run.ended_at,
        ended_by: run.ended_by,
    }
}
