//! What the side tests share: a shop (one brand with two topics), its contacts and messages.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{collections::BTreeMap, sync::Mutex};

use parcours_domain::{
    Channel, ContactId, EmailAddress, FactId, Handle, MessageClass, MessageId, Name, RunId,
    TenantId, Timestamp,
    consent::{FactKind, Question, Refusal, Scope, verdict},
    hash::sha256_head,
    shard_of,
};
use parcours_journey::ContactState;
use parcours_store::{
    ApiMessage, ClaimOrder, Claimed, CommitOutcome, ContactCommit, DotAnswer, DotRequest, DotTimes,
    Finished, InboxRow, LoadKey, LoadWhat, Moments, NewAddress, NewAttempt, NewDocument, NewFact,
    NewMessage, Store, TenantStore, UnknownPolicy,
};
use parcours_testkit::store::temp_contact;
use uuid::Uuid;

/// Stamps each story onto both databases.
#[allow(unused_macros, reason = "some tests are about one of them")]
macro_rules! on_both {
    ($($story:ident),+ $(,)?) => {
        on_both!(@ sqlite, Sqlite, $($story),+);
        on_both!(@ postgres, Postgres, $($story),+);
    };
    (@ $module:ident, $backend:ident, $($story:ident),+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    let backend = parcours_store::Backend::$backend;
                    let temp = parcours_testkit::store::temp_store(backend).await.unwrap();
                    super::$story(temp.store.clone()).await;
                }
            )+
        }
    };
}

/// Product time at which every story begins.
pub const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// Machine time at which every story begins.
pub const MACHINE: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// Lease of a claim.
pub const LEASE_MS: i64 = 30_000;

/// Product time, so many minutes into the story.
pub fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + minutes * 60_000)
}

/// Both clocks, so many seconds into the story.
pub fn now(seconds: i64) -> Moments {
    Moments {
        product: Timestamp::from_millis(START.as_millis() + seconds * 1_000),
        machine: Timestamp::from_millis(MACHINE.as_millis() + seconds * 1_000),
    }
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn run_of(text: &str) -> RunId {
    RunId(Uuid::from_bytes(sha256_head(&[b"run", text.as_bytes()])))
}

/// One brand and the revisions of its contacts.
pub struct Shop {
    pub store: Store,
    pub tenant: TenantId,
    revisions: Mutex<BTreeMap<ContactId, i64>>,
    facts: Mutex<u64>,
}

impl Shop {
    pub async fn open(store: Store) -> Self {
        Self::named(store, "records").await
    }

    pub async fn named(store: Store, brand: &str) -> Self {
        let tenant = store.admin().create_brand("agency", brand, START).await.unwrap();
        let shop = Self { store, tenant, revisions: Mutex::default(), facts: Mutex::new(0) };
        shop.publish_topic("news", "news", "marketing").await;
        shop.publish_topic("receipts", "receipts", "transactional").await;
        shop
    }

    pub fn brand(&self) -> TenantStore {
        self.store.for_tenant(self.tenant)
    }

    pub async fn publish_topic(&self, topic: &str, purpose: &str, class: &str) {
        let body = serde_json::json!({"title": topic, "purpose": purpose, "class": class});
        let document = NewDocument {
            kind: "Topic".to_owned(),
            name: name(topic),
            body_json: body.to_string(),
            compiled: None,
            version: None,
        };
        self.brand().publish(vec![document], None, START).await.unwrap();
    }

    /// A contact with this user id, without an address.
    pub async fn visitor(&self, user: &str) -> ContactId {
        temp_contact(&self.brand(), user).await.unwrap()
    }

    /// A contact with this user id and address.
    pub async fn contact(&self, user: &str, email: &str) -> ContactId {
        let contact = self.visitor(user).await;
        let keys = self.brand().keys().await.unwrap();
        let (hmac, ciphertext) =
            keys.seal_address(&email.parse::<EmailAddress>().unwrap()).unwrap();
        let address = NewAddress { channel: Channel::Email, hmac, key_version: 1, ciphertext };
        self.commit(contact, |commit| commit.address = Some(address)).await;
        contact
    }

    /// A contact that agreed to the news.
    pub async fn reader(&self, user: &str) -> ContactId {
        let contact = self.contact(user, &format!("{user}@example.org")).await;
        self.say(contact, FactKind::Given, Scope::Topic(name("news")), START).await;
        contact
    }

    /// Commits a step of the contact's actor.
    pub async fn commit(&self, contact: ContactId, change: impl FnOnce(&mut ContactCommit)) {
        let revision = *self.revisions.lock().unwrap().entry(contact).or_insert(0);
        let state = ContactState::new(Handle([7; 16])).encode().unwrap();
        let shard = shard_of(contact, self.store.shards());
        let mut commit =
            ContactCommit::of_state((self.tenant, contact, shard), (revision, 0), state, START);
        change(&mut commit);
        let outcome = self.store.committer().commit(commit).await;
        assert_eq!(outcome, CommitOutcome::Done);
        self.revisions.lock().unwrap().insert(contact, revision + 1);
    }

    /// Asks, as a journey's send step does, for the news to be sent.
    pub async fn send(&self, contact: ContactId, what: &str) -> MessageId {
        let message = self.message(what, "news", MessageClass::Marketing);
        let id = message.id;
        self.commit(contact, |commit| commit.sends.push(message)).await;
        id
    }

    pub fn message(&self, what: &str, topic: &str, class: MessageClass) -> NewMessage {
        NewMessage {
            id: MessageId::v7(START, sha256_head(&[b"message", what.as_bytes()])),
            send_key: sha256_head(&[b"send", what.as_bytes()]),
            run: Some(run_of(what)),
            journey: Some(name("welcome")),
            journey_version: Some(1),
            step: Some(name("thanks")),
            occurrence: Some(1),
            origin: "journey",
            template: name("thanks"),
            template_version: 1,
            sender: name("shop"),
            topic: name(topic),
            class,
            channel: Channel::Email,
            data: Vec::new(),
            not_before: START,
            expires_at: at(24 * 60),
            lane: 0,
        }
    }

    pub fn fact(&self, kind: FactKind, scope: Scope, moment: Timestamp) -> NewFact {
        let mut facts = self.facts.lock().unwrap();
        *facts += 1;
        NewFact {
            id: FactId::v7(moment, sha256_head(&[&facts.to_be_bytes()])),
            kind,
            scope,
            purpose: "news".to_owned(),
            channel: Channel::Email,
            address: None,
            source: "api".to_owned(),
            wording: None,
            nonce: [9; 32],
            once: false,
        }
    }

    pub async fn say(&self, contact: ContactId, kind: FactKind, scope: Scope, moment: Timestamp) {
        let fact = self.fact(kind, scope, moment);
        self.store.consent().record(self.tenant, contact, vec![fact], moment).await.unwrap();
    }

    pub async fn claim(&self, seconds: i64) -> Vec<Claimed> {
        self.claim_some(100, seconds).await
    }

    pub async fn claim_some(&self, count: u32, seconds: i64) -> Vec<Claimed> {
        let order = ClaimOrder {
            tenant: self.tenant,
            lane: 0,
            count,
            lease_ms: LEASE_MS,
            now: now(seconds),
        };
        self.store.delivery().claim(&order).await.unwrap()
    }

    /// The final commit for all of these.
    pub async fn dot(&self, claimed: &[Claimed], seconds: i64) -> Vec<DotAnswer> {
        let batch = claimed.iter().map(dot_request).collect();
        let times = DotTimes { now: now(seconds), lease_ms: 600_000 };
        self.store.delivery().commit_dot(batch, times).await.unwrap()
    }

    pub async fn settle(&self, seconds: i64, policy: UnknownPolicy) -> parcours_store::Settled {
        let door = self.store.delivery();
        door.settle_expired_claims(now(seconds), &move |_, _| policy).await.unwrap()
    }

    pub async fn status(&self, message: MessageId) -> String {
        self.brand().message(message).await.unwrap().unwrap().status
    }

    /// The contact's waiting inbox rows of this kind.
    pub async fn inbox(&self, contact: ContactId, kind: &str) -> Vec<InboxRow> {
        let key = LoadKey { tenant: self.tenant, contact };
        let mut loaded =
            self.store.loader().load(vec![key], LoadWhat::StateAndInbox).await.unwrap();
        loaded.remove(0).inbox.into_iter().filter(|row| row.kind == kind).collect()
    }

    pub fn api_message(&self, contact: ContactId, key: &str) -> ApiMessage {
        ApiMessage {
            id: MessageId::v7(START, sha256_head(&[b"api", Uuid::new_v4().as_bytes()])),
            idempotency_key: key.to_owned(),
            contact,
            template: name("receipt"),
            template_version: 1,
            sender: name("shop"),
            topic: name("receipts"),
            class: MessageClass::Transactional,
            channel: Channel::Email,
            data: BTreeMap::from([("total".to_owned(), 12_i64.into())]),
            lane: 0,
            not_before: START,
            expires_at: at(72 * 60),
        }
    }
}

pub fn dot_request(claimed: &Claimed) -> DotRequest {
    let (address, _, _, address_version) = claimed.address.clone().unwrap();
    DotRequest {
        tenant: claimed.tenant,
        message: claimed.message,
        class: claimed.class,
        claim_id: claimed.claim_id,
        contact: claimed.contact,
        channel: Channel::Email,
        address,
        address_version,
        head_version: claimed.head_version,
        tenant_version: claimed.tenant_version,
        receipt_json: r#"{"verdict":"consent"}"#.to_owned(),
        attempt: attempt("dot", "pending"),
        links: vec![
            (1, "https://shop.example/a".to_owned()),
            (2, "https://shop.example/b".to_owned()),
        ],
    }
}

pub fn attempt(stage: &str, result: &str) -> NewAttempt {
    NewAttempt {
        number: 1,
        started_at: START,
        ended_at: None,
        stage: stage.to_owned(),
        result: result.to_owned(),
        code: None,
        enhanced: None,
    }
}

pub fn finished(claimed: &Claimed, outcome: parcours_domain::SendOutcome) -> Finished {
    Finished {
        tenant: claimed.tenant,
        message: claimed.message,
        claim_id: claimed.claim_id,
        outcome,
        counted: None,
        reason: None,
        receipt_json: None,
        attempt: Some(attempt("reply", "accepted")),
        suppress: None,
        mailbox: None,
        now: at(1),
    }
}

/// What the gate says of a claimed message.
pub fn judge(claimed: &Claimed) -> Result<(), Refusal> {
    let topic = claimed.topic.as_ref().ok_or(Refusal::NoTopic)?;
    let (_, _, address, _) = claimed.address.as_ref().ok_or(Refusal::NoAddress)?;
    verdict(&Question {
        topic: &claimed.row.topic,
        class: if claimed.class == MessageClass::Test { claimed.class } else { topic.class },
        double_opt_in: topic.double_opt_in,
        standing: &claimed.standing,
        address: *address,
        test_address: claimed.test_address,
    })
    .map(|_| ())
}
