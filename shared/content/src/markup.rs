//! Reads an HTML template: protects its code from the HTML parser, and takes charge of its links.
//!
//! CSS inlining parses the page and writes it anew. Code in braces would not survive that: text
//! between table rows is moved out of the table, quotes in an attribute end it. So each code is
//! exchanged for a placeholder that stands where the parser leaves it alone: a comment between
//! elements, a word inside attribute values, titles, styles and comments. Where no placeholder is
//! safe (inside a tag, unquoted) the template is refused with a problem.
//!
//! On the way every `href` of a link becomes a call with the link's number, so that the target is
//! known, judged and counted, whatever the author put around it.

mod value;

use crate::{
    problem::Problems,
    syntax::{Code, Piece},
    template::Link,
};

/// What every placeholder begins with.
pub(crate) const MARKER: &str = "zq9pj";
/// What every placeholder ends with.
pub(crate) const MARKER_END: &str = "zq";
/// The name that link calls go by in compiled templates.
pub(crate) const LINK_FUNCTION: &str = "__link";

/// The parser's tree is walked by functions that call themselves for each level.
const DEPTH_MAX: usize = 100;
/// Elements left open are opened again inside each that follows: so many in all.
const WORK_MAX: usize = 400_000;
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];
/// Elements that a second one of their kind closes.
const CLOSED_BY_THE_NEXT: [&str; 8] = ["p", "li", "td", "th", "tr", "dt", "dd", "option"];
/// What goes around a template that is not a whole page.
const PAGE_BEGIN: &str = "<!DOCTYPE html><html><head><meta charset=\"utf-8\"></head><body>";
const PAGE_END: &str = "</body></html>";
const RAW_TEXT: [&str; 4] = ["style", "title", "textarea", "script"];
const REFUSED_ELEMENTS: [&str; 9] =
    ["script", "iframe", "object", "embed", "base", "form", "link", "frame", "applet"];

/// What stands behind a placeholder.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The code to put back.
    pub(crate) code: String,
    /// Whether it is a tag, whose order matters.
    pub(crate) is_tag: bool,
    /// Whether it may be repeated or dropped: it stands in a style sheet, or became part of a link.
    pub(crate) loose: bool,
    /// Whether it stands between elements.
    pub(crate) in_content: bool,
    /// Where it was in the source.
    pub(crate) offset: usize,
}

/// An HTML template with placeholders.
#[derive(Debug, Default)]
pub(crate) struct Markup {
    pub(crate) html: String,
    pub(crate) slots: Vec<Slot>,
    pub(crate) links: Vec<Link>,
    pub(crate) has_unsubscribe_link: bool,
}

enum State {
    Data,
    Tag { element: String, closing: bool },
    Value { element: String, attribute: String, quote: Option<char>, parts: Vec<ValuePart> },
    Comment,
    RawText { element: String },
}

/// The parser begins a missing `<tbody>` at the first row: after a loop's opening tag, inside the
/// loop. So it is written out, before the code.
struct RowGroup {
    at: usize,
    has_code: bool,
}

enum ValuePart {
    Text(String),
    Code { slot: usize, expression: Option<String> },
}

impl Markup {
    pub(crate) fn read(pieces: &[Piece<'_>], problems: &mut Problems<'_>) -> Self {
        let mut reader = Reader {
            markup: Self::default(),
            state: State::Data,
            row_group: None,
            open: Vec::new(),
            work: 0,
            problems,
        };
        let whole = pieces.iter().any(|piece| match piece {
            Piece::Text { text, .. } => text.to_ascii_lowercase().contains("<body"),
            Piece::Expression(_) | Piece::Tag(_) | Piece::Comment => false,
        });
        if !whole {
            reader.markup.html.push_str(PAGE_BEGIN);
        }
        for piece in pieces {
            match piece {
                Piece::Text { text, offset } => reader.text(text, *offset),
                Piece::Expression(code) => reader.code(*code, false),
                Piece::Tag(code) => reader.code(*code, true),
                Piece::Comment => {}
            }
        }
        if !whole {
            reader.markup.html.push_str(PAGE_END);
        }
        reader.markup
    }
}

/// The placeholder of a slot.
pub(crate) fn placeholder(slot: usize) -> String {
    format!("{MARKER}{slot}{MARKER_END}")
}

struct Reader<'p, 'a> {
    markup: Markup,
    state: State,
    /// Where in a table's HTML a row group would begin, if rows came next without one.
    row_group: Option<RowGroup>,
    /// Elements that may be open. Never fewer than the parser will have open: an end tag takes away
    /// its own element only, since what stands above it may live on.
    open: Vec<String>,
    /// Elements opened, times those that were open then.
    work: usize,
    problems: &'p mut Problems<'a>,
}

impl Reader<'_, '_> {
    fn slot(&mut self, code: String, is_tag: bool, offset: usize) -> usize {
        let loose = matches!(&self.state, State::RawText { element } if element == "style");
        let in_content = matches!(&self.state, State::Data);
        self.markup.slots.push(Slot { code, is_tag, loose, in_content, offset });
        self.markup.slots.len() - 1
    }

    fn code(&mut self, code: Code<'_>, is_tag: bool) {
        let slot = self.slot(code.raw.to_owned(), is_tag, code.offset);
        let word = placeholder(slot);
        match &mut self.state {
            State::Data => {
                if let Some(group) = &mut self.row_group {
                    group.has_code = true;
                }
                self.markup.html.push_str("<!--");
                self.markup.html.push_str(&word);
                self.markup.html.push_str("-->");
            }
            State::Value { quote: Some(_), parts, .. } => {
                let expression = (!is_tag).then(|| code.inner.to_owned());
                parts.push(ValuePart::Code { slot, expression });
            }
            State::Comment => self.markup.html.push_str(&word),
            State::RawText { element } if element == "style" && is_tag => self.problems.at(
                code.offset,
                "tag_in_style",
                "a condition or loop stands inside a style sheet",
                "put it into the elements, for example into their class",
            ),
            State::RawText { .. } => self.markup.html.push_str(&word),
            State::Tag { .. } | State::Value { quote: None, .. } => self.problems.at(
                code.offset,
                "code_in_tag",
                "an expression stands inside a tag, outside of a quoted value",
                "put the value into quotes, or the condition around the whole element",
            ),
        }
    }

    fn text(&mut self, text: &str, offset: usize) {
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let state = std::mem::replace(&mut self.state, State::Data);
            let used = match state {
                State::Data => self.data(rest),
                State::Comment => self.until(rest, "-->", State::Comment),
                State::RawText { element } => self.raw_text(rest, element),
                State::Tag { element, closing } => self.tag(rest, element, closing, offset + at),
                State::Value { element, attribute, quote, parts } => {
                    let value = State::Value { element, attribute, quote, parts };
                    self.value(rest, value, offset + at)
                }
            };
            at += used;
        }
    }

    fn copy<'t>(&mut self, rest: &'t str, len: usize) -> &'t str {
        let text = rest.get(..len).unwrap_or(rest);
        self.markup.html.push_str(text);
        text
    }

    fn data(&mut self, rest: &str) -> usize {
        let Some(open) = rest.find('<') else { return self.copy(rest, rest.len()).len() };
        if open > 0 {
            return self.copy(rest, open).len();
        }
        if rest.starts_with("<!--") {
            self.state = State::Comment;
            return self.copy(rest, 4).len();
        }
        if rest.starts_with("<!") || rest.starts_with("<?") {
            let end = rest.find('>').map_or(rest.len(), |end| end + 1);
            return self.copy(rest, end).len();
        }
        let closing = rest.starts_with("</");
        let from = if closing { 2 } else { 1 };
        let name = rest.get(from..).unwrap_or("");
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return self.copy(rest, from).len();
        }
        let end = name.find(|c: char| c.is_whitespace() || c == '/' || c == '>');
        let name = name.get(..end.unwrap_or(name.len())).unwrap_or("");
        let element = name.to_ascii_lowercase();
        if let Some(group) = self.row_group.take()
            && (group.has_code && element == "tr" && !closing)
        {
            self.markup.html.insert_str(group.at, "<tbody>");
        }
        self.state = State::Tag { element, closing };
        self.copy(rest, from + name.len()).len()
    }

    fn until(&mut self, rest: &str, end: &str, stay: State) -> usize {
        match rest.find(end) {
            Some(at) => self.copy(rest, at + end.len()).len(),
            None => {
                self.state = stay;
                self.copy(rest, rest.len()).len()
            }
        }
    }

    fn raw_text(&mut self, rest: &str, element: String) -> usize {
        let end = format!("</{element}");
        match rest.to_ascii_lowercase().find(&end) {
            Some(at) => {
                self.copy(rest, at);
                self.state = State::Tag { element, closing: true };
                at + self.copy(rest.get(at..).unwrap_or(""), end.len()).len()
            }
            None => {
                self.state = State::RawText { element };
                self.copy(rest, rest.len()).len()
            }
        }
    }

    /// Inside a tag, before an attribute or the end of the tag.
    fn tag(&mut self, rest: &str, element: String, closing: bool, offset: usize) -> usize {
        let c = rest.chars().next().unwrap_or('>');
        if c == '>' {
            self.copy(rest, 1);
            let before_rows = if closing { "thead colgroup caption" } else { "table" };
            if before_rows.split(' ').any(|name| name == element) {
                self.row_group = Some(RowGroup { at: self.markup.html.len(), has_code: false });
            }
            self.end_of_tag(element, closing, offset);
            return 1;
        }
        if c.is_whitespace() || c == '/' {
            self.state = State::Tag { element, closing };
            return self.copy(rest, c.len_utf8()).len();
        }
        let ends = |c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/');
        let name_len = rest.find(ends).unwrap_or(rest.len()).max(1);
        let name = rest.get(..name_len).unwrap_or(rest).to_ascii_lowercase();
        if name.starts_with("on") || name == "srcdoc" {
            self.problems.at(
                offset,
                "unsafe_attribute",
                format!("the attribute \"{name}\" runs code"),
                "remove it; mail clients do, too",
            );
        }
        let after = rest.get(name_len..).unwrap_or("");
        let value = after.trim_start();
        let Some(value) = value.strip_prefix('=').map(str::trim_start) else {
            self.state = State::Tag { element, closing };
            return self.copy(rest, name_len).len();
        };
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let used = rest.len() - value.len() + usize::from(quote.is_some());
        self.copy(rest, used);
        self.state = State::Value { element, attribute: name, quote, parts: Vec::new() };
        used
    }

    fn end_of_tag(&mut self, element: String, closing: bool, offset: usize) {
        if closing {
            if let Some(at) = self.open.iter().rposition(|open| *open == element) {
                self.open.remove(at);
            }
            return;
        }
        self.opened(&element, offset);
        if REFUSED_ELEMENTS.contains(&element.as_str()) {
            self.problems.at(
                offset,
                "unsafe_element",
                format!("<{element}> does not belong into a mail"),
                "remove it; styles go into <style>, and forms onto a page that a link leads to",
            );
        }
        if RAW_TEXT.contains(&element.as_str()) {
            self.state = State::RawText { element };
        }
    }

    fn opened(&mut self, element: &str, offset: usize) {
        let before = self.work;
        self.work += self.open.len() + 1;
        if before <= WORK_MAX && self.work > WORK_MAX {
            self.problems.whole(
                "too_complex",
                "too many elements inside others that are left open",
                "close elements where they end",
            );
        }
        let repeats = self.open.last().is_some_and(|open| open == element);
        if VOID.contains(&element) || (repeats && CLOSED_BY_THE_NEXT.contains(&element)) {
            return;
        }
        self.open.push(element.to_owned());
        if self.open.len() == DEPTH_MAX + 1 {
            self.problems.at(
                offset,
                "too_complex",
                format!("more than {DEPTH_MAX} elements inside one another"),
                "close elements where they end, and use fewer tables inside tables",
            );
        }
    }

    fn value(&mut self, rest: &str, state: State, offset: usize) -> usize {
        let State::Value { element, attribute, quote, mut parts } = state else { return 0 };
        let ends = |c: char| match quote {
            Some(quote) => c == quote,
            None => c.is_whitespace() || c == '>',
        };
        let end = rest.find(ends);
        let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        if !text.is_empty() {
            parts.push(ValuePart::Text(text.to_owned()));
        }
        if end.is_some() {
            self.finish_value(&element, &attribute, parts, offset);
            self.state = State::Tag { element, closing: false };
            let quote = quote.map_or(0, char::len_utf8);
            text.len() + self.copy(rest.get(text.len()..).unwrap_or(""), quote).len()
        } else {
            self.state = State::Value { element, attribute, quote, parts };
            text.len()
        }
    }
}
