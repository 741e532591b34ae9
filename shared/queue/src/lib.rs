//! Delays, send permits and hints: indexes over what SQL already knows, never the truth.
//!
//! A timer index answers "what is due"; losing it costs a rebuild from the `timer` table, nothing
//! else. A token lease answers "when may the next message of this sender leave". A hint says "there
//! may be work"; who misses it finds the work by its sweep. The first two are traits: the
//! memory of one process and a Redis shared by many stand behind the same callers. Hints between
//! processes need the latter.
//!
//! What always holds: nothing in Redis is needed to rebuild Redis; every key carries a version and
//! the install; keys and values hold ids, numbers and hashes, never names or addresses.

pub mod hints;
pub mod link;
pub mod timers;
pub mod tokens;

pub use hints::{Hint, RedisHints};
pub use link::{LinkTimes, RedisLink};
pub use timers::{MemoryTimers, RedisTimers, TimerEntry, TimerIndex};
pub use tokens::{Lease, LimitKey, MemoryTokens, RedisTokens, SlotTime, TokenLease};

/// The index or the lease could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Whether anything was changed is not known; the sweep makes up for what was lost.
    #[error("the queue cannot be reached")]
    Unavailable,
    /// The index of the shard is not in this process's hands: never begun here, emptied by someone,
    /// or begun by a later owner. Nothing was changed for that shard.
    #[error("the shard's index is not in hand")]
    NotInHand,
    /// The address is not one of a Redis server.
    #[error("not the address of a Redis server, such as redis://HOST:6379 or rediss://HOST:6380")]
    InvalidAddress,
}
