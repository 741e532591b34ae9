//! Inputs that were set aside: look at them, take them in again, discard them.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::QuarantineId;
use parcours_kit::Problem;
use parcours_store::{QuarantineRow, Requeued};
use parcours_wire::http::{PageOf, quarantine::QuarantineView};
use utoipa::OpenApi;
use uuid::Uuid;

use super::{
    PageQuery, ReadRefusals, WriteRefusals, ask, found, get, page_of, page_request, resource,
};
use crate::{
    auth::{Access, Manage, Read},
    failure, idempotent,
    ingest::{
        apply::{Fate, Ingest},
        envelope::Text,
        item::Rules,
    },
    reply::{Reply, show},
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(list, one, requeue, discard),
    components(schemas(PageOf<QuarantineView>, QuarantineView))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/quarantine", "GET, HEAD").route(get().to(list)))
        .service(
            resource("/v1/quarantine/{id}", "GET, HEAD, DELETE")
                .route(get().to(one))
                .route(web::delete().to(discard)),
        )
        .service(resource("/v1/quarantine/{id}/requeue", "POST").route(web::post().to(requeue)));
}

/// List what was set aside, newest first
#[utoipa::path(
    get,
    path = "/v1/quarantine",
    tag = "Quarantine",
    params(PageQuery),
    responses((status = 200, description = "A page", body = PageOf<QuarantineView>), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(access: Access<Read>, query: web::Query<PageQuery>) -> Result<HttpResponse, Problem> {
    let page = page_request(query.limit, query.cursor.as_deref());
    show(&page_of(ask(access.store().quarantine(&page).await)?, view))
}

/// Read one input that was set aside
#[utoipa::path(
    get,
    path = "/v1/quarantine/{id}",
    tag = "Quarantine",
    params(("id" = Uuid, Path, description = "The input")),
    responses((status = 200, description = "The input", body = QuarantineView), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn one(access: Access<Read>, id: web::Path<Uuid>) -> Result<HttpResponse, Problem> {
    show(&view(found(access.store().quarantined(QuarantineId(*id)).await, "input")?))
}

/// Take an input in again
///
/// Once the cause is mended. An input that is still at fault stays set aside and is a 422.
#[utoipa::path(
    post,
    path = "/v1/quarantine/{id}/requeue",
    tag = "Quarantine",
    params(("id" = Uuid, Path, description = "The input")),
    responses((status = 200, description = "Given back", body = QuarantineView), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn requeue(
    request: HttpRequest,
    access: Access<Manage>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, Problem> {
    let work = give_back(&access, QuarantineId(*id));
    idempotent::once(&access.gateway, access.tenant.0, &request, b"", work).await
}

async fn give_back(access: &Access<Manage>, id: QuarantineId) -> Result<Reply, Problem> {
    let (store, now) = (access.store(), access.now());
    match ask(store.requeue(id, now).await)? {
        Requeued::ToContact(contact) => access.gateway.state.worker.wake(access.tenant, contact),
        // A crash between the two leads here again, and finds a duplicate.
        Requeued::Payload(row) => {
            take_again(access, &row).await?;
            ask(store.mark_requeued(id, now).await)?;
        }
        Requeued::Already => {}
        Requeued::NotFound => {
            return Err(failure::not_found("there is no such input in this brand"));
        }
    }
    Ok(Reply::ok(&view(found(store.quarantined(id).await, "input")?)))
}

/// An input that never reached a contact goes through ingest again, as if a secret key sent it.
///
/// An input without an id of its own gets one that follows from the row: however often this is
/// repeated, it applies once.
async fn take_again(access: &Access<Manage>, row: &QuarantineRow) -> Result<(), Problem> {
    let gateway = &access.gateway;
    let settings = gateway.settings.get(&gateway.state, access.tenant).await?;
    let ingest = Ingest {
        gateway,
        store: access.store(),
        kind: None,
        rules: Rules {
            received_at: access.now(),
            window_days: settings.window_days,
            public_key: false,
        },
        identify_by_email: settings.identify_by_email,
        contacts: settings.contacts,
    };
    let text = Text::read(&row.payload);
    let made_id = || format!("requeue-{}", row.id.0);
    for fate in ingest.fates_with(&[text.single()], made_id).await? {
        match fate {
            Fate::Applied(..) | Fate::Duplicate(..) | Fate::SetAside(_) => {}
            Fate::Faulty(fault) | Fate::Conflict(fault) => {
                let detail = format!("it is still at fault: {}", fault.message);
                return Err(Problem::new(422, fault.code, "Still at fault", detail));
            }
        }
    }
    Ok(())
}

/// Discard an input for good
#[utoipa::path(
    delete,
    path = "/v1/quarantine/{id}",
    tag = "Quarantine",
    params(("id" = Uuid, Path, description = "The input")),
    responses((status = 200, description = "Discarded", body = QuarantineView), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn discard(
    request: HttpRequest,
    access: Access<Manage>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, Problem> {
    let work = async {
        let store = access.store();
        let row = found(store.quarantined(QuarantineId(*id)).await, "input")?;
        if !ask(store.discard(row.id).await)? {
            let detail = "it was given back to its contact and is kept as a record of that";
            return Err(Problem::new(409, "already_requeued", "Given back already", detail));
        }
        Ok(Reply::ok(&view(row)))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, b"", work).await
}

fn view(row: QuarantineRow) -> QuarantineView {
    QuarantineView {
        id: row.id.0,
        contact: row.contact.map(Uuid::from),
        origin: row.origin,
        code: row.code,
        detail: row.detail,
        payload: String::from_utf8_lossy(&row.payload).into_owned(),
        created_at: row.created_at,
        requeued_at: row.requeued_at,
    }
}
