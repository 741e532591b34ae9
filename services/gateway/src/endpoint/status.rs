//! How things stand: the operator's view, for the brands that the key reaches.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_kit::Problem;
use parcours_store::Reached;
use parcours_wire::http::status::{Attention, BrandNumbers, Numbers, OldestWaiting, StatusAnswer};
use utoipa::OpenApi;

use super::{ReadRefusals, ask, get, resource};
use crate::{
    auth::{Above, BRAND_HEADER, Reach, Read, choose_brand, reach},
    reply::show,
    status::{Install, answer},
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(status),
    components(schemas(StatusAnswer, Attention, OldestWaiting, BrandNumbers, Numbers))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/status", "GET, HEAD").route(get().to(status)));
}

/// What waits, what is late and what needs a person
///
/// A brand's key sees its brand, an organisation's key its brands, an install's key all; the
/// header `Parcours-Brand` narrows it to one.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "Status",
    responses((status = 200, description = "The numbers, together and for each brand", body = StatusAnswer), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn status(request: HttpRequest, access: Above<Read>) -> Result<HttpResponse, Problem> {
    let own = reach(&access.key);
    let reached = reached(&request, &access).await?;
    let state = &access.gateway.state;
    let (admin, now) = (state.store.admin(), state.clock.now());
    let mut brands = ask(admin.status(reached, now).await)?;
    ask(admin.count_stuck(reached, &mut brands).await)?;
    let found = ask(admin.install().await)?;
    let install = Install {
        halted_at: found.halted_at,
        // The reason is a word between those who run the install.
        halt_reason: found.halt_reason.filter(|_| own == Reach::Install),
    };
    show(&answer(&install, &brands, now))
}

/// The brands that the key reaches, or the one that the header names.
pub(super) async fn reached(
    request: &HttpRequest,
    access: &Above<Read>,
) -> Result<Reached, Problem> {
    Ok(match reach(&access.key) {
        Reach::Install | Reach::Organisation(_) if request.headers().contains_key(BRAND_HEADER) => {
            let chosen = choose_brand(&access.gateway, &access.key, request.headers()).await?;
            Reached::Brand(chosen)
        }
        Reach::Install => Reached::Install,
        Reach::Organisation(organisation) => Reached::Organisation(organisation),
        Reach::Brand(_) => {
            let chosen = choose_brand(&access.gateway, &access.key, request.headers()).await?;
            Reached::Brand(chosen)
        }
    })
}
