//! Everything that is not on an actor's way: brands and keys, documents, secrets, idempotency,
//! consent, delivery, and what people read.
//!
//! Cast: [`AdminDoor`] is above brands; [`crate::TenantStore`] (extended here) is one brand's
//! door; [`ConsentDoor`] appends facts; [`DeliveryDoor`] lets a message leave.
//!
//! What always holds: no row, connection or entity leaves; listings have one order and opaque
//! cursors; every statement names the brand.

mod addresses;
mod admin;
mod api_keys;
mod api_message;
mod array;
mod brands;
pub(crate) mod breaker;
mod clicks;
mod complaints;
pub(crate) mod consent;
mod contacts;
mod counters;
pub(crate) mod delivery;
mod documents;
mod facts;
mod idempotency;
pub(crate) mod inbox;
mod mailbox;
pub(crate) mod messages;
mod page;
mod quarantine;
mod quotas;
mod runs;
mod secrets;
pub(crate) mod sql;
mod status;
mod table;
mod timeline;
mod warm_up;

use std::sync::Arc;

use crate::{
    Store, TenantStore,
    db::{Reads, Tx},
    error::StoreError,
    keys::TenantKeys,
};

pub use admin::{AdminDoor, InstallStatus};
pub use api_keys::{ApiKey, KeyKind, NewApiKey, NewKeySecret, Scope as KeyScope};
pub use api_message::{ApiMessage, Enqueued};
pub use brands::{BrandRow, OrganisationRow};
pub use breaker::{BreakerNow, Outcomes, Stopped};
pub use clicks::Clicked;
pub use complaints::{Complained, Recipient};
pub use consent::{ConsentDoor, NewFact, StandingNow};
pub use contacts::{ContactAddress, ContactView};
pub use counters::{BrandCount, CounterValue};
pub use delivery::{
    ClaimOrder, Claimed, DeliveryDoor, DotAnswer, DotRequest, DotTimes, Finished, MailboxPut,
    MayHaveLeft, Moments, NewAttempt, QueuedGroup, Released, Retry, Settled, Suppress, TopicNow,
    UnknownPolicy,
};
pub use documents::{DocumentHead, DocumentRow, DocumentStatus, NewDocument, Published};
pub use idempotency::{Begun, IdempotencyKey};
pub use inbox::{AbsorbRef, ClickRef, ConsentRef, OutcomeRef, RequeueRef};
pub use mailbox::MailboxRow;
pub use messages::{AttemptRow, LinkRow, MessageFilter, MessageRow, MessageWhy, encode_data};
pub use page::{Cursor, PAGE_DEFAULT, PAGE_MAX, Page, PageRequest};
pub use quarantine::{QuarantineEntry, QuarantineRow, Requeued};
pub use quotas::QuotaUse;
pub use runs::{RunFilter, RunView};
pub use status::{Backlog, BrandStatus, Reached, StatusNumbers};
pub use table::BrandTable;
pub use timeline::{TimelineEntry, TimelineItem};

impl Store {
    /// The delivery service's door.
    #[must_use]
    pub fn delivery(&self) -> DeliveryDoor {
        DeliveryDoor { store: self.clone() }
    }

    /// The consent service's door.
    #[must_use]
    pub fn consent(&self) -> ConsentDoor {
        ConsentDoor { store: self.clone() }
    }

    /// The door above brands.
    #[must_use]
    pub fn admin(&self) -> AdminDoor {
        AdminDoor { store: self.clone() }
    }
}

impl TenantStore {
    /// A transaction of this brand.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        self.store.db().begin(self.tenant).await
    }

    /// Reads of this brand, each by itself.
    pub(crate) fn read(&self) -> Reads<'_> {
        self.store.db().read(self.tenant)
    }

    /// The brand's keys; cached.
    ///
    /// # Errors
    /// `Key` when the brand has none or they do not open.
    pub async fn keys(&self) -> Result<Arc<TenantKeys>, StoreError> {
        self.store.keys(self.tenant).await
    }
}
