//! Played workers behind real ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use parcours_domain::{
    ContactId, EventId, EventKey, EventKind, TenantId, Timestamp, Value, shard_of,
};
use parcours_kit::{
    route::{DirectoryError, Hint, Route, RouteLimits, Router, ShardDirectory, ShardPlace},
    rpc::{LinkSettings, RpcLimits, RpcPort, RpcSecret, RpcServer, serve},
};
use parcours_wire::{AcceptedEvent, ContactEvents, DeliveryApi, EventDay, ItemOutcome, WorkerApi};
use tokio::{runtime::Runtime, sync::watch};
use uuid::Uuid;

pub const SHARDS: u16 = 12;
pub const APPLIED: ItemOutcome = ItemOutcome::Applied(EventId(Uuid::nil()));

pub fn secret() -> RpcSecret {
    "the-secret-of-this-install".parse().unwrap()
}

/// Short enough for a test to see them end.
pub fn limits() -> RpcLimits {
    RpcLimits {
        open_max: Duration::from_millis(500),
        ping_every: Duration::from_millis(200),
        ping_answer_max: Duration::from_millis(400),
        ..RpcLimits::default()
    }
}

/// Applies events to the contacts of its shards; waits at a gate first.
pub struct Shop {
    pub id: Uuid,
    pub holds: Mutex<BTreeSet<u16>>,
    pub applied: Mutex<Vec<(ContactId, String)>>,
    pub hints: watch::Sender<Vec<Hint>>,
    open: watch::Sender<bool>,
    /// Calls that came to the gate.
    pub came: watch::Sender<usize>,
}

impl Shop {
    pub fn new(shards: impl IntoIterator<Item = u16>) -> Arc<Self> {
        Arc::new(Self {
            id: Uuid::new_v4(),
            holds: Mutex::new(shards.into_iter().collect()),
            applied: Mutex::default(),
            hints: watch::Sender::default(),
            open: watch::Sender::new(true),
            came: watch::Sender::new(0),
        })
    }

    pub fn gate(&self, open: bool) {
        self.open.send_replace(open);
    }

    pub async fn has_come(&self, count: usize) {
        self.came.subscribe().wait_for(|came| *came >= count).await.unwrap();
    }

    pub fn applied(&self) -> usize {
        self.applied.lock().unwrap().len()
    }

    fn hear(&self, hint: Hint) {
        self.hints.send_modify(|hints| hints.push(hint));
    }
}

#[async_trait]
impl WorkerApi for Shop {
    async fn accept(&self, batch: Vec<ContactEvents>) -> Vec<Vec<ItemOutcome>> {
        self.came.send_modify(|came| *came += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        let one = |of: &ContactEvents| {
            if !self.holds.lock().unwrap().contains(&shard_of(of.contact, SHARDS)) {
                return vec![ItemOutcome::Moved; of.events.len()];
            }
            let ids = of.events.iter().map(|event| (of.contact, event.message_id.clone()));
            self.applied.lock().unwrap().extend(ids);
            vec![APPLIED; of.events.len()]
        };
        batch.iter().map(one).collect()
    }
    fn wake(&self, tenant: TenantId, contact: ContactId) {
        self.hear(Hint::Wake(tenant, contact));
    }
    fn plans_changed(&self, tenant: TenantId) {
        self.hear(Hint::Plans(tenant));
    }
}

impl DeliveryApi for Shop {
    fn hint(&self, tenant: TenantId, lane: i64) {
        self.hear(Hint::Lane(tenant, lane));
    }
}

pub async fn open(shop: &Arc<Shop>, limits: RpcLimits) -> RpcServer {
    let listen = "127.0.0.1:0".parse().unwrap();
    serve(RpcPort::take(listen).await.unwrap(), shop.clone(), shop.clone(), secret(), limits)
}

/// A process: its own threads, which can be killed.
pub struct Process {
    pub shop: Arc<Shop>,
    pub address: String,
    runtime: Option<Runtime>,
    _server: RpcServer,
}

impl Process {
    pub fn start(shards: impl IntoIterator<Item = u16>) -> Self {
        let shop = Shop::new(shards);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let served = Arc::clone(&shop);
        // Not blocked on: the test itself runs in a runtime.
        let (told, server) = std::sync::mpsc::channel();
        runtime.spawn(async move { told.send(open(&served, limits()).await).unwrap() });
        let server = server.recv().unwrap();
        let address = server.address().to_string();
        Self { shop, address, runtime: Some(runtime), _server: server }
    }

    pub fn place(&self, shard: u16, epoch: i64) -> ShardPlace {
        let address = Some(self.address.clone());
        ShardPlace { shard, epoch, owner: Some(self.shop.id), address }
    }

    /// At once, with whatever it was doing.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the directory says.
#[derive(Default)]
pub struct Directory(Mutex<BTreeMap<u16, ShardPlace>>);

impl Directory {
    pub fn say(&self, places: impl IntoIterator<Item = ShardPlace>) {
        self.0.lock().unwrap().extend(places.into_iter().map(|place| (place.shard, place)));
    }
}

#[async_trait]
impl ShardDirectory for Directory {
    async fn owners(&self) -> Result<Vec<ShardPlace>, DirectoryError> {
        Ok(self.0.lock().unwrap().values().cloned().collect())
    }
}

/// A process that owns nothing.
pub fn gateway(directory: &Arc<Directory>) -> Router {
    Router::new(Route {
        process: Uuid::new_v4(),
        shards: SHARDS,
        worker: None,
        delivery: None,
        directory: directory.clone(),
        dial: Arc::new(LinkSettings::new(secret(), limits())),
        limits: RouteLimits { patience: Duration::from_secs(5), ..RouteLimits::default() },
    })
}

pub fn tenant() -> TenantId {
    TenantId(Uuid::from_u128(0x7e))
}

pub fn contact_in(shard: u16) -> ContactId {
    let contacts = (0..).map(|n| ContactId(Uuid::from_u128(n)));
    contacts.into_iter().find(|of| shard_of(*of, SHARDS) == shard).unwrap()
}

pub fn events(contact: ContactId, ids: impl IntoIterator<Item = String>) -> ContactEvents {
    let event = |message_id: String| AcceptedEvent {
        key: EventKey::of(&message_id),
        message_id,
        day: EventDay::Day(20_779),
        body_hash: [0; 32],
        kind: EventKind::Track,
        name: "Product Viewed".into(),
        properties: [("price".to_owned(), Value::Float(9.99)), ("sku".to_owned(), "k-1".into())]
            .into(),
        traits: BTreeMap::new(),
        email: None,
        occurred_at: None,
        received_at: Timestamp::EPOCH,
        body: r#"{"event":"Product Viewed","properties":{"price":9.99,"sku":"k-1"}}"#.into(),
    };
    ContactEvents { tenant: tenant(), contact, events: ids.into_iter().map(event).collect() }
}

pub fn one(shard: u16, id: &str) -> Vec<ContactEvents> {
    vec![events(contact_in(shard), [id.to_owned()])]
}
