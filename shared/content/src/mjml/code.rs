//! Code in braces, taken out before MJML is read and put back when it is rendered.
//!
//! Each code becomes a word that no author can write (sources with it are refused), so it passes
//! through every attribute and text unchanged.

use crate::{
    markup::{MARKER, MARKER_END},
    syntax::Piece,
};

/// A source with words for its code.
#[derive(Debug, Default)]
pub(super) struct Masked {
    pub(super) text: String,
    codes: Vec<Held>,
    /// Where stretches begin: in the text and in the source, ascending.
    places: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct Held {
    raw: String,
    inner: String,
    is_tag: bool,
}

/// What stands at one place of a text: words or one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Code(usize),
}

impl Masked {
    pub(super) fn of(pieces: &[Piece<'_>]) -> Self {
        let mut masked = Self::default();
        for piece in pieces {
            let (code, is_tag) = match piece {
                Piece::Text { text, offset } => {
                    masked.places.push((masked.text.len(), *offset));
                    masked.text.push_str(text);
                    continue;
                }
                Piece::Comment => continue,
                Piece::Expression(code) => (code, false),
                Piece::Tag(code) => (code, true),
            };
            masked.places.push((masked.text.len(), code.offset));
            masked.text.push_str(&format!("{MARKER}{}{MARKER_END}", masked.codes.len()));
            let (raw, inner) = (code.raw.to_owned(), code.inner.to_owned());
            masked.codes.push(Held { raw, inner, is_tag });
        }
        masked
    }

    /// Where in the source a place in the text is.
    pub(super) fn place(&self, offset: usize) -> usize {
        let after = self.places.partition_point(|(begin, _)| *begin <= offset);
        let (begin, source) =
            after.checked_sub(1).and_then(|at| self.places.get(at)).copied().unwrap_or_default();
        source + (offset - begin)
    }

    /// Whether code stands in a text.
    pub(super) fn has_code(text: &str) -> bool {
        text.contains(MARKER)
    }

    /// Whether a code is a condition or loop.
    pub(super) fn is_tag(&self, code: usize) -> bool {
        self.codes.get(code).is_some_and(|held| held.is_tag)
    }

    /// A text's words and codes, in order.
    pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        for (number, piece) in text.split(MARKER).enumerate() {
            let code = piece.split_once(MARKER_END).filter(|_| number > 0);
            let code = code.and_then(|(code, rest)| Some((code.parse().ok()?, rest)));
            let rest = code.map_or(piece, |(code, rest)| {
                parts.push(Part::Code(code));
                rest
            });
            if !rest.is_empty() {
                parts.push(Part::Text(rest));
            }
        }
        parts
    }

    /// The text with its code in place.
    pub(super) fn restore(&self, text: &str) -> String {
        Self::parts(text)
            .iter()
            .map(|part| match part {
                Part::Text(text) => text,
                Part::Code(code) => self.codes.get(*code).map_or("", |held| held.raw.as_str()),
            })
            .collect()
    }

    /// Whether the conditions and loops among these parts open and close each other.
    pub(super) fn is_balanced<'p>(&self, parts: impl IntoIterator<Item = &'p Part<'p>>) -> bool {
        let mut open = Vec::new();
        for part in parts {
            let Part::Code(code) = part else { continue };
            let Some(held) = self.codes.get(*code).filter(|held| held.is_tag) else { continue };
            match held.inner.split_whitespace().next().unwrap_or("") {
                word @ ("if" | "for") => open.push(word),
                "endif" if open.pop() != Some("if") => return false,
                "endfor" if open.pop() != Some("for") => return false,
                "elif" | "else" if open.is_empty() => return false,
                _ => {}
            }
        }
        open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{problem::Problems, syntax};

    #[test]
    fn code_goes_out_and_comes_back_where_it_stood() {
        let source = "<a x=\"{{ run.a|default(\"<\") }}\">{# note #}{% if run.b %}c{% endif %}</a>";
        let mut problems = Problems::new(crate::Part::Mjml, source);
        let masked = Masked::of(&syntax::split(source, &mut problems));
        assert!(!masked.text.contains("default") && !masked.text.contains("note"));
        assert_eq!(masked.restore(&masked.text), source.replace("{# note #}", ""));
        let c = masked.text.find(">c").map_or_else(|| masked.text.find("c"), Some).unwrap();
        assert_eq!(
            source.get(masked.place(c)..).unwrap().chars().next(),
            masked.text[c..].chars().next()
        );
        assert!(masked.is_balanced(&Masked::parts(&masked.text)));
        let cut = masked.text.replace(&format!("{MARKER}2{MARKER_END}"), "");
        assert!(!masked.is_balanced(&Masked::parts(&cut)));
    }
}
