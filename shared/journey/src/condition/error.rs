//! Why a source is no condition: a stable word, what is wrong, how to mend it.

use super::Root;

/// Why a source is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Nothing but white space.
    #[error("the condition is empty")]
    Empty,
    /// Longer than [`super::CONDITION_BYTES_MAX`].
    #[error("the condition has {0} bytes; at most 4096 are read")]
    TooLong(usize),
    /// Nested deeper than [`super::CONDITION_DEPTH_MAX`].
    #[error("the condition is nested deeper than 64 levels")]
    TooDeep,
    /// Not CEL.
    #[error("not a valid CEL expression: {0}")]
    Syntax(Box<str>),
    /// A name that is none of `contact`, `event`, `run`.
    #[error("unknown name `{0}`")]
    UnknownRoot(Box<str>),
    /// A known root that has no meaning in this place.
    #[error("`{}` has no meaning here", .0.as_str())]
    RootUnavailable(Root),
    /// A construct outside the subset.
    #[error("{what} is not covered")]
    NotSupported {
        /// The construct.
        what: Box<str>,
        /// What to write instead.
        help: &'static str,
    },
}

impl ConditionError {
    /// Stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "condition_empty",
            Self::TooLong(_) => "condition_too_long",
            Self::TooDeep => "condition_too_deep",
            Self::Syntax(_) => "condition_syntax",
            Self::UnknownRoot(_) => "condition_unknown_name",
            Self::RootUnavailable(_) => "condition_name_unavailable",
            Self::NotSupported { .. } => "condition_not_supported",
        }
    }

    /// How to mend it.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Empty => "write a condition, or leave the field out",
            Self::TooLong(_) | Self::TooDeep => "split it into several steps or cases",
            Self::Syntax(_) => "write CEL, such as event.total >= 50.0 && has(contact.city)",
            Self::UnknownRoot(_) => "conditions see contact, event and run; text stands in quotes",
            Self::RootUnavailable(Root::Run) => {
                "there is no run yet when a contact enters; use event"
            }
            Self::RootUnavailable(Root::Event) => {
                "there is no event here; use contact, or run for what the run entered with"
            }
            Self::RootUnavailable(Root::Contact) => "use event or run",
            Self::NotSupported { help, .. } => help,
        }
    }
}
