//! The fault kit: what can go wrong with a running product, done to it on purpose.
//!
//! Processes that are killed, frozen and started again; the machine under them (wall clock, full
//! disk, counted syncs), and the network between them. The SMTP sink with scripted faults is in `parcours-testkit`. What always
//! holds: only processes that the test started are touched, by their own id; nothing sleeps.

pub mod process;
pub mod proxy;
pub mod shim;
pub mod supervisor;
