//! Publishing documents: from sources to immutable versions, all or nothing.
//!
//! Cast: [`set`] reads sources to documents with their places; [`mod@existing`] is what a brand has
//! published already; [`mod@check`] finds every problem of a set over what is there and compiles;
//! [`mod@diff`] says what would change; [`mod@copy`] brings a journey with what it needs from one brand
//! to another; [`store`] reads and writes through the brand's door.
//!
//! What always holds: a set with one problem publishes nothing, and all its problems are told at
//! once; what sends without consent is published by an admin key only.

pub mod check;
pub mod copy;
pub mod diff;
pub mod existing;
mod needed;
pub mod set;
pub mod store;

use parcours_journey::Problem;
use parcours_wire::http::Fault;

pub use check::{Checked, CheckedDocument, check, topic_of};
pub use copy::{Copied, CopyError, CopyWanted, copy};
pub use diff::diff;
pub use existing::{Existing, ExistingDocument};
pub use set::{DocumentSet, read};
pub use store::{PublishError, Publisher, apply, check_apart, existing, export};

/// A document's problem as the API and the command line show it.
#[must_use]
pub fn fault(problem: &Problem) -> Fault {
    Fault {
        code: problem.code.to_owned(),
        file: Some(problem.file.clone()).filter(|file| !file.is_empty()),
        line: problem.line,
        column: problem.column,
        path: problem.path.clone(),
        message: problem.message.clone(),
        help: problem.help.clone(),
    }
}
