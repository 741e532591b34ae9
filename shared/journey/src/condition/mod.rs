//! Conditions: CEL as the written form, a closed tree as what runs.
//!
//! Truth is two-valued. A leaf whose side is missing or of another type is false and is noted as
//! missing; `!` turns that round; `has()` asks. Null counts as missing. Whole numbers and
//! fractions compare by value; texts by code point; other pairs of types do not compare. Every
//! leaf can become SQL under `coalesce(…, false)`.

mod error;
mod evaluate;
mod parse;

use std::fmt;

use parcours_domain::{Value, value::Properties};
use serde::{Deserialize, Serialize};

pub use error::ConditionError;
pub use parse::{CONDITION_BYTES_MAX, CONDITION_DEPTH_MAX, parse, parse_path};

/// What a path begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// Attributes of the contact.
    Contact,
    /// Properties of the event at hand.
    Event,
    /// Properties of the event that the run entered by.
    Run,
}

impl Root {
    /// The word in conditions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contact => "contact",
            Self::Event => "event",
            Self::Run => "run",
        }
    }
    /// From the word in conditions.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Contact, Self::Event, Self::Run].into_iter().find(|root| root.as_str() == text)
    }
}

/// Where a value stands: `contact.address.city`. Has at least one part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Path {
    /// In what.
    pub root: Root,
    /// The way down.
    pub parts: Vec<String>,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root.as_str())?;
        self.parts.iter().try_for_each(|part| write!(f, ".{part}"))
    }
}

/// How two operands compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompareOp {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// How a text relates to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextOp {
    /// `a.contains(b)`
    Contains,
    /// `a.startsWith(b)`
    StartsWith,
    /// `a.endsWith(b)`
    EndsWith,
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operand {
    /// What stands there.
    Path(Path),
    /// A written scalar, or a list of scalars beside `in`.
    Literal(#[serde(with = "crate::document::plain_value")] Value),
    /// Characters of a text, items of a list, members of a map.
    Size(Path),
}

/// A condition: closed, total, without side effects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Always this.
    Always(bool),
    /// Turned round.
    Not(Box<Condition>),
    /// All of them; true when empty.
    All(Vec<Condition>),
    /// One of them; false when empty.
    Any(Vec<Condition>),
    /// A comparison.
    Compare {
        /// How.
        op: CompareOp,
        /// One side.
        left: Operand,
        /// The other.
        right: Operand,
    },
    /// Whether the list holds the item.
    In {
        /// The item.
        item: Operand,
        /// The list.
        list: Operand,
    },
    /// Whether something other than null stands there.
    Has(Path),
    /// A relation of texts.
    Text {
        /// Which.
        op: TextOp,
        /// The text.
        text: Operand,
        /// What it should contain, start or end with.
        part: Operand,
    },
    /// Whether `true` stands there.
    Truth(Path),
}

/// What a condition looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// `contact.*`
    pub contact: Option<&'a Properties>,
    /// `event.*`
    pub event: Option<&'a Properties>,
    /// `run.*`
    pub run: Option<&'a Properties>,
}

impl<'a> Scope<'a> {
    /// What stands at the path; none when missing or null.
    #[must_use]
    pub fn at(&self, path: &Path) -> Option<&'a Value> {
        let root = match path.root {
            Root::Contact => self.contact,
            Root::Event => self.event,
            Root::Run => self.run,
        };
        let (first, rest) = path.parts.split_first()?;
        root?.get(first)?.at(rest).filter(|value| **value != Value::Null)
    }
}

impl Condition {
    /// Every path it reads, in order of appearance, each once.
    #[must_use]
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        self.collect_paths(&mut paths);
        paths
    }

    fn collect_paths<'a>(&'a self, paths: &mut Vec<&'a Path>) {
        fn add<'a>(path: &'a Path, paths: &mut Vec<&'a Path>) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        fn side<'a>(operand: &'a Operand, paths: &mut Vec<&'a Path>) {
            match operand {
                Operand::Path(path) | Operand::Size(path) => add(path, paths),
                Operand::Literal(_) => {}
            }
        }
        match self {
            Self::Always(_) => {}
            Self::Not(inner) => inner.collect_paths(paths),
            Self::All(inner) | Self::Any(inner) => {
                inner.iter().for_each(|part| part.collect_paths(paths));
            }
            Self::Compare { left: a, right: b, .. }
            | Self::In { item: a, list: b }
            | Self::Text { text: a, part: b, .. } => {
                side(a, paths);
                side(b, paths);
            }
            Self::Has(path) | Self::Truth(path) => add(path, paths),
        }
    }
}

#[cfg(test)]
mod tests;
