//! Copying a journey from one brand to another of the same organisation.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::{Name, TenantId};
use parcours_journey as journey;
use parcours_kit::Problem;
use parcours_wire::http::document::{CopyAnswer, CopyRequest};
use utoipa::OpenApi;

use super::{WriteRefusals, ask, documents::of_publish, invalid, read, resource};
use crate::{
    auth::{Above, Admin, brand_named},
    body::{Admitted, JsonBody},
    failure, idempotent,
    publish::{self, CopyError, CopyWanted, Publisher},
    reply::Reply,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(copy), components(schemas(CopyRequest, CopyAnswer)))]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/journeys/copy", "POST").route(web::post().to(copy)));
}

/// Copy a journey to another brand of its organisation
///
/// With it go the templates that it sends, all or nothing. What the other brand has already and is
/// equal is left; what differs is a conflict, unless `replace` says otherwise. Brand document,
/// senders, secrets and topics are not copied: 422 lists all that are missing. Needs an admin key that
/// reaches both brands.
#[utoipa::path(
    post,
    path = "/v1/journeys/copy",
    tag = "Journeys",
    request_body = CopyRequest,
    responses((status = 200, description = "Copied, or what a copy would change", body = CopyAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn copy(
    request: HttpRequest,
    Admitted(access, body): Admitted<Above<Admin>, JsonBody<CopyRequest>>,
) -> Result<HttpResponse, Problem> {
    let wanted = wanted(&body.value)?;
    let (from, to) = brands(&access, &body.value).await?;
    let work = async {
        let state = &access.gateway.state;
        let publisher = Publisher::Key { id: access.key.id, admin: true };
        let now = state.clock.now();
        let copied = publish::copy(&state.store, (from, to), &wanted, publisher, now).await;
        let copied = copied.map_err(|error| of_copy(&error))?;
        if !wanted.dry_run {
            access.gateway.settings.forget(to);
            state.worker.plans_changed(to);
        }
        Ok(Reply::ok(&CopyAnswer {
            copied: !wanted.dry_run,
            documents: copied.documents,
            status: copied.status.as_str().to_owned(),
        }))
    };
    idempotent::once(&access.gateway, to.0, &request, &body.bytes, work).await
}

fn wanted(body: &CopyRequest) -> Result<CopyWanted, Problem> {
    let template = |text: &String| read::<Name>(text, "templates", "names of templates by names");
    let templates = body.templates.iter();
    let templates = templates.map(|(old, new)| Ok((template(old)?, template(new)?)));
    let templates: BTreeMap<_, _> = templates.collect::<Result<_, Problem>>()?;
    let named = body.named.as_deref().map(|text| read::<Name>(text, "as", "a journey's name"));
    Ok(CopyWanted {
        journey: read(&body.journey, "journey", "a journey's name")?,
        named: named.transpose()?,
        templates,
        replace: body.replace,
        dry_run: body.dry_run,
    })
}

/// Both brands. One that the key does not reach, or of another organisation, is as unknown as one that
/// does not exist.
async fn brands(
    access: &Above<Admin>,
    body: &CopyRequest,
) -> Result<(TenantId, TenantId), Problem> {
    let unknown = |member| {
        let detail = "your key reaches no brand of that name in the organisation";
        failure::not_found(detail).at(member)
    };
    let from = brand_named(&access.gateway, &access.key, None, &body.from).await?;
    let from = from.ok_or_else(|| unknown("from"))?;
    let brand = ask(access.gateway.state.store.admin().brand(from).await)?;
    let own = brand.ok_or_else(failure::internal)?.organisation;
    let to = brand_named(&access.gateway, &access.key, Some(own), &body.to).await?;
    Ok((from, to.ok_or_else(|| unknown("to"))?))
}

fn of_copy(error: &CopyError) -> Problem {
    let faults = |problems: &[journey::Problem]| problems.iter().map(publish::fault).collect();
    match error {
        CopyError::NoJourney(_) => failure::not_found(&error.to_string()).at("journey"),
        CopyError::NoTemplate(_) => invalid("templates", error.to_string()),
        CopyError::Missing(problems) => {
            let detail =
                "nothing was copied: what is a brand's own has to be there first, each in `errors`";
            Problem::new(422, "missing_in_target", "The other brand lacks something", detail)
                .with_errors(faults(problems))
        }
        CopyError::Differs(problems) => {
            let detail = format!("nothing was copied: {error}, each in `errors`");
            Problem::new(409, "copy_conflict", "The other brand has something else", detail)
                .with_errors(faults(problems))
        }
        CopyError::Publish(error) => of_publish(error),
    }
}
