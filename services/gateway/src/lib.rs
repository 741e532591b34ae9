//! The HTTP API: authenticate, validate, resolve identities, hand over to the owner of the
//! contact; documents, reading and administration; pages for people.
//!
//! Cast: [`state::GatewayState`] is what the binary wires in; [`auth`] turns a key into proof of
//! permission; [`ingest`] is what Segment's clients speak; [`endpoint`] holds one file for each
//! group of routes, listed in [`route`]; [`publish`] checks and publishes documents, for the API
//! and for the command line alike; [`page`] is for people.
//!
//! What always holds: nothing is acknowledged before its commit; every refusal is a problem with a
//! stable code; a key sees the brands it was made for and no other; no log line holds what a
//! caller sent.

pub mod admission;
pub mod arf;
pub mod auth;
pub mod body;
pub mod cors;
pub mod endpoint;
pub mod failure;
pub mod idempotent;
pub mod ingest;
pub mod observe;
pub mod openapi;
pub mod page;
pub mod preview;
pub mod publish;
pub mod quota;
pub mod reply;
pub mod route;
pub mod state;
pub mod status;

pub use endpoint::system::{Probed, probes};
pub use observe::observe;
pub use route::configure;
pub use state::{GatewayState, Limits};
