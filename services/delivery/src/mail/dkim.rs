//! Signs a message's bytes (RFC 6376, RFC 8301, RFC 8463).
//!
//! What always holds: relaxed canonicalisation of header and body; no body length; every header
//! that decides what a reader sees or does is signed, and the ones that may stand once are listed
//! once more than they occur, so that a second one breaks the signature. That covers
//! List-Unsubscribe and List-Unsubscribe-Post (RFC 8058, section 4). A message can carry several
//! signatures; each covers the message, not the others.

use std::{borrow::Borrow, fmt};

use data_encoding::BASE64;
use mail_auth::{
    common::crypto::{Ed25519Key, RsaKey, Sha256},
    dkim::{DkimSigner, Done, Signature},
};
use ring::signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};

/// RFC 8301 section 3.2: signers use at least 2048 bits for keys that live long.
const RSA_MIN_BYTES: usize = 256;

/// Signed, and listed once more than they occur.
const SINGLETONS: [&str; 14] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Id",
    "Feedback-ID",
];

/// Which algorithm a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimAlgorithm {
    /// rsa-sha256.
    Rsa,
    /// ed25519-sha256.
    Ed25519,
}

/// What is wrong with a key or a signature. Never says anything of the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DkimError {
    /// Not a private key of the algorithm, in a form that is read.
    #[error(
        "not a private key: RSA is read as PEM (PKCS#1 or PKCS#8), Ed25519 as PEM (PKCS#8) or as base64 of 32 bytes or of PKCS#8"
    )]
    Key,
    /// An RSA key of fewer than 2048 bits.
    #[error("an RSA key for DKIM has at least 2048 bits")]
    KeyTooShort,
    /// A selector or domain that DNS could not hold.
    #[error("a DKIM selector and domain are letters, digits and hyphens with dots between them")]
    Name,
    /// The signature could not be made.
    #[error("the message cannot be signed")]
    Signing,
    /// The bytes are not canonical, so that what is signed would not be what arrives.
    #[error("the message has a bare CR or LF")]
    NotCanonical,
}

/// A private key under a selector of a domain, parsed once.
pub struct DkimKey {
    signer: Signer,
    public: Vec<u8>,
    name: String,
}

enum Signer {
    Rsa(Box<DkimSigner<RsaKey<Sha256>, Done>>),
    Ed25519(Box<DkimSigner<Ed25519Key, Done>>),
}

impl fmt::Debug for DkimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DkimKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl DkimKey {
    /// Reads a private key.
    ///
    /// # Errors
    /// When the key, the selector or the domain is not valid.
    pub fn parse(
        algorithm: DkimAlgorithm,
        selector: &str,
        domain: &str,
        secret: &str,
    ) -> Result<Self, DkimError> {
        match algorithm {
            DkimAlgorithm::Rsa => Self::rsa(selector, domain, secret),
            DkimAlgorithm::Ed25519 => Self::ed25519(selector, domain, secret),
        }
    }

    /// Reads an RSA key of at least 2048 bits: PEM, PKCS#1 or PKCS#8.
    ///
    /// # Errors
    /// When the key, the selector or the domain is not valid.
    pub fn rsa(selector: &str, domain: &str, pem: &str) -> Result<Self, DkimError> {
        let name = record_name(selector, domain)?;
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| DkimError::Key)?;
        let pair = match &der {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            _ => return Err(DkimError::Key),
        };
        let pair = pair.map_err(|rejected| {
            if rejected.to_string() == "TooSmall" { DkimError::KeyTooShort } else { DkimError::Key }
        })?;
        if pair.public().modulus_len() < RSA_MIN_BYTES {
            return Err(DkimError::KeyTooShort);
        }
        let public = subject_public_key_info(pair.public().as_ref());
        let key = RsaKey::<Sha256>::from_key_der(der).map_err(|_| DkimError::Key)?;
        let signer =
            DkimSigner::from_key(key).domain(domain).selector(selector).headers(listed_headers());
        Ok(Self { signer: Signer::Rsa(Box::new(signer)), public, name })
    }

    /// Reads an Ed25519 key: PEM (PKCS#8), or base64 of the 32-byte seed or of PKCS#8.
    ///
    /// # Errors
    /// When the key, the selector or the domain is not valid.
    pub fn ed25519(selector: &str, domain: &str, secret: &str) -> Result<Self, DkimError> {
        let name = record_name(selector, domain)?;
        let bytes = if secret.contains("-----BEGIN") {
            let der = PrivatePkcs8KeyDer::from_pem_slice(secret.as_bytes());
            der.map_err(|_| DkimError::Key)?.secret_pkcs8_der().to_vec()
        } else {
            let compact: String = secret.split_whitespace().collect();
            BASE64.decode(compact.as_bytes()).map_err(|_| DkimError::Key)?
        };
        let seed = if bytes.len() == 32 { bytes.as_slice() } else { seed_of(&bytes)? };
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| DkimError::Key)?;
        let public = pair.public_key().as_ref().to_vec();
        let key = Ed25519Key::from_seed_and_public_key(seed, &public);
        let signer = DkimSigner::from_key(key.map_err(|_| DkimError::Key)?)
            .domain(domain)
            .selector(selector)
            .headers(listed_headers());
        Ok(Self { signer: Signer::Ed25519(Box::new(signer)), public, name })
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> DkimAlgorithm {
        match self.signer {
            Signer::Rsa(_) => DkimAlgorithm::Rsa,
            Signer::Ed25519(_) => DkimAlgorithm::Ed25519,
        }
    }

    /// The name of the DNS record: `selector._domainkey.domain`.
    #[must_use]
    pub fn record_name(&self) -> &str {
        &self.name
    }

    fn signature(&self, message: &[u8]) -> Result<Signature, DkimError> {
        match &self.signer {
            Signer::Rsa(signer) => signer.sign(message),
            Signer::Ed25519(signer) => signer.sign(message),
        }
        .map_err(|_| DkimError::Signing)
    }
}

/// What to publish: the TXT value for [`DkimKey::record_name`].
#[must_use]
pub fn public_record(key: &DkimKey) -> String {
    let kind = match key.algorithm() {
        DkimAlgorithm::Rsa => "rsa",
        DkimAlgorithm::Ed25519 => "ed25519",
    };
    format!("v=DKIM1; k={kind}; p={}", BASE64.encode(&key.public))
}

/// A new Ed25519 private key, as the base64 of its seed.
///
/// # Errors
/// When the system has no randomness to give.
pub fn generate_ed25519() -> Result<String, DkimError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| DkimError::Key)?;
    Ok(BASE64.encode(&seed))
}

/// The message with a signature by each key before it.
///
/// # Errors
/// When the bytes have a bare CR or LF, or a signature cannot be made.
pub fn sign<K: Borrow<DkimKey>>(message: Vec<u8>, keys: &[K]) -> Result<Vec<u8>, DkimError> {
    if !super::mime::is_canonical(&message) {
        return Err(DkimError::NotCanonical);
    }
    if keys.is_empty() {
        return Ok(message);
    }
    let mut signed = Vec::with_capacity(message.len() + keys.len() * 1_024);
    for key in keys {
        key.borrow().signature(&message)?.write(&mut signed, true);
    }
    signed.extend_from_slice(&message);
    Ok(signed)
}

fn listed_headers() -> Vec<String> {
    SINGLETONS.iter().chain(&SINGLETONS).map(|name| (*name).to_owned()).collect()
}

fn record_name(selector: &str, domain: &str) -> Result<String, DkimError> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let name = format!("{selector}._domainkey.{domain}");
    let valid = selector.split('.').all(label) && domain.split('.').all(label);
    if valid && domain.contains('.') && name.len() <= 253 { Ok(name) } else { Err(DkimError::Name) }
}

/// The seed inside a PKCS#8 document (RFC 8410): the octet string in the private key's octet string.
fn seed_of(pkcs8: &[u8]) -> Result<&[u8], DkimError> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| DkimError::Key)?;
    let marker = [0x04, 0x22, 0x04, 0x20];
    let at = pkcs8.windows(4).position(|window| window == marker).ok_or(DkimError::Key)?;
    pkcs8.get(at + 4..at + 36).ok_or(DkimError::Key)
}

/// RFC 3279 section 2.3.1: an RSA public key with its algorithm, as the DNS record holds it.
fn subject_public_key_info(rsa_public_key: &[u8]) -> Vec<u8> {
    const RSA_ENCRYPTION: [u8; 15] =
        [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let bits = [&[0_u8], rsa_public_key].concat();
    der(0x30, &[RSA_ENCRYPTION.as_slice(), &der(0x03, &bits)].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len().to_be_bytes();
    let significant: Vec<u8> = len.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match significant.as_slice() {
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(0));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}
