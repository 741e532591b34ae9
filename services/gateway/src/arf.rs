//! Reads complaints in the Abuse Reporting Format (ARF, RFC 5965): a `multipart/report` with a part
//! `message/feedback-report`, and the message, or its head, as the recipient had it.
//!
//! Pure. What is looked for is which message it was: by the Message-ID that we gave it, or else the
//! recipient that the report names; most providers leave one of the two out.

use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders as _, PartType};
use parcours_domain::{EmailAddress, MessageId};
use uuid::Uuid;

/// Types of feedback that are complaints (RFC 5965, section 7.3). Others, such as `not-spam` and
/// `auth-failure`, are none.
const COMPLAINTS: [&str; 3] = ["abuse", "fraud", "virus"];

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The message, when its Message-ID is there and could be one of ours.
    pub message: Option<MessageId>,
    /// To whom it went.
    pub recipient: Option<EmailAddress>,
}

/// Why there is no complaint in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoComplaint {
    /// There is no part with a report.
    #[error("the mail holds no part message/feedback-report (RFC 5965)")]
    NoReport,
    /// The feedback is another.
    #[error("the report's Feedback-Type is none of abuse, fraud and virus")]
    OtherFeedback,
}

impl NoComplaint {
    /// The stable word.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoReport => "no_feedback_report",
            Self::OtherFeedback => "no_complaint",
        }
    }
}

/// Reads a whole mail.
///
/// # Errors
/// There is no complaint in it.
pub fn read(mail: &[u8]) -> Result<Report, NoComplaint> {
    let mail = MessageParser::default().parse(mail).ok_or(NoComplaint::NoReport)?;
    let part = |kind: &str, subtypes: &[&str]| {
        mail.parts.iter().find(|part| {
            part.content_type().is_some_and(|found| {
                let subtype = found.subtype().unwrap_or("");
                found.ctype().eq_ignore_ascii_case(kind)
                    && subtypes.iter().any(|wanted| subtype.eq_ignore_ascii_case(wanted))
            })
        })
    };
    let report = part("message", &["feedback-report"]).ok_or(NoComplaint::NoReport)?;
    let fields = head(report).ok_or(NoComplaint::NoReport)?;
    let feedback = field(&fields, "Feedback-Type").unwrap_or_default();
    if !COMPLAINTS.iter().any(|known| feedback.eq_ignore_ascii_case(known)) {
        return Err(NoComplaint::OtherFeedback);
    }
    let original = part("message", &["rfc822", "global"])
        .or_else(|| part("text", &["rfc822-headers"]))
        .and_then(head);
    let recipient = field(&fields, "Original-Rcpt-To");
    Ok(Report {
        message: original.as_ref().and_then(message_id),
        recipient: recipient.and_then(|text| text.trim_matches(['<', '>']).parse().ok()),
    })
}

/// A part's content as the head of a message.
fn head<'x>(part: &'x MessagePart<'_>) -> Option<Message<'x>> {
    let text = match &part.body {
        PartType::Message(message) => message.raw_message(),
        PartType::Text(text) => text.as_bytes(),
        PartType::Html(_)
        | PartType::Binary(_)
        | PartType::InlineBinary(_)
        | PartType::Multipart(_) => part.contents(),
    };
    MessageParser::default().parse_headers(text)
}

fn field(head: &Message<'_>, name: &'static str) -> Option<String> {
    head.header_raw(name).map(|text| text.trim().to_owned())
}

/// Ours are `<ID@DOMAIN>`.
fn message_id(head: &Message<'_>) -> Option<MessageId> {
    let (id, _) = head.message_id()?.split_once('@')?;
    Uuid::parse_str(id).ok().map(MessageId)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0197f6a0-1234-7000-8000-000000000001";

    fn mail(kind: &str, recipient: &str, original: &str) -> String {
        format!(
            "From: <fbl@isp.example>\r\nSubject: complaint\r\nMIME-Version: 1.0\r\nContent-Type: \
             multipart/report; report-type=feedback-report;\r\n boundary=\"b1\"\r\n\r\n--b1\r\n\
             Content-Type: text/plain\r\n\r\nThis is a report.\r\n\r\n--b1\r\nContent-Type: \
             message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nUser-Agent: Loop/1.0\r\n\
             Version: 1\r\n{recipient}\r\n--b1\r\n{original}\r\n--b1--\r\n"
        )
    }

    fn with_head(content_type: &str) -> String {
        format!(
            "Content-Type: {content_type}\r\n\r\nFrom: <hello@shop.example>\r\nTo: \
             <anna@example.org>\r\nMessage-ID: <{ID}@shop.example>\r\nSubject: Hello\r\n\r\nHi\r\n"
        )
    }

    fn check(mail: &str) -> Result<(Option<String>, Option<String>), NoComplaint> {
        read(mail.as_bytes()).map(|report| {
            let message = report.message.map(|message| message.to_string());
            (message, report.recipient.map(|address| address.expose().to_owned()))
        })
    }

    #[test]
    fn the_message_is_found_by_its_id_and_the_recipient_by_the_report() {
        let named = "Original-Rcpt-To: <anna@example.org>\r\n";
        let (id, anna) = (Some(ID.to_owned()), Some("anna@example.org".to_owned()));
        for part in ["message/rfc822", "text/rfc822-headers"] {
            let original = with_head(part);
            assert_eq!(check(&mail("abuse", named, &original)), Ok((id.clone(), anna.clone())));
            assert_eq!(check(&mail("Abuse", "", &original)), Ok((id.clone(), None)), "{part}");
        }
        let theirs = with_head("message/rfc822").replace(ID, "somebody-elses");
        assert_eq!(check(&mail("fraud", named, &theirs)), Ok((None, anna)));
    }

    #[test]
    fn what_is_no_complaint_is_none() {
        let original = with_head("message/rfc822");
        for kind in ["not-spam", "auth-failure", ""] {
            assert_eq!(check(&mail(kind, "", &original)), Err(NoComplaint::OtherFeedback));
        }
        for text in ["", "From: a@example.org\r\n\r\nabuse\r\n", &original] {
            assert_eq!(check(text), Err(NoComplaint::NoReport), "{text}");
        }
    }
}
