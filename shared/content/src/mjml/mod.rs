//! MJML: from the template language of responsive mails to the HTML that is checked, inlined and
//! stored like any other.
//!
//! The way: code in braces becomes words ([`code`]), the rest is read strictly ([`read`]) and judged
//! against the table of the language ([`lint`], [`table`]), then written anew and rendered by a
//! library, once per template version; then code and contents come back. The renderer sees elements
//! and attributes only, never what an author wrote inside a text: so a content costs it nothing, and
//! comes through unchanged. What always holds: nothing is fetched, no file is read, no address of a
//! stranger's server gets into the page, and the work is bounded by the limits in [`read`].
//!
//! Merge fields may stand in contents and in the attributes that MJML hands on
//! ([`table::is_handed_on`]). Conditions and loops may stand inside one content or value, and around
//! whole elements in `mj-body`, `mj-wrapper`, `mj-column` and `mj-hero`.

mod code;
mod lint;
mod read;
mod table;

use std::{borrow::Cow, collections::BTreeSet, panic::catch_unwind};

use mrml::prelude::render::RenderOptions;

use self::{
    code::Masked,
    read::{Child, Node},
    table::STRANGERS,
};
use crate::{
    link,
    problem::{Part, Problems, TemplateProblem},
    syntax::Piece,
};

/// Around the number of a content, for the renderer. Begins with the reserved word.
const CONTENT: &str = "zq9pjc";
const CONTENT_END: &str = "zq";
/// The most bytes of a rendered page before its contents come back.
const RENDERED_MOST: usize = 2 * 1024 * 1024;

/// A page of HTML with its code, made from a template.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// What is sent.
    pub(crate) html: String,
    /// The same without the preview line, which the text part does not repeat.
    pub(crate) for_text: String,
    /// Style sheets to be inlined.
    pub(crate) inline_css: String,
}

/// The page of an MJML source that was split; none when there are problems, which are added.
pub(crate) fn page(
    source: &str,
    pieces: &[Piece<'_>],
    problems: &mut Vec<TemplateProblem>,
) -> Option<Page> {
    let mut found = Problems::new(Part::Mjml, source);
    let masked = Masked::of(pieces);
    let page = read::read(&masked, &mut found).and_then(|root| {
        lint::check(&root, &masked, &mut found);
        if found.list.is_empty() { rendered(&root, &masked, &mut found) } else { None }
    });
    problems.append(&mut found.list);
    page
}

fn rendered(root: &Node<'_>, masked: &Masked, problems: &mut Problems<'_>) -> Option<Page> {
    let mut writer = Writer::default();
    writer.element(root);
    let Some(html) = render(&writer.mjml) else {
        problems.whole(
            "mjml_unreadable",
            "the template cannot be rendered",
            "simplify it: take parts out until it can be",
        );
        return None;
    };
    if html.len() > RENDERED_MOST {
        problems.whole(
            "too_complex",
            format!("the page has {} bytes; at most {RENDERED_MOST} are rendered", html.len()),
            "make the template simpler: fewer elements, fewer defaults",
        );
        return None;
    }
    if !has_all_contents(&html, writer.contents.len()) {
        problems.whole(
            "mjml_lost",
            "something of the template does not get into the page",
            "take out what stands where MJML shows nothing",
        );
        return None;
    }
    let html = with_contents(&html, &writer.contents);
    for (sign, element, attribute) in STRANGERS {
        let mut place = None;
        root.walk(&mut |node| {
            if node.name == element {
                place.get_or_insert(node.offset);
            }
        });
        if let (true, Some(place)) = (html.contains(sign) && !masked.text.contains(sign), place) {
            problems.at(
                masked.place(place),
                "third_party_image",
                format!("<{element}> without {attribute} shows images from another's server"),
                &format!("name images of your own with {attribute}"),
            );
        }
    }
    let preview = writer.preview.map(|text| {
        format!(
            "<div style=\"display:none;font-size:1px;color:#ffffff;line-height:1px;\
             max-height:0;max-width:0;opacity:0;overflow:hidden;\">{text}</div>"
        )
    });
    let shown = match (&preview, body_begin(&html)) {
        (Some(preview), Some(at)) => format!("{}{preview}{}", html.get(..at)?, html.get(at..)?),
        (_, _) => html.clone(),
    };
    Some(Page {
        html: masked.restore(&shown),
        for_text: masked.restore(&html),
        inline_css: writer.inline_css,
    })
}

/// The renderer is a library: should it panic, the template is at fault, not the process.
fn render(mjml: &str) -> Option<String> {
    let work = || {
        let parsed = mrml::parse(mjml).ok()?;
        let options = RenderOptions { fonts: Default::default(), ..RenderOptions::default() };
        parsed.element.render(&options).ok()
    };
    catch_unwind(work).ok().flatten()
}

/// Where the content of `<body>` begins. No attribute value holds a `>`.
fn body_begin(html: &str) -> Option<usize> {
    let body = html.find("<body")?;
    Some(body + html.get(body..)?.find('>')? + 1)
}

/// Whether each content got into the page, in one pass over it.
fn has_all_contents(html: &str, contents: usize) -> bool {
    let numbers = html.split(CONTENT).skip(1).filter_map(|piece| piece.split_once(CONTENT_END));
    let seen: BTreeSet<usize> = numbers.filter_map(|(number, _)| number.parse().ok()).collect();
    (0..contents).all(|number| seen.contains(&number))
}

fn content_word(number: usize) -> String {
    format!("{CONTENT}{number}{CONTENT_END}")
}

fn with_contents(html: &str, contents: &[String]) -> String {
    let mut out = String::with_capacity(html.len() * 2);
    let mut pieces = html.split(CONTENT);
    out.push_str(pieces.next().unwrap_or(""));
    for piece in pieces {
        let (number, rest) = piece.split_once(CONTENT_END).unwrap_or(("", piece));
        let content = number.parse().ok().and_then(|number: usize| contents.get(number));
        out.push_str(content.map_or("", String::as_str));
        out.push_str(rest);
    }
    out
}

/// Paddings with a unit in each of their values: the renderer passes over a bare 0, and over the
/// whole value with it.
fn with_units<'v>(attribute: &str, value: &'v str) -> Cow<'v, str> {
    let bare = value.split_whitespace().any(|word| word == "0");
    if !attribute.contains("padding") || !bare {
        return Cow::Borrowed(value);
    }
    let words = value.split_whitespace().map(|word| if word == "0" { "0px" } else { word });
    Cow::Owned(words.collect::<Vec<_>>().join(" "))
}

/// Writes what the renderer reads.
#[derive(Default)]
struct Writer {
    mjml: String,
    contents: Vec<String>,
    preview: Option<String>,
    inline_css: String,
}

impl Writer {
    /// As deep as the tree, which is bounded.
    fn element(&mut self, node: &Node<'_>) {
        match node.name {
            "mj-preview" => {
                self.preview = Some(node.content.trim().to_owned());
                return;
            }
            "mj-style" if node.attribute("inline").is_some() => {
                self.inline_css.push_str(node.content);
                return;
            }
            _ => {}
        }
        self.mjml.push('<');
        self.mjml.push_str(node.name);
        for attribute in &node.attributes {
            let value = attribute.value.replace('"', "&quot;");
            let value = with_units(attribute.name, &value);
            self.mjml.push_str(&format!(" {}=\"{value}\"", attribute.name));
        }
        self.mjml.push('>');
        if !node.content.trim().is_empty() {
            // A title stands in an attribute, too.
            let content = match node.name {
                "mj-title" => link::unescape(node.content.trim()),
                _ => node.content.to_owned(),
            };
            let title = node.name == "mj-title";
            self.content(if title { link::escape(&content) } else { content });
        }
        for child in &node.children {
            match child {
                Child::Element(child) if child.name == "mj-raw" => self.raw(node, child.content),
                Child::Element(child) => self.element(child),
                Child::Text { text, .. } => self.raw(node, text),
            }
        }
        self.mjml.push_str(&format!("</{}>", node.name));
    }

    /// What stands between elements. The renderer puts that of a wrapper where only Outlook reads.
    fn raw(&mut self, parent: &Node<'_>, content: &str) {
        self.mjml.push_str("<mj-raw>");
        self.content(match parent.name {
            "mj-wrapper" => format!("<![endif]-->{content}<!--[if mso | IE]>"),
            _ => content.to_owned(),
        });
        self.mjml.push_str("</mj-raw>");
    }

    fn content(&mut self, content: String) {
        self.mjml.push_str(&content_word(self.contents.len()));
        self.contents.push(content);
    }
}
