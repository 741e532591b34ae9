//! From source text to documents, with every problem in its place.

use std::str::FromStr as _;

use parcours_domain::{Channel, MessageClass, Name};

use super::{
    API_VERSION, Document, Kind, Places, Problem, TemplateDocument, TopicDocument,
    fields::{At, Fields, Report},
    node::{self, Node, NodeKind},
    read_brand, read_journey, read_sender,
    template::FieldRule,
};

/// A document and where its parts stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The document.
    pub document: Document,
    /// Where its parts stand in the file.
    pub places: Places,
}

/// A document that cannot be read: what it would have been, as far as that can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// Its kind.
    pub kind: Option<Kind>,
    /// Its name.
    pub name: Option<Name>,
}

/// All that one source holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceRead {
    /// The documents without faults of their own.
    pub documents: Vec<Located>,
    /// The others.
    pub unreadable: Vec<Unreadable>,
    /// The faults of the others.
    pub problems: Vec<Problem>,
}

/// Reads all documents of one source: YAML (several documents between `---` lines), or JSON
/// (one document, or a list), told apart by the first character.
///
/// # Errors
/// All problems of all documents of the source.
pub fn parse_documents(source: &str, file: &str) -> Result<Vec<Document>, Vec<Problem>> {
    let located = parse_located(source, file)?;
    Ok(located.into_iter().map(|located| located.document).collect())
}

/// [`parse_documents`], keeping where everything stands, so that problems found later can be
/// shown in their place.
///
/// # Errors
/// All problems of all documents of the source.
pub fn parse_located(source: &str, file: &str) -> Result<Vec<Located>, Vec<Problem>> {
    let read = read_source(source, file);
    if read.problems.is_empty() { Ok(read.documents) } else { Err(read.problems) }
}

/// [`parse_located`], keeping what is sound beside what is not, so that one faulty document does
/// not hide what is wrong between the others.
#[must_use]
pub fn read_source(source: &str, file: &str) -> SourceRead {
    let mut read = SourceRead::default();
    for node in node::read(source) {
        match node {
            Ok(node) => match read_document(&node, file) {
                Ok(located) => read.documents.push(located),
                Err(found) => {
                    read.unreadable.push(would_be(&node));
                    read.problems.extend(found);
                }
            },
            Err(fault) => {
                read.unreadable.push(Unreadable::default());
                read.problems.push(*fault);
            }
        }
    }
    for problem in &mut read.problems {
        file.clone_into(&mut problem.file);
    }
    read
}

/// Kind and name of a faulty document; its faults are told already.
fn would_be(node: &Node) -> Unreadable {
    let mut told = Report::default();
    let at = At { node, path: String::new() };
    let NodeKind::Map(_) = node.kind else { return Unreadable::default() };
    let Some(mut fields) = at.fields(&mut told) else { return Unreadable::default() };
    let kinds = Kind::ALL.map(|kind| (kind.as_str(), kind));
    Unreadable {
        kind: fields.optional("kind", &mut told, |at, report| at.word(&kinds, report)),
        name: fields.optional("name", &mut told, At::name),
    }
}

fn read_document(node: &Node, file: &str) -> Result<Located, Vec<Problem>> {
    let mut report = Report::default();
    file.clone_into(&mut report.places.file);
    report.mark(node, "");
    let document = read_any(&At { node, path: String::new() }, &mut report);
    match document {
        Some(document) if report.problems.is_empty() => {
            Ok(Located { document, places: report.places })
        }
        Some(_) | None => Err(report.problems),
    }
}

fn read_any(at: &At<'_>, report: &mut Report) -> Option<Document> {
    if !matches!(at.node.kind, NodeKind::Map(_)) {
        let help = "begin with apiVersion: parcours/v1 and kind:";
        report.add("not_a_document", "", "a document is a map of fields", help);
        return None;
    }
    let mut fields = at.fields(report)?;
    fields.required("apiVersion", report, |at, report| at.word(&[(API_VERSION, ())], report));
    let kinds = Kind::ALL.map(|kind| (kind.as_str(), kind));
    let kind = fields.required("kind", report, |at, report| at.word(&kinds, report));
    let name = fields.required("name", report, At::name);
    let document = match kind? {
        Kind::Brand => read_brand::brand(&mut fields, name, report).map(Document::Brand),
        Kind::Sender => read_sender::sender(&mut fields, name, report).map(Document::Sender),
        Kind::Topic => topic(&mut fields, name, report).map(Document::Topic),
        Kind::Template => template(&mut fields, name, report).map(Document::Template),
        Kind::Journey => read_journey::journey(&mut fields, name, report).map(Document::Journey),
    };
    fields.done(report);
    document
}

const CHANNELS: [(&str, Channel); 1] = [("email", Channel::Email)];

fn topic(
    fields: &mut Fields<'_>,
    name: Option<Name>,
    report: &mut Report,
) -> Option<TopicDocument> {
    const CLASSES: [(&str, MessageClass); 2] =
        [("marketing", MessageClass::Marketing), ("transactional", MessageClass::Transactional)];
    let title = fields.required("title", report, At::line);
    let purpose = fields.required("purpose", report, At::text);
    let channel = fields.optional("channel", report, |at, report| at.word(&CHANNELS, report));
    let class = fields.optional("class", report, |at, report| at.word(&CLASSES, report));
    let double_opt_in = fields.optional("double_opt_in", report, At::boolean);
    Some(TopicDocument {
        name: name?,
        title: title?,
        purpose: purpose?,
        channel: channel.unwrap_or(Channel::Email),
        class: class.unwrap_or(MessageClass::Marketing),
        double_opt_in: double_opt_in.unwrap_or(false),
    })
}

fn template(
    fields: &mut Fields<'_>,
    name: Option<Name>,
    report: &mut Report,
) -> Option<TemplateDocument> {
    let channel = fields.optional("channel", report, |at, report| at.word(&CHANNELS, report));
    let subject = fields.required("subject", report, At::line);
    let body = template_body(fields, report);
    let text = fields.optional("text", report, At::text);
    let language = fields.optional("language", report, read_brand::language);
    let rules = fields.optional("fields", report, |at, report| {
        let members = at.members(report)?;
        let rules = members.into_iter().filter_map(|(path, at)| {
            let rule = field_rule(path, &at, report)?;
            Some((path.to_owned(), rule))
        });
        Some(rules.collect())
    });
    let (html, mjml) = body?;
    Some(TemplateDocument {
        name: name?,
        channel: channel.unwrap_or(Channel::Email),
        subject: subject?,
        html,
        mjml,
        text,
        language,
        fields: rules.unwrap_or_default(),
    })
}

/// `html` or `mjml`, exactly one of them.
fn template_body(
    fields: &mut Fields<'_>,
    report: &mut Report,
) -> Option<(Option<String>, Option<String>)> {
    match (fields.get("html"), fields.get("mjml")) {
        (Some(html), None) => Some((Some(html.text(report)?), None)),
        (None, Some(mjml)) => Some((None, Some(mjml.text(report)?))),
        (Some(_), Some(mjml)) => {
            let message = "a template is written in html or in mjml, one of the two";
            report.add("two_bodies", &mjml.path, message, "keep one of them");
            None
        }
        (None, None) => {
            let path = fields.path_of("html");
            report.add("missing_field", &path, "`html` is missing", "add `html:` or `mjml:`");
            None
        }
    }
}

/// `required`, `{required: true}` or `{default: VALUE}`.
fn field_rule(path: &str, at: &At<'_>, report: &mut Report) -> Option<FieldRule> {
    let part = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && chars.all(|c| c.is_alphanumeric() || c == '_')
    };
    if path.split('.').count() < 2 || !path.split('.').all(part) {
        let help = "write a path as the template does, such as contact.first_name";
        report.add("invalid_value", &at.path, format!("`{path}` is not a merge field"), help);
        return None;
    }
    if matches!(at.node.kind, NodeKind::Scalar { .. }) {
        return at.word(&[("required", ())], report).map(|()| FieldRule::Required);
    }
    let mut fields = at.fields(report)?;
    let required = fields.optional("required", report, At::boolean);
    let default = fields.get("default").map(|at| at.node.value());
    fields.done(report);
    match (required, default) {
        (Some(true), None) => Some(FieldRule::Required),
        (None | Some(false), Some(value)) => Some(FieldRule::Default(value)),
        (Some(true), Some(_)) | (None | Some(false), None) => {
            let help = "write `required`, or `default:` with a value";
            let message = "a merge field is required or has a default, one of the two";
            report.add("field_rule", &at.path, message, help);
            None
        }
    }
}

/// Whether a text is a time zone that the bundled database knows.
pub(super) fn is_zone(text: &str) -> bool {
    jiff::tz::TimeZone::get(text).is_ok()
}

/// Whether a text is a host name that mail can come from, in its canonical form.
pub(super) fn canonical_domain(text: &str) -> Option<String> {
    let probe = parcours_domain::EmailAddress::from_str(&format!("a@{text}")).ok()?;
    Some(probe.domain().to_owned())
}
