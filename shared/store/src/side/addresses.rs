//! How an address is kept: a keyed hash to find it by, the text sealed under the brand's key.
//!
//! What always holds: a sealed address opens only beside its own hash, in its own brand.

use parcours_domain::{AddressHash, EmailAddress};

use super::sql::damaged;
use crate::{error::StoreError, keys::TenantKeys};

fn aad(hash: &AddressHash) -> Vec<u8> {
    [b"address:".as_slice(), &hash.0].concat()
}

impl TenantKeys {
    /// The hash that stands for the address, and the sealed text.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn seal_address(
        &self,
        address: &EmailAddress,
    ) -> Result<(AddressHash, Vec<u8>), StoreError> {
        let hash = address.hash(&self.address);
        Ok((hash, self.cipher.seal(&aad(&hash), address.expose().as_bytes())?))
    }

    /// The text of a sealed address.
    ///
    /// # Errors
    /// `Key` when it was sealed for another hash or brand.
    pub fn open_address(
        &self,
        hash: &AddressHash,
        sealed: &[u8],
    ) -> Result<EmailAddress, StoreError> {
        let plain = self.cipher.open(&aad(hash), sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|_| damaged("address.ciphertext"))?;
        text.parse().map_err(|_| damaged("address.ciphertext"))
    }
}
