//! The Segment HTTP tracking API: what existing clients speak, unchanged but for the host.
//!
//! What always holds: a POST is answered 200, 401, 413, 429 or 503, nothing else; a page of any
//! origin may read the answer.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::{EventKind, Rate};
use parcours_kit::Problem;
use parcours_store::{KeyKind, KeyScope};
use parcours_wire::http::ingest::IngestAnswer;
use utoipa::{
    IntoResponses, OpenApi,
    openapi::{RefOr, Response},
};

use super::refusals;
use crate::{
    auth,
    body::of_body,
    cors::open,
    ingest::{
        apply::{Ingest, busy_problem},
        body::{Body, BodyError, read},
        envelope::{NoBatch, Text},
        item::{Fault, Rules},
    },
    reply::{Reply, show},
    state::Gateway,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(identify, track, page, screen, group, alias, batch),
    components(schemas(IngestAnswer))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(open("/v1/identify", web::post().to(identify)))
        .service(open("/v1/track", web::post().to(track)))
        .service(open("/v1/page", web::post().to(page)))
        .service(open("/v1/screen", web::post().to(screen)))
        .service(open("/v1/group", web::post().to(group)))
        .service(open("/v1/alias", web::post().to(alias)))
        .service(open("/v1/batch", web::post().to(batch)));
}

/// What ingest may answer besides 200.
pub struct IngestRefusals;

impl IntoResponses for IngestRefusals {
    fn responses() -> std::collections::BTreeMap<String, RefOr<Response>> {
        refusals(&[401, 405, 413, 429, 503])
    }
}

macro_rules! single {
    ($name:ident, $kind:ident, $path:literal, $summary:literal) => {
        #[utoipa::path(
            post,
            path = $path,
            tag = "Ingest (Segment)",
            summary = $summary,
            request_body(content = Object, content_type = "application/json",
                description = "One item of the Segment tracking API; gzip is read"),
            responses(
                (status = 200, description = "Taken: applied, there before, or set aside with its cause",
                    body = IngestAnswer),
                IngestRefusals
            ),
            security(("basic" = []), ("bearer" = []))
        )]
        async fn $name(
            request: HttpRequest,
            payload: web::Payload,
            gateway: web::Data<Gateway>,
        ) -> Result<HttpResponse, Problem> {
            take(&request, payload, &gateway, Some(EventKind::$kind)).await
        }
    };
}

single!(identify, Identify, "/v1/identify", "Set attributes of a person");
single!(track, Track, "/v1/track", "Record what a person did");
single!(page, Page, "/v1/page", "Record a page view");
single!(screen, Screen, "/v1/screen", "Record a screen view");
single!(group, Group, "/v1/group", "Record membership of a group");
single!(alias, Alias, "/v1/alias", "Say that two ids are one person");

/// Take up to 10,000 items
///
/// A faulty item never fails its batch: it is set aside with its cause and listed in the answer.
#[utoipa::path(
    post,
    path = "/v1/batch",
    tag = "Ingest (Segment)",
    request_body(content = Object, content_type = "application/json",
        description = "An object with a list `batch` of items, each with its `type`; gzip is read"),
    responses(
        (status = 200, description = "Taken: every item applied, there before, or set aside with its cause",
            body = IngestAnswer),
        IngestRefusals
    ),
    security(("basic" = []), ("bearer" = []))
)]
async fn batch(
    request: HttpRequest,
    payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> Result<HttpResponse, Problem> {
    take(&request, payload, &gateway, None).await
}

async fn take(
    request: &HttpRequest,
    payload: web::Payload,
    gateway: &Gateway,
    kind: Option<EventKind>,
) -> Result<HttpResponse, Problem> {
    let (ingest, rate) = begin(request, gateway, kind).await?;
    let tenant = ingest.store.tenant();
    gateway.admission.glance(tenant, rate)?;
    let Some(_place) = gateway.in_flight.enter(tenant) else {
        return Err(busy_problem(1));
    };
    let limits = &gateway.state.limits;
    let admit = async |events: usize| {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        gateway.admission.admit(tenant, rate, events).await
    };
    let body = match read(request, payload, limits.ingest_bytes_max).await {
        Ok(body) => body,
        Err(error @ BodyError::TooLarge(_)) => return Err(of_body(error)),
        // Nobody is there to hear it; nothing was acknowledged.
        Err(BodyError::BrokenOff) => return Err(crate::failure::unavailable()),
    };
    let bytes = match body {
        Body::Plain(bytes) => bytes,
        Body::Packed { code, message, raw } => {
            admit(1).await?;
            return show(&ingest.take_unreadable(&raw, Fault::new(code, message)).await?);
        }
    };
    let text = Text::read(&bytes);
    let answer = match kind {
        Some(_) => {
            admit(1).await?;
            ingest.take(&[text.single()]).await?
        }
        None => match text.batch(limits.batch_items_max) {
            Ok(items) => {
                admit(items.len()).await?;
                ingest.take(&items).await?
            }
            Err(NoBatch::TooMany(items)) => return Err(too_many(items, limits.batch_items_max)),
            Err(NoBatch::Unreadable { code, message }) => {
                admit(1).await?;
                ingest.take_unreadable(&bytes, Fault::new(code, message)).await?
            }
        },
    };
    Ok(Reply::ok(&answer).response())
}

/// Authenticates, and says how many events the brand may bring; on these routes every refusal of the
/// key is a 401.
async fn begin<'a>(
    request: &HttpRequest,
    gateway: &'a Gateway,
    kind: Option<EventKind>,
) -> Result<(Ingest<'a>, Option<Rate>), Problem> {
    let key = auth::authenticate(gateway, request.headers()).await?;
    if !auth::may(&key, KeyScope::Ingest) {
        return Err(auth::unauthorised("the key lacks the scope `ingest`"));
    }
    let tenant = auth::choose_brand(gateway, &key, request.headers()).await.map_err(|problem| {
        if problem.status == 503 { problem } else { auth::unauthorised(&problem.detail) }
    })?;
    let settings = gateway.settings.get(&gateway.state, tenant).await?;
    let ingest = Ingest {
        gateway,
        store: gateway.state.store.for_tenant(tenant),
        kind,
        rules: Rules {
            received_at: gateway.state.clock.now(),
            window_days: settings.window_days,
            public_key: key.kind == KeyKind::Public,
        },
        identify_by_email: settings.identify_by_email,
        contacts: settings.contacts,
    };
    Ok((ingest, settings.events))
}

fn too_many(items: usize, most: usize) -> Problem {
    let detail =
        format!("a batch has at most {most} items, this one has {items}; send it in parts");
    Problem::new(413, "too_many_items", "Too many items", detail).at("batch")
}
