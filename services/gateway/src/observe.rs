//! Counts and times requests, by group of routes and class of status: no path, no id.

use std::time::Instant;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};
use parcours_kit::telemetry::metrics;

/// For `App::wrap(actix_web::middleware::from_fn(observe))`.
///
/// # Errors
/// What the service behind it returns.
pub async fn observe<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let group = group(request.path());
    let start = Instant::now();
    let response = next.call(request).await;
    let status = match &response {
        Ok(response) => class(response.status().as_u16()),
        Err(error) => class(error.as_response_error().status_code().as_u16()),
    };
    let labels = [("group", group), ("status", status)];
    metrics().add("parcours_http_requests_total", 1, &labels);
    let seconds = start.elapsed().as_secs_f64();
    metrics().observe("parcours_http_request_seconds", seconds, &labels[..1]);
    response
}

fn group(path: &str) -> &'static str {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (
            Some("v1"),
            Some("identify" | "track" | "page" | "screen" | "group" | "alias" | "batch" | "events"),
        ) => "ingest",
        (Some("v1"), _) => "api",
        (Some("u"), _) => "unsubscribe",
        (Some("c"), _) => "click",
        (Some("livez" | "readyz" | "metrics"), _) => "system",
        (_, _) => "page",
    }
}

const fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
