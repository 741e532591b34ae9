//! The routes, one file for each group. Each file gives `routes` for the server and `Api` for the
//! OpenAPI document; [`crate::route`] lists them.

pub mod brands;
pub mod breaker;
pub mod complaints;
pub mod consents;
pub mod contacts;
pub mod copies;
pub mod documents;
pub mod events;
pub mod halt;
pub mod journeys;
pub mod keys;
pub mod mailbox;
pub mod messages;
pub mod quarantine;
pub mod quotas;
pub mod rollup;
pub mod runs;
pub mod secrets;
pub mod segment;
pub mod sending;
pub mod status;
pub mod system;
pub mod templates;

use std::{collections::BTreeMap, str::FromStr};

use actix_web::{HttpResponse, Resource, Route, guard, http::header, web};
use parcours_kit::Problem;
use parcours_store::{Cursor, Page, PageRequest, StoreError};
use parcours_wire::http::{PageOf, ProblemBody};
use serde::Deserialize;
use utoipa::{
    IntoParams, IntoResponses, PartialSchema as _,
    openapi::{ContentBuilder, RefOr, Response, ResponseBuilder},
};

use crate::failure;

/// A resource that answers 405 with `Allow` to every method it has no route for.
#[must_use]
pub fn resource(path: &str, allow: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move || async move { not_allowed(allow) }))
}

/// GET, and HEAD with it (RFC 9110, section 9.1).
#[must_use]
pub fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn not_allowed(allow: &'static str) -> HttpResponse {
    let detail = format!("this address takes {allow}");
    let problem = Problem::new(405, "method_not_allowed", "Method not allowed", detail);
    let mut response = problem.response();
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
    response
}

/// Which page of a list is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many items, at most 500; 50 unless asked otherwise.
    pub limit: Option<u32>,
    /// The `next` of the page before.
    pub cursor: Option<String>,
}

/// The store's form of a page wanted.
#[must_use]
pub fn page_request(limit: Option<u32>, cursor: Option<&str>) -> PageRequest {
    PageRequest { limit, cursor: cursor.map(Cursor::from_text) }
}

/// A page for the caller.
pub fn page_of<T, U>(page: Page<T>, view: impl Fn(T) -> U) -> PageOf<U> {
    PageOf {
        items: page.items.into_iter().map(view).collect(),
        next: page.next.map(|next| next.as_str().to_owned()),
    }
}

/// What the store said, or its problem.
///
/// # Errors
/// The store's error as a problem.
pub fn ask<T>(answer: Result<T, StoreError>) -> Result<T, Problem> {
    answer.map_err(|error| failure::of_store(&error))
}

/// What the store found, or 404.
///
/// # Errors
/// The store's error, or 404 when there is none.
pub fn found<T>(answer: Result<Option<T>, StoreError>, what: &str) -> Result<T, Problem> {
    ask(answer)?
        .ok_or_else(|| failure::not_found(&format!("there is no such {what} in this brand")))
}

/// A member read from its text.
///
/// # Errors
/// 422 that names the member.
pub fn read<T: FromStr>(text: &str, field: &'static str, expects: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| invalid(field, format!("`{field}` is {expects}")))
}

/// 422 for one member.
#[must_use]
pub fn invalid(field: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(422, "invalid_value", "Value not valid", detail).at(field)
}

/// What every read may answer besides.
pub struct ReadRefusals;

/// What every write may answer besides.
pub struct WriteRefusals;

impl IntoResponses for ReadRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[400, 401, 403, 404, 405, 500, 503])
    }
}

impl IntoResponses for WriteRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 503])
    }
}

/// Problem responses with these statuses.
#[must_use]
pub fn refusals(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    statuses.iter().map(|status| (status.to_string(), refusal(*status).into())).collect()
}

fn refusal(status: u16) -> Response {
    let description = match status {
        400 => "The request cannot be read; code, place and member say why",
        401 => "No key, or an unknown, revoked or expired one",
        403 => "The key lacks the scope, or does not reach the brand",
        404 => "There is no such thing in this brand",
        405 => "The address does not take this method",
        409 => "It conflicts with what was done before",
        413 => "The body is too large",
        415 => "Media type or encoding not supported",
        422 => "A value is not valid; code and member say why",
        429 => {
            "Beyond a quota, or too much is being worked on; Retry-After says when to come again"
        }
        503 => "Not available now; Retry-After says when to come again",
        _ => "A failure of ours",
    };
    let content = ContentBuilder::new().schema(Some(ProblemBody::schema())).build();
    ResponseBuilder::new()
        .description(description)
        .content(parcours_kit::problem::PROBLEM_JSON, content)
        .build()
}
