//! What delivery reads of the published Brand and Sender documents.
//!
//! The documents were checked when they were published; this is a reader's view of their canonical
//! JSON, so fields that delivery does not use are passed over, and what an older version did not
//! have takes its default.

use parcours_content::BrandRoot;
use parcours_domain::{MessageClass, Name, Rate, value::Properties};
use serde::Deserialize;

use crate::limits::SenderLimits;

/// The brand, as far as a message shows or obeys it.
#[derive(Clone, Debug, Deserialize)]
pub struct BrandSettings {
    /// What recipients read.
    pub display_name: String,
    /// Who answers for the data.
    #[serde(default)]
    pub controller: Controller,
    /// Shown in messages.
    #[serde(default)]
    pub postal_address: String,
    /// Where links lead, without a slash at the end.
    pub public_url: String,
    /// Language and region.
    #[serde(default)]
    pub locale: String,
    /// Whether links are rewritten to count clicks.
    #[serde(default)]
    pub clicks: Switch,
    /// How fast the brand may send in all.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// What to do with unknown outcomes.
    #[serde(default)]
    pub unknown_policy: UnknownPolicies,
}

/// Who answers for the data.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Controller {
    /// Legal name.
    #[serde(default)]
    pub name: String,
    /// An e-mail address or a web address.
    #[serde(default)]
    pub contact: String,
}

/// `on` or `off`; off unless it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    #[default]
    Off,
}

/// What to do with a message whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPolicy {
    /// Leave it: at most once.
    NeverAgain,
    /// Send it again with the same Message-ID: at least once.
    Again,
}

/// [`UnknownPolicy`] by class.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct UnknownPolicies {
    /// Of marketing; never again unless the brand says otherwise.
    #[serde(default)]
    pub marketing: Option<UnknownPolicy>,
    /// Of transactional messages; again unless the brand says otherwise.
    #[serde(default)]
    pub transactional: Option<UnknownPolicy>,
}

impl UnknownPolicies {
    /// The policy for a class.
    #[must_use]
    pub fn of(self, class: MessageClass) -> UnknownPolicy {
        match class {
            MessageClass::Marketing => self.marketing.unwrap_or(UnknownPolicy::NeverAgain),
            MessageClass::Transactional => self.transactional.unwrap_or(UnknownPolicy::Again),
            MessageClass::Test => UnknownPolicy::NeverAgain,
        }
    }
}

impl BrandSettings {
    /// `brand.*` for templates.
    #[must_use]
    pub fn fields(&self) -> Properties {
        BrandRoot {
            name: &self.display_name,
            postal_address: &self.postal_address,
            public_url: self.base_url(),
            locale: &self.locale,
            controller: (&self.controller.name, &self.controller.contact),
        }
        .fields()
    }

    /// The public URL without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.public_url.trim_end_matches('/')
    }

    /// The host of the public URL: the name space of List-Id.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self.base_url().split_once("://").map_or(self.base_url(), |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        authority.split(':').next().filter(|host| !host.is_empty()).unwrap_or("localhost")
    }
}

/// From whom mail comes and how it leaves.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SenderSettings {
    /// The From header.
    pub from: Mailbox,
    /// The Reply-To address.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// By which way.
    pub transport: Transport,
    /// Signatures to make.
    #[serde(default)]
    pub dkim: Vec<Signature>,
    /// Domain of the envelope sender.
    #[serde(default)]
    pub envelope_domain: Option<String>,
    /// How fast this sender may send.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// What it may send to whom, and on its first days.
    #[serde(flatten)]
    pub limits: SenderLimits,
}

impl SenderSettings {
    /// The domain of the envelope sender and of the Message-ID.
    #[must_use]
    pub fn envelope_domain(&self) -> &str {
        self.envelope_domain.as_deref().unwrap_or_else(|| {
            self.from.address.rsplit_once('@').map_or("localhost", |(_, domain)| domain)
        })
    }
}

/// A display name and an address, both the brand's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Mailbox {
    /// What recipients read.
    #[serde(default)]
    pub name: String,
    /// The address.
    pub address: String,
}

/// By which way messages leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transport {
    /// The built-in mailbox.
    Mailbox,
    /// An SMTP server.
    Smtp(SmtpSettings),
}

/// An SMTP server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct SmtpSettings {
    /// Host name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// User name for AUTH.
    #[serde(default)]
    pub username: Option<String>,
    /// Where the password lies.
    #[serde(default)]
    pub password: Option<SecretName>,
    /// How many connections at once.
    #[serde(default = "two")]
    pub connections: u32,
}

const fn two() -> u32 {
    2
}

/// How an SMTP connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS, required.
    Starttls,
    /// None.
    None,
}

/// The name of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct SecretName {
    /// Its name.
    pub secret: Name,
}

/// One DKIM signature.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Signature {
    /// `s=`.
    pub selector: String,
    /// `d=`.
    pub domain: String,
    /// `a=`.
    pub algorithm: Algorithm,
    /// The private key.
    pub key: SecretName,
}

/// A DKIM algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// rsa-sha256.
    Rsa,
    /// ed25519-sha256.
    Ed25519,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brand_that_says_little_counts_no_clicks_and_sends_marketing_once() {
        let brand: BrandSettings = serde_json::from_str(
            r#"{"name":"shop","display_name":"Shop","public_url":"https://mail.shop.example/x/","other":1}"#,
        )
        .unwrap();
        assert_eq!(brand.clicks, Switch::Off);
        assert_eq!(brand.unknown_policy.of(MessageClass::Marketing), UnknownPolicy::NeverAgain);
        assert_eq!(brand.unknown_policy.of(MessageClass::Transactional), UnknownPolicy::Again);
        assert_eq!(brand.base_url(), "https://mail.shop.example/x");
        assert_eq!(brand.host(), "mail.shop.example");
    }

    #[test]
    fn a_sender_with_smtp_and_signatures_is_read() {
        let sender: SenderSettings = serde_json::from_str(
            r#"{"name":"main","from":{"name":"Shop","address":"hello@shop.example"},
                "transport":{"kind":"smtp","host":"127.0.0.1","port":25,"security":"none"},
                "dkim":[{"selector":"s1","domain":"shop.example","algorithm":"ed25519","key":{"secret":"dkim-s1"}}],
                "rate":"500/min burst 50"}"#,
        )
        .unwrap();
        assert_eq!(sender.envelope_domain(), "shop.example");
        let Transport::Smtp(smtp) = sender.transport else { panic!("not smtp") };
        assert_eq!((smtp.connections, smtp.security), (2, Security::None));
        assert_eq!(sender.rate.unwrap().to_string(), "500/min burst 50");
    }
}
