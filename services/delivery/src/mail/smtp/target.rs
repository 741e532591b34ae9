//! Where mail is handed over, and on what terms.

use std::{fmt, time::Duration};

use super::TlsTrust;

/// Where and how to connect.
#[derive(Clone, PartialEq)]
pub struct SmtpTarget {
    /// Host name (which the certificate must carry) or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// Who we are to the server, if it asks.
    pub credentials: Option<SmtpCredentials>,
    /// The name in EHLO: this machine's domain name, or an address in brackets.
    pub hello: String,
    /// How long each phase may take.
    pub timeouts: SmtpTimeouts,
    /// Whose certificates are believed.
    pub trust: TlsTrust,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// STARTTLS (RFC 3207), required: without it nothing is sent.
    StartTls,
    /// None: for a relay on the same machine or a trusted network.
    None,
}

/// User name and password. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpCredentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for SmtpCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<credentials>")
    }
}

impl fmt::Debug for SmtpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpTarget")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

/// How long each phase may take (RFC 5321, section 4.5.3.2, shortened where nothing is lost by it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmtpTimeouts {
    /// TCP and TLS.
    pub connect: Duration,
    /// Greeting and each command's reply.
    pub command: Duration,
    /// The reply to DATA.
    pub data_start: Duration,
    /// Writing the message.
    pub data_write: Duration,
    /// The reply to the final dot: long, because giving up here leaves the outcome unknown.
    pub dot: Duration,
}

impl Default for SmtpTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            command: Duration::from_secs(120),
            data_start: Duration::from_secs(120),
            data_write: Duration::from_secs(180),
            dot: Duration::from_secs(600),
        }
    }
}
