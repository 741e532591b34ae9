//! A gateway on a throw-away SQLite store, with doubles for worker, consent and delivery.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "each test file uses its part")]

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Arc, Mutex},
};

use actix_web::{
    App,
    http::{Method, header::HeaderMap},
    test,
};
use async_trait::async_trait;
use futures::future::LocalBoxFuture;
use parcours_domain::{ContactId, EventId, EventKey, FactId, TenantId, Timestamp};
use parcours_gateway::{GatewayState, Limits, configure};
use parcours_kit::{Chance as _, OsChance, ProductClock, Readiness, health::Phase};
use parcours_store::{Backend, KeyKind, KeyScope, NewApiKey};
use parcours_testkit::store::{TempStore, temp_store};
use parcours_wire::{
    AcceptedEvent, ComplaintAbout, ComplaintTaken, ConsentApi, ConsentError, ContactEvents,
    DeliveryApi, EventDay, FactRequest, ItemOutcome, UnsubscribeScope, Unsubscribed, WorkerApi,
};
use serde_json::Value as Json;

pub const NOW: &str = "2026-11-22T12:00:00Z";

/// How the worker answers.
#[derive(Clone, Debug, Default)]
pub enum Script {
    #[default]
    Normal,
    Busy(u32),
    Unavailable,
    /// It applies, and the answer is lost.
    Lost,
    Merged(ContactId),
    SetAside,
}

type Seen = BTreeMap<(TenantId, EventKey, EventDay), ([u8; 32], EventId)>;

/// Applies events to nothing but its memory.
#[derive(Default)]
pub struct FakeWorker {
    pub applied: Mutex<Vec<(ContactId, AcceptedEvent)>>,
    pub script: Mutex<Script>,
    pub woken: Mutex<Vec<ContactId>>,
    pub plans_changed: Mutex<Vec<TenantId>>,
    seen: Mutex<Seen>,
}

impl FakeWorker {
    pub fn names(&self) -> Vec<String> {
        self.applied.lock().unwrap().iter().map(|(_, event)| event.name.clone()).collect()
    }

    pub fn script(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    fn one(&self, tenant: TenantId, contact: ContactId, event: &AcceptedEvent) -> ItemOutcome {
        match self.script.lock().unwrap().clone() {
            Script::Normal => {}
            Script::Lost => {
                self.apply(tenant, contact, event);
                return ItemOutcome::Unavailable;
            }
            Script::Busy(seconds) => return ItemOutcome::Busy(seconds),
            Script::Unavailable => return ItemOutcome::Unavailable,
            Script::Merged(into) if contact != into => return ItemOutcome::Merged(into),
            Script::Merged(_) => {}
            Script::SetAside => {
                return ItemOutcome::SetAside { code: "state_too_large", detail: "full".into() };
            }
        }
        self.apply(tenant, contact, event)
    }

    fn apply(&self, tenant: TenantId, contact: ContactId, event: &AcceptedEvent) -> ItemOutcome {
        let mut seen = self.seen.lock().unwrap();
        match seen.get(&(tenant, event.key, event.day)) {
            Some((hash, id)) if *hash == event.body_hash => ItemOutcome::Duplicate(*id),
            Some(_) => ItemOutcome::Conflict,
            None => {
                let id = EventId::v7(event.received_at, OsChance.tail());
                seen.insert((tenant, event.key, event.day), (event.body_hash, id));
                self.applied.lock().unwrap().push((contact, event.clone()));
                ItemOutcome::Applied(id)
            }
        }
    }
}

#[async_trait]
impl WorkerApi for FakeWorker {
    async fn accept(&self, batch: Vec<ContactEvents>) -> Vec<Vec<ItemOutcome>> {
        batch
            .iter()
            .map(|one| {
                one.events.iter().map(|event| self.one(one.tenant, one.contact, event)).collect()
            })
            .collect()
    }
    fn wake(&self, _: TenantId, contact: ContactId) {
        self.woken.lock().unwrap().push(contact);
    }
    fn plans_changed(&self, tenant: TenantId) {
        self.plans_changed.lock().unwrap().push(tenant);
    }
}

#[derive(Default)]
pub struct FakeConsent {
    pub recorded: Mutex<Vec<FactRequest>>,
    pub complaints: Mutex<Vec<(ComplaintAbout, String)>>,
}

#[async_trait]
impl ConsentApi for FakeConsent {
    async fn record(
        &self,
        _: TenantId,
        _: ContactId,
        facts: Vec<FactRequest>,
    ) -> Result<Vec<FactId>, ConsentError> {
        let now: Timestamp = NOW.parse().unwrap();
        let ids = facts.iter().map(|_| FactId::v7(now, OsChance.tail())).collect();
        self.recorded.lock().unwrap().extend(facts);
        Ok(ids)
    }
    async fn complain(
        &self,
        _: TenantId,
        about: ComplaintAbout,
        source: String,
    ) -> Result<ComplaintTaken, ConsentError> {
        self.complaints.lock().unwrap().push((about, source));
        let contact = ContactId::v7(NOW.parse().unwrap(), [1; 10]);
        Ok(ComplaintTaken { contact, message: None, suppression: None })
    }
    async fn look(&self, _: &str) -> Result<Unsubscribed, ConsentError> {
        Err(ConsentError::NotFound)
    }
    async fn unsubscribe(
        &self,
        _: &str,
        _: UnsubscribeScope,
    ) -> Result<Unsubscribed, ConsentError> {
        Err(ConsentError::NotFound)
    }
}

#[derive(Default)]
pub struct FakeDelivery {
    pub hints: Mutex<Vec<(TenantId, i64)>>,
}

impl DeliveryApi for FakeDelivery {
    fn hint(&self, tenant: TenantId, lane: i64) {
        self.hints.lock().unwrap().push((tenant, lane));
    }
}

/// One install with the brand `sillon` of `maison`.
pub struct Desk {
    pub store: TempStore,
    pub tenant: TenantId,
    pub worker: Arc<FakeWorker>,
    pub consent: Arc<FakeConsent>,
    pub delivery: Arc<FakeDelivery>,
    pub clock: Arc<ProductClock>,
    pub state: GatewayState,
}

impl Desk {
    pub async fn new() -> Self {
        Self::over(temp_store(Backend::Sqlite).await.unwrap()).await
    }

    pub async fn over(store: TempStore) -> Self {
        let now: Timestamp = NOW.parse().unwrap();
        let tenant = store.admin().create_brand("maison", "sillon", now).await.unwrap();
        let (worker, consent) = (Arc::new(FakeWorker::default()), Arc::new(FakeConsent::default()));
        let delivery = Arc::new(FakeDelivery::default());
        let clock = Arc::new(ProductClock::standing(now));
        let readiness = Readiness::new();
        readiness.set(Phase::Ready);
        let state = GatewayState {
            store: store.store.clone(),
            clock: clock.clone(),
            chance: Arc::new(OsChance),
            worker: worker.clone(),
            delivery: delivery.clone(),
            consent: consent.clone(),
            readiness: Arc::new(readiness),
            limits: Limits::default(),
            mailbox_page: true,
        };
        Self { store, tenant, worker, consent, delivery, clock, state }
    }

    pub async fn app(&self) -> Client {
        let app = App::new().configure(configure(self.state.clone()));
        let service = Rc::new(test::init_service(app).await);
        Client(Box::new(move |request| {
            let service = Rc::clone(&service);
            Box::pin(async move {
                let response = test::call_service(&*service, request.to_request()).await;
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                Answer { status, headers, body: test::read_body(response).await.to_vec() }
            })
        }))
    }

    /// The UTC day of product time.
    pub fn clock_day(&self) -> i64 {
        use parcours_kit::Clock as _;
        self.clock.now().utc_day()
    }

    /// A secret key of the brand.
    pub async fn key(&self, scopes: &[KeyScope]) -> String {
        self.key_of(Some(self.tenant), KeyKind::Secret, scopes).await
    }

    pub async fn public_key(&self) -> String {
        self.key_of(Some(self.tenant), KeyKind::Public, &[KeyScope::Ingest]).await
    }

    pub async fn key_of(
        &self,
        tenant: Option<TenantId>,
        kind: KeyKind,
        scopes: &[KeyScope],
    ) -> String {
        let new = NewApiKey {
            organisation: None,
            tenant,
            kind,
            scopes: scopes.iter().copied().collect::<BTreeSet<_>>(),
            label: "test".into(),
            expires_at: None,
        };
        let made = self.store.admin().create_key(&new, parcours_kit::machine_now()).await.unwrap();
        made.1.expose().to_owned()
    }
}

/// Sends requests to one server.
pub struct Client(Box<dyn Fn(test::TestRequest) -> LocalBoxFuture<'static, Answer>>);

/// What came back.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or(Json::Null)
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
    /// Asserts status and code of a problem.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert!(body["message"].is_string() && body["title"].is_string(), "{body}");
    }
    #[track_caller]
    pub fn is(&self, status: u16) -> Json {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

/// A request to be sent.
pub struct Call {
    request: test::TestRequest,
}

pub fn call(method: &str, path: &str) -> Call {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Call { request: test::TestRequest::with_uri(path).method(method) }
}

impl Call {
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request = self.request.insert_header((name, value.to_owned()));
        self
    }
    pub fn json(self, body: &Json) -> Self {
        self.bytes(body.to_string().into_bytes()).header("content-type", "application/json")
    }
    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request = self.request.set_payload(body.into());
        self
    }
    pub async fn send(self, app: &Client) -> Answer {
        (app.0)(self.request).await
    }
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}
