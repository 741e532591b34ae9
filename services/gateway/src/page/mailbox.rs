//! The built-in mailbox as pages: what was caught, and each message as its recipient sees it, with
//! its "why". For one's own machine: served only when the binary says so, to whoever reaches the
//! port.

use std::fmt::Write as _;

use actix_web::{HttpResponse, http::header, web};
use mail_parser::{Message, MessageParser};
use parcours_domain::{MessageId, TenantId};
use parcours_kit::Problem;
use parcours_store::TenantStore;
use parcours_wire::http::mailbox::MailboxItem;
use uuid::Uuid;

use super::escape;
use crate::{
    endpoint::{PageQuery, ask, found, get, mailbox::items, messages::why_view, resource},
    state::Gateway,
};

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;\
    padding:1.5rem;color:#1a1a1a;background:#fafafa}h1{font-size:1.3rem}a{color:#0b57d0}\
    table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.4rem .6rem;\
    border-bottom:1px solid #ddd;vertical-align:top}iframe{width:100%;height:32rem;\
    border:1px solid #bbb;background:#fff}pre{white-space:pre-wrap;overflow-wrap:anywhere;\
    background:#fff;border:1px solid #ddd;padding:.8rem;font-size:.85rem}\
    summary{cursor:pointer;margin:.8rem 0 .4rem}@media(prefers-color-scheme:dark){\
    body{background:#161616;color:#eee}a{color:#8ab4f8}pre{background:#222;border-color:#444}\
    td,th{border-color:#444}}";

/// The routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/mailbox", "GET, HEAD").route(get().to(brands)))
        .service(resource("/mailbox/{brand}", "GET, HEAD").route(get().to(list)))
        .service(resource("/mailbox/{brand}/{message}", "GET, HEAD").route(get().to(one)));
}

/// The brands; the only one is shown at once.
async fn brands(gateway: web::Data<Gateway>) -> Result<HttpResponse, Problem> {
    let brands = ask(gateway.state.store.admin().brands(None).await)?;
    if let [only] = brands.as_slice() {
        let to = format!("/mailbox/{}", only.tenant);
        return Ok(HttpResponse::Found().insert_header((header::LOCATION, to)).finish());
    }
    let mut body = String::from("<h1>Mailbox</h1><ul>");
    for brand in &brands {
        let (tenant, name) = (brand.tenant, escape(&brand.name));
        let organisation = escape(&brand.organisation_name);
        let _ = write!(body, "<li><a href=\"/mailbox/{tenant}\">{organisation} / {name}</a></li>");
    }
    body.push_str("</ul>");
    Ok(page("Mailbox", &body))
}

async fn list(
    gateway: web::Data<Gateway>,
    brand: web::Path<Uuid>,
    query: web::Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let store = gateway.state.store.for_tenant(TenantId(*brand));
    let name = brand_name(&gateway, *brand).await?;
    let page_of = items(&store, query.limit, query.cursor.as_deref()).await?;
    let mut body = format!("<h1>Mailbox of {}</h1>", escape(&name));
    if page_of.items.is_empty() {
        body.push_str("<p>Nothing was sent yet.</p>");
    }
    body.push_str("<table><tr><th>When</th><th>To</th><th>Subject</th></tr>");
    for item in &page_of.items {
        row(&mut body, *brand, item);
    }
    body.push_str("</table>");
    if let Some(next) = page_of.next {
        let _ =
            write!(body, "<p><a href=\"/mailbox/{brand}?cursor={}\">Older</a></p>", escape(&next));
    }
    Ok(page("Mailbox", &body))
}

fn row(body: &mut String, brand: Uuid, item: &MailboxItem) {
    let subject = if item.subject.is_empty() { "(no subject)" } else { &item.subject };
    let _ = write!(
        body,
        "<tr><td>{}</td><td>{}</td><td><a href=\"/mailbox/{brand}/{}\">{}</a></td></tr>",
        item.arrived_at,
        escape(&item.to),
        item.message,
        escape(subject),
    );
}

async fn one(
    gateway: web::Data<Gateway>,
    path: web::Path<(Uuid, Uuid)>,
) -> Result<HttpResponse, Problem> {
    let (brand, message) = path.into_inner();
    brand_name(&gateway, brand).await?;
    let store = gateway.state.store.for_tenant(TenantId(brand));
    let raw = found(store.mail(MessageId(message)).await, "message in the mailbox")?;
    let why = why(&store, MessageId(message)).await?;
    let parsed = MessageParser::default().parse(&raw);
    let mut body = format!("<p><a href=\"/mailbox/{brand}\">Mailbox</a></p>");
    let subject = parsed.as_ref().and_then(Message::subject).unwrap_or("(no subject)");
    let _ = write!(body, "<h1>{}</h1>", escape(subject));
    if let Some(mail) = &parsed {
        parts(&mut body, mail);
    }
    let head = String::from_utf8_lossy(headers_of(&raw)).into_owned();
    let _ = write!(
        body,
        "<details open><summary>Why it was sent</summary><pre>{}</pre></details>\
         <details><summary>Headers</summary><pre>{}</pre></details>",
        escape(&why),
        escape(&head),
    );
    Ok(page(subject, &body))
}

/// The HTML part in a sandbox: no script, no form, nothing from elsewhere; links open apart.
fn parts(body: &mut String, mail: &Message<'_>) {
    if let Some(html) = mail.body_html(0) {
        let _ = write!(
            body,
            "<iframe title=\"The message\" referrerpolicy=\"no-referrer\" \
             sandbox=\"allow-popups allow-popups-to-escape-sandbox\" \
             srcdoc=\"&lt;base target=&quot;_blank&quot;&gt;{}\"></iframe>",
            escape(&html),
        );
    }
    if let Some(text) = mail.body_text(0) {
        let _ = write!(
            body,
            "<details><summary>Text part</summary><pre>{}</pre></details>",
            escape(&text),
        );
    }
}

async fn why(store: &TenantStore, message: MessageId) -> Result<String, Problem> {
    let why = ask(store.message_why(message).await)?;
    Ok(why.map_or_else(
        || "nothing is recorded".to_owned(),
        |why| serde_json::to_string_pretty(&why_view(&why)).unwrap_or_default(),
    ))
}

async fn brand_name(gateway: &Gateway, brand: Uuid) -> Result<String, Problem> {
    let brand = ask(gateway.state.store.admin().brand(TenantId(brand)).await)?;
    brand.map(|brand| brand.name).ok_or_else(|| crate::failure::not_found("there is no such brand"))
}

/// Everything before the first empty line.
fn headers_of(raw: &[u8]) -> &[u8] {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(raw.len());
    raw.get(..end).unwrap_or(raw)
}

fn page(title: &str, body: &str) -> HttpResponse {
    let title = escape(title);
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>{title}</title><style>{STYLE}</style></head><body>{body}</body></html>"
        ))
}
