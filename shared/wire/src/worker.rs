//! The worker as the gateway sees it: hand over a contact's events, get one outcome for each.

use async_trait::async_trait;
use parcours_domain::{
    ContactId, EmailAddress, EventId, EventKey, EventKind, TenantId, Timestamp, value::Properties,
};

/// The day part of an event's de-duplication key (PROTOCOLS: Idempotency).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventDay {
    /// UTC day number of the event's own timestamp exactly as sent.
    Day(i64),
    /// No timestamp, or one more than 24 h ahead of receipt.
    Undated,
}

impl EventDay {
    /// The stored number: days since 1970-01-01, or `i64::MIN / 2` for undated.
    #[must_use]
    pub const fn as_stored(self) -> i64 {
        match self {
            Self::Day(day) => day,
            Self::Undated => i64::MIN / 2,
        }
    }
}

/// One event that passed validation.
#[derive(Clone, Debug, PartialEq)]
pub struct AcceptedEvent {
    /// The client's messageId as sent, or one made by the gateway.
    pub message_id: String,
    /// Its de-duplication key.
    pub key: EventKey,
    /// The key's day.
    pub day: EventDay,
    /// Hash of the body without sentAt, receivedAt and context: a repeat with another is a fault.
    pub body_hash: [u8; 32],
    /// Which call.
    pub kind: EventKind,
    /// Track event or page name; may be empty.
    pub name: String,
    /// Properties.
    pub properties: Properties,
    /// Attributes to set (identify).
    pub traits: Properties,
    /// The e-mail address among the traits, parsed: becomes the contact's address.
    pub email: Option<EmailAddress>,
    /// The client's own time.
    pub occurred_at: Option<Timestamp>,
    /// Product time of receipt.
    pub received_at: Timestamp,
    /// The body as stored for the timeline: canonical JSON.
    pub body: String,
}

/// Events of one contact, in the order in which they stand in the request.
#[derive(Clone, Debug, PartialEq)]
pub struct ContactEvents {
    /// The brand.
    pub tenant: TenantId,
    /// The contact that its identities resolved to.
    pub contact: ContactId,
    /// At most 10,000.
    pub events: Vec<AcceptedEvent>,
}

/// Stable codes of [`ItemOutcome::SetAside`]. A code that is not here, from a newer worker, is
/// shown as [`set_aside::OTHER`].
pub mod set_aside {
    /// The database refused a value of the event.
    pub const REFUSED: &str = "refused";
    /// The step panicked on the event.
    pub const PANIC: &str = "panic";
    /// With the event the contact's state would be too large.
    pub const STATE_TOO_LARGE: &str = "state_too_large";
    /// What is stored of the contact cannot be read.
    pub const UNREADABLE: &str = "unreadable";
    /// The same event was set aside before.
    pub const EARLIER: &str = "set_aside_earlier";
    /// A code that this process does not know; the detail begins with it.
    pub const OTHER: &str = "set_aside";

    const ALL: [&str; 6] = [REFUSED, PANIC, STATE_TOO_LARGE, UNREADABLE, EARLIER, OTHER];

    /// The code that reads like this, if it is known here.
    #[must_use]
    pub fn known(text: &str) -> Option<&'static str> {
        ALL.into_iter().find(|code| *code == text)
    }
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemOutcome {
    /// Committed just now.
    Applied(EventId),
    /// Committed earlier under the same key with the same body.
    Duplicate(EventId),
    /// The key was used earlier with another body; nothing was applied.
    Conflict,
    /// Committed to quarantine: it will not be applied until requeued.
    SetAside {
        /// Stable code, one of [`set_aside`].
        code: &'static str,
        /// What was wrong, without the values.
        detail: String,
    },
    /// The contact was absorbed; ask again with this one (at most 2 hops).
    Merged(ContactId),
    /// The contact's shard is another worker's now: nothing was done; ask its owner.
    Moved,
    /// The contact's mailbox or the worker is full: 429, retry after this many seconds.
    Busy(u32),
    /// The commit's outcome is not known, or the store cannot be written: 503, retry finds out.
    Unavailable,
}

/// What a worker does for others.
#[async_trait]
pub trait WorkerApi: Send + Sync {
    /// Applies events to contacts; answers after the commit, one list of outcomes for each entry,
    /// in order. A contact stands once in a call, and contacts are independent of one another.
    async fn accept(&self, batch: Vec<ContactEvents>) -> Vec<Vec<ItemOutcome>>;

    /// Hint that inbox rows of this contact were committed; losing it costs only the sweep's
    /// period.
    fn wake(&self, tenant: TenantId, contact: ContactId);

    /// Hint that a journey, template or brand document of this tenant was published, paused,
    /// resumed or archived.
    fn plans_changed(&self, tenant: TenantId);
}
