//! The text part, made from the HTML once, with its code in place.
//!
//! Tables in mails lay out, they do not tabulate: rows become lines, so that code between rows
//! stays between lines. Links are written as their text and then their URL in brackets.

use html2text::{config, render::TextDecorator};

use crate::{
    inline::{restore, slots_in},
    markup::{MARKER, MARKER_END, Markup},
    problem::Problems,
};

/// Wide enough that no line is broken: the mail's encoding takes care of long lines.
const WIDTH: usize = 10_000;

/// The text of an HTML template.
pub(crate) fn text_of(markup: &Markup, problems: &mut Problems<'_>) -> String {
    let html = without_tables(&markup.html);
    let text = config::with_decorator(MailText::default())
        .no_link_wrapping()
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), WIDTH);
    let Ok(text) = text else {
        problems.whole(
            "unreadable_html",
            "no text part can be made from the HTML",
            "write the text part yourself",
        );
        return String::new();
    };
    let is_tag =
        |slot: &usize| markup.slots.get(*slot).is_some_and(|slot| slot.is_tag && slot.in_content);
    let tags = |text: &str| slots_in(text).into_iter().filter(is_tag).collect::<Vec<_>>();
    if tags(&text) != tags(&body_of(&markup.html)) {
        problems.whole(
            "no_text_part",
            "no text part can be made from the HTML: a condition or loop would change its place",
            "write the text part yourself",
        );
    }
    restore(&close_up(&text, markup), markup)
}

/// The HTML without what has no text: comments, styles, titles; code between elements stays.
fn body_of(html: &str) -> String {
    let opened = format!("<!--{MARKER}");
    let closed = format!("{MARKER_END}-->");
    let mut rest = html;
    let mut out = String::with_capacity(html.len());
    while let Some(at) = rest.find("<!--") {
        out.push_str(rest.get(..at).unwrap_or(""));
        let comment = rest.get(at..).unwrap_or("");
        let end = comment.find("-->").map_or(comment.len(), |end| end + 3);
        let whole = comment.get(..end).unwrap_or("");
        if whole.starts_with(&opened) && whole.ends_with(&closed) {
            let len = whole.len().saturating_sub(3);
            out.push_str(whole.get(4..len).unwrap_or(""));
        }
        rest = comment.get(end..).unwrap_or("");
    }
    out.push_str(rest);
    for element in ["style", "title"] {
        out = without_element(&out, element);
    }
    out
}

fn without_element(html: &str, element: &str) -> String {
    let lower = html.to_ascii_lowercase();
    let (open, close) = (format!("<{element}"), format!("</{element}>"));
    let mut out = String::with_capacity(html.len());
    let mut at = 0;
    while let Some(from) = lower.get(at..).and_then(|rest| rest.find(&open)) {
        out.push_str(html.get(at..at + from).unwrap_or(""));
        let tail = lower.get(at + from..).unwrap_or("");
        at += from + tail.find(&close).map_or(tail.len(), |end| end + close.len());
    }
    out.push_str(html.get(at..).unwrap_or(""));
    out
}

/// Tables, rows and cells as plain blocks, in which text is not moved.
fn without_tables(html: &str) -> String {
    let html = body_of(html);
    let mut out = String::with_capacity(html.len());
    let mut rest = html.as_str();
    while let Some(at) = rest.find('<') {
        out.push_str(rest.get(..at).unwrap_or(""));
        rest = rest.get(at..).unwrap_or("");
        let from = if rest.starts_with("</") { 2 } else { 1 };
        let name = rest.get(from..).unwrap_or("");
        let len = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        let name = name.get(..len).unwrap_or("").to_ascii_lowercase();
        let block = match name.as_str() {
            "table" | "tr" | "caption" => Some("div"),
            "tbody" | "thead" | "tfoot" | "colgroup" | "col" => Some("span"),
            "td" | "th" => Some("span"),
            _ => None,
        };
        match block {
            Some(block) => {
                out.push_str(if from == 2 { "</" } else { "<" });
                out.push_str(block);
                if from == 1 && block == "span" {
                    let end = rest.find('>').unwrap_or(rest.len());
                    out.push('>');
                    rest = rest.get(end + 1..).unwrap_or("");
                } else if block == "span" {
                    out.push_str("> ");
                    rest = rest.get(from + len + 1..).unwrap_or("");
                } else {
                    rest = rest.get(from + len..).unwrap_or("");
                }
            }
            None => {
                out.push_str(rest.get(..from + len).unwrap_or(rest));
                rest = rest.get(from + len..).unwrap_or("");
            }
        }
    }
    out.push_str(rest);
    out
}

/// A line that holds nothing but conditions and loops adds no line to the text; more than one
/// empty line in a row becomes one.
fn close_up(text: &str, markup: &Markup) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0_usize;
    for line in text.lines().map(str::trim_end) {
        let slots = slots_in(line);
        let bare: String = line.split_whitespace().collect();
        let of_tags: usize = slots.iter().map(|slot| crate::markup::placeholder(*slot).len()).sum();
        let all_tags = slots.iter().all(|slot| markup.slots.get(*slot).is_some_and(|s| s.is_tag));
        if !slots.is_empty() && all_tags && bare.len() == of_tags {
            out.push_str(&bare);
            continue;
        }
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            let indented = line.starts_with("  ");
            out.push_str(if indented { line } else { line.trim_start() });
            out.push('\n');
        }
    }
    out.trim().to_owned() + "\n"
}

/// Writes links as text and URL, images as their description, and leaves the rest plain.
#[derive(Clone, Debug, Default)]
struct MailText {
    urls: Vec<String>,
}

impl TextDecorator for MailText {
    type Annotation = ();

    fn decorate_link_start(&mut self, url: &str) -> (String, ()) {
        self.urls.push(url.to_owned());
        (String::new(), ())
    }
    fn decorate_link_end(&mut self) -> String {
        match self.urls.pop() {
            Some(url) if !url.starts_with('#') => format!(" ({url})"),
            Some(_) | None => String::new(),
        }
    }
    fn decorate_em_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_em_end(&self) -> String {
        String::new()
    }
    fn decorate_strong_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_strong_end(&self) -> String {
        String::new()
    }
    fn decorate_strikeout_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_strikeout_end(&self) -> String {
        String::new()
    }
    fn decorate_code_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_code_end(&self) -> String {
        String::new()
    }
    fn decorate_preformat_first(&self) {}
    fn decorate_preformat_cont(&self) {}
    fn decorate_image(&mut self, _src: &str, title: &str) -> (String, ()) {
        (title.to_owned(), ())
    }
    fn header_prefix(&self, _level: usize) -> String {
        String::new()
    }
    fn quote_prefix(&self) -> String {
        "> ".to_owned()
    }
    fn unordered_item_prefix(&self) -> String {
        "- ".to_owned()
    }
    fn ordered_item_prefix(&self, i: i64) -> String {
        format!("{i}. ")
    }
    fn make_subblock_decorator(&self) -> Self {
        Self::default()
    }
}
