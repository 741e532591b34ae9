//! A brand's breaker. The brand reads it with a key of its own; only a key above brands sets its limits
//! and lets the brand send again, because it is the others whom it protects.

use std::str::FromStr as _;

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::breaker::{BreakerLimits, BreakerRules, Share, Tally};
use parcours_kit::Problem;
use parcours_store::{Stopped, TenantStore};
use parcours_wire::http::breaker::{
    BreakerRequest, BreakerView, ResetAnswer, StoppedView, TallyView,
};
use utoipa::OpenApi;

use super::{ReadRefusals, WriteRefusals, ask, get, invalid, resource};
use crate::{
    auth::{Access, Admin, Read, above_brands},
    body::{Admitted, JsonBody},
    idempotent,
    reply::{Reply, show},
    state::Gateway,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(list, put, reset),
    components(schemas(BreakerRequest, BreakerView, StoppedView, TallyView, ResetAnswer))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            resource("/v1/breaker", "GET, HEAD, PUT")
                .route(get().to(list))
                .route(web::put().to(put)),
        )
        .service(resource("/v1/breaker/reset", "POST").route(web::post().to(reset)));
}

/// Read a brand's breaker
#[utoipa::path(
    get,
    path = "/v1/breaker",
    tag = "Breaker",
    responses((status = 200, description = "Its limits, its counts, and whether it is stopped", body = BreakerView), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(access: Access<Read>) -> Result<HttpResponse, Problem> {
    show(&view(&access.gateway, &access.store()).await?)
}

/// Set the limits of a brand's breaker
///
/// They take the place of those before; what is left out is as by default. What is stopped stays so.
/// Needs an admin key of the brand's organisation or of the install.
#[utoipa::path(
    put,
    path = "/v1/breaker",
    tag = "Breaker",
    request_body = BreakerRequest,
    responses((status = 200, description = "Set", body = BreakerView), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn put(
    request: HttpRequest,
    Admitted(access, body): Admitted<Access<Admin>, JsonBody<BreakerRequest>>,
) -> Result<HttpResponse, Problem> {
    above_brands(&access.key, "a breaker's limits are set")?;
    let rules = rules(&body.value)?;
    let work = async {
        ask(access.gateway.state.store.admin().set_breaker(access.tenant, &rules).await)?;
        Ok(Reply::ok(&view(&access.gateway, &access.store()).await?))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, &body.bytes, work).await
}

/// Let a stopped brand send again
///
/// Its counts begin anew, without what was sent before. Needs an admin key of the brand's organisation
/// or of the install.
#[utoipa::path(
    post,
    path = "/v1/breaker/reset",
    tag = "Breaker",
    responses((status = 200, description = "Nothing is stopped", body = ResetAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn reset(request: HttpRequest, access: Access<Admin>) -> Result<HttpResponse, Problem> {
    above_brands(&access.key, "a breaker is reset")?;
    let work = async {
        let admin = access.gateway.state.store.admin();
        let was_stopped = ask(admin.reset_breaker(access.tenant, access.now()).await)?;
        Ok(Reply::ok(&ResetAnswer { was_stopped }))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, b"", work).await
}

fn rules(wanted: &BreakerRequest) -> Result<BreakerRules, Problem> {
    let share = |text: &Option<String>, field: &'static str| {
        let read = |text: &String| {
            Share::from_str(text).map_err(|error| invalid(field, format!("`{field}`: {error}")))
        };
        text.as_ref().map(read).transpose()
    };
    if wanted.sample == Some(0) {
        return Err(invalid("sample", "`sample` is at least 1"));
    }
    Ok(BreakerRules {
        complaints: share(&wanted.complaints, "complaints")?,
        bounces: share(&wanted.bounces, "bounces")?,
        refusals: share(&wanted.refusals, "refusals")?,
        sample: wanted.sample,
    })
}

async fn view(gateway: &Gateway, store: &TenantStore) -> Result<BreakerView, Problem> {
    let breaker = ask(store.breaker().await)?;
    let counted = ask(store.outcomes(gateway.state.clock.now()).await)?;
    let BreakerRules { complaints, bounces, refusals, sample } = breaker.rules;
    let text = |share: Option<Share>| share.map(|share| share.to_string());
    let shown = |limits: BreakerLimits| BreakerRequest {
        complaints: Some(limits.complaints.to_string()),
        bounces: Some(limits.bounces.to_string()),
        refusals: Some(limits.refusals.to_string()),
        sample: Some(limits.sample),
    };
    Ok(BreakerView {
        set: BreakerRequest {
            complaints: text(complaints),
            bounces: text(bounces),
            refusals: text(refusals),
            sample,
        },
        limits: shown(breaker.rules.limits()),
        stopped: breaker.stopped.as_ref().map(stopped_view),
        reset_at: breaker.reset_at,
        marketing_hour: tally_view(counted.marketing),
        marketing_day: tally_view(counted.marketing_day),
        transactional_hour: tally_view(counted.transactional),
    })
}

/// That a brand is stopped, for callers.
#[must_use]
pub fn stopped_view(stopped: &Stopped) -> StoppedView {
    StoppedView {
        stops: stopped.stops.as_str().to_owned(),
        cause: stopped.cause.as_str().to_owned(),
        at: stopped.at,
        counts: tally_view(stopped.tally),
    }
}

const fn tally_view(tally: Tally) -> TallyView {
    let Tally { sent, bounced, refused, complained } = tally;
    TallyView { sent, bounced, refused, complained }
}
