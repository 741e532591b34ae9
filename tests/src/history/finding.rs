//! A finding: what is wrong, of which kind, about what.

use std::fmt;

/// Kinds of wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It was promised and is not there.
    Lost,
    /// It is there, or happened, more often than it may.
    Doubled,
    /// It is there in another order than it was accepted in.
    OutOfOrder,
    /// It reached someone who had not said yes, or had said no, or whom it was not for.
    Unlawful,
    /// It happened before its time.
    Early,
    /// It is overdue.
    Late,
    /// Two of the three witnesses contradict each other, and none can be believed.
    Unresolved,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out of order",
            Self::Unlawful => "unlawful",
            Self::Early => "early",
            Self::Late => "late",
            Self::Unresolved => "unresolved",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of which kind.
    pub kind: Kind,
    /// What it is about, with its ids.
    pub about: String,
}

impl Finding {
    pub(super) fn new(kind: Kind, about: impl Into<String>) -> Self {
        Self { kind, about: about.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.word(), self.about)
    }
}
