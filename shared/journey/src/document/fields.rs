//! Reading fields out of a document's tree, gathering every fault on the way.
//!
//! A reader answers `None` after it has reported why; whoever asked goes on with the other
//! fields, so that one pass finds everything.

use std::{fmt, str::FromStr};

use parcours_domain::{Name, Value, nearest};

use super::{
    Places, Problem,
    node::{Node, NodeKind},
};
use crate::condition::{self, Root};

/// Fields that the language will have one day, so that their absence has a name.
const LATER: [&str; 8] =
    ["opened", "bounced", "quiet_hours", "quiet", "frequency", "score", "webhook", "notify"];

/// What reading one document has found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Faults, in the order they were met.
    pub problems: Vec<Problem>,
    /// Where everything stands.
    pub places: Places,
}

impl Report {
    /// Reports a fault at a path.
    pub fn add(
        &mut self,
        code: &'static str,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Problem::at(code, path, message, help);
        self.problems.push(self.places.locate(problem));
    }

    /// Remembers where a part and all its parts stand.
    pub fn mark(&mut self, node: &Node, path: &str) {
        if let Some(place) = node.place {
            self.places.marks.insert(path.to_owned(), place);
        }
        match &node.kind {
            NodeKind::Scalar { .. } => {}
            NodeKind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.mark(item, &format!("{path}[{index}]"));
                }
            }
            NodeKind::Map(members) => {
                for (key, member) in members {
                    self.mark(member, &join(path, key));
                }
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A part of the tree and its path.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    /// The part.
    pub node: &'a Node,
    /// Its path.
    pub path: String,
}

impl<'a> At<'a> {
    /// What kind of thing stands here, for messages.
    fn found(&self) -> &'static str {
        match self.node.value() {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    fn wrong_type<T>(&self, wanted: &str, report: &mut Report) -> Option<T> {
        let message = format!("{wanted} is expected here, not {}", self.found());
        let help = match self.node.value() {
            Value::Bool(_) | Value::Int(_) | Value::Float(_) if wanted.contains("text") => {
                "put it in quotes if it is meant as text"
            }
            Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Null
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => "",
        };
        report.add("wrong_type", &self.path, message, help);
        None
    }

    /// Text of one or more lines, not empty, without control characters but tab and line feed.
    pub fn text(&self, report: &mut Report) -> Option<String> {
        let Value::Text(text) = self.node.value() else {
            return self.wrong_type("text", report);
        };
        if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t' && c != '\r') {
            report.add("control_character", &self.path, "control characters are refused", "");
            return None;
        }
        if text.trim().is_empty() {
            report.add(
                "empty",
                &self.path,
                "this text is empty",
                "write it, or leave the field out",
            );
            return None;
        }
        Some(text)
    }

    /// Text of one line.
    pub fn line(&self, report: &mut Report) -> Option<String> {
        let text = self.text(report)?;
        if text.chars().any(char::is_control) {
            let help = "write it on one line";
            report.add("control_character", &self.path, "line breaks and tabs are refused", help);
            return None;
        }
        Some(text.trim().to_owned())
    }

    /// Something with a written form of its own.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&self, report: &mut Report) -> Option<T> {
        let text = self.line(report)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                report.add("invalid_value", &self.path, format!("`{text}`: {error}"), "");
                None
            }
        }
    }

    /// A name.
    pub fn name(&self, report: &mut Report) -> Option<Name> {
        self.parsed(report)
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)], report: &mut Report) -> Option<T> {
        let NodeKind::Scalar { text, .. } = &self.node.kind else {
            return self.wrong_type("a word", report);
        };
        let found = words.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let help = format!("one of: {}", known.join(", "));
            report.add("unknown_word", &self.path, format!("`{text}` is not known here"), help);
        }
        found
    }

    /// A truth value.
    pub fn boolean(&self, report: &mut Report) -> Option<bool> {
        match self.node.value() {
            Value::Bool(truth) => Some(truth),
            Value::Null
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => self.wrong_type("true or false", report),
        }
    }

    /// A whole number within bounds, both included.
    pub fn whole(&self, least: u32, most: u32, report: &mut Report) -> Option<u32> {
        let Value::Int(number) = self.node.value() else {
            return self.wrong_type("a whole number", report);
        };
        match u32::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            Ok(_) | Err(_) => {
                let help = format!("write a whole number from {least} to {most}");
                report.add("out_of_range", &self.path, format!("{number} is out of range"), help);
                None
            }
        }
    }

    /// A condition over `roots`; the source is kept, its faults are reported.
    pub fn condition(&self, roots: &[Root], report: &mut Report) -> Option<String> {
        let source = self.source(report)?;
        match condition::parse(&source, roots) {
            Ok(_) => Some(source),
            Err(error) => self.refuse_condition(&error, report),
        }
    }

    /// A path such as `event.cart_id`.
    pub fn value_path(&self, roots: &[Root], report: &mut Report) -> Option<String> {
        let source = self.source(report)?;
        match condition::parse_path(&source, roots) {
            Ok(_) => Some(source),
            Err(error) => self.refuse_condition(&error, report),
        }
    }

    fn source(&self, report: &mut Report) -> Option<String> {
        match &self.node.kind {
            NodeKind::Scalar { text, .. } => Some(text.trim().to_owned()),
            NodeKind::List(_) | NodeKind::Map(_) => self.wrong_type("text", report),
        }
    }

    fn refuse_condition<T>(
        &self,
        error: &condition::ConditionError,
        report: &mut Report,
    ) -> Option<T> {
        report.add(error.code(), &self.path, error.to_string(), error.help());
        None
    }

    /// A list, each item read by `read`. Faulty items are left out after being reported.
    pub fn list<T>(
        &self,
        report: &mut Report,
        mut read: impl FnMut(&At<'a>, &mut Report) -> Option<T>,
    ) -> Option<Vec<T>> {
        let node: &'a Node = self.node;
        let NodeKind::List(items) = &node.kind else {
            return self.wrong_type("a list", report);
        };
        let at = |(index, node)| At { node, path: format!("{}[{index}]", self.path) };
        Some(items.iter().enumerate().map(at).filter_map(|at| read(&at, report)).collect())
    }

    /// The members of a map with free keys.
    pub fn members(&self, report: &mut Report) -> Option<Vec<(&'a str, At<'a>)>> {
        let node: &'a Node = self.node;
        let NodeKind::Map(members) = &node.kind else {
            return self.wrong_type("a map", report);
        };
        let at = |(key, node): &'a (String, Node)| {
            (key.as_str(), At { node, path: join(&self.path, key) })
        };
        Some(members.iter().map(at).collect())
    }

    /// The fields of a map with known keys.
    pub fn fields(&self, report: &mut Report) -> Option<Fields<'a>> {
        let members = self.members(report)?;
        Some(Fields { path: self.path.clone(), members, known: Vec::new() })
    }
}

/// A map whose keys are known. Every field is asked for by name, then [`Fields::done`] reports
/// the rest as unknown.
pub(crate) struct Fields<'a> {
    path: String,
    members: Vec<(&'a str, At<'a>)>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The path of a field.
    pub fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The field, when it is there. An empty field counts as absent.
    pub fn get(&mut self, key: &'static str) -> Option<At<'a>> {
        self.known.push(key);
        let (_, at) = self.members.iter().find(|(name, _)| *name == key)?;
        (at.node.value() != Value::Null).then(|| at.clone())
    }

    /// The field, when its name is written, even with nothing behind it.
    pub fn named(&mut self, key: &'static str) -> Option<At<'a>> {
        self.known.push(key);
        self.members.iter().find(|(name, _)| *name == key).map(|(_, at)| at.clone())
    }

    /// Which of some fields are there.
    pub fn present(&mut self, keys: &[&'static str]) -> Vec<(&'static str, At<'a>)> {
        keys.iter().filter_map(|key| self.get(key).map(|at| (*key, at))).collect()
    }

    /// A field that may be absent.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        report: &mut Report,
        read: impl FnOnce(&At<'a>, &mut Report) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(|at| read(&at, report))
    }

    /// A field that must be there.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        report: &mut Report,
        read: impl FnOnce(&At<'a>, &mut Report) -> Option<T>,
    ) -> Option<T> {
        match self.get(key) {
            Some(at) => read(&at, report),
            None => {
                let message = format!("`{key}` is missing");
                report.add("missing_field", &self.path_of(key), message, format!("add `{key}:`"));
                None
            }
        }
    }

    /// Reports every field that nobody asked for.
    pub fn done(self, report: &mut Report) {
        for (name, at) in &self.members {
            if self.known.contains(name) {
                continue;
            }
            if LATER.contains(name) {
                let message = format!("`{name}` is not yet available");
                report.add("not_yet_available", &at.path, message, "leave it out for now");
                continue;
            }
            let help = match nearest(name, self.known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            report.add("unknown_field", &at.path, format!("`{name}` is not known here"), help);
        }
    }
}
