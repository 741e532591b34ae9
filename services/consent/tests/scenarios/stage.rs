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
use parcours_consent::{ConsentService, GuessLimits, configure};
use parcours_content::{LinkKind, LinkToken};
use parcours_domain::{
    Channel, ContactId, MessageId, Name, TenantId, Timestamp,
    consent::{FactKind, Scope},
    value::Properties,
};
use parcours_kit::{OsChance, ProductClock, machine_now};
use parcours_store::{Backend, ClaimOrder, DotAnswer, DotRequest, DotTimes, Moments, StandingNow};
use parcours_testkit::{
    brand,
    store::{TempStore, temp_brand, temp_store},
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
        let limits = GuessLimits { rate: GuessLimits::RATE.parse().unwrap(), proxies: 0 };
        let service = ConsentService::new(store.store.clone(), clock, Arc::new(OsChance), limits);
        let service = Arc::new(service);
        let woken = Arc::new(Woken::default());
        let worker: Arc<dyn WorkerApi> = Arc::clone(&woken) as _;
        service.set_worker(worker);
        let tenant = temp_brand(&store, "shop").await.unwrap();
        let place = (&store.store, tenant);
        let contact =
            brand::addressed_contact(place, "anna", Properties::new(), now()).await.unwrap();
        let stage = Self { store, service, tenant, contact, woken };
        stage.publish().await;
        stage.says(FactKind::Given, Scope::Topic(name("news"))).await;
        stage
    }

    async fn publish(&self) {
        let place = (&self.store.store, self.tenant);
        let shop = serde_json::json!({"name": "shop", "display_name": "The Shop", "locale": "en"});
        brand::publish(place, ("Brand", "shop"), &shop, None, now()).await.unwrap();
        for topic in ["news", "offers"] {
            let body = serde_json::json!({"name": topic, "title": format!("The {topic}"),
                "purpose": format!("to send {topic}"), "class": "marketing"});
            brand::publish(place, ("Topic", topic), &body, None, now()).await.unwrap();
        }
    }

    pub async fn says(&self, kind: FactKind, scope: Scope) {
        let fact = brand::fact(kind, scope, now());
        self.store.consent().record(self.tenant, self.contact, vec![fact], now()).await.unwrap();
    }

    /// Messages with one click link each, as after their final commit.
    pub async fn messages(&self, count: u32) -> Vec<MessageId> {
        let head = self.store.for_tenant(self.tenant);
        for _ in 0..count {
            let message = brand::marketing(self.contact, now()).unwrap();
            head.enqueue_api_message(&message, now()).await.unwrap();
        }
        let times = Moments { product: now(), machine: machine_now() };
        let door = self.store.delivery();
        let order =
            ClaimOrder { tenant: self.tenant, lane: 0, count, lease_ms: 900_000, now: times };
        let claimed = door.claim(&order).await.unwrap();
        let requests: Vec<DotRequest> = claimed
            .iter()
            .map(|one| {
                let links = vec![(0, "https://shop.example/sale?a=1&b=2".to_owned())];
                brand::final_commit(one, "{}".to_owned(), links, now()).unwrap()
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
