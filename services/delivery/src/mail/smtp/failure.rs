//! How a conversation ended: the reply that took the message, or where it failed and what that
//! leaves open.

use crate::mail::reply::{Reply, redacted};

/// Where in the conversation something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Connecting, greeting, EHLO.
    Connect,
    /// STARTTLS and the TLS handshake.
    Tls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    MailFrom,
    /// RCPT TO.
    Rcpt,
    /// DATA, and writing the message up to its final dot.
    Data,
    /// The final dot and its reply.
    Dot,
}

impl Stage {
    /// The stored and shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::MailFrom => "mail_from",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Dot => "dot",
        }
    }
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A 4xx reply.
    Transient,
    /// A 5xx reply, or something that no repetition mends.
    Permanent,
    /// The connection broke.
    Io,
    /// No answer in time.
    Timeout,
    /// An answer that the protocol does not allow.
    Protocol,
}

/// A conversation that did not go well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SMTP failure at {} ({kind:?}, reply {code:?})", stage.as_str())]
pub struct SmtpFailure {
    /// Where.
    pub stage: Stage,
    /// What kind.
    pub kind: FailureKind,
    /// The reply's code.
    pub code: Option<u16>,
    /// The reply's enhanced code (RFC 3463).
    pub enhanced: Option<(u8, u16, u16)>,
    /// The reply's text, shortened, without anything that looks like an address.
    pub text: String,
    /// Whether the message's last byte may have been handed over: false means that it was
    /// certainly not delivered by this conversation.
    pub maybe_delivered: bool,
}

impl SmtpFailure {
    pub(crate) fn new(stage: Stage, kind: FailureKind, text: &str) -> Self {
        let text = text.to_owned();
        Self { stage, kind, code: None, enhanced: None, text, maybe_delivered: false }
    }

    pub(crate) fn refused(stage: Stage, reply: &Reply) -> Self {
        let kind = match reply.code {
            400..=499 => FailureKind::Transient,
            500..=599 => FailureKind::Permanent,
            _ => FailureKind::Protocol,
        };
        Self {
            stage,
            kind,
            code: Some(reply.code),
            enhanced: reply.enhanced,
            text: redacted(&reply.text),
            maybe_delivered: false,
        }
    }
}

/// The server took the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its reply's code.
    pub code: u16,
    /// Its reply's text, shortened and without addresses: often holds the server's queue id.
    pub text: String,
}
