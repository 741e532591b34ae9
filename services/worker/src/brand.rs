//! A brand's documents as steps need them: plans, zone, topics, template versions, defaults.
//!
//! Built whole from what is published and never changed; a publication makes a new one. Documents
//! that cannot be read are left out and logged: their journeys stand still, others go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parcours_domain::{Channel, MessageClass, Millis, Name};
use parcours_journey::{
    document::{BrandDocument, Document},
    plan::{Plan, PlanBook, PlanStatus},
};

use crate::durable::{Published, PublishedHead};

/// A topic as far as a message needs it at commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub class: MessageClass,
    pub channel: Channel,
}

/// A journey and its version.
pub(crate) type PlanKey = (Name, u32);

/// One brand.
#[derive(Debug, Default)]
pub(crate) struct Brand {
    pub book: PlanBook,
    pub zone: String,
    pub topics: BTreeMap<Name, Topic>,
    /// Head version by template.
    pub templates: BTreeMap<Name, u32>,
    pub sender: Option<Name>,
    expiry: Option<(Millis, Millis)>,
    mark: [u8; 16],
    heads: Vec<(Arc<Plan>, PlanStatus)>,
    old: Vec<Arc<Plan>>,
    /// Versions that runs are on and that are not stored: asked for once.
    absent: BTreeSet<PlanKey>,
}

impl Brand {
    /// From what is published.
    pub(crate) fn new(published: &Published) -> Self {
        let mut brand = Self { zone: "UTC".to_owned(), mark: published.mark, ..Self::default() };
        for head in &published.heads {
            brand.take(head);
        }
        brand.book = PlanBook::new(brand.heads.clone(), Vec::new());
        brand
    }

    fn take(&mut self, head: &PublishedHead) {
        let json = serde_json::from_str::<serde_json::Value>(&head.body).unwrap_or_default();
        match Document::from_json(&json) {
            Ok(Document::Brand(document)) => self.take_brand(&document),
            Ok(Document::Topic(document)) => {
                let topic = Topic { class: document.class, channel: document.channel };
                self.topics.insert(head.name.clone(), topic);
            }
            Ok(Document::Template(_)) => {
                self.templates.insert(head.name.clone(), head.version);
            }
            Ok(Document::Journey(_)) => self.take_journey(head),
            Ok(Document::Sender(_)) => {}
            Err(error) => {
                tracing::error!(kind = head.kind, name = %head.name, %error, "published document is unreadable");
            }
        }
    }

    fn take_brand(&mut self, document: &BrandDocument) {
        self.zone.clone_from(&document.time_zone);
        self.sender.clone_from(&document.defaults.sender);
        self.expiry =
            Some((document.expiry.marketing.millis(), document.expiry.transactional.millis()));
    }

    fn take_journey(&mut self, head: &PublishedHead) {
        let status = match head.status.as_str() {
            "live" => PlanStatus::Live,
            "archived" => PlanStatus::Archived,
            _ => PlanStatus::Paused,
        };
        if let Some(plan) = decoded(&head.name, head.compiled.as_deref()) {
            self.heads.push((plan, status));
        }
    }

    /// The same brand with older plan versions beside the heads; `None` was not stored.
    pub(crate) fn with_plans(&self, found: Vec<(PlanKey, Option<Vec<u8>>)>) -> Self {
        let mut old = self.old.clone();
        let mut absent = self.absent.clone();
        for (key, bytes) in found {
            match decoded(&key.0, bytes.as_deref()) {
                Some(plan) => old.push(plan),
                None => {
                    absent.insert(key);
                }
            }
        }
        Self {
            book: PlanBook::new(self.heads.clone(), old.clone()),
            zone: self.zone.clone(),
            topics: self.topics.clone(),
            templates: self.templates.clone(),
            sender: self.sender.clone(),
            expiry: self.expiry,
            mark: self.mark,
            heads: self.heads.clone(),
            old,
            absent,
        }
    }

    /// Which of these versions are worth asking the store for.
    pub(crate) fn wanted(&self, needs: Vec<PlanKey>) -> Vec<PlanKey> {
        needs.into_iter().filter(|need| !self.absent.contains(need)).collect()
    }

    /// What the store said about the state of publication when this was read.
    pub(crate) const fn mark(&self) -> [u8; 16] {
        self.mark
    }

    /// How long a message of this class may wait.
    pub(crate) fn expiry(&self, class: MessageClass) -> Millis {
        let (marketing, transactional) =
            self.expiry.unwrap_or((Millis::hours(24), Millis::hours(72)));
        match class {
            MessageClass::Marketing => marketing,
            MessageClass::Transactional => transactional,
            // No journey asks for one.
            MessageClass::Test => Millis::hours(1),
        }
    }
}

fn decoded(journey: &Name, bytes: Option<&[u8]>) -> Option<Arc<Plan>> {
    match Plan::decode(bytes?) {
        Ok(plan) => Some(Arc::new(plan)),
        Err(error) => {
            tracing::error!(%journey, %error, "stored plan is unreadable; its runs stand still");
            None
        }
    }
}
