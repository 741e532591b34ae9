//! A command's way to end with a status that scripts can tell apart from failure.

/// An error that names the exit status.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct ExitStatus {
    status: u8,
    said: String,
}

impl ExitStatus {
    /// Ends with this status; without words when everything was said already.
    #[must_use]
    pub const fn new(status: u8, said: String) -> Self {
        Self { status, said }
    }

    /// The status and the words that an error stands for: 1 unless it names its own.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> (u8, String) {
        match error.downcast_ref::<Self>() {
            Some(own) => (own.status, own.said.clone()),
            None => (1, format!("{error:#}")),
        }
    }
}
