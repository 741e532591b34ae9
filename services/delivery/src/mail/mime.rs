//! Builds a message of text and HTML (RFC 5322, RFC 2046).
//!
//! What always holds of the bytes: every line ends in CRLF, no CR or LF stands alone, no line is
//! longer than 998 bytes, everything is ASCII but for an address that is not, and no header value
//! had a control character. The same parts give the same bytes: the boundary comes from the
//! Message-ID. Bodies are quoted-printable, so that no relay has a reason to touch them.

use std::time::{Duration, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use lettre::{
    Address, Message,
    message::{
        Body, Mailbox, MultiPart, SinglePart,
        header::{self, ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use parcours_domain::{EmailAddress, Timestamp, hash::sha256_head};

/// The longest line that SMTP carries, without its CRLF (RFC 5321, section 4.5.3.1.6).
const LINE_MAX_BYTES: usize = 998;
const FEEDBACK_FIELDS_MAX: usize = 4;

/// What a message is made of.
#[derive(Clone, Copy)]
pub struct MailParts<'a> {
    /// Display name of the sender; may be empty.
    pub from_name: &'a str,
    /// Address of the sender.
    pub from_address: &'a str,
    /// Where replies go, if elsewhere.
    pub reply_to: Option<&'a str>,
    /// The recipient.
    pub to: &'a EmailAddress,
    /// The subject, one line.
    pub subject: &'a str,
    /// The HTML body.
    pub html: &'a str,
    /// The text body.
    pub text: &'a str,
    /// The Message-ID, in angle brackets: the same at every attempt.
    pub message_id: &'a str,
    /// The Date header.
    pub date: Timestamp,
    /// The one-click URL (RFC 8058) of a message that can be unsubscribed from.
    pub list_unsubscribe_url: Option<&'a str>,
    /// The List-Id (RFC 2919), in angle brackets.
    pub list_id: Option<&'a str>,
    /// The Feedback-ID: at most four fields with colons between them.
    pub feedback_id: Option<&'a str>,
    /// Whether it says of itself that it is a test: `X-Parcours-Test: yes`.
    pub is_test: bool,
}

impl std::fmt::Debug for MailParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailParts").field("message_id", &self.message_id).finish_non_exhaustive()
    }
}

/// Why a message cannot be built. Names the header, never its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MimeError {
    /// A value would break the header or smuggle another one in.
    #[error("the {0} header has a control character")]
    ControlCharacter(&'static str),
    /// A value is not of the form that its header has.
    #[error("the {0} header has a value of the wrong form")]
    Malformed(&'static str),
    /// A line would be longer than SMTP carries.
    #[error("a line of the message is longer than {LINE_MAX_BYTES} bytes")]
    LineTooLong,
    /// The message could not be put together.
    #[error("the message cannot be put together")]
    Unbuildable,
}

/// The message's bytes, ready to be signed.
///
/// # Errors
/// When a header's value is not safe or not of its form.
pub fn build(parts: &MailParts<'_>) -> Result<Vec<u8>, MimeError> {
    let message = with_headers(parts)?
        .multipart(
            MultiPart::alternative()
                .boundary(boundary(parts.message_id))
                .singlepart(part(ContentType::TEXT_PLAIN, parts.text)?)
                .singlepart(part(ContentType::TEXT_HTML, parts.html)?),
        )
        .map_err(|_| MimeError::Unbuildable)?;
    let bytes = canonicalise_crlf(&message.formatted());
    if bytes.split(|byte| *byte == b'\n').any(|line| line.len() > LINE_MAX_BYTES + 1) {
        return Err(MimeError::LineTooLong);
    }
    Ok(bytes)
}

/// Exchanges every CR or LF that stands alone for CRLF.
#[must_use]
pub fn canonicalise_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            // Its LF comes next and ends the line.
            b'\r' if bytes.get(at + 1) == Some(&b'\n') => {}
            b'\r' | b'\n' => out.extend_from_slice(b"\r\n"),
            _ => out.push(*byte),
        }
    }
    out
}

/// Whether every CR and LF is part of a CRLF.
#[must_use]
pub fn is_canonical(bytes: &[u8]) -> bool {
    let mut cr = false;
    for byte in bytes {
        match (cr, byte) {
            (true, b'\n') => cr = false,
            (true, _) | (false, b'\n') => return false,
            (false, b'\r') => cr = true,
            (false, _) => {}
        }
    }
    !cr
}

fn with_headers(parts: &MailParts<'_>) -> Result<lettre::message::MessageBuilder, MimeError> {
    let from_name = safe("From", parts.from_name)?;
    let name = (!from_name.trim().is_empty()).then(|| from_name.trim().to_owned());
    let millis = u64::try_from(parts.date.as_millis()).unwrap_or(0);
    let mut builder = Message::builder()
        .from(Mailbox::new(name, address("From", parts.from_address)?))
        .to(Mailbox::new(None, address("To", parts.to.expose())?))
        .subject(safe("Subject", parts.subject)?)
        .date(UNIX_EPOCH + Duration::from_millis(millis))
        .raw_header(raw("Message-ID", bracketed("Message-ID", parts.message_id)?))
        .header(header::MIME_VERSION_1_0);
    if let Some(reply_to) = parts.reply_to {
        builder = builder.reply_to(Mailbox::new(None, address("Reply-To", reply_to)?));
    }
    if let Some(url) = parts.list_unsubscribe_url {
        builder = builder
            .raw_header(raw("List-Unsubscribe", &unsubscribe(url)?))
            .raw_header(raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
    }
    if parts.is_test {
        builder = builder.raw_header(raw("X-Parcours-Test", "yes"));
    }
    if let Some(list_id) = parts.list_id {
        builder = builder.raw_header(raw("List-Id", bracketed("List-Id", list_id)?));
    }
    if let Some(feedback_id) = parts.feedback_id {
        let form = feedback_id.split(':').count() <= FEEDBACK_FIELDS_MAX
            && feedback_id.bytes().all(|byte| byte.is_ascii_graphic());
        if !form || feedback_id.is_empty() {
            return Err(MimeError::Malformed("Feedback-ID"));
        }
        builder = builder.raw_header(raw("Feedback-ID", feedback_id));
    }
    Ok(builder)
}

/// A header whose value is written as it is: on one line, never folded.
fn raw(name: &'static str, value: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str(name);
    HeaderValue::dangerous_new_pre_encoded(name, value.to_owned(), value.to_owned())
}

fn safe<'a>(header: &'static str, value: &'a str) -> Result<&'a str, MimeError> {
    if value.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        Err(MimeError::ControlCharacter(header))
    } else {
        Ok(value)
    }
}

fn address(header: &'static str, text: &str) -> Result<Address, MimeError> {
    safe(header, text)?;
    let parsed: EmailAddress = text.parse().map_err(|_| MimeError::Malformed(header))?;
    let (local, domain) = (parsed.local_part(), parsed.domain());
    Address::new(local, domain).map_err(|_| MimeError::Malformed(header))
}

/// `<...>` of visible ASCII without further brackets.
fn bracketed<'a>(header: &'static str, text: &'a str) -> Result<&'a str, MimeError> {
    safe(header, text)?;
    let inside = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>(),;:\\\"".contains(&byte);
    match inside {
        Some(inside) if !inside.is_empty() && inside.len() < 250 && inside.bytes().all(plain) => {
            Ok(text)
        }
        Some(_) | None => Err(MimeError::Malformed(header)),
    }
}

/// Exactly one URI, in angle brackets, on one line however long it is.
fn unsubscribe(url: &str) -> Result<String, MimeError> {
    safe("List-Unsubscribe", url)?;
    let web = url.starts_with("https://") || url.starts_with("http://");
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>,\"\\".contains(&byte);
    if !web || !url.bytes().all(plain) {
        return Err(MimeError::Malformed("List-Unsubscribe"));
    }
    Ok(format!("<{url}>"))
}

/// Holds `=_`, which quoted-printable text never does.
fn boundary(message_id: &str) -> String {
    let hash: [u8; 16] = sha256_head(&[b"boundary", message_id.as_bytes()]);
    format!("=_{}", HEXLOWER.encode(&hash))
}

fn part(content_type: ContentType, text: &str) -> Result<SinglePart, MimeError> {
    let text = String::from_utf8(canonicalise_crlf(text.as_bytes()))
        .map_err(|_| MimeError::Unbuildable)?;
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable)
        .map_err(|_| MimeError::Unbuildable)?;
    Ok(SinglePart::builder().header(content_type).body(body))
}
