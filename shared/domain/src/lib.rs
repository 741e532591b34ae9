//! The words of Parcours: ids, time, values, addresses that redact themselves, consent facts and
//! the pure verdict over them.
//!
//! Everything here is pure: no clock, no dice, no waiting, no unordered map, no panic. Time and
//! chance are arguments. The other crates speak in these types and never redefine them.

pub mod address;
pub mod breaker;
pub mod consent;
pub mod event;
pub mod hash;
pub mod ids;
pub mod message;
pub mod name;
pub mod nearest;
pub mod provider;
pub mod quota;
pub mod rate;
pub mod time;
pub mod value;
pub mod warm_up;

pub use address::{AddressHash, EmailAddress};
pub use event::EventKind;
pub use hash::{EventKey, shard_of};
pub use ids::{
    AttemptId, ContactId, EventId, FactId, Handle, InboxId, KeyId, MessageId, OrganisationId,
    QuarantineId, RunId, TenantId,
};
pub use message::{Channel, MessageClass, SendOutcome};
pub use name::{Name, StepId};
pub use nearest::nearest;
pub use provider::{Provider, Recipients};
pub use quota::{CpuShare, EventAsk, EventBucket, EventGrant, EventQuota, Quotas, Weight};
pub use rate::Rate;
pub use time::{Millis, Timestamp};
pub use value::Value;
pub use warm_up::{Day, WarmUp};
