//! Delivery: claims queued messages, lets the gate decide, writes letters, hands them over, records
//! what became of them.
//!
//! The cast: `dispatch` finds heads with work and gives them turns (`rounds`); `batch` works on one
//! turn; `spend` holds it to days and rates; [`gate`] judges and makes the final commit; `compose` and `letter` write; `mailbox` and
//! `relay` (over [`mail`]) transmit; `ending` and `recorder` write down. [`DeliveryHandle`] is what
//! others see.
//!
//! What always holds: a transport's data stage takes only what the gate cleared; nothing is cleared
//! but by a final commit in the store; a withdrawal, suppression or halt acknowledged before that
//! commit wins; a message that may have left is never taken for one that has not.

mod backoff;
mod batch;
mod board;
mod budget;
mod catalogue;
mod compose;
mod config;
mod core;
mod days;
mod dispatch;
mod documents;
mod doors;
mod ending;
pub mod gate;
mod group;
mod handle;
mod letter;
pub mod limits;
mod mailbox;
mod pace;
mod pool;
pub mod receipt;
mod recorder;
mod relay;
mod rounds;
pub mod settings;
mod spend;
mod templates;
mod told;
mod transport;
mod urls;
mod warm_up;

pub mod mail;

pub use backoff::Backoff;
pub use config::DeliveryConfig;
pub use group::GroupLimits;
pub use handle::{Delivery, DeliveryHandle};
