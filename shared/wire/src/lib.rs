//! Everything that crosses a process boundary: service traits, their payloads, HTTP bodies.
//!
//! Services never depend on one another; they meet here. A trait is implemented in process by
//! the service and remotely by a client; only the binary knows which. Payloads carry ids and
//! values, never handles to anything alive.

pub mod consent;
pub mod delivery;
pub mod http;
pub mod worker;

pub use consent::{
    ComplaintAbout, ComplaintTaken, ConsentApi, ConsentError, FactRequest, UnsubscribeScope,
    Unsubscribed,
};
pub use delivery::DeliveryApi;
pub use worker::{AcceptedEvent, ContactEvents, EventDay, ItemOutcome, WorkerApi};
