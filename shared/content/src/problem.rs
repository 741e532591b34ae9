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
    /// The MJML that the HTML body is made from.
    Mjml,
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
            Self::Mjml => "mjml",
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
    /// In which column of the line, in characters from 1, where it is known.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

/// The most problems of one part that are told; a bomb of faults must not become one of answers.
const PROBLEMS_MOST: usize = 100;

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
        if self.list.len() >= PROBLEMS_MOST {
            return;
        }
        let before = self.source.get(..offset).unwrap_or(self.source);
        let (lines, last) = before.rsplit_once('\n').unwrap_or(("", before));
        let above = if before.contains('\n') { 1 + lines.matches('\n').count() } else { 0 };
        let place = (u32::try_from(above + 1).ok(), u32::try_from(last.chars().count() + 1).ok());
        self.push(place, code, message.into(), help);
    }

    /// Adds a problem of the whole part.
    pub(crate) fn whole(&mut self, code: &'static str, message: impl Into<String>, help: &str) {
        self.push((None, None), code, message.into(), help);
    }

    pub(crate) fn push(
        &mut self,
        (line, column): (Option<u32>, Option<u32>),
        code: &'static str,
        message: String,
        help: &str,
    ) {
        if self.list.len() >= PROBLEMS_MOST {
            return;
        }
        let (part, help) = (self.part, help.to_owned());
        self.list.push(TemplateProblem { code, part, line, column, message, help });
    }
}
