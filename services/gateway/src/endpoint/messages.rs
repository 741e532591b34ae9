//! Messages: list, one, why, and transactional messages by the API.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::{
    Channel, ContactId, MessageClass, MessageId, Millis, Name, Value, value::Properties,
};
use parcours_journey::{Document, Kind};
use parcours_kit::Problem;
use parcours_store::{
    ApiMessage, DocumentRow, Enqueued, KeyScope, MessageFilter, MessageRow, MessageWhy,
};
use parcours_wire::http::{
    PageOf,
    message::{MessageAnswer, MessageRequest, MessageView, WhyView},
};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

use super::{
    ReadRefusals, WriteRefusals, ask, found, get, invalid, page_of, page_request, read, resource,
};
use crate::{
    auth::{Access, Manage, Read},
    body::{Admitted, JsonBody},
    idempotent, publish, quota,
    reply::{Reply, show},
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(list, one, why, send),
    components(schemas(PageOf<MessageView>, MessageView, WhyView, MessageRequest, MessageAnswer))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            resource("/v1/messages", "GET, HEAD, POST")
                .route(get().to(list))
                .route(web::post().to(send)),
        )
        .service(resource("/v1/messages/{id}", "GET, HEAD").route(get().to(one)))
        .service(resource("/v1/messages/{id}/why", "GET, HEAD").route(get().to(why)));
}

/// Which messages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MessageQuery {
    /// How many items, at most 500; 50 unless asked otherwise.
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Only messages to this contact.
    contact: Option<Uuid>,
    /// Only messages with this status.
    status: Option<String>,
    /// Only messages of this journey.
    journey: Option<String>,
    /// Only messages of this template.
    template: Option<String>,
    /// Only messages of this class: `marketing`, `transactional` or `test`.
    class: Option<String>,
}

/// List messages, newest first
#[utoipa::path(
    get,
    path = "/v1/messages",
    tag = "Messages",
    params(MessageQuery),
    responses((status = 200, description = "A page of messages", body = PageOf<MessageView>), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(
    access: Access<Read>,
    query: web::Query<MessageQuery>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let name = |text: Option<&String>, field| {
        text.map(|text| read::<Name>(text, field, "a name")).transpose()
    };
    let filter = MessageFilter {
        journey: name(query.journey.as_ref(), "journey")?,
        template: name(query.template.as_ref(), "template")?,
        contact: query.contact.map(ContactId),
        status: query.status,
        class: query.class.as_deref().map(class).transpose()?,
    };
    let page = page_request(query.limit, query.cursor.as_deref());
    show(&page_of(ask(access.store().messages(&filter, &page).await)?, |one| view(&one)))
}

fn class(text: &str) -> Result<MessageClass, Problem> {
    let known = "`class` is marketing, transactional or test";
    MessageClass::parse(text).ok_or_else(|| invalid("class", known))
}

/// Read one message
#[utoipa::path(
    get,
    path = "/v1/messages/{id}",
    tag = "Messages",
    params(("id" = Uuid, Path, description = "The message")),
    responses((status = 200, description = "The message", body = MessageView), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn one(access: Access<Read>, id: web::Path<Uuid>) -> Result<HttpResponse, Problem> {
    show(&view(&found(access.store().message(MessageId(*id)).await, "message")?))
}

/// Read why a message left, or did not
#[utoipa::path(
    get,
    path = "/v1/messages/{id}/why",
    tag = "Messages",
    params(("id" = Uuid, Path, description = "The message")),
    responses((status = 200, description = "The decision, the attempts and the links", body = WhyView), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn why(access: Access<Read>, id: web::Path<Uuid>) -> Result<HttpResponse, Problem> {
    let why = found(access.store().message_why(MessageId(*id)).await, "message")?;
    show(&why_view(&why))
}

/// Send a transactional message
///
/// Needs an `Idempotency-Key`: one key is one message, however often the request comes. Template
/// and topic are published, the topic is transactional, and an admin key published the template.
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "Messages",
    request_body = MessageRequest,
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters")),
    responses(
        (status = 201, description = "In the queue", body = MessageAnswer),
        (status = 429, description = "The brand has sent what it may send today; Retry-After says how \
            long the day is",
            body = parcours_wire::http::ProblemBody, content_type = "application/problem+json"),
        WriteRefusals
    ),
    security(("basic" = []), ("bearer" = []))
)]
async fn send(
    request: HttpRequest,
    Admitted(access, body): Admitted<Access<Manage>, JsonBody<MessageRequest>>,
) -> Result<HttpResponse, Problem> {
    let key = needed_key(&request)?;
    let work = enqueue(&access, &body.value, key);
    idempotent::once(&access.gateway, access.tenant.0, &request, &body.bytes, work).await
}

/// The Idempotency-Key, which a message cannot do without.
pub(super) fn needed_key(request: &HttpRequest) -> Result<String, Problem> {
    let detail =
        "a message needs the header Idempotency-Key, so that a repeat does not send it twice";
    let needed = || {
        Problem::new(400, "idempotency_key_required", "Idempotency-Key required", detail)
            .at(idempotent::HEADER)
    };
    idempotent::key_of(request)?.ok_or_else(needed)
}

async fn enqueue(
    access: &Access<Manage>,
    wanted: &MessageRequest,
    idempotency_key: String,
) -> Result<Reply, Problem> {
    let (store, now) = (access.store(), access.now());
    quota::may_send(&store, now).await?;
    let (template, topic) = template_and_topic(access, wanted).await?;
    let brand =
        ask(publish::store::brand_document(&access.gateway.state.store, access.tenant).await)?;
    let expiry = brand.map_or(Millis::hours(72), |brand| brand.expiry.transactional.millis());
    let sender = sender(access, wanted.sender.as_deref()).await?;
    let contact = found(store.contact(ContactId(wanted.contact)).await, "contact")?;
    let address = contact.addresses.iter().find(|one| one.channel == Channel::Email);
    let message = ApiMessage {
        id: MessageId::v7(now, access.gateway.state.chance.tail()),
        idempotency_key,
        contact: contact.id,
        template: template.name,
        template_version: i64::from(template.version),
        sender,
        topic,
        class: MessageClass::Transactional,
        channel: Channel::Email,
        data: data(wanted.data.clone())?,
        lane: address
            .and_then(|one| one.address.as_ref())
            .map_or(0, |address| address.lane(MessageClass::Transactional)),
        not_before: now,
        expires_at: now + expiry,
    };
    let (Enqueued::Fresh(id) | Enqueued::Already(id)) =
        ask(store.enqueue_api_message(&message, now).await)?;
    access.gateway.state.delivery.hint(access.tenant, message.lane);
    Ok(Reply::created(&MessageAnswer { id: id.0, status: "queued".to_owned() }))
}

/// The template that an admin key published, and the transactional topic.
async fn template_and_topic(
    access: &Access<Manage>,
    wanted: &MessageRequest,
) -> Result<(DocumentRow, Name), Problem> {
    let store = access.store();
    let topic: Name = read(&wanted.topic, "topic", "a topic's name")?;
    match ask(publish::store::head(&store, Kind::Topic, &topic).await)? {
        Some(Document::Topic(topic)) if topic.class == MessageClass::Transactional => {}
        Some(_) => {
            let detail =
                "only transactional topics are sent by the API; marketing goes by journeys";
            return Err(Problem::new(422, "not_transactional", "Topic not transactional", detail)
                .at("topic"));
        }
        None => return Err(unknown("topic")),
    }
    let name: Name = read(&wanted.template, "template", "a template's name")?;
    let template = ask(store.document(Kind::Template.as_str(), &name, None).await)?;
    let template = template.ok_or_else(|| unknown("template"))?;
    if !published_by_admin(access, &template).await? {
        let detail = "what is sent without consent is published by an admin key: publish this template with one";
        return Err(Problem::new(
            403,
            "needs_admin_template",
            "Template not published by an admin",
            detail,
        )
        .at("template"));
    }
    Ok((template, topic))
}

/// Whoever opens the store itself publishes without a key and may everything.
async fn published_by_admin(access: &Access<Manage>, row: &DocumentRow) -> Result<bool, Problem> {
    let Some(publisher) = row.published_by else { return Ok(true) };
    if publisher == access.key.id {
        return Ok(crate::auth::may(&access.key, KeyScope::Admin));
    }
    let keys = ask(access.gateway.state.store.admin().api_keys(None, None).await)?;
    let key = keys.iter().find(|key| key.id == publisher);
    Ok(key.is_some_and(|key| crate::auth::may(key, KeyScope::Admin)))
}

/// The sender asked for, or the brand's default; it is published.
pub(super) async fn sender(access: &Access<Manage>, asked: Option<&str>) -> Result<Name, Problem> {
    let sender = match asked {
        Some(text) => read(text, "sender", "a sender's name")?,
        None => {
            let store = &access.gateway.state.store;
            let brand = ask(publish::store::brand_document(store, access.tenant).await)?;
            let default = brand.and_then(|brand| brand.defaults.sender);
            let help = "the brand has no default sender; name one, or set `defaults.sender`";
            default.ok_or_else(|| invalid("sender", help))?
        }
    };
    let there = ask(access.store().document(Kind::Sender.as_str(), &sender, None).await)?;
    if there.is_none() {
        return Err(unknown("sender"));
    }
    Ok(sender)
}

/// `run.*` of a request.
pub(super) fn data(data: Option<serde_json::Value>) -> Result<Properties, Problem> {
    match data.map(Value::from_json) {
        None | Some(Value::Null) => Ok(Properties::new()),
        Some(Value::Map(map)) => Ok(map),
        Some(
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::List(_),
        ) => Err(invalid("data", "`data` is an object")),
    }
}

pub(super) fn unknown(what: &'static str) -> Problem {
    let detail = format!("there is no published {what} of this name");
    Problem::new(422, "unknown_document", "Not published", detail).at(what)
}

/// A message for callers.
#[must_use]
pub fn view(message: &MessageRow) -> MessageView {
    MessageView {
        id: message.id.0,
        contact: message.contact.0,
        origin: message.origin.clone(),
        run: message.run.map(Uuid::from),
        journey: message.journey.as_ref().map(ToString::to_string),
        journey_version: message.journey_version,
        step: message.step.as_ref().map(ToString::to_string),
        template: message.template.to_string(),
        template_version: message.template_version,
        sender: message.sender.to_string(),
        topic: message.topic.to_string(),
        class: message.class.to_string(),
        channel: message.channel.to_string(),
        created_at: message.created_at,
        expires_at: message.expires_at,
        status: message.status.clone(),
        reason: message.reason.clone(),
        attempts: message.attempts,
        finished_at: message.finished_at,
    }
}

/// Everything that is known of a message's way.
#[must_use]
pub fn why_view(why: &MessageWhy) -> WhyView {
    let attempts = why.attempts.iter().map(|one| {
        json!({
            "number": one.number, "started_at": one.started_at, "ended_at": one.ended_at,
            "stage": one.stage, "result": one.result, "code": one.code, "enhanced": one.enhanced,
        })
    });
    let links = why
        .links
        .iter()
        .map(|one| json!({ "number": one.number, "url": one.url, "clicked_at": one.clicked_at }));
    let receipt = why.message.receipt.as_deref();
    WhyView {
        message: view(&why.message),
        receipt: receipt.and_then(|text| serde_json::from_str(text).ok()),
        attempts: attempts.collect(),
        links: links.collect(),
    }
}
