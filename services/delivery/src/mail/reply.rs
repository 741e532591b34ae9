//! Reads SMTP replies (RFC 5321, section 4.2; RFC 2034) out of whatever pieces they arrive in.
//!
//! A reply is at most 128 lines of at most 2,048 bytes; its lines carry one code; what comes after
//! it stays in the buffer.

const LINE_MAX_BYTES: usize = 2_048;
const LINES_MAX: usize = 128;
const TEXT_MAX_CHARS: usize = 300;

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) enhanced: Option<(u8, u16, u16)>,
    /// The lines' texts without codes, with line feeds between them.
    pub(crate) text: String,
}

impl Reply {
    /// The lines after the first: the extensions that EHLO lists.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.text.lines().skip(1).map(str::trim).collect()
    }
}

/// What the server sent is not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an SMTP reply")]
pub(crate) struct BadReply;

/// Bytes of which a reply may be complete.
#[derive(Debug, Default)]
pub(crate) struct ReplyBuffer {
    bytes: Vec<u8>,
}

impl ReplyBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next whole reply, if it is there.
    pub(crate) fn take(&mut self) -> Result<Option<Reply>, BadReply> {
        let mut lines: Vec<(u16, String)> = Vec::new();
        let mut used = 0;
        loop {
            let rest = self.bytes.get(used..).unwrap_or(&[]);
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                let too_long = rest.len() > LINE_MAX_BYTES;
                return if too_long { Err(BadReply) } else { Ok(None) };
            };
            if end > LINE_MAX_BYTES || lines.len() >= LINES_MAX {
                return Err(BadReply);
            }
            let line = rest.get(..end).unwrap_or(&[]);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            used += end + 1;
            let (code, last, text) = parse_line(line)?;
            if lines.first().is_some_and(|(first, _)| *first != code) {
                return Err(BadReply);
            }
            lines.push((code, text));
            if last {
                self.bytes.drain(..used);
                return Ok(Some(whole(code, lines)));
            }
        }
    }
}

fn parse_line(line: &[u8]) -> Result<(u16, bool, String), BadReply> {
    let text = String::from_utf8_lossy(line);
    let code: u16 = text
        .get(..3)
        .filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|code| code.parse().ok())
        .filter(|code| (200..600).contains(code))
        .ok_or(BadReply)?;
    let last = match text.as_bytes().get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return Err(BadReply),
    };
    Ok((code, last, text.get(4..).unwrap_or("").to_owned()))
}

fn whole(code: u16, lines: Vec<(u16, String)>) -> Reply {
    let enhanced = lines.last().and_then(|(_, text)| enhanced_code(code, text));
    let text: Vec<String> = lines.into_iter().map(|(_, text)| text).collect();
    Reply { code, enhanced, text: text.join("\n") }
}

/// `5.1.1` at the beginning of a text; its class must be the reply's.
fn enhanced_code(code: u16, text: &str) -> Option<(u8, u16, u16)> {
    let word = text.split_whitespace().next()?;
    let mut parts = word.split('.');
    let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |part: &str| {
        let fits = !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| part.parse::<u16>().ok()).flatten()
    };
    let class = number(class).and_then(|class| u8::try_from(class).ok())?;
    let plain = parts.next().is_none() && u16::from(class) == code / 100;
    plain.then_some((class, number(subject)?, number(detail)?))
}

/// A reply's text as it may be stored and shown: one line, short, without addresses.
pub(crate) fn redacted(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .map(|word| if word.contains('@') { "<address>" } else { word })
        .collect();
    words.join(" ").chars().take(TEXT_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(bytes: &[u8]) -> Vec<Result<Option<Reply>, BadReply>> {
        // The same bytes, one at a time and all at once, give the same replies.
        let mut whole = ReplyBuffer::default();
        whole.push(bytes);
        let mut list = Vec::new();
        loop {
            let reply = whole.take();
            let more = matches!(reply, Ok(Some(_)));
            list.push(reply);
            if !more {
                break;
            }
        }
        let mut single = ReplyBuffer::default();
        let mut found = Vec::new();
        for byte in bytes {
            single.push(&[*byte]);
            if let Ok(Some(reply)) = single.take() {
                found.push(Ok(Some(reply)));
            }
        }
        assert_eq!(found, list[..list.len() - 1]);
        list
    }

    #[test]
    fn replies_are_read_across_lines_with_their_enhanced_code() {
        let list =
            replies(b"250-mx\r\n250-SIZE 1\r\n250 STARTTLS\r\n550 5.1.1 <a@b.example> no\r\n25");
        let first = list[0].clone().unwrap().unwrap();
        assert_eq!((first.code, first.lines()), (250, vec!["SIZE 1", "STARTTLS"]));
        let second = list[1].clone().unwrap().unwrap();
        assert_eq!((second.code, second.enhanced), (550, Some((5, 1, 1))));
        assert_eq!(redacted(&second.text), "5.1.1 <address> no");
        assert_eq!(list[2], Ok(None));
    }

    #[test]
    fn what_is_not_a_reply_is_refused() {
        for bad in
            ["hello\r\n", "25\r\n", "199 x\r\n", "600 x\r\n", "250_x\r\n", "250-a\r\n251 b\r\n"]
        {
            assert_eq!(replies(bad.as_bytes()).pop(), Some(Err(BadReply)), "{bad}");
        }
        let mut endless = ReplyBuffer::default();
        endless.push(&[b'2'; 3_000]);
        assert_eq!(endless.take(), Err(BadReply));
        let mut many = ReplyBuffer::default();
        many.push(&b"250-x\r\n".repeat(200));
        assert_eq!(many.take(), Err(BadReply));
    }

    #[test]
    fn an_enhanced_code_of_another_class_is_none() {
        for (text, code) in [
            ("550 4.1.1 x\r\n", None),
            ("550 5.1 x\r\n", None),
            ("550 5.1.1.1 x\r\n", None),
            ("550 5.7.26 x\r\n", Some((5, 7, 26))),
            ("550\r\n", None),
        ] {
            assert_eq!(
                replies(text.as_bytes())[0].clone().unwrap().unwrap().enhanced,
                code,
                "{text}"
            );
        }
    }
}
