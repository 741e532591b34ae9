//! From a compiled template and one person's values to a subject, an HTML and a text.
//!
//! A [`Renderer`] is made once per template version and shared: rendering compiles nothing. What
//! always holds: the subject is one line; a missing value is an error that names the field; work
//! and output are bounded; every link in the output passed through [`LinkUrls`] after its target
//! was judged safe.

use std::{io, sync::Arc};

use minijinja::{Environment, Error, ErrorKind, Value as Merged};
use parcours_domain::value::Properties;

use crate::{
    calls::{LinkCalls, marked},
    engine::{self, MARKS},
    link::{self, Target},
    markup::LINK_FUNCTION,
    merge::MergeValues,
    problem::Part,
    template::{CompiledTemplate, Link, UNSUBSCRIBE_URL},
};

const OUTPUT_MAX_BYTES: usize = 512 * 1024;
const SUBJECT_MAX_BYTES: usize = 900;
/// What stands between marks for the unsubscribe link.
const UNSUBSCRIBE_MARK: &str = "u";

/// The values of one message.
#[derive(Clone, Copy, Debug)]
pub struct RenderData<'a> {
    /// The contact's attributes.
    pub contact: &'a Properties,
    /// What the run was entered with, and what its steps set.
    pub run: &'a Properties,
    /// The brand: `name`, `postal_address` and so on.
    pub brand: &'a Properties,
    /// The message's own values.
    pub message: &'a Properties,
}

/// Makes the URLs that stand in the message.
pub trait LinkUrls {
    /// The unsubscribe page of this message.
    fn unsubscribe(&self) -> String;
    /// What stands for link number `link` with this target: a click URL, or the target itself where
    /// clicks are not counted.
    fn click(&self, link: u16, target: &str) -> String;
}

/// A rendered message.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// The HTML body.
    pub html: String,
    /// The text body.
    pub text: String,
    /// The counted links, by number: what a click on each leads to.
    pub links: Vec<(u16, String)>,
}

impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rendered").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

/// Why a message was not rendered. Holds no value of the person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A merge field is absent, null or empty.
    #[error("the merge field {path} has no value")]
    Missing {
        /// Which.
        path: String,
    },
    /// The work for one message was used up.
    #[error("the template takes too long")]
    Fuel,
    /// A value, the output or the number of links exceeds its limit.
    #[error("the rendered message is too large")]
    TooLarge,
    /// A value would have put a line break or another control character into the subject.
    #[error("a value in the subject holds a control character")]
    HeaderInjection,
    /// An expression gave a link target that is not allowed.
    #[error("link {link} has a target that is not allowed")]
    UnsafeLink {
        /// The link's number in the template.
        link: u16,
    },
    /// An operation in the template does not fit its values.
    #[error("the {} cannot be rendered with these values", part.as_str())]
    Template {
        /// In which part.
        part: Part,
        /// On which line of the compiled part.
        line: Option<u32>,
    },
}

impl RenderError {
    /// The stored and shown word.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing_field",
            Self::Fuel => "template_too_slow",
            Self::TooLarge => "too_large",
            Self::HeaderInjection => "header_injection",
            Self::UnsafeLink { .. } => "unsafe_link",
            Self::Template { .. } => "template_error",
        }
    }
}

/// Renders one template for many recipients. Cheap to share behind an `Arc`.
pub struct Renderer {
    env: Environment<'static>,
    template: CompiledTemplate,
    links: Arc<[Link]>,
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderer").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

/// Renders once: for previews and tests. Delivery keeps a [`Renderer`].
///
/// # Errors
/// Why there is no message.
pub fn render(
    template: &CompiledTemplate,
    data: &RenderData<'_>,
    urls: &dyn LinkUrls,
) -> Result<Rendered, RenderError> {
    Renderer::new(template)?.render(data, urls)
}

impl Renderer {
    /// Prepares a template.
    ///
    /// # Errors
    /// When the stored template is not one that this version can read.
    pub fn new(template: &CompiledTemplate) -> Result<Self, RenderError> {
        let mut env = engine::environment();
        for (part, source) in [
            (Part::Subject, &template.subject),
            (Part::Html, &template.html),
            (Part::Text, &template.text),
        ] {
            env.add_template_owned(part.as_str(), source.clone())
                .map_err(|error| RenderError::Template { part, line: line_of(&error) })?;
        }
        Ok(Self { env, template: template.clone(), links: template.links().into() })
    }

    /// Renders for one recipient.
    ///
    /// # Errors
    /// Why there is no message.
    pub fn render(
        &self,
        data: &RenderData<'_>,
        urls: &dyn LinkUrls,
    ) -> Result<Rendered, RenderError> {
        let values = MergeValues::collect(&self.template, data)?;
        let calls = Arc::new(LinkCalls::new(&self.links));
        let mut context = values.merged()?;
        context.insert(LINK_FUNCTION, Merged::from_dyn_object(calls.clone()));
        context.insert(UNSUBSCRIBE_URL, Merged::from(marked(UNSUBSCRIBE_MARK)));
        let context = Merged::from(context);

        let subject = self.part(Part::Subject, &context, &values, &calls)?;
        let html = self.part(Part::Html, &context, &values, &calls)?;
        let text = self.part(Part::Text, &context, &values, &calls)?;
        let links = calls.used();
        let is_web = |target: &str| link::classify(target) == Some(Target::Web);
        let url = |mark: &str| {
            if mark == UNSUBSCRIBE_MARK {
                return Some(urls.unsubscribe());
            }
            let number: u16 = mark.parse().ok()?;
            let target = links.get(&number)?;
            Some(if is_web(target) { urls.click(number, target) } else { target.clone() })
        };
        Ok(Rendered {
            subject: one_line(&fill(&subject, url))?,
            html: fill(&html, |mark| url(mark).map(|url| link::escape(&url))),
            text: tidy(&fill(&text, url)),
            links: links
                .iter()
                .filter(|(_, target)| is_web(target))
                .map(|(n, t)| (*n, t.clone()))
                .collect(),
        })
    }

    fn part(
        &self,
        part: Part,
        context: &Merged,
        values: &MergeValues<'_>,
        calls: &LinkCalls,
    ) -> Result<String, RenderError> {
        let failed = |error: &Error| RenderError::Template { part, line: line_of(error) };
        let template = self.env.get_template(part.as_str()).map_err(|error| failed(&error))?;
        let mut out = Bounded::default();
        let outcome = template.render_captured_to(context.clone(), &mut out).map(|_| ());
        match outcome {
            Ok(()) => {
                String::from_utf8(out.bytes).map_err(|_| RenderError::Template { part, line: None })
            }
            Err(_) if out.overflown => Err(RenderError::TooLarge),
            Err(_) if calls.refused().is_some() => {
                Err(calls.refused().unwrap_or(RenderError::TooLarge))
            }
            Err(error) if error.kind() == ErrorKind::OutOfFuel => Err(RenderError::Fuel),
            Err(error) => {
                let source = match part {
                    Part::Subject => &self.template.subject,
                    Part::Html | Part::Mjml => &self.template.html,
                    Part::Text => &self.template.text,
                };
                let span = error.range().and_then(|range| source.get(range)).unwrap_or("");
                let named = error.detail().and_then(|detail| detail.split('`').nth(1));
                let undefined = error.kind() == ErrorKind::UndefinedError;
                Err(values
                    .missing_in(named.unwrap_or(span), undefined)
                    .unwrap_or_else(|| failed(&error)))
            }
        }
    }
}

fn line_of(error: &Error) -> Option<u32> {
    error.line().and_then(|line| u32::try_from(line).ok())
}

fn one_line(subject: &str) -> Result<String, RenderError> {
    let subject = subject.trim_matches(' ');
    if subject.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        Err(RenderError::HeaderInjection)
    } else if subject.is_empty() {
        Err(RenderError::Missing { path: Part::Subject.as_str().to_owned() })
    } else if subject.len() > SUBJECT_MAX_BYTES {
        Err(RenderError::TooLarge)
    } else {
        Ok(subject.to_owned())
    }
}

/// Lines without white space at their ends.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    for line in text.trim_end().lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Puts URLs where link numbers stand between marks.
fn fill(text: &str, url: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let mut pieces = text.split(MARKS[0]);
    out.push_str(pieces.next().unwrap_or(""));
    for piece in pieces {
        let (mark, rest) = piece.split_once(MARKS[1]).unwrap_or(("", piece));
        if let Some(url) = url(mark) {
            out.push_str(&url);
        }
        out.push_str(rest);
    }
    out
}

/// Output that ends in an error at its limit.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    overflown: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + chunk.len() > OUTPUT_MAX_BYTES {
            self.overflown = true;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
