//! The consent service: the front door of the record of what people said.
//!
//! It takes facts from other services ([`ConsentService`] implements the contract's `ConsentApi`)
//! and from people, through the links in their messages ([`routes`]). It needs the store and
//! nothing else: no worker, no queue. A fact is acknowledged after its commit, and from then on no
//! message that was judged before it can pass its final commit. Nothing that only looks (GET,
//! HEAD, OPTIONS) ever changes what a person said.

mod complaints;
mod documents;
mod form;
mod guesses;
mod page;
mod service;
mod token;

pub mod routes;

pub use guesses::GuessLimits;
pub use routes::configure;
pub use service::{Click, ConsentService};
