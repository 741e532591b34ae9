//! What a brand may use. It reads that with a key of its own; only a key above brands sets it.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::{CpuShare, EventQuota, Quotas, Weight};
use parcours_kit::Problem;
use parcours_store::TenantStore;
use parcours_wire::http::quota::{QuotaUseView, QuotasRequest, QuotasView};
use utoipa::OpenApi;

use super::{ReadRefusals, WriteRefusals, ask, get, invalid, read, resource};
use crate::{
    auth::{Access, Admin, Read, above_brands},
    body::{Admitted, JsonBody},
    idempotent,
    reply::{Reply, show},
    state::Gateway,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(list, put), components(schemas(QuotasRequest, QuotasView, QuotaUseView)))]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(
        resource("/v1/quotas", "GET, HEAD, PUT").route(get().to(list)).route(web::put().to(put)),
    );
}

/// Read a brand's quotas and what it uses
#[utoipa::path(
    get,
    path = "/v1/quotas",
    tag = "Quotas",
    responses((status = 200, description = "The quotas and their use", body = QuotasView), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(access: Access<Read>) -> Result<HttpResponse, Problem> {
    show(&view(&access.gateway, &access.store()).await?)
}

/// Set a brand's quotas
///
/// They take the place of those before; what is left out has none. Needs an admin key of the brand's
/// organisation or of the install. This process goes by them at once, others within seconds.
#[utoipa::path(
    put,
    path = "/v1/quotas",
    tag = "Quotas",
    request_body = QuotasRequest,
    responses((status = 200, description = "Set", body = QuotasView), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn put(
    request: HttpRequest,
    Admitted(access, body): Admitted<Access<Admin>, JsonBody<QuotasRequest>>,
) -> Result<HttpResponse, Problem> {
    above_brands(&access.key, "quotas are set")?;
    let wanted = &body.value;
    let rate = "a rate such as 500/s burst 5000, or none";
    let events = wanted.events.as_deref().map(|text| read::<EventQuota>(text, "events", rate));
    let weight = wanted.weight.map(|weight| {
        let detail = format!("`weight` is 1 to {}", Weight::MOST);
        Weight::new(weight).ok_or_else(|| invalid("weight", detail))
    });
    let weight = weight.transpose()?;
    let share = wanted.template_cpu.map(|percent| {
        let detail = format!("`template_cpu` is 1 to {}: percent of one core", CpuShare::MOST);
        CpuShare::new(percent).ok_or_else(|| invalid("template_cpu", detail))
    });
    let quotas = Quotas {
        events: events.transpose()?.unwrap_or_default(),
        contacts: wanted.contacts,
        journeys: wanted.journeys,
        sends_per_day: wanted.sends_per_day,
        template_cpu: share.transpose()?,
        weight: weight.unwrap_or_default(),
    };
    let work = async {
        let gateway = &access.gateway;
        ask(gateway.state.store.admin().set_quotas(access.tenant, &quotas).await)?;
        gateway.settings.forget(access.tenant);
        Ok(Reply::ok(&view(gateway, &access.store()).await?))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, &body.bytes, work).await
}

async fn view(gateway: &Gateway, store: &TenantStore) -> Result<QuotasView, Problem> {
    let quotas = ask(store.quotas().await)?;
    let used = ask(store.quota_use(gateway.state.clock.now().utc_day()).await)?;
    let events = match quotas.events {
        EventQuota::Install => None,
        events @ (EventQuota::Unlimited | EventQuota::Rate(_)) => Some(events.to_string()),
    };
    let in_force = quotas.events.rate(gateway.state.limits.events);
    Ok(QuotasView {
        quotas: QuotasRequest {
            events,
            contacts: quotas.contacts,
            journeys: quotas.journeys,
            sends_per_day: quotas.sends_per_day,
            template_cpu: quotas.template_cpu.map(CpuShare::percent),
            weight: (quotas.weight != Weight::default()).then(|| quotas.weight.get()),
        },
        events_in_force: in_force.map(|rate| rate.to_string()),
        used: QuotaUseView {
            contacts: used.contacts,
            journeys: used.journeys,
            sends_today: used.sends,
        },
    })
}
