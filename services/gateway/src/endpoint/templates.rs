//! Templates tried out: a preview with a contact, and a test send to a listed address.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use parcours_content::CompiledTemplate;
use parcours_domain::{
    Channel, ContactId, EmailAddress, MessageClass, MessageId, Millis, Name, value::Properties,
};
use parcours_journey::{Document, Kind, document::TopicDocument};
use parcours_kit::Problem;
use parcours_store::{ApiMessage, ContactView, DocumentStatus, Enqueued};
use parcours_wire::http::{
    document::SourceFile,
    message::MessageAnswer,
    template::{FieldView, OutlookView, PreviewRequest, PreviewView, TestSendRequest},
};
use serde_json::Value as Json;
use utoipa::OpenApi;
use uuid::Uuid;

use super::{
    ReadRefusals, WriteRefusals, ask, documents::of_publish, found, invalid, messages, read,
    resource,
};
use crate::{
    auth::{Access, Manage, Permission, Read},
    body::{Admitted, JsonBody},
    failure, idempotent,
    preview::{self, Show},
    publish::{self, PublishError},
    quota,
    reply::{Reply, show},
};

/// A test is for now; one that waits longer is of no use.
const TEST_EXPIRES: Millis = Millis::hours(1);
/// Nothing runs, nothing is loaded but images, nothing is sent anywhere.
const PAGE_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; \
                           img-src https: data:; base-uri 'none'; form-action 'none'";

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(preview, test),
    components(schemas(
        PreviewRequest,
        PreviewView,
        FieldView,
        OutlookView,
        TestSendRequest,
        MessageAnswer
    ))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/templates/{name}/preview", "POST").route(web::post().to(preview)))
        .service(resource("/v1/templates/{name}/test", "POST").route(web::post().to(test)));
}

/// Show a template with a contact's values
///
/// Changes nothing and records nothing. With `Accept: text/html` the page alone comes, in a sandbox.
/// A `source` is shown in place of what is published; it goes through the same checks.
#[utoipa::path(
    post,
    path = "/v1/templates/{name}/preview",
    tag = "Templates",
    params(("name" = String, Path, description = "The template")),
    request_body = PreviewRequest,
    responses(
        (status = 200, description = "The message, its merge fields, and whether it would be sent", body = PreviewView),
        (status = 429, description = "The brand's templates have used what they may use of a processor; \
         Retry-After says how long",
            body = parcours_wire::http::ProblemBody, content_type = "application/problem+json"),
        ReadRefusals
    ),
    security(("basic" = []), ("bearer" = []))
)]
async fn preview(
    request: HttpRequest,
    Admitted(access, body): Admitted<Access<Read>, JsonBody<PreviewRequest>>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (name, wanted) = (read::<Name>(&name, "name", "a template's name")?, body.value);
    let share = quota::may_render(&access.store()).await?;
    let place = Arc::clone(&access.gateway.tryouts).acquire_owned().await;
    let place = place.map_err(|_| failure::internal())?;
    let (template, version) = shown_template(&access, &name, &wanted).await?;
    let contact = contact(&access, wanted.contact).await?;
    let (topic_name, topic) = topic(&access, &name, wanted.topic.as_deref()).await?;
    let store = &access.gateway.state.store;
    let brand = ask(publish::store::brand_document(store, access.tenant).await)?;
    let shown = Show {
        name: name.clone(),
        template,
        contact: preview::attributes(&contact),
        run: run_values(&contact, wanted.run, wanted.data)?,
        brand,
        topic: topic_name.clone(),
        now: access.now().to_string(),
    };
    let shown = preview::show(shown, place).await;
    quota::rendered(&access.store(), share, shown.cpu).await?;
    let topic = (topic_name.as_ref(), topic.as_ref());
    let mut outlook = preview::outlook(store, access.tenant, &contact, topic).await?;
    let (rendered, reason) = match shown.rendered {
        Ok(rendered) => (Some(rendered), None),
        Err(reason) => (None, Some(reason)),
    };
    outlook.would_be_sent &= reason.is_none();
    outlook.why_not.extend(reason);
    if wants_page(&request) {
        return Ok(page(rendered.map(|rendered| rendered.html), &outlook));
    }
    let (mut subject, mut html, mut text, mut links) = (None, None, None, Vec::new());
    if let Some(rendered) = rendered {
        links = rendered.links.into_iter().map(|(_, target)| target).collect();
        (subject, html, text) = (Some(rendered.subject), Some(rendered.html), Some(rendered.text));
    }
    show(&PreviewView {
        template: name.to_string(),
        version,
        subject,
        html,
        text,
        links,
        fields: shown.fields,
        outlook,
        warnings: shown.warnings,
    })
}

/// Send a template to a test address
///
/// Needs an `Idempotency-Key`. The address is one of the brand's `test_addresses`; no consent is asked
/// for, but a suppressed address, or one whose holder objected, is refused as always. The message
/// says that it is a test, is of the class `test`, and its links change nothing of the contact.
#[utoipa::path(
    post,
    path = "/v1/templates/{name}/test",
    tag = "Templates",
    params(
        ("name" = String, Path, description = "The template"),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters")
    ),
    request_body = TestSendRequest,
    responses((status = 201, description = "In the queue", body = MessageAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn test(
    request: HttpRequest,
    Admitted(access, body): Admitted<Access<Manage>, JsonBody<TestSendRequest>>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let name = read::<Name>(&name, "name", "a template's name")?;
    let key = messages::needed_key(&request)?;
    let work = enqueue(&access, &name, &body.value, key);
    idempotent::once(&access.gateway, access.tenant.0, &request, &body.bytes, work).await
}

async fn enqueue(
    access: &Access<Manage>,
    name: &Name,
    wanted: &TestSendRequest,
    idempotency_key: String,
) -> Result<Reply, Problem> {
    let (store, now) = (access.store(), access.now());
    let to: EmailAddress = read(&wanted.to, "to", "a mail address")?;
    listed(access, &to).await?;
    // One key may serve one template and one address only; with others it is another test.
    let idempotency_key = format!("{name} {} {idempotency_key}", to.expose());
    let template = store.document(Kind::Template.as_str(), name, None).await;
    let template = found(template, "published template")?;
    let (topic, _) = topic(access, name, wanted.topic.as_deref()).await?;
    let topic = topic.ok_or_else(|| {
        invalid("topic", "no journey sends this template, so its topic is not known; name one")
    })?;
    let sender = messages::sender(access, wanted.sender.as_deref()).await?;
    let contact = contact(access, wanted.contact).await?;
    let message = ApiMessage {
        id: MessageId::v7(now, access.gateway.state.chance.tail()),
        idempotency_key,
        contact: contact.id,
        template: template.name,
        template_version: i64::from(template.version),
        sender,
        topic,
        class: MessageClass::Test,
        channel: Channel::Email,
        data: run_values(&contact, wanted.run, wanted.data.clone())?,
        lane: to.lane(MessageClass::Test),
        not_before: now,
        expires_at: now + TEST_EXPIRES,
    };
    let (Enqueued::Fresh(id) | Enqueued::Already(id)) =
        ask(store.enqueue_test_message(&message, &to, now).await)?;
    access.gateway.state.delivery.hint(access.tenant, message.lane);
    Ok(Reply::created(&MessageAnswer { id: id.0, status: "queued".to_owned() }))
}

/// The gate asks again before the message leaves.
async fn listed(access: &Access<Manage>, to: &EmailAddress) -> Result<(), Problem> {
    let brand =
        ask(publish::store::brand_document(&access.gateway.state.store, access.tenant).await)?;
    let is_listed = brand.is_some_and(|brand| {
        brand.test_addresses.iter().any(|one| one.parse::<EmailAddress>().as_ref() == Ok(to))
    });
    if is_listed {
        return Ok(());
    }
    let detail = "a test goes to an address that the brand lists in `test_addresses`; an admin key \
                  can add it to the Brand document";
    Err(Problem::new(403, "not_test_address", "Not a test address", detail).at("to"))
}

/// The template to show, and its version when it is published.
async fn shown_template(
    access: &Access<Read>,
    name: &Name,
    wanted: &PreviewRequest,
) -> Result<(CompiledTemplate, Option<u32>), Problem> {
    if let Some(source) = &wanted.source {
        return Ok((draft(access, name, source).await?, None));
    }
    let row = access.store().document(Kind::Template.as_str(), name, wanted.version).await;
    let row = found(row, "published template")?;
    let compiled = row.compiled.as_deref().map(CompiledTemplate::decode);
    match compiled {
        Some(Ok(template)) => Ok((template, Some(row.version))),
        Some(Err(_)) | None => {
            tracing::error!(template = %name, "a published template cannot be read");
            Err(failure::internal())
        }
    }
}

/// A template that is not published, checked as if it were to be.
async fn draft(
    access: &Access<Read>,
    name: &Name,
    source: &str,
) -> Result<CompiledTemplate, Problem> {
    let file = SourceFile { name: "source".to_owned(), source: source.to_owned() };
    let set = super::documents::read_set(vec![file]).await?;
    if !set.problems.is_empty() {
        return Err(of_publish(&PublishError::Problems(set.problems)));
    }
    let one = match set.documents.as_slice() {
        [one] if one.document.kind() == Kind::Template && one.document.name() == name => Some(one),
        _ => None,
    };
    if one.is_none() {
        return Err(invalid("source", format!("`source` is one Template document named {name}")));
    }
    let published = publish::store::existing(&access.gateway.state.store, access.tenant).await;
    let published = published.map_err(|error| of_publish(&error))?;
    let checked = publish::store::check_apart(set, published).await;
    let (checked, _) = checked.map_err(|error| of_publish(&error))?;
    let compiled = checked.documents.into_iter().find_map(|one| one.compiled);
    let template = compiled.and_then(|bytes| CompiledTemplate::decode(&bytes).ok());
    template.ok_or_else(failure::internal)
}

async fn contact<P: Permission>(access: &Access<P>, id: Uuid) -> Result<ContactView, Problem> {
    let contact = found(access.store().contact(ContactId(id)).await, "contact")?;
    if contact.erased_at.is_some() {
        return Err(failure::not_found("the contact was erased"));
    }
    Ok(contact)
}

fn run_values(
    contact: &ContactView,
    run: Option<Uuid>,
    data: Option<Json>,
) -> Result<Properties, Problem> {
    let mut values = preview::run_data(contact, run)?;
    values.extend(messages::data(data)?);
    Ok(values)
}

/// The topic asked for, or that under which a live journey sends the template; and its document, when
/// it is published and not archived.
async fn topic<P: Permission>(
    access: &Access<P>,
    template: &Name,
    asked: Option<&str>,
) -> Result<(Option<Name>, Option<TopicDocument>), Problem> {
    let rows = ask(access.store().documents().await)?;
    let live = rows.iter().filter(|row| row.status != DocumentStatus::Archived);
    let documents: Vec<Document> = live
        .filter_map(|row| serde_json::from_str(&row.body).ok())
        .filter_map(|body: Json| Document::from_json(&body).ok())
        .collect();
    let name = match asked {
        Some(asked) => Some(read::<Name>(asked, "topic", "a topic's name")?),
        None => publish::topic_of(template, &documents),
    };
    let topic = documents.into_iter().find_map(|document| match document {
        Document::Topic(topic) if Some(&topic.name) == name.as_ref() => Some(topic),
        Document::Brand(_)
        | Document::Sender(_)
        | Document::Topic(_)
        | Document::Template(_)
        | Document::Journey(_) => None,
    });
    if asked.is_some() && topic.is_none() {
        return Err(messages::unknown("topic"));
    }
    Ok((name, topic))
}

fn wants_page(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.starts_with("text/html"))
}

fn page(html: Option<String>, outlook: &OutlookView) -> HttpResponse {
    let html = html.unwrap_or_else(|| {
        let why = crate::page::escape(&outlook.why_not.join(", "));
        format!("<!doctype html><title>No message</title><p>No message: {why}</p>")
    });
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(html)
}
