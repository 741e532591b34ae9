//! Whose certificates are believed when mail is handed over under TLS.
//!
//! Made once per process and shared. There is no way to switch verification off.

use std::{fmt, io, sync::Arc};

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Trusted roots, ready for handshakes.
#[derive(Clone)]
pub struct TlsTrust(Arc<ClientConfig>);

/// TLS cannot be set up on this machine.
#[derive(Debug, thiserror::Error)]
pub enum TlsTrustError {
    /// The system has no readable root certificates.
    #[error("the system has no readable root certificates")]
    NoRoots,
    /// A root certificate was given that is none.
    #[error("a root certificate cannot be read")]
    Root(#[source] rustls::Error),
    /// The provider does not support the needed protocol versions.
    #[error("TLS cannot be set up")]
    Provider(#[source] rustls::Error),
}

impl TlsTrust {
    /// Believes the system's roots.
    ///
    /// # Errors
    /// When there are none, or TLS cannot be set up.
    pub fn system() -> Result<Self, TlsTrustError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() { Err(TlsTrustError::NoRoots) } else { Self::of(roots) }
    }

    /// Believes these roots and no others: for a relay with its own authority, and for tests.
    ///
    /// # Errors
    /// When a root cannot be read, or TLS cannot be set up.
    pub fn only(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, TlsTrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(TlsTrustError::Root)?;
        }
        Self::of(roots)
    }

    fn of(roots: RootCertStore) -> Result<Self, TlsTrustError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsTrustError::Provider)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    pub(super) async fn handshake(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        TlsConnector::from(self.0.clone()).connect(name, tcp).await
    }
}

impl PartialEq for TlsTrust {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for TlsTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTrust")
    }
}
