//! Our own route for a single event: strict where the Segment routes are lenient.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::EventKind;
use parcours_kit::Problem;
use parcours_store::{KeyKind, NO_ROOM};
use parcours_wire::http::ingest::{EventAnswer, EventRequest};
use serde_json::{Map, Value as Json};
use utoipa::OpenApi;

use super::{WriteRefusals, invalid, resource};
use crate::{
    auth::{Access, Ingest as IngestScope},
    body::{Admitted, JsonBody},
    failure, idempotent,
    ingest::{
        apply::{Fate, Ingest, busy_problem},
        envelope::RawItem,
        item::Rules,
    },
    reply::Reply,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(post_event), components(schemas(EventRequest, EventAnswer)))]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/events", "POST").route(web::post().to(post_event)));
}

/// Record one event
///
/// The answer comes after the commit. A `message_id` that came before with another body is a 409.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "Events",
    request_body = EventRequest,
    responses(
        (status = 200, description = "Committed, now or by an earlier request", body = EventAnswer),
        (status = 429, description = "Beyond the brand's quota of events, or too much is being worked on; \
            Retry-After says when to come again",
            body = parcours_wire::http::ProblemBody, content_type = "application/problem+json"),
        WriteRefusals
    ),
    security(("basic" = []), ("bearer" = []))
)]
async fn post_event(
    request: HttpRequest,
    Admitted(access, body): Admitted<Access<IngestScope>, JsonBody<EventRequest>>,
) -> Result<HttpResponse, Problem> {
    let gateway = access.gateway.clone();
    let key = idempotent::key_of(&request)?;
    let settings = gateway.settings.get(&gateway.state, access.tenant).await?;
    gateway.admission.glance(access.tenant, settings.events)?;
    // Before the repeat of a request is looked up: that costs the database as well.
    let Some(_place) = gateway.in_flight.enter(access.tenant) else { return Err(busy_problem(1)) };
    gateway.admission.admit(access.tenant, settings.events, 1).await?;
    let work = apply(&access, body.value, key);
    idempotent::once(&gateway, access.tenant.0, &request, &body.bytes, work).await
}

async fn apply(
    access: &Access<IngestScope>,
    event: EventRequest,
    key: Option<String>,
) -> Result<Reply, Problem> {
    let gateway = &access.gateway;
    let kind = EventKind::parse(&event.r#type).ok_or_else(|| {
        invalid("type", "`type` is one of track, identify, page, screen, group, alias")
    })?;
    let settings = gateway.settings.get(&gateway.state, access.tenant).await?;
    let ingest = Ingest {
        gateway,
        store: access.store(),
        kind: Some(kind),
        rules: Rules {
            received_at: access.now(),
            window_days: settings.window_days,
            public_key: access.key.kind == KeyKind::Public,
        },
        identify_by_email: settings.identify_by_email,
        contacts: settings.contacts,
    };
    let text = segment_item(event, key).to_string();
    let raw = [RawItem { index: 0, text: &text, bytes: text.as_bytes(), damaged: false }];
    let fate = ingest.fates(&raw).await?.into_iter().next().ok_or_else(failure::internal)?;
    answer(fate)
}

/// The same item as a Segment client would send it.
fn segment_item(event: EventRequest, key: Option<String>) -> Json {
    let text = |text: Option<String>| text.map(Json::String);
    let message_id = event.message_id.or_else(|| key.map(|key| format!("idempotency-key:{key}")));
    let members = [
        ("type", Some(Json::String(event.r#type))),
        ("userId", text(event.user_id)),
        ("anonymousId", text(event.anonymous_id)),
        ("event", text(event.event)),
        ("name", text(event.name)),
        ("properties", event.properties),
        ("traits", event.traits),
        ("groupId", text(event.group_id)),
        ("previousId", text(event.previous_id)),
        ("timestamp", text(event.timestamp)),
        ("messageId", text(message_id)),
    ];
    let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Json::Object(given.collect::<Map<_, _>>())
}

fn answer(fate: Fate) -> Result<Reply, Problem> {
    let reply = |status: &str, id, contact| {
        let contact = uuid::Uuid::from(contact);
        Reply::ok(&EventAnswer { status: status.to_owned(), id: uuid::Uuid::from(id), contact })
    };
    match fate {
        Fate::Applied(event, contact) => Ok(reply("applied", event, contact)),
        Fate::Duplicate(event, contact) => Ok(reply("duplicate", event, contact)),
        Fate::Faulty(fault) | Fate::SetAside(fault) | Fate::Conflict(fault) => {
            let (status, title) = match fault.code {
                "duplicate_id_other_body" => (409, "Id used for something else"),
                "needs_secret_key" => (403, "Secret key required"),
                NO_ROOM => (403, "Too many contacts"),
                _ => (422, "Event not valid"),
            };
            Err(Problem::new(status, fault.code, title, fault.message))
        }
    }
}
