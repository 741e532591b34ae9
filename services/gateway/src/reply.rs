//! Success answers: a status and a JSON body.

use actix_web::{HttpResponse, http::StatusCode, http::header};
use serde::Serialize;

use parcours_kit::Problem;

/// A success that can be kept for a repeat of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The JSON text to answer with.
    pub body: String,
    /// The JSON text to keep for a repeat, when it differs: a secret is answered once only.
    pub kept: Option<String>,
}

impl Reply {
    /// 200 with a body.
    #[must_use]
    pub fn ok(body: &impl Serialize) -> Self {
        Self::with(200, body)
    }

    /// 201 with a body.
    #[must_use]
    pub fn created(body: &impl Serialize) -> Self {
        Self::with(201, body)
    }

    fn with(status: u16, body: &impl Serialize) -> Self {
        Self { status, body: text(body), kept: None }
    }

    /// Keeps another body than it answers.
    #[must_use]
    pub fn keeping(mut self, body: &impl Serialize) -> Self {
        self.kept = Some(text(body));
        self
    }

    /// The response.
    #[must_use]
    pub fn response(self) -> HttpResponse {
        respond(self.status, self.body)
    }
}

/// A JSON response that no cache keeps.
#[must_use]
pub fn respond(status: u16, body: String) -> HttpResponse {
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK))
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}

/// 200 for a read.
///
/// # Errors
/// None; the type is what handlers return.
pub fn show(body: &impl Serialize) -> Result<HttpResponse, Problem> {
    Ok(respond(200, text(body)))
}

fn text(body: &impl Serialize) -> String {
    // Bodies are plain structs of texts and numbers; they always have a JSON form.
    serde_json::to_string(body).unwrap_or_default()
}
