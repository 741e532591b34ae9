//! The secret that the processes of one install share.

use std::{fmt, str::FromStr};

use parcours_domain::hash::sha256;
use subtle::ConstantTimeEq as _;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
    service::Interceptor,
};

use crate::telemetry::metrics;

const HEADER: &str = "authorization";

/// The shortest secret: 16 characters.
const SHORTEST: usize = 16;

/// What every process of the install knows and nobody else. Never printed.
#[derive(Clone)]
pub struct RpcSecret {
    header: MetadataValue<Ascii>,
    /// Of the header; compared instead of it, so that lengths are equal.
    digest: [u8; 32],
}

/// The text cannot be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret between processes has at least {SHORTEST} characters, all of them printable ASCII \
     without spaces; make one with `openssl rand -hex 32`"
)]
pub struct InvalidSecret;

impl FromStr for RpcSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        if text.len() < SHORTEST || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(InvalidSecret);
        }
        let mut header: MetadataValue<Ascii> =
            format!("Bearer {text}").parse().map_err(|_| InvalidSecret)?;
        header.set_sensitive(true);
        let digest = sha256(&[header.as_encoded_bytes()]);
        Ok(Self { header, digest })
    }
}

impl fmt::Debug for RpcSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl RpcSecret {
    /// Shows the secret to whoever is called.
    pub(super) fn put_on(&self, metadata: &mut MetadataMap) {
        metadata.insert(HEADER, self.header.clone());
    }

    /// Whether the caller showed it; constant time.
    fn is_on(&self, metadata: &MetadataMap) -> bool {
        metadata
            .get(HEADER)
            .is_some_and(|given| sha256(&[given.as_encoded_bytes()]).ct_eq(&self.digest).into())
    }
}

/// Lets in those who know the secret.
#[derive(Clone, Debug)]
pub(super) struct Door(pub RpcSecret);

impl Interceptor for Door {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if self.0.is_on(request.metadata()) {
            return Ok(request);
        }
        metrics().add("parcours_rpc_refused_total", 1, &[]);
        Err(Status::unauthenticated("the install's secret is not known to the caller"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(secret: &RpcSecret, header: &str) -> bool {
        let mut metadata = MetadataMap::new();
        metadata.insert(HEADER, header.parse().unwrap());
        secret.is_on(&metadata)
    }

    #[test]
    fn only_the_same_secret_opens() {
        let secret: RpcSecret = "0123456789abcdef".parse().unwrap();
        let mut metadata = MetadataMap::new();
        assert!(!secret.is_on(&metadata));
        secret.put_on(&mut metadata);
        assert!(secret.is_on(&metadata));
        for other in ["", "Bearer ", "0123456789abcdef", "Bearer 0123456789abcdeF"] {
            assert!(!shows(&secret, other), "{other}");
        }
    }

    #[test]
    fn a_short_or_unprintable_secret_is_none_and_no_secret_prints_itself() {
        for bad in ["", "0123456789abcde", "0123456789abcde ", "0123456789abcdé"] {
            assert_eq!(bad.parse::<RpcSecret>().err(), Some(InvalidSecret), "{bad:?}");
        }
        let secret: RpcSecret = "0123456789abcdef".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "<secret>");
    }
}
