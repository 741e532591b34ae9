//! Failures of the parts behind the gateway, as problems for callers.

use parcours_kit::Problem;
use parcours_store::StoreError;
use parcours_wire::ConsentError;

/// Code of the one failure after which the work may have been done.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// What a caller hears of a failed store call. The failure itself is logged once, here.
#[must_use]
pub fn of_store(error: &StoreError) -> Problem {
    match error {
        StoreError::NotFound => not_found("there is no such thing in this brand"),
        StoreError::BadCursor => Problem::new(
            400,
            "bad_cursor",
            "Cursor not recognised",
            "the cursor is not one that this list gave out; begin without one",
        )
        .at("cursor"),
        StoreError::Conflict => Problem::new(
            409,
            "conflict",
            "Changed meanwhile",
            "it was changed by someone else meanwhile; read it again and repeat",
        ),
        StoreError::Refused { unique: true, .. } => Problem::new(
            409,
            "conflict",
            "Already there",
            "something with the same unique name or key is there already",
        ),
        StoreError::Refused { code, .. } => {
            tracing::warn!(%code, "the database refused a value");
            Problem::new(
                422,
                "refused_value",
                "Value refused",
                "the database refused a value of the request; nothing was changed",
            )
        }
        StoreError::OutcomeUnknown(_) => {
            tracing::warn!(%error, "the outcome of a request's commit is not known");
            Problem::new(
                503,
                OUTCOME_UNKNOWN,
                "Outcome not known",
                "the connection to the database was lost while committing; look whether it was done",
            )
            .retry_after(5)
        }
        StoreError::Unavailable(_)
        | StoreError::Held { .. }
        | StoreError::Unsafe(_)
        | StoreError::Roles { .. } => {
            tracing::warn!(%error, "the store did not answer a request");
            unavailable()
        }
        StoreError::Damaged(_) | StoreError::Key(_) => {
            tracing::error!(%error, "a stored value cannot be read");
            internal()
        }
        StoreError::Walled => {
            tracing::error!(%error, "a request reached beyond its brand");
            internal()
        }
    }
}

/// What a caller hears of a refused consent fact.
#[must_use]
pub fn of_consent(error: &ConsentError) -> Problem {
    match error {
        ConsentError::NoContact => not_found("there is no such contact in this brand"),
        ConsentError::NoTopic(_) => {
            Problem::new(422, "unknown_topic", "No such topic", error.to_string()).at("topic")
        }
        ConsentError::NotGranular => {
            Problem::new(422, "not_granular", "One topic at a time", error.to_string()).at("topic")
        }
        ConsentError::NotFound => not_found("not found"),
        ConsentError::Unavailable => unavailable(),
    }
}

/// 404.
#[must_use]
pub fn not_found(detail: &str) -> Problem {
    Problem::new(404, "not_found", "Not found", detail)
}

/// 503: nothing is known to be done; come again.
#[must_use]
pub fn unavailable() -> Problem {
    Problem::new(
        503,
        "unavailable",
        "Not available now",
        "the store cannot be reached or its answer is not known; repeat the same request, \
         it is recognised if it was done",
    )
    .retry_after(2)
}

/// 500: a person must look.
#[must_use]
pub fn internal() -> Problem {
    Problem::new(500, "internal", "Internal failure", "this is our fault and has been logged")
}
