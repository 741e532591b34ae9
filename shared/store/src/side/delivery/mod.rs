//! The delivery door: how a queued message is claimed, cleared for its DATA, and ended.
//!
//! A `send_queue` row is in phase 0 (queued), 1 (claimed under a lease), 2 (dot sent) or 3 (may
//! have left before the store was restored: `held`); a row that ended is gone. What always holds:
//! - a row goes from 1 to 2 only in [`DeliveryDoor::commit_dot`], under the claim that holds it,
//!   while nothing that the verdict rested on has moved, neither brand nor install is halted and the
//!   brand's breaker does not stop its class;
//! - a row in phase 2 is never claimed again, only ended by its owner or resolved by policy;
//! - an ending and the inbox row that tells the run are one transaction: exactly once;
//! - locks are taken in one order: address rows, consent heads, brands, queue rows, send heads, counts
//!   of outcomes, breakers.

mod claim;
mod close;
mod dot;
mod finish;
mod heads;
mod held;
mod lost;
mod reading;
mod settle;
mod suppress;
mod test_send;

pub(crate) use heads::lower as lower_heads;
pub use held::{MayHaveLeft, QueuedGroup, Released};
pub(crate) use lost::LostClaims;

use parcours_domain::{
    AddressHash, Channel, ContactId, EmailAddress, Handle, MessageClass, MessageId, SendOutcome,
    TenantId, Timestamp,
    breaker::{Counted, Stops},
    consent::{AddressStanding, Standing},
    value::Properties,
};
use uuid::Uuid;

use super::MessageRow;
use crate::{Store, db::Db};

/// Both clocks, read together: product time for records and `not_before`, machine time for leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    /// Product time.
    pub product: Timestamp,
    /// Real time, the same to all processes ([`crate::Store::server_now`]).
    pub machine: Timestamp,
}

/// What to claim.
#[derive(Clone, Copy, Debug)]
pub struct ClaimOrder {
    /// Of which brand.
    pub tenant: TenantId,
    /// Of which lane.
    pub lane: i64,
    /// At most so many; at most 1,000 are given.
    pub count: u32,
    /// For how long, in machine milliseconds.
    pub lease_ms: i64,
    /// Now.
    pub now: Moments,
}

/// The topic as published now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNow {
    /// Its title.
    pub title: String,
    /// Its purpose.
    pub purpose: String,
    /// Its class.
    pub class: MessageClass,
    /// Whether only a confirmed opt-in counts.
    pub double_opt_in: bool,
    /// The document's version.
    pub version: i64,
}

/// A claimed message with everything that the verdict and the template need.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The brand.
    pub tenant: TenantId,
    /// The message.
    pub message: MessageId,
    /// The contact as it is now (the row's contact may have been absorbed into it).
    pub contact: ContactId,
    /// The queue lane.
    pub lane: i64,
    /// The class at enqueue.
    pub class: MessageClass,
    /// The claim; every later call names it.
    pub claim_id: Uuid,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// The message's row.
    pub row: MessageRow,
    /// The contact's present address: hash, text, standing and version. None when there is none,
    /// when it was erased, or when the contact has no consent head: no permission then.
    pub address: Option<(AddressHash, EmailAddress, AddressStanding, i64)>,
    /// Version of the contact's consent head; -1 when it has none.
    pub head_version: i64,
    /// The brand's consent version.
    pub tenant_version: i64,
    /// Where the contact stands on the channel.
    pub standing: Standing,
    /// The topic as published now; none when it is not, or is archived.
    pub topic: Option<TopicNow>,
    /// The contact's handle.
    pub handle: Handle,
    /// The contact's attributes now.
    pub contact_attributes: Properties,
    /// Not from here on (product time).
    pub expires_at: Timestamp,
    /// Whether the brand lists the address for tests now. A message of the class `test` has the
    /// address that it was enqueued for, an empty standing, and the contact's attributes.
    pub test_address: bool,
    /// Whether brand or install was halted when this was read.
    pub halted: bool,
    /// What the brand's breaker had stopped when this was read.
    pub stops: Stops,
    /// The version of its sender's document as published now.
    pub sender_version: Option<i64>,
}

/// One attempt, written at the dot and again at the end under the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it began (product time; the same in every call about this attempt).
    pub started_at: Timestamp,
    /// When it ended, once it has.
    pub ended_at: Option<Timestamp>,
    /// How far it came: `judge`, `render`, `connect`, `envelope`, `dot`, `reply`.
    pub stage: String,
    /// Stable word for how it ended; `pending` before.
    pub result: String,
    /// The peer's reply code.
    pub code: Option<u16>,
    /// The peer's enhanced status.
    pub enhanced: Option<String>,
}

/// The question before DATA: may this message leave under what its verdict rested on?
#[derive(Clone, Debug)]
pub struct DotRequest {
    /// The brand.
    pub tenant: TenantId,
    /// The message.
    pub message: MessageId,
    /// The class that it was judged as.
    pub class: MessageClass,
    /// The claim that holds it.
    pub claim_id: Uuid,
    /// The contact that the verdict was about ([`Claimed::contact`]).
    pub contact: ContactId,
    /// The channel.
    pub channel: Channel,
    /// The address in the envelope.
    pub address: AddressHash,
    /// Its version at the verdict.
    pub address_version: i64,
    /// The head's version at the verdict.
    pub head_version: i64,
    /// The brand's consent version at the verdict.
    pub tenant_version: i64,
    /// The decision, stored with the message.
    pub receipt_json: String,
    /// The attempt, as far as it came.
    pub attempt: NewAttempt,
    /// The rewritten links: number and where it leads.
    pub links: Vec<(u16, String)>,
}

/// When the dot is committed, and for how long its owner may wait for the reply.
#[derive(Clone, Copy, Debug)]
pub struct DotTimes {
    /// Now.
    pub now: Moments,
    /// Machine milliseconds after which nobody waits for the reply any more.
    pub lease_ms: i64,
}

/// The answer before DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DotAnswer {
    /// Send DATA now.
    Go,
    /// Something moved since the verdict: RSET, read again, judge again.
    Rejudge,
    /// The claim is not yours any more: RSET and forget it.
    Lost,
    /// Brand or install is halted, or the brand's breaker stops this class: RSET and give it back.
    Halted,
}

/// An address to suppress with a message's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppress {
    /// Which.
    pub address: AddressHash,
    /// On which channel.
    pub channel: Channel,
    /// Stable word for why, such as `smtp:5.1.1`; becomes the fact's source.
    pub reason: String,
}

/// What the built-in mailbox keeps of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxPut {
    /// To whom.
    pub recipient: AddressHash,
    /// The whole message.
    pub raw: Vec<u8>,
}

/// The end of a message.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The brand.
    pub tenant: TenantId,
    /// The message.
    pub message: MessageId,
    /// The claim that holds it.
    pub claim_id: Uuid,
    /// How it ended.
    pub outcome: SendOutcome,
    /// As what the brand's breaker counts it, and the class that it was judged as; none: it says
    /// nothing about the brand.
    pub counted: Option<(MessageClass, Counted)>,
    /// Stable word for why, when not sent.
    pub reason: Option<String>,
    /// The decision; none keeps what the dot stored.
    pub receipt_json: Option<String>,
    /// The last attempt, when there was one.
    pub attempt: Option<NewAttempt>,
    /// An address to suppress with it.
    pub suppress: Option<Suppress>,
    /// What the built-in mailbox keeps.
    pub mailbox: Option<MailboxPut>,
    /// Product time.
    pub now: Timestamp,
}

/// A message that goes back to the queue.
#[derive(Clone, Debug)]
pub struct Retry {
    /// The brand.
    pub tenant: TenantId,
    /// The message.
    pub message: MessageId,
    /// The claim that holds it.
    pub claim_id: Uuid,
    /// Not before (product time).
    pub not_before: Timestamp,
    /// The decision so far; none keeps what is stored.
    pub receipt_json: Option<String>,
    /// The attempt that failed; none when nothing was attempted.
    pub attempt: Option<NewAttempt>,
    /// Whether this counts as an attempt (a lack of budget or a halt does not).
    pub counted: bool,
}

/// What to do with a message whose reply was never recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// Not again: it ends as `unknown`.
    Final,
    /// Again, under the same id.
    Again,
}

/// What settling found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Claims that were over before anything left: queued again.
    pub requeued: u64,
    /// Left, reply unknown, not again.
    pub unknown: Vec<(TenantId, MessageId)>,
    /// Left, reply unknown, queued again under the same id.
    pub again: Vec<(TenantId, MessageId)>,
}

/// The cross-tenant door of the delivery service.
#[derive(Clone)]
pub struct DeliveryDoor {
    pub(crate) store: Store,
}

impl DeliveryDoor {
    /// Now, for claims and leases; see [`Store::server_now`].
    #[must_use]
    pub fn server_now(&self) -> Timestamp {
        self.store.server_now()
    }

    fn db(&self) -> &Db {
        self.store.db()
    }
}
