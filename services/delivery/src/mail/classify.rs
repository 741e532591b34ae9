//! What a failed hand-over means: for the recipient, for the message, for the connection.
//!
//! Only a permanent refusal of the *recipient* suppresses an address: at RCPT, by an enhanced code
//! that speaks of the mailbox or its domain (RFC 3463), or, from servers that give no enhanced
//! code, by words that say so. Everything permanent besides (policy, reputation, content, size,
//! sender) fails this message and says nothing of the address.

use super::smtp::{FailureKind, SmtpFailure, Stage};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The recipient does not exist: fail the message and suppress the address.
    Suppress,
    /// Fail this message only.
    FailMessage,
    /// Try this message again later.
    Retry,
    /// Nothing was said of the message: take another connection.
    ConnectionRetry,
    /// The data was handed over and no answer came: only the stated policy may decide.
    MaybeDelivered,
}

/// Enhanced codes that speak of the recipient: no such mailbox, system, syntax, moved without
/// address, null MX, disabled.
const RECIPIENT_CODES: [(u8, u16, u16); 6] =
    [(5, 1, 1), (5, 1, 2), (5, 1, 3), (5, 1, 6), (5, 1, 10), (5, 2, 1)];

/// Words of servers that answer 550, 551 or 553 at RCPT without an enhanced code. A reply is read
/// from the top: what speaks of policy never suppresses, whatever else it says.
const BARE_REPLIES: [(&str, Verdict); 40] = [
    ("spam", Verdict::FailMessage),
    ("policy", Verdict::FailMessage),
    ("block", Verdict::FailMessage),
    ("blacklist", Verdict::FailMessage),
    ("denylist", Verdict::FailMessage),
    ("listed", Verdict::FailMessage),
    ("reputation", Verdict::FailMessage),
    ("relay", Verdict::FailMessage),
    ("sender", Verdict::FailMessage),
    ("authenticat", Verdict::FailMessage),
    ("spf", Verdict::FailMessage),
    ("dkim", Verdict::FailMessage),
    ("dmarc", Verdict::FailMessage),
    ("denied", Verdict::FailMessage),
    ("quota", Verdict::FailMessage),
    ("full", Verdict::FailMessage),
    ("too many", Verdict::FailMessage),
    ("rate", Verdict::FailMessage),
    ("helo", Verdict::FailMessage),
    ("reverse dns", Verdict::FailMessage),
    ("user unknown", Verdict::Suppress),
    ("unknown user", Verdict::Suppress),
    ("no such user", Verdict::Suppress),
    ("no such recipient", Verdict::Suppress),
    ("no such mailbox", Verdict::Suppress),
    ("no such address", Verdict::Suppress),
    ("unknown recipient", Verdict::Suppress),
    ("recipient unknown", Verdict::Suppress),
    ("unknown address", Verdict::Suppress),
    ("address unknown", Verdict::Suppress),
    ("mailbox unknown", Verdict::Suppress),
    ("unknown mailbox", Verdict::Suppress),
    ("mailbox not found", Verdict::Suppress),
    ("user not found", Verdict::Suppress),
    ("recipient not found", Verdict::Suppress),
    ("does not exist", Verdict::Suppress),
    ("doesn't exist", Verdict::Suppress),
    ("no mailbox here", Verdict::Suppress),
    ("invalid mailbox", Verdict::Suppress),
    ("user does not have an account", Verdict::Suppress),
];

/// The verdict on a failure; pure and total.
#[must_use]
pub fn classify(failure: &SmtpFailure) -> Verdict {
    if failure.maybe_delivered {
        return Verdict::MaybeDelivered;
    }
    match (failure.stage, failure.kind) {
        (Stage::Connect | Stage::Tls | Stage::Auth, _) => Verdict::ConnectionRetry,
        (_, FailureKind::Io | FailureKind::Timeout | FailureKind::Protocol) => {
            Verdict::ConnectionRetry
        }
        (_, FailureKind::Transient) if failure.code == Some(421) => Verdict::ConnectionRetry,
        (_, FailureKind::Transient) => Verdict::Retry,
        (Stage::Rcpt, FailureKind::Permanent) => recipient(failure),
        (Stage::MailFrom | Stage::Data | Stage::Dot, FailureKind::Permanent) => {
            Verdict::FailMessage
        }
    }
}

fn recipient(failure: &SmtpFailure) -> Verdict {
    match failure.enhanced {
        Some(code) if RECIPIENT_CODES.contains(&code) => Verdict::Suppress,
        Some(_) => Verdict::FailMessage,
        None if matches!(failure.code, Some(550 | 551 | 553)) => {
            let text = failure.text.to_lowercase();
            BARE_REPLIES
                .iter()
                .find(|(words, _)| text.contains(words))
                .map_or(Verdict::FailMessage, |(_, verdict)| *verdict)
        }
        None => Verdict::FailMessage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(stage: Stage, code: u16, enhanced: Option<(u8, u16, u16)>, text: &str) -> SmtpFailure {
        let kind = if code < 500 { FailureKind::Transient } else { FailureKind::Permanent };
        SmtpFailure {
            stage,
            kind,
            code: Some(code),
            enhanced,
            text: text.into(),
            maybe_delivered: false,
        }
    }

    #[test]
    fn only_a_permanent_refusal_of_the_recipient_suppresses() {
        use Verdict::{ConnectionRetry, FailMessage, Retry, Suppress};
        for (stage, code, enhanced, text, verdict) in [
            (Stage::Rcpt, 550, Some((5, 1, 1)), "", Suppress),
            (Stage::Rcpt, 550, Some((5, 1, 2)), "", Suppress),
            (Stage::Rcpt, 553, Some((5, 1, 3)), "", Suppress),
            (Stage::Rcpt, 550, Some((5, 1, 6)), "", Suppress),
            (Stage::Rcpt, 556, Some((5, 1, 10)), "", Suppress),
            (Stage::Rcpt, 550, Some((5, 2, 1)), "", Suppress),
            (Stage::Rcpt, 550, Some((5, 7, 1)), "no such user", FailMessage),
            (Stage::Rcpt, 552, Some((5, 2, 2)), "mailbox full", FailMessage),
            (Stage::Rcpt, 552, Some((5, 3, 4)), "too big", FailMessage),
            (Stage::Rcpt, 550, Some((5, 1, 8)), "bad sender", FailMessage),
            (Stage::Rcpt, 550, None, "No such user here", Suppress),
            (Stage::Rcpt, 551, None, "User unknown; try elsewhere", Suppress),
            (Stage::Rcpt, 553, None, "sorry, mailbox does not exist", Suppress),
            (Stage::Rcpt, 550, None, "Blocked: user unknown to our spam filter", FailMessage),
            (Stage::Rcpt, 550, None, "Relaying denied", FailMessage),
            (Stage::Rcpt, 550, None, "", FailMessage),
            (Stage::Rcpt, 554, None, "no such user", FailMessage),
            (Stage::Rcpt, 450, Some((4, 2, 1)), "greylisted", Retry),
            (Stage::Rcpt, 450, Some((5, 1, 1)), "mixed", Retry),
            (Stage::Rcpt, 421, Some((4, 3, 2)), "closing", ConnectionRetry),
            (Stage::MailFrom, 550, Some((5, 1, 1)), "", FailMessage),
            (Stage::MailFrom, 451, None, "", Retry),
            (Stage::Data, 554, Some((5, 1, 1)), "no valid recipients", FailMessage),
            (Stage::Dot, 550, Some((5, 1, 1)), "no such user", FailMessage),
            (Stage::Dot, 554, Some((5, 7, 1)), "spam", FailMessage),
            (Stage::Dot, 452, None, "", Retry),
            (Stage::Auth, 535, Some((5, 7, 8)), "", ConnectionRetry),
            (Stage::Connect, 554, None, "no service", ConnectionRetry),
            (Stage::Tls, 454, None, "", ConnectionRetry),
        ] {
            let failure = reply(stage, code, enhanced, text);
            assert_eq!(classify(&failure), verdict, "{stage:?} {code} {enhanced:?} {text}");
        }
    }

    #[test]
    fn silence_is_a_matter_of_the_connection_before_the_dot_and_unknown_after_it() {
        for kind in [FailureKind::Io, FailureKind::Timeout, FailureKind::Protocol] {
            let silent = |stage, maybe_delivered| SmtpFailure {
                stage,
                kind,
                code: None,
                enhanced: None,
                text: String::new(),
                maybe_delivered,
            };
            assert_eq!(classify(&silent(Stage::Rcpt, false)), Verdict::ConnectionRetry);
            assert_eq!(classify(&silent(Stage::Data, false)), Verdict::ConnectionRetry);
            assert_eq!(classify(&silent(Stage::Dot, true)), Verdict::MaybeDelivered);
        }
    }
}
