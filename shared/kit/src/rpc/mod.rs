//! How the processes of one install reach one another: events to the owner of their shard, and
//! hints. One connection and one stream for each pair, with bounds and deadlines on both sides.
//!
//! | part | does |
//! |---|---|
//! | [`serve`] | answers others on a port of its own, behind the install's secret |
//! | [`Link`] | one connection to one other process, opened when it is needed |
//! | `convert` | between the types of `wire` and `parcours.internal.v1` |
//!
//! What always holds: nobody without the secret is listened to; a peer that is dead or frozen is
//! noticed by pings within seconds and holds up nobody but those who asked it; an answer says what
//! was committed, and no answer says only that nothing is known.

mod convert;
mod hints;
mod limits;
mod link;
mod open;
mod pending;
mod secret;
mod server;
mod session;

/// As generated from `peer.proto`, which explains it.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::too_many_lines,
    reason = "generated"
)]
pub(crate) mod proto {
    tonic::include_proto!("parcours.internal.v1");
}

pub use hints::Hint;
pub(crate) use hints::HintBox;
pub use limits::RpcLimits;
pub use link::{Link, LinkSettings};
pub use secret::{InvalidSecret, RpcSecret};
pub use server::{RpcError, RpcPort, RpcServer, serve};
