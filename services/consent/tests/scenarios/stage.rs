//! The stage: a store, a brand with topics, a contact who agreed, and messages with links, as they
//! stand after having been sent.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use actix_web::{
    App,
    body::to_bytes,
    http::{Method, StatusCode, header::HeaderMap},
    test,
};
use parcours_consent::{ConsentService, configure};
use parcours_content::{LinkKind, LinkToken};
use parcours_domain::{
    Channel, ContactId, FactId, MessageClass, MessageId, Millis, Name, TenantId, Timestamp,
    consent::{FactKind, Scope},
    shard_of,
    value::Properties,
};
use parcours_kit::{Chance as _, OsChance, ProductClock, machine_now};
use parcours_store::{
    ApiMessage, Backend, ClaimOrder, CommitOutcome, ContactCommit, DotAnswer, DotRequest, DotTimes,
    Moments, NewAddress, NewAttempt, NewDocument, NewFact, StandingNow,
};
use parcours_testkit::{
    ContactState,
    store::{TempStore, temp_brand, temp_contact, temp_store},
};
use parcours_wire::{ContactEvents, ItemOutcome, WorkerApi};

pub fn now() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().unwrap()
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// See the head of this file.
pub struct Stage {
    pub store: TempStore,
    pub service: Arc<ConsentService>,
    pub tenant: TenantId,
    pub contact: ContactId,
    pub woken: Arc<Woken>,
}

/// Counts how often the worker was told.
#[derive(Default)]
pub struct Woken(AtomicUsize);

impl Woken {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl WorkerApi for Woken {
    async fn accept(&self, _: Vec<ContactEvents>) -> Vec<Vec<ItemOutcome>> {
        Vec::new()
    }
    fn wake(&self, _: TenantId, _: ContactId) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn plans_changed(&self, _: TenantId) {}
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Stage {
    pub async fn new() -> Self {
        let store = temp_store(Backend::Sqlite).await.unwrap();
        let clock = Arc::new(ProductClock::standing(now()));
        let service = ConsentService::new(store.store.clone(), clock, Arc::new(OsChance));
        let service = Arc::new(service);
        let woken = Arc::new(Woken::default());
        let worker: Arc<dyn WorkerApi> = Arc::clone(&woken) as _;
        service.set_worker(worker);
        let tenant = temp_brand(&store, "shop").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        let stage = Self { store, service, tenant, contact, woken };
        stage.publish().await;
        stage.give_address().await;
        stage.says(FactKind::Given, Scope::Topic(name("news"))).await;
        stage
    }

    async fn publish(&self) {
        let brand = serde_json::json!({"name": "shop", "display_name": "The Shop", "locale": "en"});
        let mut documents = vec![("Brand", "shop", brand)];
        for topic in ["news", "offers"] {
            let body = serde_json::json!({"name": topic, "title": format!("The {topic}"),
                "purpose": format!("to send {topic}"), "class": "marketing"});
            documents.push(("Topic", topic, body));
        }
        let new = documents.into_iter().map(|(kind, document, body)| NewDocument {
            kind: kind.to_owned(),
            name: name(document),
            body_json: body.to_string(),
            compiled: None,
            version: None,
        });
        self.store.for_tenant(self.tenant).publish(new.collect(), None, now()).await.unwrap();
    }

    async fn give_address(&self) {
        let keys = self.store.keys(self.tenant).await.unwrap();
        let (hmac, ciphertext) = keys.seal_address(&"anna@example.org".parse().unwrap()).unwrap();
        let handle = OsChance.contact(self.tenant, "", "").1;
        let state = ContactState {
            handle,
            attributes: Properties::new(),
            runs: Vec::new(),
            entries: Vec::new(),
        };
        let place = (self.tenant, self.contact, shard_of(self.contact, self.store.shards()));
        let mut commit = ContactCommit::of_state(place, (0, 0), state.encode().unwrap(), now());
        commit.address =
            Some(NewAddress { channel: Channel::Email, hmac, key_version: 1, ciphertext });
        assert_eq!(self.store.committer().commit(commit).await, CommitOutcome::Done);
    }

    pub async fn says(&self, kind: FactKind, scope: Scope) {
        let fact = NewFact {
            id: FactId::v7(now(), OsChance.tail()),
            kind,
            scope,
            purpose: String::new(),
            channel: Channel::Email,
            address: None,
            source: "test".to_owned(),
            wording: None,
            nonce: [7; 32],
            once: false,
        };
        self.store.consent().record(self.tenant, self.contact, vec![fact], now()).await.unwrap();
    }

    /// Messages with one click link each, as after their final commit.
    pub async fn messages(&self, count: u32) -> Vec<MessageId> {
        for _ in 0..count {
            let id = MessageId::v7(now(), OsChance.tail());
            let message = ApiMessage {
                id,
                idempotency_key: id.to_string(),
                contact: self.contact,
                template: name("hello"),
                template_version: 1,
                sender: name("main"),
                topic: name("news"),
                class: MessageClass::Marketing,
                channel: Channel::Email,
                data: Properties::new(),
                lane: 0,
                not_before: now(),
                expires_at: now() + Millis::hours(24),
            };
            self.store.for_tenant(self.tenant).enqueue_api_message(&message, now()).await.unwrap();
        }
        let times = Moments { product: now(), machine: machine_now() };
        let door = self.store.delivery();
        let order =
            ClaimOrder { tenant: self.tenant, lane: 0, count, lease_ms: 900_000, now: times };
        let claimed = door.claim(&order).await.unwrap();
        let requests: Vec<DotRequest> = claimed
            .iter()
            .map(|one| {
                let (address, _, _, address_version) = one.address.clone().unwrap();
                DotRequest {
                    tenant: one.tenant,
                    message: one.message,
                    class: one.class,
                    claim_id: one.claim_id,
                    contact: one.contact,
                    channel: Channel::Email,
                    address,
                    address_version,
                    head_version: one.head_version,
                    tenant_version: one.tenant_version,
                    receipt_json: "{}".to_owned(),
                    attempt: attempt(one.attempt),
                    links: vec![(0, "https://shop.example/sale?a=1&b=2".to_owned())],
                }
            })
            .collect();
        let ids = requests.iter().map(|request| request.message).collect();
        let answers =
            door.commit_dot(requests, DotTimes { now: times, lease_ms: 900_000 }).await.unwrap();
        assert!(answers.iter().all(|answer| *answer == DotAnswer::Go));
        ids
    }

    pub async fn token(&self, kind: LinkKind, message: MessageId) -> String {
        self.token_of(self.tenant, kind, message).await
    }

    /// A token signed with this brand's key.
    pub async fn token_of(&self, tenant: TenantId, kind: LinkKind, message: MessageId) -> String {
        let keys = self.store.keys(tenant).await.unwrap();
        let (key_version, key) = keys.link[0].clone();
        let handle = parcours_domain::Handle([9; 16]);
        LinkToken { kind, key_version, tenant, message, handle, link: 0 }.sign(&key)
    }

    pub async fn standing(&self) -> StandingNow {
        self.store.consent().standing(self.tenant, self.contact, Channel::Email).await.unwrap()
    }

    /// Everything that looking must not change.
    pub async fn state(&self, messages: &[MessageId]) -> String {
        let mut clicks = Vec::new();
        for id in messages {
            let why = self.store.for_tenant(self.tenant).message_why(*id).await.unwrap().unwrap();
            clicks.push(why.links[0].clicked_at);
        }
        let counts = self.store.sweep().counts(now()).await.unwrap();
        format!("{:?} {clicks:?} {}", self.standing().await, counts.inbox_live)
    }

    /// Asks over HTTP; the body has this type.
    pub async fn ask(&self, method: Method, path: &str, body: (&str, &str)) -> Answer {
        let service = configure(Arc::clone(&self.service));
        let app = test::init_service(App::new().configure(service)).await;
        let mut request = test::TestRequest::with_uri(path).method(method);
        if !body.0.is_empty() {
            request = request.insert_header(("content-type", body.0));
        }
        let request = request.set_payload(body.1.to_owned()).to_request();
        let answer = test::call_service(&app, request).await;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = to_bytes(answer.into_body()).await.unwrap_or_default();
        Answer { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, ("", "")).await
    }
}

fn attempt(number: u32) -> NewAttempt {
    NewAttempt {
        number,
        started_at: now(),
        ended_at: None,
        stage: "dot".to_owned(),
        result: "pending".to_owned(),
        code: None,
        enhanced: None,
    }
}
