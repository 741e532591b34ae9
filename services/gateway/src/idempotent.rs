//! `Idempotency-Key`: a write that came before is answered as it was then, and not done again.
//!
//! The same key with another body is refused. What failed for certain may be tried again under
//! its key; what may have been done is not tried again before the first attempt counts as dead.

use std::future::Future;

use actix_web::{HttpRequest, HttpResponse};
use parcours_domain::hash::sha256;
use parcours_kit::Problem;
use parcours_store::{Begun, IdempotencyKey};
use uuid::Uuid;

use crate::{
    failure,
    reply::{Reply, respond},
    state::Gateway,
};

/// The header.
pub const HEADER: &str = "idempotency-key";

/// The header's text, if it came.
///
/// # Errors
/// 400 when it is empty, longer than 255 characters or not visible ASCII.
pub fn key_of(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get(HEADER) else { return Ok(None) };
    let text = value.to_str().unwrap_or("").trim();
    if text.is_empty() || text.len() > 255 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Problem::new(
            400,
            "bad_idempotency_key",
            "Idempotency-Key not usable",
            "the key is 1 to 255 visible ASCII characters without spaces",
        )
        .at(HEADER));
    }
    Ok(Some(text.to_owned()))
}

/// Does the work, unless the request's key says that it was done; `scope` is the brand, or what
/// the key reaches above brands.
///
/// # Errors
/// What the work says; 409 for a key used with another body or still being worked on.
pub async fn once<F>(
    gateway: &Gateway,
    scope: Uuid,
    request: &HttpRequest,
    body: &[u8],
    work: F,
) -> Result<HttpResponse, Problem>
where
    F: Future<Output = Result<Reply, Problem>>,
{
    let Some(text) = key_of(request)? else { return work.await.map(Reply::response) };
    let route = format!("{} {}", request.method(), request.path());
    let key = IdempotencyKey { scope, key: &text, route: &route };
    let store = &gateway.state.store;
    let admin = store.admin();
    let begun = admin.idempotency_begin(&key, sha256(&[body]), store.server_now()).await;
    match begun.map_err(|error| failure::of_store(&error))? {
        Begun::Fresh => {}
        Begun::Replay { status, response } => return Ok(respond(status, response)),
        Begun::Conflict => {
            return Err(Problem::new(
                409,
                "idempotency_conflict",
                "Key used for something else",
                "this Idempotency-Key came before with another body; use a new key",
            )
            .at(HEADER));
        }
        Begun::InProgress => {
            return Err(Problem::new(
                409,
                "idempotency_in_progress",
                "Still being worked on",
                "the first request with this Idempotency-Key has not ended yet; repeat it later",
            )
            .retry_after(5));
        }
    }
    match work.await {
        Ok(reply) => {
            let kept = reply.kept.as_ref().unwrap_or(&reply.body);
            let finished = admin.idempotency_finish(&key, reply.status, kept).await;
            finished.map_err(|error| failure::of_store(&error))?;
            Ok(reply.response())
        }
        Err(problem) => {
            if problem.code != failure::OUTCOME_UNKNOWN
                && let Err(error) = admin.idempotency_abandon(&key).await
            {
                tracing::warn!(%error, "an idempotency key stays taken until it counts as dead");
            }
            Err(problem)
        }
    }
}
