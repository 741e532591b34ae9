//! What tests of several crates build on. Only ever a dev-dependency.

pub mod brand;
mod minder;
pub mod pg;
pub mod redis;
pub mod smtp_sink;
pub mod store;

/// The state that a contact's commit carries, for tests that put contacts into a store.
pub use parcours_journey::ContactState;
