//! The built-in mailbox by the API: list, and each message as it would have been sent.

use actix_web::{HttpResponse, http::header, web};
use mail_parser::MessageParser;
use parcours_domain::{MessageId, Timestamp};
use parcours_kit::Problem;
use parcours_store::TenantStore;
use parcours_wire::http::{PageOf, mailbox::MailboxItem};
use utoipa::OpenApi;
use uuid::Uuid;

use super::{PageQuery, ReadRefusals, ask, found, get, page_request, resource};
use crate::{
    auth::{Access, Read},
    reply::show,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(list, raw), components(schemas(PageOf<MailboxItem>)))]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/mailbox", "GET, HEAD").route(get().to(list)))
        .service(resource("/v1/mailbox/{message}", "GET, HEAD").route(get().to(raw)));
}

/// List what the built-in mailbox caught, newest first
#[utoipa::path(
    get,
    path = "/v1/mailbox",
    tag = "Mailbox",
    params(PageQuery),
    responses((status = 200, description = "A page of messages", body = PageOf<MailboxItem>), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(access: Access<Read>, query: web::Query<PageQuery>) -> Result<HttpResponse, Problem> {
    show(&items(&access.store(), query.limit, query.cursor.as_deref()).await?)
}

/// Read one message as it would have been sent
#[utoipa::path(
    get,
    path = "/v1/mailbox/{message}",
    tag = "Mailbox",
    params(("message" = Uuid, Path, description = "The message")),
    responses(
        (status = 200, description = "The message (RFC 5322)", body = String, content_type = "message/rfc822"),
        ReadRefusals
    ),
    security(("basic" = []), ("bearer" = []))
)]
async fn raw(access: Access<Read>, message: web::Path<Uuid>) -> Result<HttpResponse, Problem> {
    let raw = found(access.store().mail(MessageId(*message)).await, "message in the mailbox")?;
    Ok(HttpResponse::Ok()
        .content_type("message/rfc822")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(raw))
}

/// A page of the mailbox with subjects and recipients, read from the messages themselves.
///
/// # Errors
/// What the store says.
pub async fn items(
    store: &TenantStore,
    limit: Option<u32>,
    cursor: Option<&str>,
) -> Result<PageOf<MailboxItem>, Problem> {
    let page = ask(store.mailbox(&page_request(limit, cursor)).await)?;
    let mut items = Vec::with_capacity(page.items.len());
    for row in page.items {
        if let Some(raw) = ask(store.mail(row.message).await)? {
            items.push(item(row.message, row.arrived_at, &raw));
        }
    }
    Ok(PageOf { items, next: page.next.map(|next| next.as_str().to_owned()) })
}

fn item(message: MessageId, arrived_at: Timestamp, raw: &[u8]) -> MailboxItem {
    let parsed = MessageParser::default().parse_headers(raw);
    let to = parsed.as_ref().and_then(|mail| mail.to()).and_then(|to| to.first());
    MailboxItem {
        message: message.0,
        arrived_at,
        subject: parsed.as_ref().and_then(|mail| mail.subject()).unwrap_or("").to_owned(),
        to: to.and_then(|to| to.address()).unwrap_or("").to_owned(),
    }
}
