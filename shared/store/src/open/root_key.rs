//! The root key: from the environment as hexadecimal, or from a file that only its owner can read.
//!
//! What always holds: a file is made only for a new install, complete or not at all, mode 0600,
//! and is on disk before this returns.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

use crate::{
    error::{KeyFault, StoreError},
    keys::RootKey,
    side::sql::random,
    store::RootKeySource,
};

/// Finds the key; `new_install` allows a missing file to be made, when the source allows it too.
pub(super) fn find(source: &RootKeySource, new_install: bool) -> Result<RootKey, StoreError> {
    match source {
        RootKeySource::Hex(text) => Ok(parse(text)?),
        RootKeySource::File(path, create) => {
            if !path.exists() {
                if !(*create && new_install) {
                    return Err(KeyFault::Missing(path.display().to_string()).into());
                }
                make(path)?;
            }
            read(path)
        }
    }
}

fn parse(text: &str) -> Result<RootKey, KeyFault> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map(Zeroizing::new);
    let bytes = bytes.map_err(|_| KeyFault::Malformed)?;
    let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| KeyFault::Malformed)?;
    Ok(RootKey::new(bytes))
}

fn read(path: &Path) -> Result<RootKey, StoreError> {
    let mode = fs::metadata(path).map_err(fault)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyFault::Exposed.into());
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(fault)?);
    Ok(parse(&text)?)
}

fn make(path: &Path) -> Result<(), StoreError> {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(random()?);
    let text = Zeroizing::new(HEXLOWER.encode(&*bytes) + "\n");
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let draft = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(fault)
}

fn fault(error: std::io::Error) -> StoreError {
    KeyFault::File(error.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_for_a_new_install_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        let source = RootKeySource::File(path.clone(), true);
        assert!(matches!(find(&source, false), Err(StoreError::Key(KeyFault::Missing(_)))));
        let made = find(&source, true).unwrap();
        let again = find(&source, false).unwrap();
        assert_eq!(made.check(uuid::Uuid::nil()), again.check(uuid::Uuid::nil()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(find(&source, false), Err(StoreError::Key(KeyFault::Exposed))));
    }

    #[test]
    fn a_key_that_is_not_32_bytes_of_hexadecimal_is_refused() {
        for bad in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            let found = find(&RootKeySource::Hex(bad.to_owned()), true);
            assert!(matches!(found, Err(StoreError::Key(KeyFault::Malformed))), "{bad}");
        }
        assert!(find(&RootKeySource::Hex("Ab".repeat(32)), true).is_ok());
    }
}
