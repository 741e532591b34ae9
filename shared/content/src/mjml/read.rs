//! Reads MJML into a tree, strictly: what does not close, repeat or quote as it should is a problem
//! with its place, never a guess.
//!
//! Code in braces was found before and stands here as words ([`Masked`]), so that a quote, a bracket
//! or a comparison in it is no markup. The content of text elements is not looked into: it is HTML,
//! goes into the page as it is, and is judged there. What always holds: depth and number of
//! elements, attributes and bytes are bounded before anything is built from them.

use super::{code::Masked, table};
use crate::problem::Problems;

const DEPTH_MAX: usize = 12;
const ELEMENTS_MAX: usize = 1_000;
const ATTRIBUTES_MAX: usize = 60;
const VALUE_MAX_BYTES: usize = 2 * 1024;

/// An element with what stands in it. Offsets are places in the masked text.
#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) attributes: Vec<Attribute<'a>>,
    pub(super) children: Vec<Child<'a>>,
    /// What a text element holds.
    pub(super) content: &'a str,
    pub(super) content_offset: usize,
    pub(super) offset: usize,
}

#[derive(Debug)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    pub(super) offset: usize,
}

#[derive(Debug)]
pub(super) enum Child<'a> {
    Element(Node<'a>),
    /// Text or code between elements; never blank.
    Text {
        text: &'a str,
        offset: usize,
    },
}

impl<'a> Node<'a> {
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
    /// The elements in it.
    pub(super) fn elements(&self) -> impl Iterator<Item = &Node<'a>> {
        self.children.iter().filter_map(|child| match child {
            Child::Element(node) => Some(node),
            Child::Text { .. } => None,
        })
    }
    /// This element and all below it, in order. As deep as the tree, which is bounded.
    pub(super) fn walk<'n>(&'n self, visit: &mut dyn FnMut(&'n Node<'a>)) {
        visit(self);
        for child in self.elements() {
            child.walk(visit);
        }
    }
}

/// A fault after which reading cannot go on.
struct Fault {
    offset: usize,
    code: &'static str,
    message: String,
    help: &'static str,
}

fn fault<T>(
    offset: usize,
    code: &'static str,
    message: impl Into<String>,
    help: &'static str,
) -> Result<T, Fault> {
    Err(Fault { offset, code, message: message.into(), help })
}

fn code_in_tag<T>(offset: usize) -> Result<T, Fault> {
    fault(
        offset,
        "code_in_tag",
        "an expression stands inside a tag, outside of a quoted value",
        "put the value into quotes, or the condition around the whole element",
    )
}

/// The root element; none, and a problem, when the source cannot be read.
pub(super) fn read<'a>(masked: &'a Masked, problems: &mut Problems<'_>) -> Option<Node<'a>> {
    let mut reader = Reader { text: &masked.text, at: 0, open: Vec::new(), elements: 0 };
    match reader.read() {
        Ok(root) => Some(root),
        Err(fault) => {
            let place = masked.place(fault.offset);
            problems.at(place, fault.code, fault.message, fault.help);
            None
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    open: Vec<Node<'a>>,
    elements: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn read(&mut self) -> Result<Node<'a>, Fault> {
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return match self.open.last() {
                    Some(open) => fault(
                        open.offset,
                        "mjml_unclosed",
                        format!("<{}> is never closed", open.name),
                        "close each element in the order in which they were opened",
                    ),
                    None => fault(
                        0,
                        "not_mjml",
                        "there is no <mjml> element",
                        "write <mjml><mj-body>...</mj-body></mjml>",
                    ),
                };
            }
            if rest.starts_with("<!--") {
                self.skip_to("-->", "a comment is opened and never closed")?;
            } else if rest.starts_with("<?") || rest.starts_with("<!") {
                self.skip_to(">", "a declaration is opened and never closed")?;
            } else if rest.starts_with("</") {
                if let Some(root) = self.close()? {
                    return Ok(root);
                }
            } else if rest.starts_with('<') {
                if let Some(root) = self.element()? {
                    return Ok(root);
                }
            } else {
                self.between();
            }
        }
    }

    fn skip_to(&mut self, end: &str, message: &str) -> Result<(), Fault> {
        match self.rest().find(end) {
            Some(found) => {
                self.at += found + end.len();
                Ok(())
            }
            None => fault(self.at, "mjml_unclosed", message, "close it"),
        }
    }

    /// Text between elements.
    fn between(&mut self) {
        let rest = self.rest();
        let text = rest.get(..rest.find('<').unwrap_or(rest.len())).unwrap_or(rest);
        let lead = text.len() - text.trim_start().len();
        if let (false, Some(parent)) = (text.trim().is_empty(), self.open.last_mut()) {
            parent.children.push(Child::Text { text: text.trim(), offset: self.at + lead });
        }
        self.at += text.len();
    }

    fn close(&mut self) -> Result<Option<Node<'a>>, Fault> {
        let rest = self.rest();
        let end = rest.find('>').unwrap_or(rest.len());
        let name = rest.get(2..end).unwrap_or("").trim();
        match self.open.pop() {
            Some(node) if node.name == name => {
                self.at += end + 1;
                Ok(self.finished(node))
            }
            Some(node) => fault(
                self.at,
                "mjml_unclosed",
                format!("</{name}> stands where <{}> is still open", node.name),
                "close each element in the order in which they were opened",
            ),
            None => fault(
                self.at,
                "mjml_unclosed",
                format!("</{name}> closes nothing"),
                "remove it, or open the element first",
            ),
        }
    }

    /// Puts a whole element where it belongs; the root comes back.
    fn finished(&mut self, node: Node<'a>) -> Option<Node<'a>> {
        match self.open.last_mut() {
            Some(parent) => {
                parent.children.push(Child::Element(node));
                None
            }
            None => Some(node),
        }
    }

    fn element(&mut self) -> Result<Option<Node<'a>>, Fault> {
        let offset = self.at;
        let inside = self.rest().get(1..).unwrap_or("");
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '>' | '<' | '=');
        let name = inside.get(..inside.find(ends).unwrap_or(inside.len())).unwrap_or("");
        if name.is_empty() {
            let help = "write &lt; where a \"<\" is meant";
            return fault(offset, "mjml_unclosed", "a \"<\" begins no element", help);
        }
        if Masked::has_code(name) {
            return code_in_tag(offset);
        }
        self.elements += 1;
        if self.elements > ELEMENTS_MAX || self.open.len() >= DEPTH_MAX {
            let message =
                format!("more than {ELEMENTS_MAX} elements, or {DEPTH_MAX} inside one another");
            return fault(offset, "too_complex", message, "make the template simpler");
        }
        self.at += 1 + name.len();
        let mut node = Node { name, offset, ..Node::default() };
        let empty = self.attributes(&mut node)?;
        let holds_content = table::element(name).is_some_and(|known| known.holds_content);
        if empty {
            return Ok(self.finished(node));
        }
        if holds_content {
            self.content(&mut node)?;
            return Ok(self.finished(node));
        }
        self.open.push(node);
        Ok(None)
    }

    /// Attributes up to the end of the tag; whether the tag closes itself.
    fn attributes(&mut self, node: &mut Node<'a>) -> Result<bool, Fault> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with('>') {
                self.at += 1;
                return Ok(false);
            }
            if trimmed.starts_with("/>") {
                self.at += 2;
                return Ok(true);
            }
            let attribute = self.attribute(node.name)?;
            if node.attribute(attribute.name).is_some() {
                let message = format!("the attribute {} is written twice", attribute.name);
                return fault(attribute.offset, "mjml_attribute", message, "remove one of them");
            }
            node.attributes.push(attribute);
            if node.attributes.len() > ATTRIBUTES_MAX {
                let message = format!("more than {ATTRIBUTES_MAX} attributes");
                return fault(node.offset, "too_complex", message, "use fewer");
            }
        }
    }

    fn attribute(&mut self, element: &str) -> Result<Attribute<'a>, Fault> {
        let (offset, rest) = (self.at, self.rest());
        let ends = |c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/' | '<' | '"' | '\'');
        let name = rest.get(..rest.find(ends).unwrap_or(rest.len())).unwrap_or("");
        if Masked::has_code(name) {
            return code_in_tag(offset);
        }
        if name.is_empty() {
            let message = format!("the tag <{element}> cannot be read");
            return fault(
                offset,
                "mjml_attribute",
                message,
                "write name=\"value\", and end with >",
            );
        }
        let after = rest.get(name.len()..).unwrap_or("").trim_start();
        let value = after.strip_prefix('=').map(str::trim_start).unwrap_or("");
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let inside = quote.and_then(|_| value.get(1..)).unwrap_or("");
        let Some(len) = quote.and_then(|quote| inside.find(quote)) else {
            let message = format!("the attribute {name} of <{element}> has no value in quotes");
            return fault(offset, "mjml_attribute", message, "write name=\"value\"");
        };
        let text = inside.get(..len).unwrap_or("");
        if text.len() > VALUE_MAX_BYTES || text.contains(['<', '>']) {
            let message = format!(
                "the attribute {name} is longer than {VALUE_MAX_BYTES} bytes, or holds < or >"
            );
            return fault(offset, "mjml_attribute", message, "shorten it; write &lt; and &gt;");
        }
        self.at += rest.len() - inside.len() + len + 1;
        Ok(Attribute { name, value: text, offset })
    }

    /// What a text element holds: everything up to its closing tag.
    fn content(&mut self, node: &mut Node<'a>) -> Result<(), Fault> {
        let (rest, name) = (self.rest(), node.name);
        let closing = format!("</{name}");
        let mut from = 0;
        while let Some(found) = rest.get(from..).and_then(|rest| rest.find(&closing)) {
            let begin = from + found;
            let after = rest.get(begin + closing.len()..).unwrap_or("");
            let tail = after.trim_start();
            if tail.starts_with('>') {
                node.content = rest.get(..begin).unwrap_or("");
                node.content_offset = self.at;
                self.at += rest.len() - tail.len() + 1;
                return Ok(());
            }
            from = begin + closing.len();
        }
        fault(
            node.offset,
            "mjml_unclosed",
            format!("<{name}> is never closed"),
            "close it; an element without content ends with />",
        )
    }
}
