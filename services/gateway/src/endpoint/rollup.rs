//! What happened in each brand: the agency's view, for the brands that the key reaches.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::{TenantId, Timestamp};
use parcours_kit::Problem;
use parcours_store::{BrandCount, BrandStatus};
use parcours_wire::http::rollup::{BrandCounts, Counts, DayCounts, RollupAnswer, RollupQuery};
use utoipa::OpenApi;

use super::{ReadRefusals, ask, get, invalid, resource, status::reached};
use crate::{
    auth::{Above, Read},
    reply::show,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(rollup), components(schemas(RollupAnswer, DayCounts, BrandCounts)))]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/rollup", "GET, HEAD").route(get().to(rollup)));
}

const DAYS: u16 = 7;
const DAYS_MAX: u16 = 400;
const DAY_MS: i64 = 86_400_000;

/// What happened in each brand: events, runs, messages by outcome
///
/// Counted by day (UTC, product time). A brand's key sees its brand, an organisation's key its
/// brands, an install's key all; the header `Parcours-Brand` narrows it to one.
#[utoipa::path(
    get,
    path = "/v1/rollup",
    tag = "Status",
    params(RollupQuery),
    responses((status = 200, description = "What was counted, together, by day and for each brand", body = RollupAnswer), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn rollup(
    request: HttpRequest,
    access: Above<Read>,
    query: web::Query<RollupQuery>,
) -> Result<HttpResponse, Problem> {
    let days = query.days.unwrap_or(DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(invalid("days", "`days` is a number from 1 to 400"));
    }
    let reached = reached(&request, &access).await?;
    let state = &access.gateway.state;
    let (admin, now) = (state.store.admin(), state.clock.now());
    let from = now.utc_day() - i64::from(days) + 1;
    let counted = ask(admin.counted(reached, from).await)?;
    let brands = ask(admin.status(reached, now).await)?;
    show(&answer((now, from), &counted, brands))
}

fn answer(
    (at, from): (Timestamp, i64),
    counted: &[BrandCount],
    brands: Vec<BrandStatus>,
) -> RollupAnswer {
    let (mut total, mut of_days) = (Counts::new(), BTreeMap::<i64, Counts>::new());
    let mut of_brands = BTreeMap::<TenantId, Counts>::new();
    for BrandCount { tenant, counted } in counted {
        let into = [
            &mut total,
            of_days.entry(counted.day).or_default(),
            of_brands.entry(*tenant).or_default(),
        ];
        for counts in into {
            *counts.entry(counted.name.clone()).or_default() += counted.value;
        }
    }
    let of_brand = |BrandStatus { brand, numbers, .. }: BrandStatus| BrandCounts {
        id: brand.tenant.0,
        organisation: brand.organisation_name,
        name: brand.name.to_string(),
        counts: of_brands.remove(&brand.tenant).unwrap_or_default(),
        waiting: numbers.queue_ready.count + numbers.queue_later,
        quarantine_open: numbers.quarantined().count,
    };
    RollupAnswer {
        at,
        from: date(from),
        total,
        days: of_days
            .into_iter()
            .map(|(day, counts)| DayCounts { day: date(day), counts })
            .collect(),
        brands: brands.into_iter().map(of_brand).collect(),
    }
}

fn date(day: i64) -> String {
    let text = Timestamp::from_millis(day * DAY_MS).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}
