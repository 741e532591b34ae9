//! What is wrong with a document, where, and how to mend it.
//!
//! Codes are stable words that programs may match; messages are for people and may change.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// One fault of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable word.
    pub code: &'static str,
    /// The file, as the caller named it; empty when the document did not come from a file.
    pub file: String,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column, from 1.
    pub column: Option<u32>,
    /// Where in the document: `steps[2].wait.for`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

impl Problem {
    /// A problem at a path, with no file or line yet.
    #[must_use]
    pub fn at(
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            code,
            file: String::new(),
            line: None,
            column: None,
            path: path.into(),
            message: message.into(),
            help: help.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            f.write_str(&self.file)?;
            if let (Some(line), Some(column)) = (self.line, self.column) {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} [{}]", self.message, self.code)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, " ({})", self.help) }
    }
}

/// Where each part of one parsed document stands in its file, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// The file, as the caller named it.
    pub file: String,
    /// Line and column, from 1, of each path.
    pub marks: BTreeMap<String, (u32, u32)>,
}

impl Places {
    /// Fills in file, line and column of a problem that has only a path: the place of the path
    /// itself, or of the nearest part around it.
    #[must_use]
    pub fn locate(&self, mut problem: Problem) -> Problem {
        problem.file.clone_from(&self.file);
        let mut path = problem.path.as_str();
        loop {
            if let Some((line, column)) = self.marks.get(path) {
                problem.line = Some(*line);
                problem.column = Some(*column);
                return problem;
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = path.get(..cut).unwrap_or(""),
                None if path.is_empty() => return problem,
                None => path = "",
            }
        }
    }
}
