//! Which contacts are in memory: the address map, activation on demand, respawn.
//!
//! A message is handed over under the map's lock, and an actor leaves only under the same lock
//! with nothing on its way to it; so no message reaches an actor that has left. An actor that
//! died is replaced by the next message; what was with it is answered `Unavailable` or found by
//! a sweep. Contacts of shards that are not held are not taken in, and those in memory are let go
//! of when their shard goes. Correctness does not rest on there being one actor: the revision in
//! every commit does that.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use actix::{Addr, ArbiterHandle, Context, dev::channel};
use parcours_domain::{ContactId, TenantId, shard_of};
use parcours_kit::telemetry::metrics;

use crate::{
    actor::{ContactActor, Deliver, LetGo, Limits, Shared},
    contact::{Contact, Deps},
    work::{Gauge, Work},
};

/// Parts of the map, each with its own lock.
const PARTS: usize = 64;

/// A contact of a brand.
pub(crate) type ContactKey = (TenantId, ContactId);

/// Contacts that were told of inbox rows and are not done, by the lane of the rows.
pub(crate) struct Lanes {
    pub(crate) live: Arc<Gauge>,
    pub(crate) bulk: Arc<Gauge>,
}

/// What came of waking a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// It looks into its inbox.
    Now,
    /// It was told before and has not looked yet.
    Already,
    /// There is no room now, or its shard is not held here; a sweep will tell, here or there.
    Not,
}

/// A message was not taken, and why.
pub(crate) enum NotTaken {
    /// The contact's mailbox is full.
    Full(Work),
    /// Its shard is not held here.
    Moved(Work),
}

impl NotTaken {
    /// Tells whoever waits for an answer.
    pub(crate) fn refuse(self) {
        match self {
            Self::Full(work) => work.refuse_busy(),
            Self::Moved(work) => work.refuse_moved(),
        }
    }
}

struct Entry {
    address: Addr<ContactActor>,
    generation: u64,
    shared: Arc<Shared>,
}

/// The actors of a worker.
pub(crate) struct Registry {
    me: Weak<Self>,
    parts: Vec<Mutex<HashMap<ContactKey, Entry>>>,
    hosts: Vec<ArbiterHandle>,
    deps: Arc<Deps>,
    mailbox: usize,
    limits: Limits,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) lanes: Lanes,
    generation: AtomicU64,
    live: AtomicUsize,
    died: AtomicU64,
    closing: AtomicBool,
}

impl Registry {
    pub(crate) fn new(
        deps: Arc<Deps>,
        hosts: Vec<ArbiterHandle>,
        (mailbox, limits): (usize, Limits),
        (gauge, lanes): (Arc<Gauge>, Lanes),
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            hosts,
            deps,
            mailbox,
            limits,
            gauge,
            lanes,
            generation: AtomicU64::new(0),
            live: AtomicUsize::new(0),
            died: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        })
    }

    /// Hands work to a contact's actor, which is made if it is not there.
    pub(crate) fn send(&self, key: ContactKey, work: Work) -> Result<(), NotTaken> {
        let mut part = self.part(key);
        // Asked under the lock, so that nothing is taken in behind the back of `let_go`.
        if !self.deps.holds(key.1) {
            return Err(NotTaken::Moved(work));
        }
        let entry = part.entry(key).or_insert_with(|| self.activate(key));
        let work = match hand_over(entry, work) {
            Ok(()) => return Ok(()),
            Err(actix::prelude::SendError::Full(Deliver(work))) => return Err(full(work)),
            Err(actix::prelude::SendError::Closed(Deliver(work))) => work,
        };
        // It died and its own farewell has not come yet.
        *entry = self.activate(key);
        hand_over(entry, work).map_err(|error| full(error.into_inner().0))
    }

    /// Tells a contact that it has inbox rows.
    pub(crate) fn wake(&self, key: ContactKey, bulk: bool) -> Woken {
        let lane = if bulk { &self.lanes.bulk } else { &self.lanes.live };
        let (Some(permit), Some(place)) = (self.gauge.take(1), lane.take(1)) else {
            return Woken::Not;
        };
        let queued = {
            let mut part = self.part(key);
            if !self.deps.holds(key.1) {
                return Woken::Not;
            }
            let entry = part.entry(key).or_insert_with(|| self.activate(key));
            entry.address.connected() && entry.shared.wake_queued.swap(true, Ordering::AcqRel)
        };
        if queued {
            return Woken::Already;
        }
        match self.send(key, Work::Wake { bulk, permits: [permit, place] }) {
            Ok(()) => Woken::Now,
            Err(_) => Woken::Not,
        }
    }

    /// Forgets an actor that wants to leave; false when something is on its way to it.
    pub(crate) fn retire(&self, key: ContactKey, generation: u64) -> bool {
        let mut part = self.part(key);
        match part.get(&key) {
            Some(entry) if entry.generation == generation => {
                let free = entry.shared.queued.load(Ordering::Acquire) == 0;
                if free {
                    part.remove(&key);
                    self.count_live(-1);
                }
                free
            }
            // Another took its place: nothing comes here any more.
            Some(_) | None => true,
        }
    }

    /// Lets go of the contacts of these shards, which are not held any more: what waits for them is
    /// answered `Moved`, and what they are committing ends as the store says.
    pub(crate) fn let_go(&self, gone: impl Fn(u16) -> bool) {
        let shards = self.deps.durable.shards();
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.retain(|key, entry| {
                let stays = !gone(shard_of(key.1, shards));
                if !stays {
                    entry.shared.moved.store(true, Ordering::Release);
                    // With a full mailbox it sees by the next message.
                    let _ = entry.address.try_send(LetGo);
                    self.count_live(-1);
                }
                stays
            });
        }
    }

    /// An actor ended without leaving.
    pub(crate) fn died(&self, key: ContactKey, generation: u64) {
        if self.closing.load(Ordering::Acquire) {
            return;
        }
        self.died.fetch_add(1, Ordering::Relaxed);
        self.count_live(-1);
        metrics().add("parcours_actors_panicked_total", 1, &[]);
        tracing::error!(tenant = %key.0, contact = %key.1, "a contact's actor died; the next message makes another");
        let mut part = self.part(key);
        if part.get(&key).is_some_and(|entry| entry.generation == generation) {
            part.remove(&key);
        }
    }

    /// Contacts in memory.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Actors that died.
    pub(crate) fn deaths(&self) -> u64 {
        self.died.load(Ordering::Relaxed)
    }

    /// Forgets all actors for good; each ends once its mailbox is empty.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        for part in &self.parts {
            part.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        self.live.store(0, Ordering::Relaxed);
    }

    fn activate(&self, key: ContactKey) -> Entry {
        let shared = Arc::new(Shared::default());
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = channel::channel(self.mailbox);
        let (mailbox, limits) = (self.mailbox, self.limits);
        let (me, deps, theirs) = (self.me.clone(), Arc::clone(&self.deps), Arc::clone(&shared));
        let started = self.host(key).is_some_and(|host| {
            host.spawn_fn(move || {
                let mut context = Context::with_receiver(receiver);
                context.set_mailbox_capacity(mailbox);
                // Made here and not before: an actor that is dropped says farewell to the map,
                // whose lock is held out there.
                let contact = Contact::new(deps, key.0, key.1);
                let actor = ContactActor::new(contact, generation, me, theirs, limits);
                actix::spawn(context.into_future(actor));
            })
        });
        if !started {
            tracing::warn!("no thread takes actors; the worker is stopping");
        }
        self.count_live(1);
        metrics().add("parcours_actors_started_total", 1, &[]);
        Entry { address: Addr::new(sender), generation, shared }
    }

    /// The thread of a contact's shard.
    fn host(&self, key: ContactKey) -> Option<&ArbiterHandle> {
        let shard = usize::from(shard_of(key.1, self.deps.durable.shards()));
        self.hosts.get(shard % self.hosts.len().max(1))
    }

    fn part(&self, key: ContactKey) -> MutexGuard<'_, HashMap<ContactKey, Entry>> {
        // The last byte of an id is chance.
        let [.., byte] = key.1.bytes();
        // No code runs under these locks that can panic half-way.
        self.parts[usize::from(byte) % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_live(&self, by: isize) {
        let before = self.live.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
        let now = before.wrapping_add_signed(by);
        metrics().set("parcours_actors_live", i64::try_from(now).unwrap_or(0));
    }
}

fn hand_over(entry: &Entry, work: Work) -> Result<(), actix::prelude::SendError<Deliver>> {
    entry.shared.queued.fetch_add(1, Ordering::AcqRel);
    let sent = entry.address.try_send(Deliver(work));
    if sent.is_err() {
        entry.shared.queued.fetch_sub(1, Ordering::AcqRel);
    }
    sent
}

fn full(work: Work) -> NotTaken {
    metrics().add("parcours_mailbox_full_total", 1, &[]);
    NotTaken::Full(work)
}
