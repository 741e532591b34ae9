//! Durable truth in SQL: migrations, the committer, the loader, the doors.
//!
//! SQLite (one file, one process) or PostgreSQL behind the same types. Statements are written
//! once for both; no entity, row or connection leaves this crate.
//!
//! Cast: [`Store::open`] migrates, asserts durability and takes the locks; [`TenantStore`] is the
//! door for everything a request does; [`Committer`] and [`Loader`] serve the actors; [`Sweep`]
//! finds work that nobody remembers; the other doors serve delivery, consent and administration;
//! [`wall`] is what PostgreSQL itself keeps apart, and who may do what there.
//!
//! What always holds: an acknowledged commit is on disk; a former owner's commit is refused by
//! the database; one cause is applied once.

mod committer;
mod db;
pub mod error;
mod fault;
mod identity;
pub mod keep;
mod keys;
mod loader;
mod migration;
mod open;
mod pulse;
mod server_time;
mod shard;
mod side;
mod store;
mod sweep;
mod turns;
pub mod wall;
mod watch;

pub use committer::{
    CommitOutcome, Committer, ContactCommit, NewAddress, NewEvent, NewInbox, NewMessage,
    NewQuarantine, TimerChange,
};
pub use db::Backend;
pub use error::{Cause, KeyFault, StoreError, Trouble};
pub use fault::{Fault, FaultPoint, Faults};
pub use identity::{IdentityQuery, NO_ROOM, Resolution, Resolved};
pub use keys::{Cipher, TenantKeys};
pub use loader::{InboxRow, KeyQuestion, KnownKey, LoadKey, LoadWhat, Loaded, Loader};
pub use shard::{HeldShards, ShardOwner, ShardTimes};
pub use side::*;
pub use store::{RootKeySource, SHARDS_DEFAULT, Store, StoreConfig, StoredClock, TenantStore};
pub use sweep::{InboxFound, InboxMarks, StuckRun, Sweep, SweepCounts, TimerCursor, TimerRow};
pub use watch::{BatchEnd, Watcher};
