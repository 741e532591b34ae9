//! Which process to ask about a contact: its shard's owner, wherever that is.
//!
//! | part | does |
//! |---|---|
//! | [`Router`] | takes a batch, sends each owner its part, follows shards that moved |
//! | [`ShardDirectory`] | who owns which shard, read from the database; only a hint |
//! | [`Peer`], [`Dial`] | one other process, and how to reach it (`rpc::Link`) |
//!
//! What always holds: an event is handed on again only when it surely was not taken; what was sent
//! and not answered is `Unavailable`. A repeat of ours could be taken in after a later request of
//! the same client, and a client repeats a 503 anyway, in its own order, recognised by message key.

mod directory;
mod errand;
mod map;
mod peer;
mod router;

pub use crate::rpc::Hint;
pub use directory::{DirectoryError, ShardDirectory, ShardPlace};
pub use peer::{Asked, Dial, Peer};
pub use router::{LocalWorker, Route, RouteLimits, Router};

#[cfg(test)]
mod tests;
