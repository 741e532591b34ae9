//! Addresses that redact themselves, and the keyed hashes that stand for them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use crate::{MessageClass, hash::MacKey, provider};

/// An e-mail address in canonical form: NFC, lower case, domain as IDNA A-labels (E-06).
///
/// `Debug` and `Display` redact; [`EmailAddress::expose`] is the only way to the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailAddress {
    text: String,
    at: usize,
}

/// The text is not an address that mail can be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an e-mail address such as name@example.org (at most 254 characters, no spaces or control characters)"
)]
pub struct InvalidAddress;

impl EmailAddress {
    /// The canonical address. Only transports, encryption and the owner's own view may use it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
    /// The part before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.text.get(..self.at).unwrap_or("")
    }
    /// The domain as A-labels; decides the delivery lane.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or("")
    }
    /// The delivery lane of a message to it, so that one slow mailbox provider keeps only its own:
    /// see [`provider::lane`].
    #[must_use]
    pub fn lane(&self, class: MessageClass) -> i64 {
        provider::lane(self.domain(), class)
    }
    /// The keyed hash under the brand's address key.
    #[must_use]
    pub fn hash(&self, key: &MacKey) -> AddressHash {
        AddressHash(key.mac(&[b"address", self.text.as_bytes()]))
    }
}

impl FromStr for EmailAddress {
    type Err = InvalidAddress;
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (local, domain) = text.trim().rsplit_once('@').ok_or(InvalidAddress)?;
        let domain = idna::domain_to_ascii(domain).map_err(|_| InvalidAddress)?;
        // Composed before, so that letters find their lower case, and after, because a small letter
        // may compose with a mark where its capital does not.
        let local = local.nfc().collect::<String>().to_lowercase().nfc().collect::<String>();
        let plain =
            |c: char| !c.is_control() && !c.is_whitespace() && !"()<>[]:;,\\\"@".contains(c);
        let local_fits = !local.is_empty()
            && local.len() <= 64
            && local.chars().all(plain)
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let domain_fits = domain.contains('.') && domain.split('.').all(label);
        let at = local.len();
        let text = format!("{local}@{domain}");
        if local_fits && domain_fits && text.len() <= 254 {
            Ok(Self { text, at })
        } else {
            Err(InvalidAddress)
        }
    }
}
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<address>")
    }
}
impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<address>")
    }
}

/// HMAC-SHA-256 of a canonical address under the brand's address key: what suppression and
/// objection are recorded against, so that they outlive the address itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AddressHash(pub [u8; 32]);

impl fmt::Debug for AddressHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address:{}", data_encoding::HEXLOWER.encode(&self.0[..6]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_meet() {
        let one: EmailAddress = "José.Müller@EXAMPLE.org ".parse().unwrap();
        let two: EmailAddress = "jose\u{301}.mu\u{308}ller@example.ORG".parse().unwrap();
        assert_eq!(one, two);
        let idn: EmailAddress = "a@bücher.example".parse().unwrap();
        assert_eq!(idn.expose(), "a@xn--bcher-kva.example");
        assert_eq!(idn.domain(), "xn--bcher-kva.example");
    }

    /// An address is stored, read and parsed again: it must stay the address that it was.
    #[test]
    fn an_address_that_was_parsed_parses_to_itself() {
        let marks =
            ["", "\u{301}", "\u{307}", "\u{30a}", "\u{30c}", "\u{323}", "\u{331}", "\u{345}"];
        let capitals = (char::MIN..=char::MAX).filter(|c| c.is_uppercase());
        for (capital, mark) in capitals.flat_map(|c| marks.map(|mark| (c, mark))) {
            let once: EmailAddress = format!("{capital}{mark}@example.org").parse().unwrap();
            let again: EmailAddress = once.expose().parse().unwrap();
            assert_eq!(once, again, "{capital:?} {mark:?}");
        }
    }

    #[test]
    fn what_could_break_a_header_is_no_address() {
        for bad in [
            "",
            "a",
            "a@b",
            "@b.c",
            "a@",
            "a b@c.de",
            "a\r\nBcc: x@y.zz@c.de",
            "a@b..c",
            "a@-b.de",
            "a,b@c.de",
            "<a@b.cd>",
            "a@b.c\n",
            ".a@b.cd",
        ] {
            let parsed = bad.parse::<EmailAddress>();
            assert!(parsed.is_err() || !parsed.unwrap().expose().contains('\n'), "{bad:?}");
        }
        assert!("a\r\nBcc: x@y.zz@c.de".parse::<EmailAddress>().is_err());
    }

    #[test]
    fn an_address_never_prints_itself() {
        let address: EmailAddress = "anna@example.org".parse().unwrap();
        assert!(!format!("{address} {address:?}").contains("anna"));
    }
}
