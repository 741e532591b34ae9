//! Per-contact actors: load, step, commit, publish.
//!
//! Cast: the [`WorkerHandle`] takes events and hints; the registry knows which contacts are in
//! memory and makes an actor on demand; an actor is a bounded mailbox around one contact; the
//! contact loads itself, folds what waits through the interpreter into one commit, and makes the
//! commit's consequences known; loops find due timers, inbox rows and publications, and follow
//! which shards are held here.
//!
//! What always holds: an outcome is told after the commit that makes it true; a contact has at
//! most one uncommitted step-chain; memory is dropped at the first doubt and read again; nothing
//! enters a contact but a client event, a timer or an inbox row.

mod actor;
mod brand;
mod brands;
mod commit;
mod config;
mod contact;
mod direct;
#[cfg(test)]
mod double;
mod durable;
mod fold;
mod hosts;
mod inbox;
mod item;
mod loops;
mod message;
mod payload;
mod registry;
mod shards;
mod told;
mod work;
mod worker;

pub use config::{
    BATCH_CONTACTS, BULK_LEAST, BULK_SHARE_PERCENT, FOLD_INPUTS_MAX, INBOX_ROWS_PER_LOAD,
    RETRIES_MAX, SWEEP_ROWS_MAX, WorkerConfig,
};
pub use durable::{Durable, Published, PublishedHead, StoredKey, StuckRun};
pub use fold::StepFn;
pub use worker::{Worker, WorkerCounts, WorkerError, WorkerHandle, WorkerParts};
