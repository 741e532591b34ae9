//! Organisations and brands that a key reaches.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::Name;
use parcours_kit::Problem;
use parcours_store::{BrandRow, OrganisationRow};
use parcours_wire::http::brand::{
    BrandList, BrandRequest, BrandView, OrganisationList, OrganisationView,
};
use utoipa::OpenApi;

use super::{ReadRefusals, WriteRefusals, ask, get, invalid, keys::above_scope, read, resource};
use crate::{
    auth::{Above, Admin, Reach, Read, reach},
    body::{Admitted, JsonBody},
    failure, idempotent,
    reply::{Reply, show},
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(list, create, organisations),
    components(schemas(BrandRequest, BrandView, BrandList, OrganisationView, OrganisationList))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            resource("/v1/brands", "GET, HEAD, POST")
                .route(get().to(list))
                .route(web::post().to(create)),
        )
        .service(resource("/v1/organisations", "GET, HEAD").route(get().to(organisations)));
}

/// List the brands that the key reaches
#[utoipa::path(
    get,
    path = "/v1/brands",
    tag = "Brands",
    responses((status = 200, description = "The brands", body = BrandList), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(access: Above<Read>) -> Result<HttpResponse, Problem> {
    let admin = access.gateway.state.store.admin();
    let brands = match reach(&access.key) {
        Reach::Install => ask(admin.brands(None).await)?,
        Reach::Organisation(organisation) => ask(admin.brands(Some(organisation)).await)?,
        Reach::Brand(tenant) => ask(admin.brand(tenant).await)?.into_iter().collect(),
    };
    show(&BrandList { items: brands.into_iter().map(view).collect() })
}

/// Make a brand
///
/// Making it again gives the one that is there. Needs an admin key of the organisation or of the
/// install.
#[utoipa::path(
    post,
    path = "/v1/brands",
    tag = "Brands",
    request_body = BrandRequest,
    responses((status = 201, description = "Made, or there already", body = BrandView), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn create(
    request: HttpRequest,
    Admitted(access, body): Admitted<Above<Admin>, JsonBody<BrandRequest>>,
) -> Result<HttpResponse, Problem> {
    let name: Name = read(&body.value.name, "name", "a brand's name")?;
    let work = async {
        let organisation = organisation(&access, body.value.organisation.as_deref()).await?;
        let admin = access.gateway.state.store.admin();
        let now = access.gateway.state.clock.now();
        let tenant = ask(admin.create_brand(&organisation, name.as_str(), now).await)?;
        let brand = ask(admin.brand(tenant).await)?.ok_or_else(failure::internal)?;
        Ok(Reply::created(&view(brand)))
    };
    idempotent::once(&access.gateway, above_scope(&access.key), &request, &body.bytes, work).await
}

/// The organisation in which the caller makes brands.
async fn organisation(access: &Above<Admin>, named: Option<&str>) -> Result<String, Problem> {
    let named = named.map(|text| read::<Name>(text, "organisation", "an organisation's name"));
    match (reach(&access.key), named.transpose()?) {
        (Reach::Install, Some(name)) => Ok(name.to_string()),
        (Reach::Install, None) => Err(invalid("organisation", "name the brand's `organisation`")),
        (Reach::Organisation(id), named) => {
            let all = ask(access.gateway.state.store.admin().organisations().await)?;
            let own = all.into_iter().find(|one| one.id == id).ok_or_else(failure::internal)?;
            match named {
                Some(name) if name.as_str() != own.name => Err(too_far()),
                Some(_) | None => Ok(own.name),
            }
        }
        (Reach::Brand(_), _) => Err(too_far()),
    }
}

fn too_far() -> Problem {
    let detail = "brands are made with an admin key of their organisation or of the install";
    Problem::new(403, "reach_required", "Key does not reach so far", detail)
}

/// List the organisations that the key reaches
#[utoipa::path(
    get,
    path = "/v1/organisations",
    tag = "Brands",
    responses((status = 200, description = "The organisations", body = OrganisationList), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn organisations(access: Above<Read>) -> Result<HttpResponse, Problem> {
    let all = ask(access.gateway.state.store.admin().organisations().await)?;
    let reached = all.into_iter().filter(|one| match reach(&access.key) {
        Reach::Install => true,
        Reach::Organisation(organisation) => one.id == organisation,
        Reach::Brand(_) => false,
    });
    let view = |one: OrganisationRow| OrganisationView { id: one.id.0, name: one.name };
    show(&OrganisationList { items: reached.map(view).collect() })
}

fn view(brand: BrandRow) -> BrandView {
    BrandView {
        id: brand.tenant.0,
        organisation: brand.organisation_name,
        name: brand.name,
        created_at: brand.created_at,
        halted_at: brand.halted_at,
        halt_reason: brand.halt_reason,
    }
}
