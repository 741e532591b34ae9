//! Tokens in links and envelope senders: what an unsubscribe link, a click link or a bounce says
//! about itself, under a MAC.
//!
//! A token carries ids and a handle, never an address, and is as long for every person. It says
//! what the link does ([`LinkKind`]), so that a click token is no use as an unsubscribe token. The
//! MAC is 128 bits of HMAC-SHA-256 under the brand's link key; what is read before the MAC was
//! checked ([`Unverified`]) is only what is needed to find that key.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use parcours_domain::{Handle, MessageId, TenantId, hash::MacKey};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

const VERSION: u8 = 1;
const BODY_LEN: usize = 53;
const MAC_LEN: usize = 16;
const TOKEN_LEN: usize = BODY_LEN + MAC_LEN;
const LINK_LABEL: &[u8] = b"parcours-link";
const VERP_LABEL: &[u8] = b"parcours-verp";
const VERP_PREFIX: &str = "b-";
const VERP_MAC_LEN: usize = 12;

/// Length of every link token, in characters.
pub const LINK_TOKEN_CHARS: usize = 92;

/// What a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkKind {
    /// Withdraws consent to the message's topic (after a POST).
    Unsubscribe,
    /// Records a click and redirects to the stored target.
    Click,
}

impl LinkKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Unsubscribe => 1,
            Self::Click => 2,
        }
    }
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Unsubscribe),
            2 => Some(Self::Click),
            _ => None,
        }
    }
}

/// What a link in a message stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkToken {
    /// What the link does.
    pub kind: LinkKind,
    /// Which version of the brand's link key signs it.
    pub key_version: u8,
    /// The brand.
    pub tenant: TenantId,
    /// The message the link is in.
    pub message: MessageId,
    /// The recipient's handle.
    pub handle: Handle,
    /// Which link of the message; 0 for unsubscribe.
    pub link: u16,
}

/// A token of the right form whose MAC nobody has checked yet.
#[derive(Clone, Debug)]
pub struct Unverified {
    bytes: [u8; TOKEN_LEN],
    token: LinkToken,
}

impl LinkToken {
    /// The token as it stands in a URL: base64url without padding, [`LINK_TOKEN_CHARS`] long.
    #[must_use]
    pub fn sign(&self, key: &MacKey) -> String {
        let mut bytes = Vec::with_capacity(TOKEN_LEN);
        bytes.extend([VERSION, self.kind.byte(), self.key_version]);
        bytes.extend(self.tenant.bytes());
        bytes.extend(self.message.bytes());
        bytes.extend(self.handle.0);
        bytes.extend(self.link.to_be_bytes());
        let mac = key.mac(&[LINK_LABEL, &bytes]);
        bytes.extend(mac.iter().take(MAC_LEN));
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Reads a token of exactly the form that [`LinkToken::sign`] writes; anything else is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Unverified> {
        if text.len() != LINK_TOKEN_CHARS {
            return None;
        }
        let decoded = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let bytes: [u8; TOKEN_LEN] = decoded.try_into().ok()?;
        let [version, kind, key_version, rest @ ..] = &bytes;
        if *version != VERSION {
            return None;
        }
        let (tenant, rest) = rest.split_first_chunk::<16>()?;
        let (message, rest) = rest.split_first_chunk::<16>()?;
        let (handle, rest) = rest.split_first_chunk::<16>()?;
        let (link, _mac) = rest.split_first_chunk::<2>()?;
        let token = Self {
            kind: LinkKind::from_byte(*kind)?,
            key_version: *key_version,
            tenant: TenantId(Uuid::from_bytes(*tenant)),
            message: MessageId(Uuid::from_bytes(*message)),
            handle: Handle(*handle),
            link: u16::from_be_bytes(*link),
        };
        Some(Unverified { bytes, token })
    }
}

impl Unverified {
    /// The brand whose key would verify it. Not to be trusted for anything else.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.token.tenant
    }
    /// The version of that key.
    #[must_use]
    pub const fn key_version(&self) -> u8 {
        self.token.key_version
    }
    /// The token, if its MAC is right under `key`; constant time.
    #[must_use]
    pub fn verify(&self, key: &MacKey) -> Option<LinkToken> {
        let (body, mac) = self.bytes.split_at(BODY_LEN);
        key.verify(&[LINK_LABEL, body], mac).then_some(self.token)
    }
}

/// The local part of a message's envelope sender (VERP): names the message under a MAC, so that a
/// bounce can be believed. 47 characters, lower case.
#[must_use]
pub fn verp_local_part(message: MessageId, key: &MacKey) -> String {
    let mut bytes = message.bytes().to_vec();
    bytes.extend(key.mac(&[VERP_LABEL, &message.bytes()]).iter().take(VERP_MAC_LEN));
    format!("{VERP_PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

/// The message that a local part names, if it has the form of [`verp_local_part`]: to find the
/// brand's key with. Letter case is ignored, since relays change it.
#[must_use]
pub fn verp_message(local_part: &str) -> Option<MessageId> {
    verp_bytes(local_part).map(|(message, _)| message)
}

/// The message that a local part names, if its MAC is right under `key`; constant time.
#[must_use]
pub fn verp_verify(local_part: &str, key: &MacKey) -> Option<MessageId> {
    let (message, tag) = verp_bytes(local_part)?;
    let mac = key.mac(&[VERP_LABEL, &message.bytes()]);
    let right: bool = mac.get(..VERP_MAC_LEN)?.ct_eq(&tag).into();
    right.then_some(message)
}

fn verp_bytes(local_part: &str) -> Option<(MessageId, [u8; VERP_MAC_LEN])> {
    let text = local_part.to_ascii_uppercase();
    let bytes = BASE32_NOPAD.decode(text.strip_prefix("B-")?.as_bytes()).ok()?;
    let (message, tag) = bytes.split_first_chunk::<16>()?;
    Some((MessageId(Uuid::from_bytes(*message)), tag.try_into().ok()?))
}
