//! What can be wrong with a template: a stable code, the place, and how to mend it.

use serde::{Deserialize, Serialize};

/// Which part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The subject line.
    Subject,
    /// The HTML body.
    Html,
    /// The plain text body.
    Text,
}

impl Part {
    /// The shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Html => "html",
            Self::Text => "text",
        }
    }
}

/// One fault of a template. All faults of a template are reported together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct TemplateProblem {
    /// Stable, in snake case.
    pub code: &'static str,
    /// In which part.
    pub part: Part,
    /// On which line of that part, from 1, where it is known.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

/// Collects problems of one part, turning byte offsets into lines.
pub(crate) struct Problems<'a> {
    part: Part,
    source: &'a str,
    pub(crate) list: Vec<TemplateProblem>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(part: Part, source: &'a str) -> Self {
        Self { part, source, list: Vec::new() }
    }

    /// Adds a problem at a byte offset of the part's source.
    pub(crate) fn at(
        &mut self,
        offset: usize,
        code: &'static str,
        message: impl Into<String>,
        help: &str,
    ) {
        let before = self.source.get(..offset).unwrap_or(self.source);
        let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
        self.push(u32::try_from(line).ok(), code, message.into(), help);
    }

    /// Adds a problem of the whole part.
    pub(crate) fn whole(&mut self, code: &'static str, message: impl Into<String>, help: &str) {
        self.push(None, code, message.into(), help);
    }

    pub(crate) fn push(
        &mut self,
        line: Option<u32>,
        code: &'static str,
        message: String,
        help: &str,
    ) {
        let part = self.part;
        self.list.push(TemplateProblem { code, part, line, message, help: help.to_owned() });
    }
}
