//! What the queue's traits promise, asked of the memory of one process and of Redis alike; and what
//! only a shared server can get wrong. Figures: `cargo test -p parcours-queue --release -- --ignored
//! --nocapture figures`.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod figures;
mod ground;
mod hints;
mod timers;
mod timers_with_faults;
mod tokens;
mod tokens_of_three;
