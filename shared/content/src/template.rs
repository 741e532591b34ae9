//! Templates: what an author writes, and what it becomes once.
//!
//! [`compile`] checks every expression against a closed list of constructs, rewrites the links,
//! inlines the CSS, makes the text part when there is none, and lists the merge fields. The result
//! is stored with the template's version; nothing of this is repeated per recipient.
//!
//! Merge fields are paths under `contact`, `run`, `brand` or `message`; beside them a template may
//! use `unsubscribe_url`. A field that is absent, null or empty does not exist: printing it ends
//! the render, unless [`FieldRule::Default`] gives it a value; `{% if x is defined %}` asks.

use std::collections::BTreeMap;

use parcours_domain::Value;
use serde::{Deserialize, Serialize};

use crate::{
    engine,
    inline::{Styles, inline},
    markup::Markup,
    mjml::{self, Page},
    plain,
    problem::{Part, Problems, TemplateProblem},
    syntax::{self, Piece},
};

/// Version of the stored form.
const FORMAT: u32 = 1;
/// The largest subject, HTML and text that are accepted, in bytes.
const SUBJECT_MAX_BYTES: usize = 2 * 1024;
const BODY_MAX_BYTES: usize = 256 * 1024;

/// The first words of merge field paths.
pub const ROOTS: [&str; 4] = ["contact", "run", "brand", "message"];
/// The variable that holds the unsubscribe link.
pub const UNSUBSCRIBE_URL: &str = "unsubscribe_url";

/// A template as its author wrote it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TemplateSource {
    /// The subject line; no autoescape.
    pub subject: String,
    /// The HTML body; every value is escaped.
    pub html: String,
    /// MJML that the HTML body is made from; there is no `html` then.
    #[serde(default)]
    pub mjml: Option<String>,
    /// The text body; made from the HTML when absent.
    pub text: Option<String>,
    /// What holds for a merge field, by its path (`contact.first_name`).
    pub fields: BTreeMap<String, FieldRule>,
}

/// What holds for a merge field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldRule {
    /// Without it the message is skipped, even where the template would not print it.
    Required,
    /// What stands in when it is absent, null or empty.
    Default(Value),
}

/// A merge field that a template uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldUse {
    /// Its path.
    pub path: String,
    /// Its rule; without one the message is skipped when the field is missing where it is used.
    pub rule: Option<FieldRule>,
}

impl FieldUse {
    /// Whether something stands in when the field is missing.
    #[must_use]
    pub const fn has_default(&self) -> bool {
        matches!(self.rule, Some(FieldRule::Default(_)))
    }
}

/// A web link of the HTML body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its number in the template, from 0.
    pub index: u16,
    /// Where it leads.
    pub target: LinkTarget,
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkTarget {
    /// To this URL, checked at compile.
    Static(String),
    /// To what this expression gives, checked at each render.
    Dynamic(String),
}

/// A template ready to be rendered: what is stored with a published version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompiledTemplate {
    format: u32,
    pub(crate) subject: String,
    pub(crate) html: String,
    pub(crate) text: String,
    links: Vec<Link>,
    fields: Vec<FieldUse>,
    rules: BTreeMap<String, FieldRule>,
    unsubscribe_link: bool,
}

/// Stored bytes that are not a compiled template of a known format.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the JSON of a compiled template.
    #[error("not a compiled template")]
    Malformed(#[source] serde_json::Error),
    /// Written by a newer version.
    #[error("compiled template of format {0}, which this version does not know")]
    Format(u32),
}

impl CompiledTemplate {
    /// The stored form: versioned JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When the bytes are something else, or of a format that this version does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let template: Self = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
        if template.format == FORMAT {
            Ok(template)
        } else {
            Err(DecodeError::Format(template.format))
        }
    }

    /// The web links of the HTML body, by index.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }
    /// The merge fields that are used, by path.
    #[must_use]
    pub fn fields_used(&self) -> &[FieldUse] {
        &self.fields
    }
    /// Every rule, also of fields that are not used.
    #[must_use]
    pub const fn rules(&self) -> &BTreeMap<String, FieldRule> {
        &self.rules
    }
    /// Whether the HTML has a link to `unsubscribe_url`.
    #[must_use]
    pub const fn has_unsubscribe_link(&self) -> bool {
        self.unsubscribe_link
    }
}

/// Compiles a template, once per version.
///
/// # Errors
/// All problems of all parts.
pub fn compile(source: &TemplateSource) -> Result<CompiledTemplate, Vec<TemplateProblem>> {
    let mut problems = Vec::new();
    let mut paths = BTreeMap::new();
    let subject = check_subject(&source.subject, &mut problems, &mut paths);
    let page = page_of(source, &mut problems);
    let from_here = problems.len();
    let html = check_part(Part::Html, &page.html, &mut problems, &mut paths);
    let text = source
        .text
        .as_ref()
        .map(|text| (text, check_part(Part::Text, text, &mut problems, &mut paths)));
    check_rules(&source.fields, &mut problems);

    let mut of_html = Problems::new(Part::Html, &page.html);
    let markup = Markup::read(&html, &mut of_html);
    problems.append(&mut of_html.list);
    // Only a page that was found good so far is worth parsing, and safe to parse.
    let (mut inlined, mut made_text) = (String::new(), String::new());
    if problems.is_empty() {
        let styles =
            source.mjml.as_ref().map_or(Styles::OfPage, |_| Styles::Only(&page.inline_css));
        inlined = inline(&markup, styles, &mut of_html);
        made_text = match &text {
            Some((text, _)) => (*text).clone(),
            None => text_of(&page, &markup, &mut of_html),
        };
    }
    problems.append(&mut of_html.list);
    if !problems.is_empty() {
        if source.mjml.is_some() {
            problems.iter_mut().skip(from_here).for_each(in_page_of_mjml);
        }
        problems.sort_by_key(|problem| (problem.part, problem.line));
        return Err(problems);
    }
    let fields = paths
        .into_keys()
        .map(|path| FieldUse { rule: source.fields.get(&path).cloned(), path })
        .collect();
    Ok(CompiledTemplate {
        format: FORMAT,
        subject: syntax::without_comments(&subject),
        html: inlined,
        text: made_text,
        links: markup.links,
        fields,
        rules: source.fields.clone(),
        unsubscribe_link: markup.has_unsubscribe_link,
    })
}

/// The page as its author wrote it, or as its MJML makes it; an empty one when that has problems.
fn page_of(source: &TemplateSource, problems: &mut Vec<TemplateProblem>) -> Page {
    let Some(mjml) = &source.mjml else {
        return Page { html: source.html.clone(), ..Page::default() };
    };
    let mut found = Vec::new();
    if !source.html.is_empty() {
        let mut of_both = Problems::new(Part::Mjml, mjml);
        let message = "the template has both html and mjml";
        of_both.whole("two_bodies", message, "keep one of them");
        found.append(&mut of_both.list);
    }
    let pieces = check_part(Part::Mjml, mjml, &mut found, &mut BTreeMap::new());
    let page = if found.is_empty() { mjml::page(mjml, &pieces, &mut found) } else { None };
    problems.append(&mut found);
    page.unwrap_or_default()
}

/// The text part of a page. The preview line of MJML is not part of what is read.
fn text_of(page: &Page, markup: &Markup, problems: &mut Problems<'_>) -> String {
    if page.for_text.is_empty() || page.for_text == page.html {
        return plain::text_of(markup, problems);
    }
    let mut of_text = Problems::new(Part::Html, &page.for_text);
    let pieces = syntax::split(&page.for_text, &mut of_text);
    plain::text_of(&Markup::read(&pieces, &mut of_text), problems)
}

/// Lines of the page mean nothing to the author of its MJML.
fn in_page_of_mjml(problem: &mut TemplateProblem) {
    if problem.part == Part::Html {
        problem.part = Part::Mjml;
        problem.line = None;
        problem.column = None;
        problem.message = format!("in the page made from the MJML: {}", problem.message);
    }
}

/// What a template must have besides when it is sent under a marketing topic.
#[must_use]
pub fn check_marketing(template: &CompiledTemplate) -> Vec<TemplateProblem> {
    if template.unsubscribe_link {
        return Vec::new();
    }
    let mut problems = Problems::new(Part::Html, "");
    problems.whole(
        "no_unsubscribe_link",
        "a marketing template must let its reader unsubscribe",
        "add a link such as <a href=\"{{ unsubscribe_url }}\">Unsubscribe</a>",
    );
    problems.list
}

fn check_subject<'a>(
    source: &'a str,
    problems: &mut Vec<TemplateProblem>,
    paths: &mut BTreeMap<String, ()>,
) -> Vec<Piece<'a>> {
    let mut of_subject = Problems::new(Part::Subject, source);
    if source.trim().is_empty() {
        of_subject.whole("empty_subject", "the subject is empty", "write a subject line");
    }
    if source.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        of_subject.whole(
            "control_character",
            "the subject has a line break or another control character",
            "write the subject on one line",
        );
    }
    problems.append(&mut of_subject.list);
    check_part(Part::Subject, source, problems, paths)
}

/// Splits a part, checks its expressions and notes the fields that it uses.
fn check_part<'a>(
    part: Part,
    source: &'a str,
    problems: &mut Vec<TemplateProblem>,
    paths: &mut BTreeMap<String, ()>,
) -> Vec<Piece<'a>> {
    let mut found = Problems::new(part, source);
    let bytes_max = if part == Part::Subject { SUBJECT_MAX_BYTES } else { BODY_MAX_BYTES };
    if source.len() > bytes_max {
        found.whole(
            "too_large",
            format!("the {} is larger than {bytes_max} bytes", part.as_str()),
            "make it shorter; large images belong on a server",
        );
        problems.append(&mut found.list);
        return Vec::new();
    }
    if source.contains(engine::MARKS) || source.contains(inlined_marker()) {
        found.whole(
            "reserved_text",
            "the text contains characters that are reserved for internal marks",
            "remove U+FDD0, U+FDD1 and the word zq9pj",
        );
    }
    let pieces = syntax::split(source, &mut found);
    if found.list.is_empty() {
        for path in engine::variables(source, &mut found) {
            if check_path(&path, &mut found) {
                paths.insert(path, ());
            }
        }
    }
    problems.append(&mut found.list);
    pieces
}

const fn inlined_marker() -> &'static str {
    crate::markup::MARKER
}

/// Whether a variable is a merge field; anything else that is not known is a problem.
fn check_path(path: &str, problems: &mut Problems<'_>) -> bool {
    if path == UNSUBSCRIBE_URL {
        return false;
    }
    let (root, rest) = path.split_once('.').unwrap_or((path, ""));
    if !ROOTS.contains(&root) {
        problems.whole(
            "unknown_variable",
            format!("nothing provides \"{path}\""),
            "use contact.*, run.*, brand.*, message.* or unsubscribe_url",
        );
    } else if rest.is_empty() {
        problems.whole(
            "whole_record",
            format!("\"{path}\" is used as a whole"),
            "name one field of it, such as contact.first_name",
        );
    } else {
        return true;
    }
    false
}

fn check_rules(rules: &BTreeMap<String, FieldRule>, problems: &mut Vec<TemplateProblem>) {
    let mut found = Problems::new(Part::Html, "");
    for path in rules.keys() {
        let word =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
        if check_path(path, &mut found) && !path.split('.').all(word) {
            found.whole(
                "unknown_variable",
                format!("\"{path}\" is not a path of names and dots"),
                "write it as in the template, such as contact.first_name",
            );
        }
    }
    problems.append(&mut found.list);
}
