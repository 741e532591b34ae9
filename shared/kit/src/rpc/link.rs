//! One other process, as this one reaches it: a connection that is opened when it is needed and
//! opened again when it was lost.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parcours_wire::{ContactEvents, ItemOutcome};
use prost::Message as _;
use tokio::{
    runtime::Handle,
    sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, timeout},
};

use super::{
    HintBox, RpcLimits, RpcSecret,
    convert::{contact_to, outcomes_from},
    open::{Queued, Session, open},
    pending::Reply,
    proto::{self, refusal::Reason},
};
use crate::{
    route::{Asked, Dial, Hint, Peer},
    telemetry::metrics,
};

/// Bytes of one message beside its contacts.
const ENVELOPE: usize = 64;

/// How links are made.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    pub(super) secret: RpcSecret,
    pub(super) limits: RpcLimits,
    /// Where connections live: threads of the HTTP server come and go.
    runtime: Handle,
    /// Asks that are not answered, over all links.
    in_flight: Arc<AtomicI64>,
}

impl LinkSettings {
    /// Connections live in the present runtime, which should have several threads.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(secret: RpcSecret, limits: RpcLimits) -> Self {
        Self { secret, limits, runtime: Handle::current(), in_flight: Arc::default() }
    }
}

impl Dial for LinkSettings {
    fn dial(&self, address: &str) -> Arc<dyn Peer> {
        Arc::new(Link::new(address, self.clone()))
    }
}

/// One other process. Clones share its connection.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    address: Arc<str>,
    settings: LinkSettings,
    hints: Arc<HintBox>,
    places: Arc<Semaphore>,
    /// In KiB.
    room: Arc<Semaphore>,
    session: Mutex<Option<Arc<Session>>>,
    opening: AsyncMutex<Opening>,
    /// Someone opens the stream because of hints.
    nudged: AtomicBool,
}

/// How the last attempt to open a stream ended.
#[derive(Default)]
struct Opening {
    failed_at: Option<Instant>,
}

/// Room for one ask, while it is not answered.
struct Place {
    _place: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
    in_flight: Arc<AtomicI64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        show_in_flight(&self.in_flight, -1);
    }
}

fn show_in_flight(in_flight: &AtomicI64, change: i64) {
    let before = in_flight.fetch_add(change, Ordering::Relaxed);
    metrics().set("parcours_rpc_in_flight", before + change);
}

impl Link {
    /// A process at `HOST:PORT`. Nothing is opened yet.
    #[must_use]
    pub fn new(address: &str, settings: LinkSettings) -> Self {
        let limits = settings.limits;
        Self(Arc::new(Inner {
            address: address.into(),
            settings,
            hints: Arc::new(HintBox::new(limits.hints_max)),
            places: Arc::new(Semaphore::new(limits.asks_max)),
            room: Arc::new(Semaphore::new(limits.bytes_max / 1024)),
            session: Mutex::new(None),
            opening: AsyncMutex::default(),
            nudged: AtomicBool::new(false),
        }))
    }
}

#[async_trait]
impl Peer for Link {
    async fn ask(&self, batch: &[&ContactEvents], within: Duration) -> Asked {
        let contacts: Result<Vec<_>, _> = batch.iter().map(|of| contact_to(of)).collect();
        let contacts = match contacts {
            Ok(contacts) => contacts,
            Err(error) => {
                tracing::error!(%error, "events cannot be sent to the owner of their contacts");
                return Asked::Refused;
            }
        };
        let patience_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let accept = proto::Accept { number: 0, patience_ms, contacts };
        let bytes = accept.encoded_len() + ENVELOPE;
        if bytes > self.0.settings.limits.message_bytes_max {
            tracing::error!(bytes, "a request is too large for the owner of its contacts");
            return Asked::Refused;
        }
        let Some(_place) = self.0.place(bytes) else { return Asked::Busy };
        match timeout(within, self.0.exchange(accept)).await {
            Ok(Asked::Answered(lists)) if !fit(&lists, batch) => {
                tracing::error!("another process's answer does not fit what it was asked");
                Asked::Lost
            }
            Ok(asked) => asked,
            Err(_) => Asked::Lost,
        }
    }

    fn hint(&self, hint: Hint) {
        self.0.hints.put(hint);
        if self.0.current().is_none() && !self.0.nudged.swap(true, Ordering::AcqRel) {
            let inner = Arc::clone(&self.0);
            self.0.settings.runtime.spawn(async move {
                drop(inner.session().await);
                inner.nudged.store(false, Ordering::Release);
            });
        }
    }
}

/// Whether there is one outcome for each event.
fn fit(lists: &[Vec<ItemOutcome>], batch: &[&ContactEvents]) -> bool {
    lists.iter().map(Vec::len).eq(batch.iter().map(|of| of.events.len()))
}

impl Inner {
    fn place(&self, bytes: usize) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let kib = u32::try_from(bytes.div_ceil(1024)).ok()?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(kib).ok()?;
        let in_flight = Arc::clone(&self.settings.in_flight);
        show_in_flight(&in_flight, 1);
        Some(Place { _place: place, _room: room, in_flight })
    }

    async fn exchange(&self, accept: proto::Accept) -> Asked {
        let Some(session) = self.session().await else { return Asked::NotSent };
        let (reply, answer) = oneshot::channel();
        if session.asks.send(Queued { accept, reply }).await.is_err() {
            return Asked::NotSent;
        }
        match answer.await {
            Ok(Reply::Outcomes(contacts)) => match outcomes_from(contacts) {
                Ok(lists) => Asked::Answered(lists),
                Err(error) => {
                    tracing::error!(%error, "another process's answer cannot be read: do versions fit?");
                    Asked::Lost
                }
            },
            Ok(Reply::Refused(Reason::Busy)) => Asked::Busy,
            Ok(Reply::Refused(Reason::Unreadable | Reason::Unspecified)) => Asked::Refused,
            // Dropped without a word: it was never sent.
            Ok(Reply::NotTaken) | Err(_) => Asked::NotSent,
            Ok(Reply::Lost) => Asked::Lost,
        }
    }

    /// The open stream, if there is one.
    fn current(&self) -> Option<Arc<Session>> {
        // Nothing that holds the guard can panic half-way through a change.
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.as_ref().filter(|session| session.pending.is_open()).cloned()
    }

    /// The open stream, opened if need be: one attempt at a time, whose failure counts for all who
    /// waited for it, and for a while after.
    async fn session(&self) -> Option<Arc<Session>> {
        if let Some(open) = self.current() {
            return Some(open);
        }
        let came = Instant::now();
        let mut opening = self.opening.lock().await;
        if let Some(open) = self.current() {
            return Some(open);
        }
        let limits = self.settings.limits;
        let hopeless = |at: Instant| at >= came || at.elapsed() < limits.reopen_after;
        if opening.failed_at.is_some_and(hopeless) {
            return None;
        }
        let attempt =
            open(Arc::clone(&self.address), self.settings.clone(), Arc::clone(&self.hints));
        // In the runtime of all connections, timer included; it goes on when the asker goes away.
        let attempt = async move { timeout(limits.open_max, attempt).await };
        let attempt = self.settings.runtime.spawn(attempt);
        let failure = match attempt.await {
            Ok(Ok(Ok(session))) => {
                let session = Arc::new(session);
                let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
                *current = Some(Arc::clone(&session));
                opening.failed_at = None;
                return Some(session);
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "it did not answer in time".to_owned(),
            Err(error) => error.to_string(),
        };
        if opening.failed_at.is_none() {
            let address = &*self.address;
            tracing::warn!(address, failure, "another process of this install cannot be reached");
        }
        opening.failed_at = Some(Instant::now());
        None
    }
}
