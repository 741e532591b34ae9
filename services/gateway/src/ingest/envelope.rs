//! Parts a request into items without parsing them, so that one broken item costs only itself.
//!
//! Bytes that are not UTF-8 are replaced and their places remembered: only the items that hold
//! them are at fault.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// One item as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawItem<'a> {
    /// Its place in the request, from 0.
    pub index: u32,
    /// Its JSON text; bytes that are not UTF-8 are replaced.
    pub text: &'a str,
    /// Its bytes as they came.
    pub bytes: &'a [u8],
    /// Whether bytes in it were not UTF-8.
    pub damaged: bool,
}

/// The body is not a batch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoBatch {
    /// Stable word.
    pub code: &'static str,
    /// What is wrong and where.
    pub message: String,
}

/// The body as text, and where bytes had to be replaced.
pub struct Text<'a> {
    bytes: &'a [u8],
    text: Cow<'a, str>,
    replaced: Vec<Replaced>,
}

/// One replacement.
struct Replaced {
    /// Where it stands in the text.
    at: usize,
    /// How many bytes it stands for.
    bytes: usize,
}

impl<'a> Text<'a> {
    /// Reads bytes as UTF-8; what is not becomes U+FFFD.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Self { bytes, text: Cow::Borrowed(text), replaced: Vec::new() };
        }
        let (mut text, mut replaced) = (String::with_capacity(bytes.len()), Vec::new());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                replaced.push(Replaced { at: text.len(), bytes: chunk.invalid().len() });
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Self { bytes, text: Cow::Owned(text), replaced }
    }

    /// The body as one item.
    #[must_use]
    pub fn single(&self) -> RawItem<'_> {
        let damaged = !self.replaced.is_empty();
        RawItem { index: 0, text: &self.text, bytes: self.bytes, damaged }
    }

    /// The items of the member `batch`, in order.
    ///
    /// # Errors
    /// The body is not a JSON object with a list `batch`.
    pub fn batch(&self) -> Result<Vec<RawItem<'_>>, NoBatch> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            batch: Vec<&'a RawValue>,
        }
        let envelope: Envelope<'_> = serde_json::from_str(&self.text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            if error.is_data() {
                let message = format!("the body is an object with a list `batch` (line {line}, column {column})");
                NoBatch { code: "no_batch", message }
            } else {
                let message = format!("the body is not JSON: it breaks off or is malformed at line {line}, column {column}");
                NoBatch { code: "malformed_json", message }
            }
        })?;
        Ok(envelope.batch.iter().zip(0..).map(|(raw, index)| self.item(raw.get(), index)).collect())
    }

    fn item<'b>(&'b self, text: &'b str, index: u32) -> RawItem<'b> {
        let start = text.as_ptr() as usize - self.text.as_ptr() as usize;
        let end = start + text.len();
        let first = self.replaced.partition_point(|one| one.at < start);
        let damaged = self.replaced.get(first).is_some_and(|one| one.at < end);
        let bytes = self.bytes.get(self.before(start)..self.before(end)).unwrap_or_default();
        RawItem { index, text, bytes, damaged }
    }

    /// How many bytes came before this place of the text.
    fn before(&self, place: usize) -> usize {
        let replacements = self.replaced.iter().take_while(|one| one.at < place);
        replacements
            .fold(place, |bytes, one| bytes + one.bytes - char::REPLACEMENT_CHARACTER.len_utf8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_parted_unparsed() {
        let text =
            Text::read(br#"{"sentAt":"x","batch":[{"a":1}, 7 ,"\ud800",[[[]]]],"context":{}}"#);
        let items: Vec<_> = text.batch().unwrap().into_iter().map(|item| item.text).collect();
        assert_eq!(items, [r#"{"a":1}"#, "7", r#""\ud800""#, "[[[]]]"]);
    }

    #[test]
    fn bad_bytes_are_the_fault_of_their_own_item() {
        let text =
            Text::read(b"{\"batch\":[{\"a\":\"\xff\"},{\"b\":\"\xef\xbf\xbd\"},{\"c\":\"\xc3\"}]}");
        let damaged: Vec<_> = text.batch().unwrap().into_iter().map(|item| item.damaged).collect();
        assert_eq!(damaged, [true, false, true]);
        let kept: Vec<_> = text.batch().unwrap().into_iter().map(|item| item.bytes).collect();
        assert_eq!(kept[0], b"{\"a\":\"\xff\"}");
        assert_eq!(kept[1], "{\"b\":\"\u{fffd}\"}".as_bytes());
        assert_eq!(kept[2], b"{\"c\":\"\xc3\"}");
    }

    #[test]
    fn what_is_no_batch_says_why() {
        for (body, code) in [
            ("", "malformed_json"),
            ("{\"batch\":[", "malformed_json"),
            ("{\"batch\":[{]}", "malformed_json"),
            ("[]", "no_batch"),
            ("{}", "no_batch"),
            ("{\"batch\":{}}", "no_batch"),
        ] {
            assert_eq!(Text::read(body.as_bytes()).batch().unwrap_err().code, code, "{body}");
        }
    }

    #[test]
    fn nesting_without_end_does_not_use_up_the_stack() {
        let deep = "[".repeat(2_000_000);
        let body = format!("{{\"batch\":[{deep}");
        assert_eq!(Text::read(body.as_bytes()).batch().unwrap_err().code, "malformed_json");
    }
}
