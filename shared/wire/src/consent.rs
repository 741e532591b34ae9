//! The consent service as others see it: record facts, unsubscribe by link.

use async_trait::async_trait;
use parcours_domain::{
    Channel, ContactId, EmailAddress, FactId, MessageId, Name, TenantId,
    consent::{FactKind, Scope},
};

/// One fact to record.
#[derive(Clone, Debug)]
pub struct FactRequest {
    /// What was said. `Given` and `Confirmed` need a topic scope: one decision per purpose (G-14).
    pub kind: FactKind,
    /// About what.
    pub scope: Scope,
    /// On which channel.
    pub channel: Channel,
    /// Where it came from.
    pub source: String,
    /// Reference to the wording shown.
    pub wording: Option<String>,
    /// The address it was said for; none means the contact's present one.
    pub address: Option<EmailAddress>,
}

/// Why a fact was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// No such contact in this brand.
    #[error("no such contact")]
    NoContact,
    /// No such topic is published.
    #[error("no topic named {0} is published; publish it first, then record consent to it")]
    NoTopic(Name),
    /// An opt-in must name one topic.
    #[error("an opt-in names one topic; only withdrawals and objections can cover all marketing")]
    NotGranular,
    /// The token is not ours, not whole, or not for this.
    #[error("not found")]
    NotFound,
    /// The store could not take it; nothing was recorded.
    #[error("the consent store is not available; nothing was recorded")]
    Unavailable,
}

/// What an unsubscribe link withdraws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsubscribeScope {
    /// The message's topic.
    Topic,
    /// All marketing on the message's channel.
    AllMarketing,
}

/// What somebody complained about.
#[derive(Clone, Debug)]
pub enum ComplaintAbout {
    /// A message.
    Message(MessageId),
    /// The newest message that was sent to an address.
    Address(EmailAddress),
}

/// A complaint that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComplaintTaken {
    /// The contact that was written to.
    pub contact: ContactId,
    /// The message, when it is known which.
    pub message: Option<MessageId>,
    /// The suppression; none when it had been reported before, and for a test send, whose reader is not
    /// its contact.
    pub suppression: Option<FactId>,
}

/// What a valid link is about: enough for a page, nothing that names the person.
#[derive(Clone, Debug)]
pub struct Unsubscribed {
    /// The brand.
    pub tenant: TenantId,
    /// The brand's display name.
    pub brand: String,
    /// The message that carried the link.
    pub message: MessageId,
    /// The topic.
    pub topic: Name,
    /// The topic's title.
    pub topic_title: String,
    /// Locale of the brand, for the page's language.
    pub locale: String,
    /// Whether the topic is withdrawn now (before a page's POST: already).
    pub withdrawn: bool,
    /// Whether the link came in a test send: using it changes nothing.
    pub is_test: bool,
}

/// What the consent service does for others. Needs SQL only: no worker, no Redis.
#[async_trait]
pub trait ConsentApi: Send + Sync {
    /// Appends facts of one contact in one commit; the answer comes after it, and from then on no
    /// final commit of a message can pass against them.
    async fn record(
        &self,
        tenant: TenantId,
        contact: ContactId,
        facts: Vec<FactRequest>,
    ) -> Result<Vec<FactId>, ConsentError>;

    /// Records that a recipient called a message spam: suppresses the address, and counts it for the
    /// brand's breaker; repeating it is the same as doing it once.
    async fn complain(
        &self,
        tenant: TenantId,
        about: ComplaintAbout,
        source: String,
    ) -> Result<ComplaintTaken, ConsentError>;

    /// Looks at an unsubscribe token; changes nothing.
    async fn look(&self, token: &str) -> Result<Unsubscribed, ConsentError>;

    /// Withdraws by an unsubscribe token; repeating it is the same as doing it once.
    async fn unsubscribe(
        &self,
        token: &str,
        scope: UnsubscribeScope,
    ) -> Result<Unsubscribed, ConsentError>;
}
