//! The passphrase: keys derived from it wrap the brands' keys in a file and vouch for the file.
//!
//! Argon2id (RFC 9106) with the parameters that stand in the file's header; under its result one
//! key wraps and another makes the MAC at the file's end.
//!
//! What always holds: parameters from a file are bounded before they are used; a wrong passphrase
//! is noticed by the header, before anything is read or written.

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64;
use parcours_domain::hash::MacKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::KeepError;
use crate::{
    keys::{Cipher, KEY_VERSION},
    side::sql::random,
};

/// The fewest bytes of a passphrase.
const PASSPHRASE_MIN: usize = 12;

/// What a file may ask of this machine at most, in KiB and passes.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;

/// A passphrase of at least 12 bytes. Never printed.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// From text as it was given; surrounding white space does not count.
    ///
    /// # Errors
    /// [`KeepError::ShortPassphrase`].
    pub fn new(text: &str) -> Result<Self, KeepError> {
        let text = text.trim();
        if text.len() < PASSPHRASE_MIN {
            return Err(KeepError::ShortPassphrase);
        }
        Ok(Self(Zeroizing::new(text.as_bytes().to_vec())))
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<passphrase>")
    }
}

/// How the keys of a file follow from its passphrase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Derivation {
    /// `argon2id`.
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    /// Tells a wrong passphrase from a right one.
    check: String,
}

/// The keys of a file.
pub(super) struct Sealing {
    pub wrapping: Cipher,
    pub vouching: MacKey,
    check: [u8; 32],
}

impl Sealing {
    /// Fresh keys for a new file.
    pub fn fresh(passphrase: &Passphrase) -> Result<(Self, Derivation), KeepError> {
        let salt: [u8; 16] = random()?;
        let mut derivation = Derivation {
            kdf: "argon2id".to_owned(),
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 1,
            salt: BASE64.encode(&salt),
            check: String::new(),
        };
        let sealing = derive(passphrase, &derivation)?;
        derivation.check = BASE64.encode(sealing.check.get(..16).unwrap_or_default());
        Ok((sealing, derivation))
    }

    /// The keys of a file that says how they follow.
    pub fn of(passphrase: &Passphrase, derivation: &Derivation) -> Result<Self, KeepError> {
        let sealing = derive(passphrase, derivation)?;
        let given = BASE64.decode(derivation.check.as_bytes()).unwrap_or_default();
        let right = subtle::ConstantTimeEq::ct_eq(
            sealing.check.get(..16).unwrap_or_default(),
            given.as_slice(),
        );
        if bool::from(right) { Ok(sealing) } else { Err(KeepError::WrongPassphrase) }
    }
}

fn derive(passphrase: &Passphrase, how: &Derivation) -> Result<Sealing, KeepError> {
    let bounded = how.memory_kib <= MEMORY_KIB_MAX && how.passes <= PASSES_MAX && how.lanes == 1;
    if how.kdf != "argon2id" || !bounded {
        return Err(KeepError::Header("its passphrase is derived in a way that is not accepted"));
    }
    let salt = BASE64.decode(how.salt.as_bytes());
    let salt = salt.map_err(|_| KeepError::Header("its salt cannot be read"))?;
    let params = Params::new(how.memory_kib, how.passes, how.lanes, Some(32));
    let params =
        params.map_err(|_| KeepError::Header("its passphrase parameters are not valid"))?;
    let mut root = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(&passphrase.0, &salt, &mut *root)
        .map_err(|_| KeepError::Header("its passphrase parameters are not valid"))?;
    let root = MacKey(*root);
    Ok(Sealing {
        wrapping: Cipher::new(KEY_VERSION, root.mac(&[b"keep: wrap tenant keys"])),
        vouching: MacKey(root.mac(&[b"keep: vouch for the file"])),
        check: root.mac(&[b"keep: passphrase check"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_passphrase_gives_the_same_keys() {
        let right = Passphrase::new("correct horse battery").unwrap();
        let (made, how) = Sealing::fresh(&right).unwrap();
        let again = Sealing::of(&Passphrase::new(" correct horse battery\n").unwrap(), &how);
        assert_eq!(again.unwrap().vouching, made.vouching);
        let wrong = Sealing::of(&Passphrase::new("correct horse batterz").unwrap(), &how);
        assert!(matches!(wrong, Err(KeepError::WrongPassphrase)));
        assert!(matches!(Passphrase::new("short"), Err(KeepError::ShortPassphrase)));
        assert!(!format!("{right:?}").contains("horse"));
    }

    #[test]
    fn a_file_cannot_ask_for_all_the_memory() {
        let right = Passphrase::new("correct horse battery").unwrap();
        let (_, how) = Sealing::fresh(&right).unwrap();
        let huge = Derivation { memory_kib: u32::MAX, ..how.clone() };
        let endless = Derivation { passes: u32::MAX, ..how.clone() };
        let plain = Derivation { kdf: "md5".to_owned(), ..how };
        for bad in [huge, endless, plain] {
            assert!(matches!(Sealing::of(&right, &bad), Err(KeepError::Header(_))));
        }
    }
}
