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

/// The body is not a batch that can be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBatch {
    /// It is no JSON object with a list `batch`.
    #[error("{message}")]
    Unreadable {
        /// Stable word.
        code: &'static str,
        /// What is wrong and where.
        message: String,
    },
    /// It holds this many items, more than allowed.
    #[error("{0} items are too many")]
    TooMany(usize),
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
    /// How many bytes longer the text has become, by this replacement and those before it.
    shift: usize,
}

impl<'a> Text<'a> {
    /// Reads bytes as UTF-8; what is not becomes U+FFFD.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Self { bytes, text: Cow::Borrowed(text), replaced: Vec::new() };
        }
        let (mut text, mut replaced) = (String::with_capacity(bytes.len()), Vec::new());
        let mut shift = 0;
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                // At most three bytes are replaced at once: the text never becomes shorter.
                shift += char::REPLACEMENT_CHARACTER.len_utf8() - chunk.invalid().len();
                replaced.push(Replaced { at: text.len(), shift });
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

    /// The items of the member `batch`, in order, at most `most`.
    ///
    /// # Errors
    /// The body is not a JSON object with a list `batch`, or the list is longer.
    pub fn batch(&self, most: usize) -> Result<Vec<RawItem<'_>>, NoBatch> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            batch: Vec<&'a RawValue>,
        }
        let envelope: Envelope<'_> = serde_json::from_str(&self.text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            if error.is_data() {
                let message = format!("the body is an object with a list `batch` (line {line}, column {column})");
                NoBatch::Unreadable { code: "no_batch", message }
            } else {
                let message = format!("the body is not JSON: it breaks off or is malformed at line {line}, column {column}");
                NoBatch::Unreadable { code: "malformed_json", message }
            }
        })?;
        if envelope.batch.len() > most {
            return Err(NoBatch::TooMany(envelope.batch.len()));
        }
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
        let behind = self.replaced.partition_point(|one| one.at < place);
        let last = behind.checked_sub(1).and_then(|last| self.replaced.get(last));
        place - last.map_or(0, |one| one.shift)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn code(body: &[u8]) -> &'static str {
        match Text::read(body).batch(99).unwrap_err() {
            NoBatch::Unreadable { code, .. } => code,
            NoBatch::TooMany(_) => "too_many_items",
        }
    }

    #[test]
    fn items_are_parted_unparsed() {
        let text =
            Text::read(br#"{"sentAt":"x","batch":[{"a":1}, 7 ,"\ud800",[[[]]]],"context":{}}"#);
        let items: Vec<_> = text.batch(99).unwrap().into_iter().map(|item| item.text).collect();
        assert_eq!(items, [r#"{"a":1}"#, "7", r#""\ud800""#, "[[[]]]"]);
    }

    #[test]
    fn bad_bytes_are_the_fault_of_their_own_item() {
        let text =
            Text::read(b"{\"batch\":[{\"a\":\"\xff\"},{\"b\":\"\xef\xbf\xbd\"},{\"c\":\"\xc3\"}]}");
        let damaged: Vec<_> =
            text.batch(99).unwrap().into_iter().map(|item| item.damaged).collect();
        assert_eq!(damaged, [true, false, true]);
        let kept: Vec<_> = text.batch(99).unwrap().into_iter().map(|item| item.bytes).collect();
        assert_eq!(kept[0], b"{\"a\":\"\xff\"}");
        assert_eq!(kept[1], "{\"b\":\"\u{fffd}\"}".as_bytes());
        assert_eq!(kept[2], b"{\"c\":\"\xc3\"}");
    }

    #[test]
    fn what_is_no_batch_says_why() {
        for (body, word) in [
            ("", "malformed_json"),
            ("{\"batch\":[", "malformed_json"),
            ("{\"batch\":[{]}", "malformed_json"),
            ("[]", "no_batch"),
            ("{}", "no_batch"),
            ("{\"batch\":{}}", "no_batch"),
        ] {
            assert_eq!(code(body.as_bytes()), word, "{body}");
        }
    }

    #[test]
    fn nesting_without_end_does_not_use_up_the_stack() {
        let deep = "[".repeat(2_000_000);
        let body = format!("{{\"batch\":[{deep}");
        assert_eq!(code(body.as_bytes()), "malformed_json");
    }

    #[test]
    fn a_list_that_is_too_long_yields_no_items() {
        let text = Text::read(b"{\"x\":\"\xff\",\"batch\":[0,{},2]}");
        assert_eq!(text.batch(2), Err(NoBatch::TooMany(3)));
        assert_eq!(text.batch(3).unwrap().len(), 3);
    }

    #[test]
    fn many_bad_bytes_do_not_slow_each_item_down() {
        let began = Instant::now();
        let mut body = b"{\"x\":\"".to_vec();
        for _ in 0..80_000 {
            // One, two and three bytes for one replacement each.
            body.extend_from_slice(b"\xff\xe2\x82 \xf0\x9f\x98");
        }
        body.extend_from_slice(b"\",\"batch\":[");
        body.extend_from_slice("7,".repeat(9_999).as_bytes());
        body.extend_from_slice(b"\"\xc3\"]}");
        let text = Text::read(&body);
        let items = text.batch(10_000).unwrap();
        let (last, others) = items.split_last().unwrap();
        assert!(others.iter().all(|item| item.bytes == b"7" && !item.damaged));
        assert_eq!((last.bytes, last.damaged), (b"\"\xc3\"".as_slice(), true));
        // One walk of all replacements for each item takes far longer.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
