//! The public links: `/u/{token}` (unsubscribe) and `/c/{token}` (click).
//!
//! No authentication, no cookies, no scripts, no redirect but to a stored target. GET and HEAD of
//! `/u` show a page and change nothing; POST withdraws (RFC 8058: both form encodings, or anything
//! else, since the URL says it all). GET of `/c` records the click once and redirects; HEAD only
//! redirects. A token that is not ours gets the same answer whatever is wrong with it and whatever
//! the method, so there is nothing to learn by trying; a network that tries too often gets 429
//! instead, and its real links go on working.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, ContentType, HeaderValue},
    },
    web::{self, ServiceConfig},
};
use futures::StreamExt as _;
use parcours_wire::{ConsentApi as _, ConsentError, UnsubscribeScope};

use crate::{form, guesses::Network, page, service::ConsentService};

const UNSUBSCRIBE_METHODS: &str = "GET, HEAD, POST, OPTIONS";
const CLICK_METHODS: &str = "GET, HEAD, OPTIONS";

/// The routes with the service behind them.
pub fn configure(service: Arc<ConsentService>) -> impl Fn(&mut ServiceConfig) + Clone {
    move |cfg| {
        cfg.app_data(web::Data::from(Arc::clone(&service)));
        routes(cfg);
    }
}

/// The routes alone: the application holds a `web::Data<ConsentService>`.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/u/{token:.*}").route(web::route().to(unsubscribe)))
        .service(web::resource("/c/{token:.*}").route(web::route().to(click)));
}

async fn unsubscribe(
    request: HttpRequest,
    token: web::Path<String>,
    service: web::Data<ConsentService>,
    body: web::Payload,
) -> HttpResponse {
    let about = match service.look(&token).await {
        Ok(about) => about,
        Err(error) => return failed(&request, &service, &error),
    };
    match *request.method() {
        Method::GET | Method::HEAD => html(StatusCode::OK, page::ask(&about)),
        Method::POST => {
            let scope = form::scope_of(content_type(&request), &beginning(body).await);
            match service.unsubscribe(&token, scope).await {
                Ok(about) => {
                    let all = scope == UnsubscribeScope::AllMarketing;
                    html(StatusCode::OK, page::done(&about, all))
                }
                Err(error) => failed(&request, &service, &error),
            }
        }
        ref other => allowed(other, UNSUBSCRIBE_METHODS),
    }
}

async fn click(
    request: HttpRequest,
    token: web::Path<String>,
    service: web::Data<ConsentService>,
) -> HttpResponse {
    let record = request.method() == Method::GET;
    let found = match service.click(&token, record).await {
        Ok(found) => found,
        Err(error) => return failed(&request, &service, &error),
    };
    match *request.method() {
        Method::GET | Method::HEAD => match HeaderValue::from_bytes(found.url.as_bytes()) {
            Ok(url) => safe(HttpResponse::Found()).insert_header((header::LOCATION, url)).finish(),
            Err(_) => html(StatusCode::NOT_FOUND, page::NOT_FOUND.clone()),
        },
        ref other => allowed(other, CLICK_METHODS),
    }
}

fn content_type(request: &HttpRequest) -> &str {
    let value = request.headers().get(header::CONTENT_TYPE);
    value.and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// The beginning of the body; what is broken or too long is as good as nothing.
async fn beginning(mut body: web::Payload) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.next().await {
        let room = form::BODY_BYTES_MAX.saturating_sub(bytes.len());
        bytes.extend(chunk.iter().take(room));
        if room == 0 {
            break;
        }
    }
    bytes
}

fn failed(request: &HttpRequest, service: &ConsentService, error: &ConsentError) -> HttpResponse {
    match error {
        ConsentError::Unavailable => {
            let body = page::unavailable();
            safe(HttpResponse::ServiceUnavailable())
                .insert_header((header::RETRY_AFTER, "60"))
                .content_type(ContentType::html())
                .body(body)
        }
        ConsentError::NotFound
        | ConsentError::NoContact
        | ConsentError::NoTopic(_)
        | ConsentError::NotGranular => not_found(request, service),
    }
}

/// The same page whatever is wrong; nothing but a status to a network that guesses too much.
fn not_found(request: &HttpRequest, service: &ConsentService) -> HttpResponse {
    let guesses = &service.guesses;
    let network = Network::asking(request.peer_addr(), request.headers(), guesses.proxies);
    if guesses.spend(network) {
        return html(StatusCode::NOT_FOUND, page::NOT_FOUND.clone());
    }
    safe(HttpResponse::TooManyRequests()).insert_header((header::RETRY_AFTER, "60")).finish()
}

/// OPTIONS says what is possible; every other method is refused with the same list.
fn allowed(method: &Method, methods: &'static str) -> HttpResponse {
    let answer = if method == Method::OPTIONS {
        HttpResponse::NoContent()
    } else {
        HttpResponse::MethodNotAllowed()
    };
    safe(answer).insert_header((header::ALLOW, methods)).finish()
}

fn html(status: StatusCode, body: String) -> HttpResponse {
    safe(HttpResponse::build(status)).content_type(ContentType::html()).body(body)
}

/// Headers of every answer: not stored, not sniffed, not framed, no trace of the link elsewhere.
fn safe(mut answer: actix_web::HttpResponseBuilder) -> actix_web::HttpResponseBuilder {
    answer
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_SECURITY_POLICY, page::POLICY.as_str()))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("x-robots-tag", "noindex"));
    answer
}
