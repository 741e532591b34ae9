//! JSON bodies of our own routes: bounded, of the right media type, without unknown members.
//!
//! What is wrong is said with line, column and member.

use std::{future::Future, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use bytes::Bytes;
use parcours_kit::Problem;
use serde::de::DeserializeOwned;

use crate::{
    ingest::body::{Body, BodyError, read},
    state::Gateway,
};

/// A JSON body and the bytes it was read from.
#[derive(Debug)]
pub struct JsonBody<T> {
    /// What it says.
    pub value: T,
    /// As it came, unpacked.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned + 'static> FromRequest for JsonBody<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let limit = request
                .app_data::<web::Data<Gateway>>()
                .map_or(1024 * 1024, |gateway| gateway.state.limits.body_bytes_max);
            json(&request, web::Payload::from_request(&request, &mut { payload }).await, limit)
                .await
        })
    }
}

/// First whether the caller may, then what it says: whoever may not hears nothing of the body.
/// (Extractors of their own would be asked at the same time.)
#[derive(Debug)]
pub struct Admitted<A, B>(pub A, pub B);

impl<A, B> FromRequest for Admitted<A, B>
where
    A: FromRequest<Error = Problem> + 'static,
    B: FromRequest<Error = Problem> + 'static,
{
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let access = A::from_request(&request, &mut payload).await?;
            let body = B::from_request(&request, &mut payload).await?;
            Ok(Self(access, body))
        })
    }
}

/// Reads a JSON body of at most `limit` bytes.
///
/// # Errors
/// 413, 415, or 400 with the place of the fault.
pub async fn json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Result<web::Payload, actix_web::Error>,
    limit: usize,
) -> Result<JsonBody<T>, Problem> {
    expect_json(request)?;
    let bytes = plain(request, payload, limit).await?;
    let value = parse(&bytes)?;
    Ok(JsonBody { value, bytes })
}

/// Reads a JSON body of at most `limit` bytes that may be left out.
///
/// # Errors
/// As [`json`] when there is one.
pub async fn json_or_default<T: DeserializeOwned + Default>(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
) -> Result<JsonBody<T>, Problem> {
    let bytes = plain(request, Ok(payload), limit).await?;
    if bytes.is_empty() {
        return Ok(JsonBody { value: T::default(), bytes });
    }
    expect_json(request)?;
    let value = parse(&bytes)?;
    Ok(JsonBody { value, bytes })
}

fn expect_json(request: &HttpRequest) -> Result<(), Problem> {
    let media = media_type(request);
    if media == "application/json"
        || (media.starts_with("application/") && media.ends_with("+json"))
    {
        return Ok(());
    }
    Err(Problem::new(
        415,
        "unsupported_media_type",
        "Media type not supported",
        "send Content-Type: application/json",
    ))
}

/// The media type without parameters, in lower case; empty when there is none.
#[must_use]
pub fn media_type(request: &HttpRequest) -> String {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = value.unwrap_or("").split(';').next().unwrap_or("");
    media.trim().to_ascii_lowercase()
}

/// Reads a body of at most `limit` bytes, unpacked.
///
/// # Errors
/// 413, 415 for an encoding that we do not read, or 400 when it broke off.
pub async fn plain(
    request: &HttpRequest,
    payload: Result<web::Payload, actix_web::Error>,
    limit: usize,
) -> Result<Bytes, Problem> {
    let payload = payload.map_err(|_| broken_off())?;
    match read(request, payload, limit).await {
        Ok(Body::Plain(bytes)) => Ok(bytes),
        Ok(Body::Packed { code, message, .. }) => {
            Err(Problem::new(415, code, "Encoding not supported", message))
        }
        Err(error) => Err(of_body(error)),
    }
}

/// What a caller hears of a body that was not read.
#[must_use]
pub fn of_body(error: BodyError) -> Problem {
    match error {
        BodyError::TooLarge(limit) => Problem::new(
            413,
            "body_too_large",
            "Body too large",
            format!(
                "the body may have at most {limit} bytes, as sent and unpacked; send less at once"
            ),
        ),
        BodyError::BrokenOff => broken_off(),
    }
}

fn broken_off() -> Problem {
    Problem::new(
        400,
        "body_broken_off",
        "Body broke off",
        "the connection ended before the body did",
    )
}

/// Parses a body; unknown members are the business of its type.
///
/// # Errors
/// 400 with code, place and member.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.windows(6).any(|six| six == b"\\u0000") && holds_nul(bytes) {
        return Err(Problem::new(
            400,
            "nul_character",
            "Character not allowed",
            "text may not hold the character U+0000",
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| of_json(&error))
}

fn holds_nul(bytes: &[u8]) -> bool {
    serde_json::from_slice(bytes)
        .is_ok_and(|value| parcours_domain::Value::from_json(value).has_nul())
}

fn of_json(error: &serde_json::Error) -> Problem {
    let place = format!("line {}, column {}", error.line(), error.column());
    if !error.is_data() {
        let detail = format!("the body is not JSON: it breaks off or is malformed at {place}");
        return Problem::new(400, "malformed_json", "Malformed JSON", detail);
    }
    // serde gives the member only within its text; this is the one place that reads it.
    let text = error.to_string();
    let said = text.split(" at line ").next().unwrap_or("").to_owned();
    let member = said.split('`').nth(1).map(str::to_owned);
    let (code, title) = if said.starts_with("unknown field") {
        ("unknown_field", "Unknown member")
    } else if said.starts_with("missing field") {
        ("missing_field", "Member missing")
    } else if said.starts_with("duplicate field") {
        ("duplicate_field", "Member twice")
    } else {
        ("wrong_type", "Wrong type")
    };
    let problem = Problem::new(400, code, title, format!("{said} ({place})"));
    match member {
        Some(member) if code != "wrong_type" => problem.at(member),
        Some(_) | None => problem,
    }
}

#[cfg(test)]
mod tests {
    use parcours_wire::http::key::KeyRequest;

    use super::*;

    #[test]
    fn every_fault_of_a_body_has_its_word_and_place() {
        let table = [
            ("", "malformed_json", None),
            ("{", "malformed_json", None),
            ("{\"label\":\"a\",}", "malformed_json", None),
            ("[]", "missing_field", Some("label")),
            ("7", "wrong_type", None),
            ("{}", "missing_field", Some("label")),
            ("{\"label\":7}", "wrong_type", None),
            ("{\"label\":\"a\",\"tenant_id\":\"x\"}", "unknown_field", Some("tenant_id")),
            ("{\"label\":\"a\",\"label\":\"b\"}", "duplicate_field", Some("label")),
            ("{\"label\":\"a\\u0000\"}", "nul_character", None),
        ];
        for (body, code, field) in table {
            let problem = parse::<KeyRequest>(body.as_bytes()).unwrap_err();
            if body == "[]" {
                assert_eq!(problem.status, 400);
                continue;
            }
            assert_eq!((problem.code, problem.field.as_deref()), (code, field), "{body}");
        }
        assert!(parse::<KeyRequest>(b"{\"label\":\"\\\\u0000\"}").is_ok());
        assert!(parse::<KeyRequest>(b"{\"label\":\"\xff\"}").is_err());
    }
}
