//! The linter: what the renderer would pass over in silence is a problem here, with its place and
//! how to mend it. Unknown elements and attributes, elements and text where MJML does not render
//! them, code where a rendered page could not hold together, unsafe addresses.

use parcours_domain::nearest;

use super::{
    code::{Masked, Part},
    read::{Attribute, Child, Node},
    table::{self, Element},
};
use crate::{link, problem::Problems};

/// The style sheet of a carousel grows with the square of its images.
const CAROUSEL_MAX: usize = 10;
/// Defaults are repeated in every element.
const DEFAULTS_MAX_BYTES: usize = 8 * 1024;

/// Checks a whole template.
pub(super) fn check(root: &Node<'_>, masked: &Masked, problems: &mut Problems<'_>) {
    let mut linter = Linter { masked, problems };
    if root.name != "mjml" {
        let message = format!("the template begins with <{}>", root.name);
        linter.at(root.offset, "not_mjml", message, "write <mjml><mj-body>...</mj-body></mjml>");
        return;
    }
    for (name, least) in [("mj-head", 0), ("mj-body", 1)] {
        let count = root.elements().filter(|node| node.name == name).count();
        if count < least || count > 1 {
            let message = format!("there are {count} <{name}> elements");
            linter.at(root.offset, "not_mjml", message, "write <mj-body> once");
        }
    }
    linter.element(root, None);
}

struct Linter<'m, 'p, 's> {
    masked: &'m Masked,
    problems: &'p mut Problems<'s>,
}

impl Linter<'_, '_, '_> {
    fn at(&mut self, offset: usize, code: &'static str, message: impl Into<String>, help: &str) {
        self.problems.at(self.masked.place(offset), code, message, help);
    }

    /// As deep as the tree, which is bounded.
    fn element(&mut self, node: &Node<'_>, parent: Option<&'static Element>) {
        if let Some((code, message, help)) = table::refused(node.name) {
            self.at(node.offset, code, message, help);
            return;
        }
        let Some(known) = table::element(node.name) else {
            self.unknown(node);
            return;
        };
        if parent.is_none_or(|parent| parent.name != "mj-attributes") {
            self.place(node, known, parent);
        }
        for attribute in &node.attributes {
            self.attribute(node, known, parent, attribute);
        }
        self.content(node, known, parent);
        self.texts(node);
        self.limits(node);
        for child in node.elements() {
            self.element(child, Some(known));
        }
    }

    fn unknown(&mut self, node: &Node<'_>) {
        let message = format!("<{}> is not an MJML element", node.name);
        let help = match nearest(node.name, table::names()) {
            Some(known) => format!("did you mean {known}?"),
            None => "HTML stands inside mj-text, mj-table or mj-raw".to_owned(),
        };
        self.at(node.offset, "mjml_element", message, &help);
    }

    fn place(&mut self, node: &Node<'_>, known: &Element, parent: Option<&'static Element>) {
        let Some(parent) = parent else { return };
        if parent.children().any(|child| child == node.name) {
            return;
        }
        let message = format!("<{}> does not belong directly into <{}>", node.name, parent.name);
        let parents: Vec<&str> = known.parents().collect();
        let help = match parents.as_slice() {
            [] if node.name == "mjml" => "write <mjml> once, around everything".to_owned(),
            [] => "it belongs into mj-attributes".to_owned(),
            parents => format!("it belongs into {}", parents.join(" or ")),
        };
        self.at(node.offset, "mjml_misplaced", message, &help);
    }

    fn attribute(
        &mut self,
        node: &Node<'_>,
        known: &Element,
        parent: Option<&'static Element>,
        attribute: &Attribute<'_>,
    ) {
        let any = matches!(known.name, "mj-all" | "mj-class");
        let mut names: Vec<&str> = known.attributes().collect();
        if any {
            names.extend(table::all_attributes());
        }
        if !names.contains(&attribute.name) {
            let message = format!("<{}> has no attribute {}", node.name, attribute.name);
            let help = match nearest(attribute.name, names.iter().copied()) {
                Some(known) => format!("did you mean {known}?"),
                None if names.is_empty() => "remove it".to_owned(),
                None if any => "name an attribute that some MJML element has".to_owned(),
                None => format!("it has {}", names.join(", ")),
            };
            self.at(attribute.offset, "mjml_attribute", message, &help);
            return;
        }
        let parts = Masked::parts(attribute.value);
        let has_code = parts.iter().any(|part| matches!(part, Part::Code(_)));
        let is_default = parent.is_some_and(|parent| parent.name == "mj-attributes");
        if has_code && (is_default || !table::is_handed_on(node.name, attribute.name)) {
            self.at(
                attribute.offset,
                "code_in_attribute",
                format!("MJML computes with {} of <{}>", attribute.name, node.name),
                "write a fixed value; merge fields may stand in texts, addresses and colours",
            );
        }
        if !self.masked.is_balanced(&parts) {
            self.crossing(attribute.offset);
        }
        self.address(node, attribute, &parts);
    }

    /// Links and images, judged here as well so that the author learns the place.
    fn address(&mut self, node: &Node<'_>, attribute: &Attribute<'_>, parts: &[Part<'_>]) {
        let text = match parts.first() {
            Some(Part::Text(text)) => link::unescape(text),
            Some(Part::Code(_)) | None => String::new(),
        };
        if attribute.name != "href" {
            if link::runs_code(&text) {
                let message = format!("{} of <{}> is no address", attribute.name, node.name);
                self.at(attribute.offset, "unsafe_link", message, "use an https URL");
            }
            return;
        }
        let safe = match parts {
            [Part::Text(_)] => {
                text.starts_with('#')
                    || link::classify(text.trim()).is_some()
                    || node.name == "mj-navbar-link"
            }
            [Part::Code(_)] => true,
            [Part::Text(_), ..] => {
                let lower = text.to_ascii_lowercase();
                link::fixes_host(&text) || lower.starts_with("mailto:") || lower.starts_with("tel:")
            }
            _ => false,
        };
        if !safe {
            self.at(
                attribute.offset,
                "unsafe_link",
                "a link has a target that is not allowed",
                "write a whole URL such as https://shop.example/page, or mailto: or tel:; the host \
                 stands before the first expression",
            );
        }
    }

    fn content(&mut self, node: &Node<'_>, known: &Element, parent: Option<&'static Element>) {
        let parts = Masked::parts(node.content);
        let offset = node.content_offset;
        if !self.masked.is_balanced(&parts) {
            self.crossing(offset);
        }
        let is_default = parent.is_some_and(|parent| parent.name == "mj-attributes");
        let takes_none = is_default || ["mj-breakpoint", "mj-carousel-image"].contains(&known.name);
        if takes_none && !node.content.trim().is_empty() {
            let message = format!("<{}> takes no content here", node.name);
            self.at(offset, "misplaced_text", message, "end it with />");
        }
        if ["mj-title", "mj-preview"].contains(&known.name) && node.content.contains('<') {
            let message = format!("<{}> takes text only", node.name);
            self.at(offset, "misplaced_text", message, "remove the HTML; write &lt; for <");
        }
        if known.name == "mj-style" {
            let inline = node.attribute("inline").is_some();
            let refused = |part: &Part<'_>| match part {
                Part::Text(_) => false,
                Part::Code(code) => inline || self.masked.is_tag(*code),
            };
            if parts.iter().any(refused) {
                self.at(
                    offset,
                    "tag_in_style",
                    "a condition, loop or inlined merge field stands inside a style sheet",
                    "put it into the elements, for example into their css-class",
                );
            }
        }
    }

    /// Text and code between elements.
    fn texts(&mut self, node: &Node<'_>) {
        let mut all = Vec::new();
        for child in &node.children {
            let Child::Text { text, offset } = child else { continue };
            let parts = Masked::parts(text);
            for part in &parts {
                match part {
                    Part::Code(code) if self.masked.is_tag(*code) => {
                        if !table::takes_code(node.name) {
                            self.between(node, *offset);
                        }
                    }
                    Part::Text(text) if text.trim().is_empty() => {}
                    Part::Text(_) | Part::Code(_) => {
                        let message = format!("text stands directly inside <{}>", node.name);
                        let help = "put it into <mj-text>, or another element that shows text";
                        self.at(*offset, "misplaced_text", message, help);
                    }
                }
            }
            all.extend(parts);
        }
        if !self.masked.is_balanced(&all) {
            self.crossing(node.offset);
        }
    }

    fn between(&mut self, node: &Node<'_>, offset: usize) {
        self.at(
            offset,
            "code_between",
            format!("a condition or loop stands between the elements of <{}>", node.name),
            "put it around the whole element, inside mj-column, or inside a text; columns share \
             out their section's width before the message is known",
        );
    }

    fn crossing(&mut self, offset: usize) {
        self.at(
            offset,
            "code_crosses",
            "a condition or loop opens in one element and closes in another",
            "open and close it among the same element's children, or inside the same text",
        );
    }

    fn limits(&mut self, node: &Node<'_>) {
        if node.name == "mj-carousel" && node.elements().count() > CAROUSEL_MAX {
            let message = format!("a carousel of more than {CAROUSEL_MAX} images");
            self.at(node.offset, "too_complex", message, "use fewer");
        }
        let of_defaults: usize = match node.name {
            "mj-attributes" => node
                .elements()
                .flat_map(|child| &child.attributes)
                .map(|attribute| attribute.value.len())
                .sum(),
            _ => 0,
        };
        if of_defaults > DEFAULTS_MAX_BYTES {
            let message = format!("defaults of more than {DEFAULTS_MAX_BYTES} bytes");
            self.at(node.offset, "too_complex", message, "write fewer, or shorter ones");
        }
        let shows_image = ["mj-image", "mj-carousel-image"].contains(&node.name);
        if shows_image && node.attribute("src").is_none() && node.attribute("mj-class").is_none() {
            let message = format!("<{}> has no src", node.name);
            self.at(node.offset, "mjml_attribute", message, "add src=\"https://...\"");
        }
    }
}
