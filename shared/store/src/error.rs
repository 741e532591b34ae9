//! What can go wrong with the store, in classes that tell a caller what it may do next.
//!
//! What always holds: `Unavailable` means that nothing was done; `OutcomeUnknown` means that it
//! may have been done; no text in here shows a stored value.

use std::{fmt, sync::Arc};

use sea_orm::{DbErr, RuntimeErr};

/// A failure of the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store cannot do it now; nothing was done.
    #[error("the store is not available: {0}")]
    Unavailable(Cause),
    /// The connection was lost while committing: it may have been done.
    #[error("the outcome of the commit is not known: {0}")]
    OutcomeUnknown(Cause),
    /// The database refused a value (SQLSTATE class 22 or 23, or size); nothing was done.
    #[error("the database refused a value ({code}{})", .on.as_deref().map(|on| format!(", {on}")).unwrap_or_default())]
    Refused {
        /// SQLSTATE, or `sqlite:` and SQLite's extended result code.
        code: String,
        /// The constraint or table, when the database names one.
        on: Option<String>,
        /// Whether a unique key was in the way.
        unique: bool,
    },
    /// Someone else changed it first; nothing was done.
    #[error("it was changed by someone else meanwhile")]
    Conflict,
    /// Another process has the store.
    #[error("the store is held by {by}")]
    Held {
        /// Process and host, as far as known.
        by: String,
    },
    /// A setting of the database would lose acknowledged data.
    #[error("refusing to start: {0}")]
    Unsafe(&'static str),
    /// The database's roles are missing, and this login may not make them or become them.
    #[error(
        "the database login {login} may not make the roles of this product or become them; \
         let an administrator of the database run: {sql}"
    )]
    Roles {
        /// The login.
        login: String,
        /// What an administrator has to run.
        sql: String,
    },
    /// The database refused to let a transaction reach beyond whom it is for; nothing was done.
    #[error("the database keeps this from rows or tables that are none of its business")]
    Walled,
    /// A stored value cannot have been written by this product.
    #[error("the store is damaged or of another version: {0}")]
    Damaged(&'static str),
    /// A key is missing, wrong, or cannot be read.
    #[error("{0}")]
    Key(KeyFault),
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// A cursor that no listing gave out.
    #[error("the cursor is not one that a listing gave out")]
    BadCursor,
}

/// Why the store could not do something, as a word for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Two transactions waited for one another; the database ended this one.
    Deadlock,
    /// A lock, a statement or the whole transaction took too long, or SQLite was busy.
    Timeout,
    /// There is no room on the disk.
    DiskFull,
    /// The connection was lost, or there was none.
    Lost,
    /// Anything else.
    Other,
}

impl Trouble {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Deadlock, Self::Timeout, Self::DiskFull, Self::Lost, Self::Other];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::Timeout => "timeout",
            Self::DiskFull => "disk_full",
            Self::Lost => "lost",
            Self::Other => "other",
        }
    }

    /// By SQLSTATE, or by SQLite's extended result code.
    fn of_code(code: &str) -> Self {
        match (code.len(), code) {
            (5, "40P01" | "40001") => Self::Deadlock,
            (5, "55P03" | "57014" | "25P03" | "25P04") => Self::Timeout,
            (5, "53100") => Self::DiskFull,
            (5, code) if code.starts_with("08") || code.starts_with("57P") => Self::Lost,
            (5, _) => Self::Other,
            // BUSY, LOCKED; FULL; IOERR.
            (_, code) => match primary(code) {
                5 | 6 => Self::Timeout,
                13 => Self::DiskFull,
                10 => Self::Lost,
                _ => Self::Other,
            },
        }
    }
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// The root key does not open this store.
    #[error("the root key is not the one this store was made with")]
    WrongRoot,
    /// No root key is where it should be.
    #[error("there is no root key at {0}")]
    Missing(String),
    /// It is not 32 bytes in hexadecimal.
    #[error("the root key must be 32 bytes in hexadecimal (64 digits)")]
    Malformed,
    /// The file cannot be read or written.
    #[error("the root key file cannot be used: {0}")]
    File(String),
    /// Others than its owner can read the file.
    #[error("the root key file can be read by others than its owner (mode must be 0600)")]
    Exposed,
    /// A sealed value was changed, or belongs elsewhere.
    #[error("a sealed value does not open: it was changed, or belongs to something else")]
    Sealed,
    /// The brand has no such key.
    #[error("the brand has no keys")]
    NoTenantKeys,
}

impl From<KeyFault> for StoreError {
    fn from(fault: KeyFault) -> Self {
        Self::Key(fault)
    }
}

/// Why the store is unavailable.
#[derive(Clone)]
pub enum Cause {
    /// The database said so, or did not answer.
    Database(Arc<DbErr>),
    /// The file system said so.
    File(Arc<std::io::Error>),
    /// The store is being closed.
    Closed,
    /// This worker's sign of life has not been taken for too long: it may have a successor.
    Late,
    /// The database did not answer in time.
    NoAnswer,
    /// The fault hook said so.
    Injected,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => match code_of(error) {
                Some(code) => write!(f, "database error {code}"),
                None => write!(f, "{error}"),
            },
            Self::File(error) => write!(f, "{error}"),
            Self::Closed => f.write_str("it is being closed"),
            Self::Late => f.write_str("this worker's sign of life is overdue"),
            Self::NoAnswer => f.write_str("the database did not answer in time"),
            Self::Injected => f.write_str("a planned fault"),
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Unavailable(Cause::File(Arc::new(error)))
    }
}

impl From<sea_orm::sqlx::Error> for StoreError {
    fn from(error: sea_orm::sqlx::Error) -> Self {
        DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))).into()
    }
}

/// Outside a commit: whatever failed, the transaction is rolled back or never was.
impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if let Some(fault) = database_error(&error)
            && let Some(code) = fault.code()
            && is_refusal(&code)
        {
            return Self::Refused {
                unique: fault.is_unique_violation(),
                on: fault.constraint().or_else(|| fault.table()).map(str::to_owned),
                code: if code.len() == 5 { code.into_owned() } else { format!("sqlite:{code}") },
            };
        }
        match &error {
            _ if code_of(&error).as_deref() == Some("42501") => Self::Walled,
            DbErr::Type(_) | DbErr::TryIntoErr { .. } | DbErr::Json(_) => {
                Self::Damaged("a column has another type than the schema says")
            }
            _ if is_damage(&error) => Self::Damaged("the database reports corruption"),
            _ => Self::Unavailable(Cause::Database(Arc::new(error))),
        }
    }
}

impl StoreError {
    /// The error of a COMMIT: nothing was done only when the server itself answered with an
    /// ordinary error; a lost or dying connection leaves the question open.
    pub(crate) fn of_commit(error: DbErr) -> Self {
        match code_of(&error).as_deref() {
            // Operator intervention and connection exceptions: the backend may have died after
            // the commit record was written.
            Some(code)
                if code.len() == 5 && (code.starts_with("57P") || code.starts_with("08")) =>
            {
                Self::OutcomeUnknown(Cause::Database(Arc::new(error)))
            }
            // SQLITE_IOERR and its kin.
            Some(code) if code.len() < 5 && primary(code) == 10 => {
                Self::OutcomeUnknown(Cause::Database(Arc::new(error)))
            }
            Some(_) => error.into(),
            None => Self::OutcomeUnknown(Cause::Database(Arc::new(error))),
        }
    }

    /// Whether the database refused a value, so that the same again would be refused again.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// What kind of trouble this was.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Unavailable(Cause::Database(error))
            | Self::OutcomeUnknown(Cause::Database(error)) => match code_of(error) {
                Some(code) => Trouble::of_code(&code),
                None => Trouble::Lost,
            },
            _ => Trouble::Other,
        }
    }

    pub(crate) const fn closed() -> Self {
        Self::Unavailable(Cause::Closed)
    }
}

fn database_error(error: &DbErr) -> Option<&dyn sea_orm::sqlx::error::DatabaseError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(e))
        | DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e)) => e.as_database_error(),
        _ => None,
    }
}

/// SQLSTATE (five characters) or SQLite's extended result code (digits).
pub(crate) fn code_of(error: &DbErr) -> Option<String> {
    database_error(error)?.code().map(|code| code.into_owned())
}

/// SQLite's primary result code is the low byte of the extended one.
fn primary(code: &str) -> u32 {
    code.parse::<u32>().unwrap_or(0) & 0xff
}

fn is_refusal(code: &str) -> bool {
    if code.len() == 5 {
        // Data exception, integrity violation, program limit (a row or key too large).
        ["22", "23", "54"].iter().any(|class| code.starts_with(class))
    } else {
        // TOOBIG, CONSTRAINT, MISMATCH.
        [18, 19, 20].contains(&primary(code))
    }
}

fn is_damage(error: &DbErr) -> bool {
    match code_of(error) {
        Some(code) if code.len() == 5 => code.starts_with("XX001") || code.starts_with("XX002"),
        // CORRUPT, NOTADB.
        Some(code) => [11, 26].contains(&primary(&code)),
        None => false,
    }
}
