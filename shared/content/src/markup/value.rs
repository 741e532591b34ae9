//! Attribute values: links are judged and become calls, other addresses are checked.

use super::{LINK_FUNCTION, Reader, ValuePart, placeholder};
use crate::{
    link::{self, Target},
    template::{Link, LinkTarget, UNSUBSCRIBE_URL},
};

const LINKS_MAX: usize = 200;

impl Reader<'_, '_> {
    /// Writes a whole value: a judged link, or what stood there.
    pub(super) fn finish_value(
        &mut self,
        element: &str,
        attribute: &str,
        parts: Vec<ValuePart>,
        offset: usize,
    ) {
        if attribute == "href" && matches!(element, "a" | "area") {
            self.finish_link(&parts, offset);
            return;
        }
        if let Some(ValuePart::Text(text)) = parts.first()
            && link::runs_code(&link::unescape(text))
            && attribute != "content"
        {
            self.problems.at(
                offset,
                "unsafe_link",
                format!("the {attribute} of <{element}> is not an address of a file"),
                "use an https URL",
            );
        }
        if element == "meta" && attribute == "http-equiv" {
            let refresh = parts.iter().any(|part| {
                matches!(part, ValuePart::Text(text) if text.to_ascii_lowercase().contains("refresh"))
            });
            if refresh {
                self.problems.at(
                    offset,
                    "unsafe_element",
                    "a mail must not lead its reader elsewhere by itself",
                    "remove the meta refresh",
                );
            }
        }
        self.write(&parts);
    }

    fn write(&mut self, parts: &[ValuePart]) {
        for part in parts {
            match part {
                ValuePart::Text(text) => self.markup.html.push_str(text),
                ValuePart::Code { slot, .. } => self.markup.html.push_str(&placeholder(*slot)),
            }
        }
    }

    fn finish_link(&mut self, parts: &[ValuePart], offset: usize) {
        let plain: Option<String> = parts
            .iter()
            .map(|part| match part {
                ValuePart::Text(text) => Some(link::unescape(text)),
                ValuePart::Code { .. } => None,
            })
            .collect();
        match (plain, whole_expression(parts)) {
            (Some(target), _) => self.static_link(parts, target.trim(), offset),
            (None, Some((_, UNSUBSCRIBE_URL))) => {
                self.markup.has_unsubscribe_link = true;
                self.write(parts);
            }
            (None, Some((slot, expression))) => {
                let expression = format!("({expression})");
                self.rewritten(slot, LinkTarget::Dynamic(expression), offset);
            }
            (None, None) => self.composed_link(parts, offset),
        }
    }

    fn static_link(&mut self, parts: &[ValuePart], target: &str, offset: usize) {
        if target.starts_with('#') {
            self.write(parts);
            return;
        }
        match link::classify(target) {
            Some(Target::Direct) => self.write(parts),
            Some(Target::Web) => {
                let slot = self.slot(String::new(), false, offset);
                self.rewritten(slot, LinkTarget::Static(target.to_owned()), offset);
            }
            None => self.problems.at(
                offset,
                "unsafe_link",
                "a link has a target that is not allowed",
                "write a whole URL such as https://shop.example/page, or mailto: or tel:",
            ),
        }
    }

    /// A link of literal text and expressions: its host must be literal.
    fn composed_link(&mut self, parts: &[ValuePart], offset: usize) {
        let beginning = match parts.first() {
            Some(ValuePart::Text(text)) => link::unescape(text.trim_start()),
            Some(ValuePart::Code { .. }) | None => String::new(),
        };
        let mut terms = Vec::new();
        let mut first_slot = None;
        for part in parts {
            match part {
                ValuePart::Text(text) => terms.push(quoted(&link::unescape(text))),
                ValuePart::Code { slot, expression: Some(expression) } => {
                    first_slot.get_or_insert(*slot);
                    terms.push(format!("({expression})"));
                }
                ValuePart::Code { expression: None, .. } => {
                    self.problems.at(
                        offset,
                        "code_in_link",
                        "a link's target holds a condition or loop",
                        "put the condition around the whole link",
                    );
                    return;
                }
            }
        }
        let lower = beginning.to_ascii_lowercase();
        let direct = lower.starts_with("mailto:") || lower.starts_with("tel:");
        let Some(slot) = first_slot else { return };
        if !direct && !link::fixes_host(&beginning) {
            self.problems.at(
                offset,
                "unsafe_link",
                "the host of a link is not written out",
                "write scheme and host before the first expression: https://shop.example/{{ ... }}",
            );
            return;
        }
        // The other expressions' slots are part of this one now.
        for part in parts {
            if let ValuePart::Code { slot: other, .. } = part
                && *other != slot
                && let Some(slot) = self.markup.slots.get_mut(*other)
            {
                slot.loose = true;
            }
        }
        self.rewritten(slot, LinkTarget::Dynamic(terms.join(" ~ ")), offset);
    }

    /// Puts the call for a new link where its target stood.
    fn rewritten(&mut self, slot: usize, target: LinkTarget, offset: usize) {
        let number = self.markup.links.len();
        let index = u16::try_from(number).unwrap_or(u16::MAX);
        if number >= LINKS_MAX {
            self.problems.at(
                offset,
                "too_complex",
                format!("more than {LINKS_MAX} links"),
                "use fewer links",
            );
            return;
        }
        let code = match &target {
            LinkTarget::Static(_) => format!("{{{{ {LINK_FUNCTION}({index}) }}}}"),
            LinkTarget::Dynamic(expression) => {
                format!("{{{{ {LINK_FUNCTION}({index}, {expression}) }}}}")
            }
        };
        if let Some(slot) = self.markup.slots.get_mut(slot) {
            slot.code = code;
        }
        self.markup.html.push_str(&placeholder(slot));
        self.markup.links.push(Link { index, target });
    }
}

/// The only expression of a value, with nothing but white space around it.
fn whole_expression(parts: &[ValuePart]) -> Option<(usize, &str)> {
    let mut found = None;
    for part in parts {
        match part {
            ValuePart::Text(text) if text.trim().is_empty() => {}
            ValuePart::Code { slot, expression: Some(expression) } if found.is_none() => {
                found = Some((*slot, expression.as_str()));
            }
            ValuePart::Text(_) | ValuePart::Code { .. } => return None,
        }
    }
    found
}

/// A text as the template language writes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
