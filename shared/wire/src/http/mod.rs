//! HTTP bodies: what the API takes and gives, one file for each group of endpoints.
//!
//! Bodies that come in refuse unknown members; none of them is a stored type, so a member that a
//! caller may not set does not exist here. Moments are RFC 3339 texts.

pub mod brand;
pub mod breaker;
pub mod consent;
pub mod contact;
pub mod document;
pub mod ingest;
pub mod key;
pub mod mailbox;
pub mod message;
pub mod page;
pub mod problem;
pub mod quarantine;
pub mod quota;
pub mod rollup;
pub mod run;
pub mod secret;
pub mod sending;
pub mod status;
pub mod template;

pub use page::PageOf;
pub use problem::{Fault, ProblemBody};
