//! Processes that reach one another over loopback, and what they notice when one of them is lost.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "tests are named by their files and functions; a failure is a failed test"
)]

mod batches_reach_their_owners;
mod how_much_passes;
mod only_the_install_is_let_in;
mod peers_are_lost;
mod stage;
mod too_much_is_refused;
