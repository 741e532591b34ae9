//! Sends each part of a batch to the process that owns it, and follows what moved.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::future::join_all;
use parcours_domain::{ContactId, TenantId, shard_of};
use parcours_wire::{ContactEvents, DeliveryApi, ItemOutcome, WorkerApi};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use uuid::Uuid;

use super::{
    Asked, Dial, Hint, Peer, ShardDirectory,
    errand::{Errand, Next, Slots},
    map::{Map, MapCache},
};
use crate::{rpc::HintBox, telemetry::metrics};

/// The epoch that stands for "this process holds it", whichever that is.
const HELD: i64 = i64::MIN;

/// Seconds after which a caller comes again when too much is in flight.
const BUSY_S: u32 = 1;

/// A router's limits.
#[derive(Clone, Copy, Debug)]
pub struct RouteLimits {
    /// How long events wait for an owner that takes them: longer than a graceful hand-over and a
    /// take-over from a dead owner, shorter than clients wait.
    pub patience: Duration,
    /// How long an owner that was asked may take.
    pub answer_max: Duration,
    /// How often the directory is asked whether an owner that has not answered yet still is one.
    pub look_every: Duration,
    /// The distance between two reads of the directory, and between two asks of an owner that
    /// did not take the events.
    pub again_after: Duration,
    /// How long one read of the directory may take.
    pub read_max: Duration,
    /// A map older than this is read again before hints follow it.
    pub map_age_max: Duration,
    /// How often events are sent on from one owner to another.
    pub hops_max: u32,
    /// Hints that wait for a map; more are dropped.
    pub hints_max: usize,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            answer_max: Duration::from_secs(20),
            look_every: Duration::from_secs(1),
            again_after: Duration::from_millis(100),
            read_max: Duration::from_secs(2),
            map_age_max: Duration::from_secs(5),
            hops_max: 3,
            hints_max: 10_000,
        }
    }
}

/// This process's own worker.
#[derive(Clone)]
pub struct LocalWorker {
    /// It.
    pub worker: Arc<dyn WorkerApi>,
    /// Whether it holds a shard now: owns it, and is not about to hand it over.
    pub holds: Arc<dyn Fn(u16) -> bool + Send + Sync>,
}

/// What a router works with.
#[derive(Clone)]
pub struct Route {
    /// This process's incarnation, as the directory names it.
    pub process: Uuid,
    /// How many shards the install has.
    pub shards: u16,
    /// This process's worker, if it has one.
    pub worker: Option<LocalWorker>,
    /// This process's delivery, if it has one.
    pub delivery: Option<Arc<dyn DeliveryApi>>,
    /// Who owns what.
    pub directory: Arc<dyn ShardDirectory>,
    /// How others are reached.
    pub dial: Arc<dyn Dial>,
    /// Limits.
    pub limits: RouteLimits,
}

/// All workers of the install as one, and all deliveries that can be reached as one.
///
/// What waits for an owner waits at most [`RouteLimits::patience`]; a contact of whose events an
/// owner has taken a part gets the rest sent on. Hints are passed on later and may be dropped.
pub struct Router {
    inner: Arc<Inner>,
    /// Passes hints on.
    passing: JoinHandle<()>,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

struct Inner {
    route: Route,
    map: MapCache,
    peers: Mutex<BTreeMap<Uuid, Arc<dyn Peer>>>,
    hints: HintBox,
    /// Contacts that wait for an owner.
    waiting: AtomicI64,
}

impl Router {
    /// Knows nothing of the directory yet. Call it inside the runtime that outlives all requests.
    #[must_use]
    pub fn new(route: Route) -> Self {
        let inner = Arc::new(Inner {
            map: MapCache::new(Arc::clone(&route.directory), route.limits),
            hints: HintBox::new(route.limits.hints_max),
            route,
            peers: Mutex::default(),
            waiting: AtomicI64::new(0),
        });
        let passing = tokio::spawn(Arc::clone(&inner).pass_hints());
        Self { inner, passing }
    }
}

#[async_trait]
impl WorkerApi for Router {
    async fn accept(&self, batch: Vec<ContactEvents>) -> Vec<Vec<ItemOutcome>> {
        let (errands, mut slots) = Errand::all(batch);
        self.inner.run(errands, &mut slots).await;
        let contact = |of: Vec<Option<ItemOutcome>>| {
            of.into_iter().map(|slot| slot.unwrap_or(ItemOutcome::Unavailable)).collect()
        };
        slots.into_iter().map(contact).collect()
    }

    fn wake(&self, tenant: TenantId, contact: ContactId) {
        match self.inner.holder(contact) {
            Some(local) => local.worker.wake(tenant, contact),
            None => self.inner.hints.put(Hint::Wake(tenant, contact)),
        }
    }

    fn plans_changed(&self, tenant: TenantId) {
        if let Some(local) = &self.inner.route.worker {
            local.worker.plans_changed(tenant);
        }
        self.inner.hints.put(Hint::Plans(tenant));
    }
}

impl DeliveryApi for Router {
    fn hint(&self, tenant: TenantId, lane: i64) {
        if let Some(local) = &self.inner.route.delivery {
            local.hint(tenant, lane);
        }
        self.inner.hints.put(Hint::Lane(tenant, lane));
    }
}

/// Whom to ask.
enum To {
    Local(Arc<dyn WorkerApi>),
    Peer(Arc<dyn Peer>),
}

/// One owner's part of a request.
struct Part {
    to: To,
    errands: Vec<Errand>,
}

impl Inner {
    /// Until everything has its outcome or patience ends.
    async fn run(&self, mut waiting: Vec<Errand>, slots: &mut Slots) {
        let deadline = Instant::now() + self.route.limits.patience;
        let mut map = self.map.current();
        loop {
            let (parts, mut left) = self.divide(waiting, &map, slots);
            for (errands, asked) in join_all(parts.into_iter().map(|part| self.ask(part))).await {
                left.extend(settle(errands, asked, slots));
            }
            if left.is_empty() {
                return;
            }
            waiting = left;
            let _shown = Shown::new(&self.waiting, waiting.len());
            match timeout_at(deadline, self.newer_map(map.version)).await {
                Ok(newer) if Instant::now() < deadline => map = newer,
                Ok(_) | Err(_) => break,
            }
        }
        tracing::warn!(contacts = waiting.len(), "no owner took these contacts' events in time");
        for errand in waiting {
            errand.end(&ItemOutcome::Unavailable, slots);
        }
    }

    /// What to ask whom now, and what has to wait for a newer map.
    fn divide(
        &self,
        waiting: Vec<Errand>,
        map: &Map,
        slots: &mut Slots,
    ) -> (Vec<Part>, Vec<Errand>) {
        let mut parts: BTreeMap<Uuid, Part> = BTreeMap::new();
        let mut left = Vec::new();
        for mut errand in waiting {
            let Some((owner, epoch, to)) = self.owner(errand.of.contact, map) else {
                left.push(errand);
                continue;
            };
            match errand.next((owner, epoch), &self.route.limits) {
                Next::Ask => {
                    let part = || Part { to, errands: Vec::new() };
                    parts.entry(owner).or_insert_with(part).errands.push(errand);
                }
                Next::Wait => left.push(errand),
                Next::GiveUp => errand.end(&ItemOutcome::Unavailable, slots),
            }
        }
        (parts.into_values().collect(), left)
    }

    /// This process's worker, if it holds the contact's shard.
    fn holder(&self, contact: ContactId) -> Option<&LocalWorker> {
        let shard = shard_of(contact, self.route.shards);
        self.route.worker.as_ref().filter(|local| (local.holds)(shard))
    }

    /// Who owns the contact's shard, and how to ask; nobody while it is handed over.
    fn owner(&self, contact: ContactId, map: &Map) -> Option<(Uuid, i64, To)> {
        if let Some(local) = self.holder(contact) {
            return Some((self.route.process, HELD, To::Local(Arc::clone(&local.worker))));
        }
        let place = map.place(contact, self.route.shards)?;
        if place.owner == self.route.process {
            return None;
        }
        let peer = self.peer(place.owner, place.address.as_ref()?);
        Some((place.owner, place.epoch, To::Peer(peer)))
    }

    async fn ask(&self, part: Part) -> (Vec<Errand>, Asked) {
        let Part { to, errands } = part;
        let (began, within) = (Instant::now(), self.route.limits.answer_max);
        let (owner, asked) = match to {
            To::Local(worker) => {
                // A copy: what moves meanwhile is sent on.
                let batch = errands.iter().map(|errand| errand.of.clone()).collect();
                let answered = timeout(within, worker.accept(batch)).await;
                ("local", answered.map_or(Asked::Lost, Asked::Answered))
            }
            To::Peer(peer) => {
                let batch: Vec<&ContactEvents> = errands.iter().map(|errand| &errand.of).collect();
                // Who is cut off from the database does not hear of its successor, and may never
                // answer.
                let asked = tokio::select! {
                    asked = peer.ask(&batch, within) => asked,
                    () = self.until_succeeded(&errands) => Asked::Lost,
                };
                ("other", asked)
            }
        };
        let labels = [("owner", owner), ("end", asked.as_str())];
        metrics().add("parcours_route_asks_total", 1, &labels);
        if matches!(asked, Asked::Answered(_)) {
            let seconds = began.elapsed().as_secs_f64();
            metrics().observe("parcours_route_ask_seconds", seconds, &[("owner", owner)]);
        }
        (errands, asked)
    }

    /// Returns once one of these contacts has another owner than the one that is being asked.
    async fn until_succeeded(&self, errands: &[Errand]) {
        let every = self.route.limits.look_every;
        loop {
            sleep(every).await;
            let mut map = self.map.current();
            if !map.is_younger_than(every) {
                map = self.newer_map(map.version).await;
            }
            let succeeded = |errand: &Errand| {
                let place = map.place(errand.of.contact, self.route.shards);
                place.is_some_and(|place| place.owner != errand.asked())
            };
            if errands.iter().any(succeeded) {
                return;
            }
        }
    }

    fn peer(&self, process: Uuid, address: &Arc<str>) -> Arc<dyn Peer> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(peers.entry(process).or_insert_with(|| self.route.dial.dial(address)))
    }

    /// A newer map; connections to processes that it does not name any more are closed.
    async fn newer_map(&self, seen: u64) -> Arc<Map> {
        let map = self.map.newer_than(seen).await;
        let owners = map.owners();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|process, _| owners.contains_key(process));
        drop(peers);
        map
    }

    async fn pass_hints(self: Arc<Self>) {
        loop {
            self.hints.filled.notified().await;
            let mut map = self.map.current();
            if !map.is_younger_than(self.route.limits.map_age_max) {
                map = self.newer_map(map.version).await;
            }
            let owners = map.owners();
            for hint in self.hints.take() {
                match hint {
                    Hint::Wake(_, contact) => {
                        if let Some((_, _, To::Peer(peer))) = self.owner(contact, &map) {
                            peer.hint(hint);
                        }
                    }
                    // Whoever does not deliver passes over a lane.
                    Hint::Plans(_) | Hint::Lane(..) => self.tell(&owners, hint),
                }
            }
        }
    }

    fn tell(&self, processes: &BTreeMap<Uuid, Arc<str>>, hint: Hint) {
        for (process, address) in processes.iter().filter(|(id, _)| **id != self.route.process) {
            self.peer(*process, address).hint(hint);
        }
    }
}

/// Takes an owner's answer in; what is to be asked again comes back.
fn settle(errands: Vec<Errand>, asked: Asked, slots: &mut Slots) -> Vec<Errand> {
    let end = match asked {
        Asked::Answered(lists) => {
            let outcomes = errands.into_iter().zip(lists);
            let moved: Vec<Errand> =
                outcomes.filter_map(|(errand, list)| errand.settle(list, slots)).collect();
            metrics().add("parcours_route_moved_total", moved.len() as u64, &[]);
            return moved;
        }
        Asked::NotSent => return errands.into_iter().map(Errand::not_sent).collect(),
        Asked::Busy => ItemOutcome::Busy(BUSY_S),
        Asked::Refused | Asked::Lost => ItemOutcome::Unavailable,
    };
    errands.into_iter().for_each(|errand| errand.end(&end, slots));
    Vec::new()
}

/// A number in a gauge, while it lives.
struct Shown<'a> {
    total: &'a AtomicI64,
    part: i64,
}

impl<'a> Shown<'a> {
    fn new(total: &'a AtomicI64, part: usize) -> Self {
        let part = i64::try_from(part).unwrap_or(i64::MAX);
        let before = total.fetch_add(part, Ordering::Relaxed);
        metrics().set("parcours_route_waiting", before.saturating_add(part));
        Self { total, part }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let before = self.total.fetch_sub(self.part, Ordering::Relaxed);
        metrics().set("parcours_route_waiting", before - self.part);
    }
}
