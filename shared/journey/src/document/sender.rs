//! The Sender document: from whom mail comes, by which transport, under which signatures.
//!
//! Passwords and private keys stand here only as the name of a secret.

use parcours_domain::{Name, Rate, Recipients, WarmUp};
use serde::{Deserialize, Serialize};

use super::brand::Switch;

/// A sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SenderDocument {
    /// Its name within the brand.
    pub name: Name,
    /// The From header.
    pub from: Mailbox,
    /// The Reply-To address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// How messages leave.
    pub transport: Transport,
    /// DKIM signatures to make, in order.
    #[serde(default)]
    pub dkim: Vec<DkimSignature>,
    /// Domain of the envelope sender, when it is not the domain of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope_domain: Option<String>,
    /// How fast this sender may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What may be sent to single mailbox providers and domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<DomainLimit>,
    /// Whether providers without a line of their own are sent to at the pace of
    /// [`parcours_domain::provider::PROVIDERS`]. Without a word: over a server on this machine they
    /// are, over any other they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Switch>,
    /// How much may leave on the sender's first days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
}

/// What may be sent to some recipients. It takes the place of their default as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainLimit {
    /// To whom.
    #[serde(rename = "match")]
    pub recipients: Recipients,
    /// How fast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Over how many connections at once, of all processes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
}

impl SenderDocument {
    /// The domain of the envelope sender: the one that is set, else that of the From address.
    #[must_use]
    pub fn envelope_domain(&self) -> &str {
        self.envelope_domain
            .as_deref()
            .unwrap_or_else(|| self.from.address.rsplit_once('@').map_or("", |(_, domain)| domain))
    }
}

/// A display name and an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// What recipients read.
    pub name: String,
    /// The brand's own address, canonical.
    pub address: String,
}

/// How messages leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transport {
    /// The built-in mailbox, which catches what would be sent.
    Mailbox,
    /// An SMTP server.
    Smtp(SmtpTransport),
}

/// An SMTP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmtpTransport {
    /// Host name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// User name for AUTH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password for AUTH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// How many connections at once.
    #[serde(default = "connections_default")]
    pub connections: u32,
}

/// The default of [`SmtpTransport::connections`].
#[must_use]
pub const fn connections_default() -> u32 {
    2
}

/// How an SMTP connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpSecurity {
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// STARTTLS, required (RFC 3207).
    Starttls,
    /// None; for a relay on this machine.
    None,
}

/// The name of a secret, set through the API and never returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// Its name.
    pub secret: Name,
}

/// One DKIM signature (RFC 6376).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimSignature {
    /// `s=`.
    pub selector: String,
    /// `d=`.
    pub domain: String,
    /// `a=`.
    pub algorithm: DkimAlgorithm,
    /// The private key.
    pub key: SecretRef,
}

/// A DKIM algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DkimAlgorithm {
    /// rsa-sha256.
    Rsa,
    /// ed25519-sha256 (RFC 8463).
    Ed25519,
}
