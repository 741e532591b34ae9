//! One tree for YAML and JSON, with the place of every part.
//!
//! Anchors, aliases, tags, duplicate keys, keys that are not text and deep nesting are refused
//! before anything is read from the tree. Syntax faults cost the document they stand in, not
//! the others of the source.

use std::fmt;

use marked_yaml::{LoadError, LoaderOptions};
use parcours_domain::Value;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Problem, SOURCE_BYTES_MAX};
use crate::deep::with_deep_stack;

/// The deepest nesting of a document.
const DEPTH_MAX: usize = 32;

/// How deep brackets and list marks may nest before the YAML parser sees the text: its recursion
/// follows them.
const NESTING_MAX: usize = 1_000;

/// Why a document could not be read at all.
pub(crate) type Fault = Box<Problem>;

/// A part of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Line and column, from 1; none in JSON.
    pub place: Option<(u32, u32)>,
    /// What it is.
    pub kind: NodeKind,
}

/// What a part of a document is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NodeKind {
    /// A scalar; `plain` when it was not quoted and so may be a number, a truth value or null.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A map, in the author's order.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value that the part stands for. A plain number with a leading zero is text, so that
    /// telephone numbers and postal codes keep theirs.
    pub fn value(&self) -> Value {
        match &self.kind {
            NodeKind::Scalar { text, plain: true } => plain_value(text),
            NodeKind::Scalar { text, plain: false } => Value::Text(text.clone()),
            NodeKind::List(items) => Value::List(items.iter().map(Self::value).collect()),
            NodeKind::Map(members) => {
                Value::Map(members.iter().map(|(key, node)| (key.clone(), node.value())).collect())
            }
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.kind {
            NodeKind::Scalar { .. } => 0,
            NodeKind::List(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            NodeKind::Map(members) => {
                members.iter().map(|(_, node)| node.depth()).max().unwrap_or(0)
            }
        }
    }
}

/// YAML 1.2's core schema, without octal and hexadecimal numbers.
fn plain_value(text: &str) -> Value {
    match text {
        "" | "~" | "null" => return Value::Null,
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let starts_as_number = digits.starts_with(|c: char| c.is_ascii_digit());
    let zero_first = digits.len() > 1
        && digits.starts_with('0')
        && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if !starts_as_number || zero_first {
        return Value::Text(text.to_owned());
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Value::Int(whole);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Value::Float(number),
        Ok(_) | Err(_) => Value::Text(text.to_owned()),
    }
}

/// The documents of a source, each read or with what is wrong with it.
pub(crate) fn read(source: &str) -> Vec<Result<Node, Fault>> {
    if source.len() > SOURCE_BYTES_MAX {
        let bytes = source.len();
        let message = format!("the source has {bytes} bytes; at most {SOURCE_BYTES_MAX} are read");
        let help = "split it into several files";
        return vec![Err(placed(Problem::at("source_too_large", "", message, help), None))];
    }
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let parsed = if source.trim_start().starts_with(['{', '[']) {
        read_json(source)
    } else {
        split(source).into_iter().map(|(line, text)| read_yaml(text, line)).collect()
    };
    parsed.into_iter().map(|node| node.and_then(shallow)).collect()
}

fn shallow(node: Node) -> Result<Node, Fault> {
    if node.depth() > DEPTH_MAX { Err(too_deep(node.place)) } else { Ok(node) }
}

fn too_deep(place: Option<(u32, u32)>) -> Fault {
    let message = format!("the document is nested deeper than {DEPTH_MAX} levels");
    placed(Problem::at("too_deep", "", message, "a document needs far fewer"), place)
}

fn placed(mut problem: Problem, place: Option<(u32, u32)>) -> Fault {
    problem.line = place.map(|(line, _)| line);
    problem.column = place.map(|(_, column)| column);
    Box::new(problem)
}

/// Cuts a YAML stream at its document marks; each piece with the number of lines before it.
/// Pieces of nothing but comments and blanks are left out.
fn split(source: &str) -> Vec<(u32, &str)> {
    let mut pieces = Vec::new();
    let (mut begin, mut begin_line, mut at, mut line) = (0, 0, 0, 0);
    for text in source.split_inclusive('\n') {
        let bare = text.trim_end();
        if bare == "---" || bare == "..." || (bare.starts_with("--- #")) {
            pieces.push((begin_line, source.get(begin..at).unwrap_or("")));
            begin = at + text.len();
            begin_line = line + 1;
        }
        at += text.len();
        line += 1;
    }
    pieces.push((begin_line, source.get(begin..).unwrap_or("")));
    let says_something = |text: &str| {
        text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    };
    pieces.retain(|(_, text)| says_something(text));
    pieces
}

fn read_yaml(text: &str, lines_before: u32) -> Result<Node, Fault> {
    if nesting(text) > NESTING_MAX {
        return Err(too_deep(None));
    }
    let parsed = with_deep_stack(|| {
        let options = LoaderOptions::default().error_on_duplicate_keys(true).prevent_coercion(true);
        marked_yaml::parse_yaml_with_options(0, text, options)
            .map(|node| convert(&node, lines_before))
            .map_err(|error| load_problem(&error, lines_before))
    });
    parsed.unwrap_or_else(|gave_up| {
        let help = "write plain YAML or JSON";
        Err(placed(Problem::at("yaml_syntax", "", gave_up.to_string(), help), None))
    })
}

/// An upper bound of how deep the text can nest, without parsing it.
fn nesting(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0_usize);
    for line in text.lines() {
        let marks = line
            .split([' ', '\t'])
            .take_while(|word| matches!(*word, "" | "-" | "?" | ":"))
            .filter(|word| !word.is_empty())
            .count();
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(open);
        }
        deepest = deepest.max(marks).max(line.len() - line.trim_start().len());
    }
    deepest
}

fn convert(node: &marked_yaml::Node, lines_before: u32) -> Node {
    // A block mapping is marked at its first colon; its first key stands where it begins.
    let first_key = match node {
        marked_yaml::Node::Mapping(members) => members.keys().next().map(|key| key.span()),
        marked_yaml::Node::Scalar(_) | marked_yaml::Node::Sequence(_) => None,
    };
    let marks = [Some(node.span()), first_key].into_iter().flatten().filter_map(|s| s.start());
    let place = marks.map(|mark| place_of(*mark, lines_before)).min();
    let kind = match node {
        marked_yaml::Node::Scalar(scalar) => {
            NodeKind::Scalar { text: scalar.as_str().to_owned(), plain: scalar.may_coerce() }
        }
        marked_yaml::Node::Sequence(items) => {
            NodeKind::List(items.iter().map(|item| convert(item, lines_before)).collect())
        }
        marked_yaml::Node::Mapping(members) => NodeKind::Map(
            members
                .iter()
                .map(|(key, node)| (key.as_str().to_owned(), convert(node, lines_before)))
                .collect(),
        ),
    };
    Node { place, kind }
}

fn place_of(mark: marked_yaml::Marker, lines_before: u32) -> (u32, u32) {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (number(mark.line()).saturating_add(lines_before), number(mark.column()))
}

fn load_problem(error: &LoadError, lines_before: u32) -> Fault {
    let (code, mark, message, help) = match error {
        LoadError::TopLevelMustBeMapping(mark) | LoadError::TopLevelMustBeSequence(mark) => {
            ("not_a_document", *mark, "a document is a map of fields", "begin with apiVersion:")
        }
        LoadError::UnexpectedAnchor(mark) => {
            ("yaml_anchor", *mark, "anchors and aliases are not read", "write it out")
        }
        LoadError::MappingKeyMustBeScalar(mark) => {
            ("yaml_key", *mark, "a field's name must be text", "put text with braces in quotes")
        }
        LoadError::UnexpectedTag(mark) => (
            "yaml_tag",
            *mark,
            "tags are not read",
            "put text that begins with an exclamation mark in quotes",
        ),
        LoadError::ScanError(mark, scan) => {
            let problem = Problem::at("yaml_syntax", "", scan.info(), "write plain YAML or JSON");
            return placed(problem, Some(place_of(*mark, lines_before)));
        }
        LoadError::DuplicateKey(keys) => {
            let message = format!("`{}` stands here twice", keys.key.as_str());
            let problem = Problem::at("duplicate_key", "", message, "keep one of them");
            let mark = keys.key.span().start().map(|mark| place_of(*mark, lines_before));
            return placed(problem, mark);
        }
    };
    placed(Problem::at(code, "", message, help), Some(place_of(mark, lines_before)))
}

/// One JSON document, or a list of them.
fn read_json(source: &str) -> Vec<Result<Node, Fault>> {
    match serde_json::from_str::<Node>(source) {
        Ok(Node { kind: NodeKind::List(items), .. }) => items.into_iter().map(Ok).collect(),
        Ok(node) => vec![Ok(node)],
        Err(error) => {
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let text = error.to_string();
            let message = text.split(" at line ").next().unwrap_or_default();
            let code = if message.ends_with("stands here twice") {
                "duplicate_key"
            } else {
                "json_syntax"
            };
            let problem = Problem::at(code, "", message, "write valid JSON, or YAML");
            vec![Err(placed(problem, Some((number(error.line()), number(error.column())))))]
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

fn scalar(text: impl Into<String>, plain: bool) -> Node {
    Node { place: None, kind: NodeKind::Scalar { text: text.into(), plain } }
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(scalar("null", true))
    }
    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(scalar(truth.to_string(), true))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(scalar(number.to_string(), true))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(scalar(number.to_string(), true))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(scalar(format!("{number:?}"), true))
    }
    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(scalar(text, false))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node { place: None, kind: NodeKind::List(list) })
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut seen = std::collections::BTreeSet::new();
        let mut map = Vec::new();
        while let Some((key, node)) = members.next_entry::<String, Node>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("`{key}` stands here twice")));
            }
            map.push((key, node));
        }
        Ok(Node { place: None, kind: NodeKind::Map(map) })
    }
}
