//! Facts in, standing out; links resolved to the message they came with.
//!
//! What always holds: an opt-in names one published topic; a fact is recorded with the topic's
//! purpose as published now, a random nonce and the contact's handle; an unsubscribe link does the
//! same however often it is used; what a link is about is learnt only after its MAC was checked; the
//! links in a test send change nothing, since its reader is not the contact it was rendered with.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use parcours_content::LinkKind;
use parcours_domain::{
    Channel, ContactId, FactId, MessageClass, Name, TenantId,
    consent::{FactKind, Scope, Standing},
};
use parcours_kit::{Chance, Clock, telemetry};
use parcours_store::{MessageRow, NewFact, Store, StoreError};
use parcours_wire::{
    ComplaintAbout, ComplaintTaken, ConsentApi, ConsentError, FactRequest, UnsubscribeScope,
    Unsubscribed, WorkerApi,
};

use crate::{
    complaints, documents,
    guesses::{GuessLimits, Guesses},
    token::{self, Brands},
};

/// Where a withdrawal by link is recorded as coming from.
const ONE_CLICK: &str = "one-click";

/// Records facts and serves the links in messages.
pub struct ConsentService {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    worker: OnceLock<Arc<dyn WorkerApi>>,
    brands: Brands,
    pub(crate) guesses: Guesses,
}

/// A followed link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Click {
    /// Where it leads, as stored when the message left.
    pub url: String,
    /// Whether it was followed for the first time.
    pub first: bool,
}

/// What a valid unsubscribe link leads to.
struct Linked {
    message: MessageRow,
    about: Unsubscribed,
}

impl ConsentService {
    /// Over the store.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
        limits: GuessLimits,
    ) -> Self {
        let (worker, brands) = (OnceLock::new(), Brands::default());
        Self { store, clock, chance, worker, brands, guesses: Guesses::new(limits) }
    }

    /// Whom to tell that a contact has news. Set once; without it, the inbox sweep finds out.
    pub fn set_worker(&self, worker: Arc<dyn WorkerApi>) {
        if self.worker.set(worker).is_err() {
            tracing::debug!("the worker was set before");
        }
    }

    pub(crate) fn wake(&self, tenant: TenantId, contact: ContactId) {
        if let Some(worker) = self.worker.get() {
            worker.wake(tenant, contact);
        }
    }

    /// Checks a request and gives it what the record needs.
    async fn prepare(&self, tenant: TenantId, fact: FactRequest) -> Result<NewFact, ConsentError> {
        let purpose = match (&fact.scope, fact.kind) {
            (Scope::AllMarketing, FactKind::Given | FactKind::Confirmed) => {
                return Err(ConsentError::NotGranular);
            }
            (Scope::AllMarketing, _) => String::new(),
            (Scope::Topic(topic), _) => {
                let found = documents::topic(&self.store, tenant, topic).await.map_err(refused)?;
                found.ok_or_else(|| ConsentError::NoTopic(topic.clone()))?.purpose
            }
        };
        let address = match &fact.address {
            None => None,
            Some(address) => {
                let keys = self.store.keys(tenant).await.map_err(refused)?;
                Some(address.hash(&keys.address))
            }
        };
        let FactRequest { kind, scope, channel, source, wording, .. } = fact;
        let (id, nonce) = self.fresh();
        Ok(NewFact {
            id,
            kind,
            scope,
            purpose,
            channel,
            address,
            source,
            wording,
            nonce,
            once: false,
        })
    }

    /// Counts and says which messages this word came too late for: they had passed their final
    /// commit. At most one for each open connection.
    pub(crate) async fn count_leaving(&self, tenant: TenantId, contact: ContactId) {
        match self.store.consent().leaving(tenant, contact).await {
            Ok(0) => {}
            Ok(messages) => {
                telemetry::metrics().add("parcours_messages_already_leaving_total", messages, &[]);
                tracing::info!(%tenant, %contact, messages, "already leaving");
            }
            // The word itself is recorded; only this figure is not.
            Err(error) => tracing::warn!(%error, "messages already leaving were not counted"),
        }
    }

    pub(crate) fn fresh(&self) -> (FactId, [u8; 32]) {
        let mut nonce = [0; 32];
        self.chance.fill(&mut nonce);
        (FactId::v7(self.clock.now(), self.chance.tail()), nonce)
    }

    /// The message behind an unsubscribe link.
    async fn linked(&self, token: &str) -> Result<Linked, ConsentError> {
        let token =
            token::verified((&self.store, &self.brands), token, LinkKind::Unsubscribe).await?;
        let brand = self.store.for_tenant(token.tenant);
        let found = brand.linked_message(token.message, token.handle).await;
        let message = found.map_err(refused)?.ok_or(ConsentError::NotFound)?;
        let brand = documents::brand(&self.store, token.tenant).await.map_err(refused)?;
        let topic =
            documents::topic(&self.store, token.tenant, &message.topic).await.map_err(refused)?;
        let is_test = message.class == MessageClass::Test;
        let withdrawn = !is_test && self.is_withdrawn(&message).await?;
        let about = Unsubscribed {
            tenant: token.tenant,
            brand: brand.display_name,
            message: token.message,
            topic: message.topic.clone(),
            topic_title: topic.map_or_else(|| message.topic.to_string(), |topic| topic.title),
            locale: brand.locale,
            withdrawn,
            is_test,
        };
        Ok(Linked { message, about })
    }

    async fn is_withdrawn(&self, message: &MessageRow) -> Result<bool, ConsentError> {
        let door = self.store.consent();
        let now = door.standing(message.tenant, message.contact, message.channel).await;
        Ok(withdrawn(&now.map_err(refused)?.standing, &message.topic))
    }

    /// Records a click of a link (`record`) or only looks where it leads.
    ///
    /// # Errors
    /// `NotFound` for whatever is not a click link of ours; `Unavailable` when the store is.
    pub async fn click(&self, token: &str, record: bool) -> Result<Click, ConsentError> {
        let token = token::verified((&self.store, &self.brands), token, LinkKind::Click).await?;
        let brand = self.store.for_tenant(token.tenant);
        if !record {
            let found = brand.link(token.message, token.link).await.map_err(refused)?;
            return found.map(|url| Click { url, first: false }).ok_or(ConsentError::NotFound);
        }
        let found = brand.record_click(token.message, token.link, self.clock.now()).await;
        let clicked = found.map_err(refused)?.ok_or(ConsentError::NotFound)?;
        if clicked.first {
            self.wake(token.tenant, clicked.contact);
        }
        Ok(Click { url: clicked.url, first: clicked.first })
    }
}

/// Whether the newest words refuse the topic: its own, or one on all marketing that no later
/// consent to the topic has lifted.
fn withdrawn(standing: &Standing, topic: &Name) -> bool {
    let refuses = |kind| matches!(kind, FactKind::Withdrawn | FactKind::Objected);
    let own = standing.topics.get(topic);
    let all = standing.all_marketing.as_ref().filter(|all| refuses(all.kind));
    match (own, all) {
        (Some(own), _) if refuses(own.kind) => true,
        (Some(own), Some(all)) => own.at <= all.at,
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

/// Nothing was recorded, as far as the caller can tell: a repeat is safe.
pub(crate) fn refused(error: StoreError) -> ConsentError {
    match error {
        StoreError::NotFound => ConsentError::NoContact,
        error => {
            tracing::warn!(%error, "the consent record cannot be used");
            ConsentError::Unavailable
        }
    }
}

#[async_trait]
impl ConsentApi for ConsentService {
    async fn record(
        &self,
        tenant: TenantId,
        contact: ContactId,
        facts: Vec<FactRequest>,
    ) -> Result<Vec<FactId>, ConsentError> {
        let kinds: Vec<FactKind> = facts.iter().map(|fact| fact.kind).collect();
        let mut new = Vec::with_capacity(facts.len());
        for fact in facts {
            new.push(self.prepare(tenant, fact).await?);
        }
        let door = self.store.consent();
        let ids = door.record(tenant, contact, new, self.clock.now()).await.map_err(refused)?;
        for kind in &kinds {
            count(*kind);
        }
        if kinds.iter().any(|kind| !matches!(kind, FactKind::Given | FactKind::Confirmed)) {
            self.count_leaving(tenant, contact).await;
        }
        self.wake(tenant, contact);
        Ok(ids)
    }

    async fn complain(
        &self,
        tenant: TenantId,
        about: ComplaintAbout,
        source: String,
    ) -> Result<ComplaintTaken, ConsentError> {
        complaints::take(self, tenant, about, source).await
    }

    async fn look(&self, token: &str) -> Result<Unsubscribed, ConsentError> {
        Ok(self.linked(token).await?.about)
    }

    async fn unsubscribe(
        &self,
        token: &str,
        scope: UnsubscribeScope,
    ) -> Result<Unsubscribed, ConsentError> {
        let Linked { message, about } = self.linked(token).await?;
        if about.is_test {
            return Ok(about);
        }
        let (scope, purpose) = match scope {
            UnsubscribeScope::AllMarketing => (Scope::AllMarketing, String::new()),
            UnsubscribeScope::Topic => {
                let topic = documents::topic(&self.store, message.tenant, &message.topic).await;
                let purpose = topic.map_err(refused)?.map(|topic| topic.purpose);
                (Scope::Topic(message.topic.clone()), purpose.unwrap_or_default())
            }
        };
        let (id, nonce) = self.fresh();
        let fact = NewFact {
            id,
            kind: FactKind::Withdrawn,
            scope,
            purpose,
            channel: Channel::Email,
            address: message.address,
            source: ONE_CLICK.to_owned(),
            wording: None,
            nonce,
            once: true,
        };
        let door = self.store.consent();
        let now = self.clock.now();
        let ids = door.record(message.tenant, message.contact, vec![fact], now).await;
        let recorded = ids.map_err(refused)?;
        if recorded.contains(&id) {
            count(FactKind::Withdrawn);
            self.count_leaving(message.tenant, message.contact).await;
            self.wake(message.tenant, message.contact);
        }
        Ok(Unsubscribed { withdrawn: true, ..about })
    }
}

pub(crate) fn count(kind: FactKind) {
    telemetry::metrics().add("parcours_consent_facts_total", 1, &[("kind", kind.as_str())]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcours_domain::Timestamp;

    #[test]
    fn a_later_opt_in_to_the_topic_lifts_a_withdrawal_of_all_marketing() {
        let topic: Name = "news".parse().unwrap();
        let at = Timestamp::from_millis;
        let id = |n| FactId::v7(at(n), [0; 10]);
        let mut standing = Standing::default();
        assert!(!withdrawn(&standing, &topic));
        standing.add(FactKind::Given, &Scope::Topic(topic.clone()), at(1), id(1));
        assert!(!withdrawn(&standing, &topic));
        standing.add(FactKind::Withdrawn, &Scope::AllMarketing, at(2), id(2));
        assert!(withdrawn(&standing, &topic));
        standing.add(FactKind::Given, &Scope::Topic(topic.clone()), at(3), id(3));
        assert!(!withdrawn(&standing, &topic));
        standing.add(FactKind::Withdrawn, &Scope::Topic(topic.clone()), at(4), id(4));
        assert!(withdrawn(&standing, &topic));
    }
}
