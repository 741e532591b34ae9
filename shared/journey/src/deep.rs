//! A thread with a deep stack for parsers whose recursion follows their input.
//!
//! Used when documents are read and published, never while a contact is stepped. A stack overflow
//! would end the whole process, so sources are size-capped before they come here, and a parser
//! that panics costs only its own answer.

/// Stack of the parsing thread, in bytes.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// The parser gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parser gave up")]
pub(crate) struct GaveUp;

/// Runs `parse` where deep recursion cannot hurt.
pub(crate) fn with_deep_stack<T: Send>(
    parse: impl FnOnce() -> T + Send + std::panic::UnwindSafe,
) -> Result<T, GaveUp> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("parse".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || std::panic::catch_unwind(parse))
            .map_err(|_| GaveUp)?
            .join()
            .map_err(|_| GaveUp)?
            .map_err(|_| GaveUp)
    })
}
