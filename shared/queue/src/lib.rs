//! Delays and send permits: indexes over what SQL already knows, never the truth.
//!
//! A timer index answers "what is due"; losing it costs a rebuild from the `timer` table, nothing
//! else. A token lease answers "when may the next message of this sender leave". Both are traits,
//! so that the memory of one process and a shared server can stand behind the same callers; the
//! implementations here are the memory ones.

pub mod timers;
pub mod tokens;

pub use timers::{MemoryTimers, TimerEntry, TimerIndex};
pub use tokens::{Lease, LimitKey, MemoryTokens, SlotTime, TokenLease};

/// The index or the lease could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Nothing was changed as far as is known; the sweep makes up for what was lost.
    #[error("the queue cannot be reached")]
    Unavailable,
}
