//! Keys: one root key per install; under it each brand's own keys, wrapped.
//!
//! The root key is 32 bytes, from a file (made beside a SQLite store at first start) or from the
//! environment as hexadecimal. It wraps the keys of each brand (`tenant_key`): identity and
//! address HMAC, ciphertext of personal data, stored secrets, link MACs.
//!
//! What always holds: a wrong root key is noticed at start, before anything is written with it;
//! a sealed value opens only under the brand, purpose and additional data it was sealed with; key
//! material is never printed.

use std::{collections::HashMap, fmt, sync::Arc};

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use parcours_domain::{TenantId, Timestamp, hash::MacKey};
use sea_orm::ConnectionTrait;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    db::Insert,
    error::{KeyFault, StoreError},
    side::sql::{Sql, ms, random, vals},
};

/// The version that new keys and everything made with them carry.
pub(crate) const KEY_VERSION: u8 = 1;

const NONCE_BYTES: usize = 24;

/// Authenticated encryption under one brand's key: XChaCha20-Poly1305, a random nonce each time.
/// The sealed form is version, nonce, ciphertext and tag.
#[derive(Clone)]
pub struct Cipher {
    version: u8,
    key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<cipher>")
    }
}

impl Cipher {
    pub(crate) fn new(version: u8, key: [u8; 32]) -> Self {
        Self { version, key: Zeroizing::new(key) }
    }

    /// Seals `plain`; `aad` says what it is and to whom it belongs, and must be given again to
    /// open it.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let body = XChaCha20Poly1305::new(&(*self.key).into())
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad })
            .map_err(|_| KeyFault::Sealed)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + body.len());
        sealed.push(self.version);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what [`Cipher::seal`] made with the same `aad`.
    ///
    /// # Errors
    /// [`KeyFault::Sealed`] when it was changed, or sealed under another key or `aad`.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (version, rest) = sealed.split_first().ok_or(KeyFault::Sealed)?;
        let (nonce, body) = rest.split_at_checked(NONCE_BYTES).ok_or(KeyFault::Sealed)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| KeyFault::Sealed)?;
        if *version != self.version {
            return Err(KeyFault::Sealed.into());
        }
        XChaCha20Poly1305::new(&(*self.key).into())
            .decrypt(&nonce, Payload { msg: body, aad })
            .map_err(|_| KeyFault::Sealed.into())
    }
}

/// The keys of one brand.
#[derive(Clone, Debug)]
pub struct TenantKeys {
    /// HMAC of identity values.
    pub identity: MacKey,
    /// HMAC of addresses.
    pub address: MacKey,
    /// Encryption of addresses.
    pub cipher: Cipher,
    /// Encryption of stored secrets.
    pub secret: Cipher,
    /// MACs in links, newest first; the version travels in the token.
    pub link: Vec<(u8, MacKey)>,
}

impl TenantKeys {
    /// The version that rows made with these keys carry.
    pub const VERSION: i64 = KEY_VERSION as i64;
}

const PURPOSES: [&str; 5] = ["identity", "address", "cipher", "secret", "link"];

/// The install's root key.
#[derive(Clone)]
pub(crate) struct RootKey(Zeroizing<[u8; 32]>);

impl RootKey {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// What the install stores to notice a wrong root key.
    pub(crate) fn check(&self, install: Uuid) -> [u8; 32] {
        MacKey(*self.0).mac(&[b"root key check", install.as_bytes()])
    }

    /// Whether the install that stores this check was made with this key.
    pub(crate) fn fits(&self, install: Uuid, check: &[u8]) -> bool {
        self.check(install).ct_eq(check).into()
    }

    /// What wraps the brands' keys.
    pub(crate) fn wrapping(&self) -> Cipher {
        Cipher::new(KEY_VERSION, MacKey(*self.0).mac(&[b"wrap tenant keys"]))
    }
}

fn wrap_aad(tenant: TenantId, purpose: &str, version: i64) -> Vec<u8> {
    let mut aad = tenant.bytes().to_vec();
    aad.extend_from_slice(&version.to_be_bytes());
    aad.extend_from_slice(purpose.as_bytes());
    aad
}

/// Makes a brand's first keys, in the transaction that makes the brand.
pub(crate) async fn create(
    on: &impl ConnectionTrait,
    root: &RootKey,
    tenant: TenantId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for purpose in PURPOSES {
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(random()?);
        let aad = wrap_aad(tenant, purpose, TenantKeys::VERSION);
        let wrapped = root.wrapping().seal(&aad, &*key)?;
        rows.push(vals![tenant.0, purpose, TenantKeys::VERSION, wrapped, ms(now)]);
    }
    let columns = ["tenant_id", "purpose", "version", "wrapped", "created_at"];
    Insert::new("tenant_key", &columns).run(on, rows).await?;
    Ok(())
}

/// A brand's wrapped key, wrapped by another.
pub(crate) fn rewrap(
    (from, to): (&Cipher, &Cipher),
    (tenant, purpose, version): (TenantId, &str, i64),
    wrapped: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let aad = wrap_aad(tenant, purpose, version);
    let key = Zeroizing::new(from.open(&aad, wrapped)?);
    to.seal(&aad, &key)
}

/// Reads and unwraps a brand's keys.
pub(crate) async fn load(
    on: &impl ConnectionTrait,
    root: &RootKey,
    tenant: TenantId,
) -> Result<TenantKeys, StoreError> {
    let rows = Sql::default()
        .text("SELECT purpose, version, wrapped FROM tenant_key WHERE tenant_id = ")
        .arg(tenant.0)
        .text(" ORDER BY version DESC")
        .all(on)
        .await?;
    let mut found: HashMap<String, Vec<(u8, [u8; 32])>> = HashMap::new();
    for row in rows {
        let purpose: String = row.get("purpose")?;
        let version: i64 = row.get("version")?;
        let aad = wrap_aad(tenant, &purpose, version);
        let key = Zeroizing::new(root.wrapping().open(&aad, &row.get::<Vec<u8>>("wrapped")?)?);
        let key = <[u8; 32]>::try_from(key.as_slice()).map_err(|_| KeyFault::Sealed)?;
        let version =
            u8::try_from(version).map_err(|_| StoreError::Damaged("tenant_key.version"))?;
        found.entry(purpose).or_default().push((version, key));
    }
    let newest = |purpose: &str| -> Result<(u8, [u8; 32]), StoreError> {
        let key = found.get(purpose).and_then(|keys| keys.first());
        Ok(*key.ok_or(KeyFault::NoTenantKeys)?)
    };
    let cipher = |purpose| newest(purpose).map(|(version, key)| Cipher::new(version, key));
    let link = found.get("link").ok_or(KeyFault::NoTenantKeys)?;
    Ok(TenantKeys {
        identity: MacKey(newest("identity")?.1),
        address: MacKey(newest("address")?.1),
        cipher: cipher("cipher")?,
        secret: cipher("secret")?,
        link: link.iter().map(|(version, key)| (*version, MacKey(*key))).collect(),
    })
}

/// Unwrapped keys by brand; a brand's keys never change while a process runs.
#[derive(Default)]
pub(crate) struct KeyCache(tokio::sync::RwLock<HashMap<TenantId, Arc<TenantKeys>>>);

impl KeyCache {
    pub(crate) async fn get(
        &self,
        on: &impl ConnectionTrait,
        root: &RootKey,
        tenant: TenantId,
    ) -> Result<Arc<TenantKeys>, StoreError> {
        if let Some(keys) = self.0.read().await.get(&tenant) {
            return Ok(Arc::clone(keys));
        }
        let keys = Arc::new(load(on, root, tenant).await?);
        self.0.write().await.insert(tenant, Arc::clone(&keys));
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_as_what_it_was_sealed_as() {
        let cipher = Cipher::new(1, [7; 32]);
        let sealed = cipher.seal(b"address of 1", b"anna@example.org").unwrap();
        assert_eq!(cipher.open(b"address of 1", &sealed).unwrap(), b"anna@example.org");
        assert!(cipher.open(b"address of 2", &sealed).is_err());
        assert!(Cipher::new(1, [8; 32]).open(b"address of 1", &sealed).is_err());
        assert!(Cipher::new(2, [7; 32]).open(b"address of 1", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(cipher.open(b"address of 1", &bent).is_err(), "byte {at}");
            assert!(cipher.open(b"address of 1", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_same_text_is_sealed_differently_each_time() {
        let cipher = Cipher::new(1, [7; 32]);
        assert_ne!(cipher.seal(b"", b"x").unwrap(), cipher.seal(b"", b"x").unwrap());
        assert_eq!(format!("{cipher:?}"), "<cipher>");
    }
}
