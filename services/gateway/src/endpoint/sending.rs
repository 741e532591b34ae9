//! What is in the queue, and the release of a restored install.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_kit::Problem;
use parcours_store::{MayHaveLeft, QueuedGroup};
use parcours_wire::http::sending::{
    QueuedView, ReleaseAnswer, ReleaseRequest, RestoredView, SendingView,
};
use utoipa::OpenApi;
use uuid::Uuid;

use super::{ReadRefusals, WriteRefusals, ask, get, halt::reaches_all, invalid, resource};
use crate::{
    auth::{Above, Admin},
    body::{Admitted, JsonBody},
    idempotent,
    reply::Reply,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(sending, release),
    components(schemas(SendingView, RestoredView, QueuedView, ReleaseRequest, ReleaseAnswer))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/sending", "GET, HEAD").route(get().to(sending)))
        .service(resource("/v1/sending/release", "POST").route(web::post().to(release)));
}

/// What is in the queue, of all brands
///
/// After a restore: what would leave, and what may have left already.
#[utoipa::path(
    get,
    path = "/v1/sending",
    tag = "Halt",
    responses((status = 200, description = "The queue", body = SendingView), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn sending(access: Above<Admin>) -> Result<HttpResponse, Problem> {
    reaches_all(&access)?;
    let admin = access.gateway.state.store.admin();
    let install = ask(admin.install().await)?;
    let restored = ask(admin.restored().await)?
        .map(|from| RestoredView { backup_at: from.backup_at, caught_up_at: from.caught_up_at });
    let queued = ask(admin.queued().await)?.into_iter().map(view).collect();
    let halted = install.halted_at.is_some();
    let view = SendingView { restored, halted, halt_reason: install.halt_reason, queued };
    Ok(Reply::ok(&view).response())
}

/// Let a restored install send
///
/// Messages that may have left before the restore are not sent unless told so.
#[utoipa::path(
    post,
    path = "/v1/sending/release",
    tag = "Halt",
    request_body = ReleaseRequest,
    responses((status = 200, description = "Released", body = ReleaseAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn release(
    request: HttpRequest,
    Admitted(access, body): Admitted<Above<Admin>, JsonBody<ReleaseRequest>>,
) -> Result<HttpResponse, Problem> {
    reaches_all(&access)?;
    let what = match body.value.may_have_left.as_deref() {
        None | Some("skip") => MayHaveLeft::Skip,
        Some("send") => MayHaveLeft::Send,
        Some(_) => return Err(invalid("may_have_left", "`may_have_left` is `skip` or `send`")),
    };
    let work = async {
        let state = &access.gateway.state;
        let released = ask(state.store.admin().release(what, state.clock.now()).await)?;
        let released = released.ok_or_else(|| {
            let detail = "no restore holds this install's sending; /v1/install/unhalt lifts a halt";
            Problem::new(409, "not_restored", "Nothing to release", detail)
        })?;
        Ok(Reply::ok(&ReleaseAnswer {
            skipped: released.skipped,
            queued: released.queued,
            still_halted: released.still_halted,
        }))
    };
    idempotent::once(&access.gateway, Uuid::nil(), &request, &body.bytes, work).await
}

fn view(group: QueuedGroup) -> QueuedView {
    QueuedView {
        brand_id: group.tenant.0,
        brand: group.brand,
        template: group.template,
        class: group.class,
        would_leave: group.would_leave,
        may_have_left: group.may_have_left,
        first_at: group.first_at,
        last_at: group.last_at,
    }
}
