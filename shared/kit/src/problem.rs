//! What a caller did wrong, or what stands in the way, as an RFC 9457 problem.
//!
//! Every problem has a stable `code`; `message` repeats the detail because Segment's clients read
//! `code` and `message`. No problem carries values of contacts or events.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use parcours_wire::http::{Fault, ProblemBody};

/// The media type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One problem, to return from a handler or to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable snake-case word; never changes its meaning.
    pub code: &'static str,
    /// The same for every occurrence of the code.
    pub title: &'static str,
    /// What happened here and how to mend it.
    pub detail: String,
    /// Dotted path of the member at fault, when there is one.
    pub field: Option<String>,
    /// Every single fault, when there are several.
    pub errors: Vec<Fault>,
    /// Seconds after which a retry makes sense (429, 503).
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem with a code, its constant title and this occurrence's detail.
    #[must_use]
    pub fn new(
        status: u16,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            field: None,
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// Names the member at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Lists every fault.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    /// Says when to come again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> ProblemBody {
        ProblemBody {
            r#type: format!("urn:parcours:problem:{}", self.code),
            title: self.title.to_owned(),
            status: self.status,
            detail: self.detail.clone(),
            code: self.code.to_owned(),
            message: self.detail.clone(),
            field: self.field.clone(),
            errors: self.errors.clone(),
        }
    }

    /// The response.
    #[must_use]
    pub fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(PROBLEM_JSON);
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if self.status == 401 {
            response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"parcours\", Bearer"));
        }
        response.body(serde_json::to_string(&self.body()).unwrap_or_default())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_problem_carries_what_segment_clients_read() {
        let problem = Problem::new(429, "busy", "Busy", "come again").retry_after(3).at("batch");
        let response = problem.response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers().get("retry-after").unwrap(), "3");
        assert_eq!(response.headers().get("content-type").unwrap(), PROBLEM_JSON);
        let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "busy");
        assert_eq!(body["message"], "come again");
        assert_eq!(body["type"], "urn:parcours:problem:busy");
        assert_eq!(body["field"], "batch");
        assert!(body.get("errors").is_none());
    }
}
