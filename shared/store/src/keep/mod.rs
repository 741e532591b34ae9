//! Moving and keeping: one brand as a file (dump, load), and the whole install (backup, restore).
//!
//! One format serves both: versioned NDJSON. The first line is the header (what it is, of which
//! schema, at which moment, how keys follow from the passphrase); then for each table a line that
//! names it and its columns, and one array a row; the last line has the counts and a MAC over
//! everything before it. It is the same for SQLite and PostgreSQL, so it is also the way from one
//! to the other.
//!
//! Cast: [`Snapshot`] reads a store beside the process that has it, in one read transaction, and
//! writes the file; [`KeptFile`] reads one; `load` puts its rows into a [`crate::Store`] in one
//! transaction; `tables` is the closed list of what is kept; `seal` derives keys.
//!
//! What always holds: no key and no secret is in the file in clear: brands' keys are wrapped under
//! the passphrase; a file that was cut, changed, made by a newer version or not made by this
//! product changes nothing in the store; other personal data is in the file as it is in the
//! database, so the file is its owner's alone (mode 0600).

mod form;
mod load;
mod read;
mod seal;
mod snapshot;
mod tables;
mod write;

use parcours_domain::Timestamp;

use crate::error::StoreError;

pub use form::{KeptBrand, KeptKind};
pub use load::Arrived;
pub use read::KeptFile;
pub use seal::Passphrase;
pub use snapshot::{Snapshot, SnapshotBrand};

/// Why a brand that was loaded from a dump of a sending source does not send yet.
pub const SOURCE_NOT_HALTED: &str = "loaded from a dump whose source was not halted";

/// Why a restored install does not send.
pub const RESTORED: &str = "restored from a backup; `parcours sending release` ends this";

/// How far a dump, load, backup or restore has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The table that is being read or written.
    pub table: &'static str,
    /// Rows so far, of all tables.
    pub rows: u64,
}

/// What a restored store holds back and why; none once sending was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredFrom {
    /// Product time of the backup: what happened later is not in the store.
    pub backup_at: Timestamp,
    /// Product time up to which all that came due since was worked off; none while that is not
    /// done.
    pub caught_up_at: Option<Timestamp>,
}

/// Why a file was not written or not read.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error("the file cannot be read or written: {0}")]
    File(#[from] std::io::Error),
    /// Fewer than 12 bytes.
    #[error("the passphrase is too short: give at least 12 characters")]
    ShortPassphrase,
    /// The keys in the file do not open with it.
    #[error("the passphrase is not the one this file was made with")]
    WrongPassphrase,
    /// Not a file of this product.
    #[error("this is no file that `tenant dump` or `backup` has written")]
    NotOurs,
    /// Written by a newer version.
    #[error("the file was written by a newer version of this product ({0}); load it with that one")]
    Newer(String),
    /// The header says something that cannot be.
    #[error("the file's header is not accepted: {0}")]
    Header(&'static str),
    /// A line is not what was written.
    #[error("line {line} of the file is damaged: {what}")]
    Damaged {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The last line is missing.
    #[error("the file ends before its last line: it was cut")]
    Cut,
    /// The MAC at its end does not fit.
    #[error("the file was changed after it was written")]
    Changed,
    /// A dump where a backup belongs, or the other way round.
    #[error("{0}")]
    WrongKind(&'static str),
    /// The brand is there already.
    #[error("the brand {0} is in this store already; nothing was loaded")]
    BrandExists(String),
    /// A backup goes into an empty store only.
    #[error("the store is not empty; restore into a new data folder or a new database")]
    NotEmpty,
}
