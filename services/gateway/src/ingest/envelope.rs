//! Parts a request into items without parsing them, so that one broken item costs only itself.
//!
//! Bytes that are not UTF-8 are replaced, one for one: only the items that hold them are at fault.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// One item as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawItem<'a> {
    /// Its place in the request, from 0.
    pub index: u32,
    /// Its JSON text; bytes that are not UTF-8 are question marks.
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

/// The body as text of the same length, so that a place in one is the same place in the other.
pub struct Text<'a> {
    bytes: &'a [u8],
    text: Cow<'a, str>,
}

impl<'a> Text<'a> {
    /// Reads bytes as UTF-8; each byte that is not becomes a question mark. It takes no more room
    /// than one copy of the body, however many bytes are bad.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Self { bytes, text: Cow::Borrowed(text) };
        }
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| '?'));
        }
        Self { bytes, text: Cow::Owned(text) }
    }

    /// The body as one item.
    #[must_use]
    pub fn single(&self) -> RawItem<'_> {
        let damaged = matches!(self.text, Cow::Owned(_));
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
        let bytes = self.bytes.get(start..start + text.len()).unwrap_or_default();
        // A bad byte stands within one item: outside of texts it is no JSON at all.
        let damaged = matches!(self.text, Cow::Owned(_)) && std::str::from_utf8(bytes).is_err();
        RawItem { index, text, bytes, damaged }
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
        let body = b"{\"batch\":[{\"a\":\"\xff\"},{\"b\":\"\xef\xbf\xbd\"},{\"c\":\"\xc3\"},{\"d\":\"?\"}]}";
        let text = Text::read(body);
        let damaged: Vec<_> =
            text.batch(99).unwrap().into_iter().map(|item| item.damaged).collect();
        assert_eq!(damaged, [true, false, true, false]);
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
    fn bad_bytes_take_no_more_room_than_good_ones() {
        let mut body = b"{\"batch\":[\"".to_vec();
        body.resize(5 * 1024 * 1024, 0xff);
        let text = Text::read(&body);
        assert_eq!(text.text.len(), body.len());
        let Cow::Owned(copy) = &text.text else { panic!("bad bytes are replaced") };
        assert_eq!(copy.capacity(), body.len(), "one copy, made at once");
        // Nothing else is kept: two references, and the text's own three words.
        assert!(size_of::<Text<'_>>() <= 5 * size_of::<usize>(), "{}", size_of::<Text<'_>>());
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
