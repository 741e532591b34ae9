//! Played processes: each holds shards, applies what it is asked, and can be told to misbehave.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parcours_domain::{ContactId, EventId, EventKey, EventKind, TenantId, Timestamp, shard_of};
use parcours_wire::{AcceptedEvent, ContactEvents, DeliveryApi, EventDay, ItemOutcome, WorkerApi};
use uuid::Uuid;

use crate::route::{
    Asked, Dial, DirectoryError, Hint, LocalWorker, Peer, Route, RouteLimits, Router,
    ShardDirectory, ShardPlace,
};

pub const SHARDS: u16 = 8;

/// How a process behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Well,
    Busy,
    Unreachable,
    /// Applies, and its answer is lost.
    LosesAnswers,
    /// Takes, and never answers.
    Silent,
    /// Applies the first event of a contact, then hands the shard over.
    LeavesAfterOne,
}

#[derive(Default)]
pub struct Process {
    pub id: Uuid,
    pub holds: Mutex<BTreeSet<u16>>,
    pub mood: Mutex<Mood>,
    pub applied: Mutex<Vec<(ContactId, String)>>,
    pub asks: AtomicUsize,
    pub hints: Mutex<Vec<Hint>>,
    hinted: tokio::sync::Notify,
}

impl Process {
    pub fn mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub fn hold(&self, shards: impl IntoIterator<Item = u16>) {
        *self.holds.lock().unwrap() = shards.into_iter().collect();
    }

    pub fn applied(&self) -> usize {
        self.applied.lock().unwrap().len()
    }

    pub fn ids(&self) -> Vec<String> {
        self.applied.lock().unwrap().iter().map(|(_, id)| id.clone()).collect()
    }

    pub fn asks(&self) -> usize {
        self.asks.load(Ordering::SeqCst)
    }

    /// Waits until this many hints were heard.
    pub async fn heard(&self, count: usize) -> BTreeSet<Hint> {
        let heard = tokio::time::timeout(Duration::from_secs(60), self.hears(count)).await;
        heard.expect("it is told in time")
    }

    async fn hears(&self, count: usize) -> BTreeSet<Hint> {
        loop {
            let hinted = self.hinted.notified();
            let hints = self.hints.lock().unwrap().clone();
            if hints.len() >= count {
                return hints.into_iter().collect();
            }
            hinted.await;
        }
    }

    fn hear(&self, hint: Hint) {
        self.hints.lock().unwrap().push(hint);
        self.hinted.notify_one();
    }

    fn apply(&self, of: &ContactEvents) -> Vec<ItemOutcome> {
        if !self.holds.lock().unwrap().contains(&shard_of(of.contact, SHARDS)) {
            return vec![ItemOutcome::Moved; of.events.len()];
        }
        let leaves = *self.mood.lock().unwrap() == Mood::LeavesAfterOne;
        let one = |(place, event): (usize, &AcceptedEvent)| {
            if leaves && place > 0 {
                return ItemOutcome::Moved;
            }
            self.applied.lock().unwrap().push((of.contact, event.message_id.clone()));
            ItemOutcome::Applied(EventId(Uuid::nil()))
        };
        of.events.iter().enumerate().map(one).collect()
    }

    async fn asked(&self, batch: &[&ContactEvents]) -> Asked {
        self.asks.fetch_add(1, Ordering::SeqCst);
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Well | Mood::LeavesAfterOne => {
                Asked::Answered(batch.iter().map(|of| self.apply(of)).collect())
            }
            Mood::Busy => Asked::Busy,
            Mood::Unreachable => Asked::NotSent,
            Mood::LosesAnswers => {
                batch.iter().for_each(|of| drop(self.apply(of)));
                Asked::Lost
            }
            Mood::Silent => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Peer for Process {
    async fn ask(&self, batch: &[&ContactEvents], within: Duration) -> Asked {
        tokio::time::timeout(within, self.asked(batch)).await.unwrap_or(Asked::Lost)
    }

    fn hint(&self, hint: Hint) {
        self.hear(hint);
    }
}

/// A process as its own worker.
pub struct Own(pub Arc<Process>);

#[async_trait]
impl WorkerApi for Own {
    async fn accept(&self, batch: Vec<ContactEvents>) -> Vec<Vec<ItemOutcome>> {
        match self.0.asked(&batch.iter().collect::<Vec<_>>()).await {
            Asked::Answered(lists) => lists,
            other => panic!("a worker says no {other:?}"),
        }
    }
    fn wake(&self, tenant: TenantId, contact: ContactId) {
        self.0.hear(Hint::Wake(tenant, contact));
    }
    fn plans_changed(&self, tenant: TenantId) {
        self.0.hear(Hint::Plans(tenant));
    }
}

impl DeliveryApi for Own {
    fn hint(&self, tenant: TenantId, lane: i64) {
        self.0.hear(Hint::Lane(tenant, lane));
    }
}

/// The processes, and what the directory says of them.
#[derive(Default)]
pub struct World {
    processes: Mutex<BTreeMap<String, Arc<Process>>>,
    places: Mutex<Vec<ShardPlace>>,
    pub reads: AtomicUsize,
    pub down: Mutex<bool>,
    /// Each read finds an owner that nobody has heard of.
    pub restless: Mutex<bool>,
}

impl World {
    pub fn process(&self, n: u128) -> Arc<Process> {
        let process = Arc::new(Process { id: Uuid::from_u128(n), ..Process::default() });
        self.processes.lock().unwrap().insert(process.id.to_string(), process.clone());
        process
    }

    /// The directory says so; nothing is said about what processes hold.
    pub fn say(&self, shards: impl IntoIterator<Item = u16>, owner: Option<&Process>, epoch: i64) {
        let mut places = self.places.lock().unwrap();
        for shard in shards {
            places.retain(|place| place.shard != shard);
            let owner = owner.map(|process| process.id);
            let address = owner.map(|id| id.to_string());
            places.push(ShardPlace { shard, epoch, owner, address });
        }
    }

    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl ShardDirectory for World {
    async fn owners(&self) -> Result<Vec<ShardPlace>, DirectoryError> {
        let read = self.reads.fetch_add(1, Ordering::SeqCst);
        if *self.down.lock().unwrap() {
            return Err(DirectoryError("down".into()));
        }
        if *self.restless.lock().unwrap() {
            let process = self.process(1_000 + read as u128);
            self.say(0..SHARDS, Some(&process), i64::try_from(read).unwrap());
        }
        Ok(self.places.lock().unwrap().clone())
    }
}

/// Reaches the played processes.
struct Wires(Arc<World>);

impl Dial for Wires {
    fn dial(&self, address: &str) -> Arc<dyn Peer> {
        Arc::clone(&self.0.processes.lock().unwrap()[address]) as _
    }
}

pub fn router(world: &Arc<World>, own: Option<&Arc<Process>>) -> Router {
    let worker = own.map(|process| {
        let holder = Arc::clone(process);
        LocalWorker {
            worker: Arc::new(Own(Arc::clone(process))),
            holds: Arc::new(move |shard| holder.holds.lock().unwrap().contains(&shard)),
        }
    });
    Router::new(Route {
        process: own.map_or(Uuid::max(), |process| process.id),
        shards: SHARDS,
        worker,
        delivery: own.map(|process| Arc::new(Own(Arc::clone(process))) as Arc<dyn DeliveryApi>),
        directory: world.clone(),
        dial: Arc::new(Wires(world.clone())),
        limits: RouteLimits::default(),
    })
}

pub fn tenant() -> TenantId {
    TenantId(Uuid::from_u128(0x7e))
}

pub fn contact(n: u128) -> ContactId {
    ContactId(Uuid::from_u128(n))
}

/// A contact of this shard.
pub fn contact_in(shard: u16) -> ContactId {
    (0..).map(contact).find(|of| shard_of(*of, SHARDS) == shard).unwrap()
}

pub fn events(contact: ContactId, ids: &[&str]) -> ContactEvents {
    let event = |id: &&str| AcceptedEvent {
        message_id: (*id).to_owned(),
        key: EventKey::of(id),
        day: EventDay::Undated,
        body_hash: [0; 32],
        kind: EventKind::Track,
        name: "seen".into(),
        properties: BTreeMap::new(),
        traits: BTreeMap::new(),
        email: None,
        occurred_at: None,
        received_at: Timestamp::EPOCH,
        body: "{}".into(),
    };
    ContactEvents { tenant: tenant(), contact, events: ids.iter().map(event).collect() }
}

/// One event of each of so many contacts.
pub fn crowd(count: u128) -> Vec<ContactEvents> {
    (0..count).map(|n| events(contact(n), &["one"])).collect()
}

pub const APPLIED: ItemOutcome = ItemOutcome::Applied(EventId(Uuid::nil()));
