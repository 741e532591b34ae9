//! What waits for a contact, and the permits that count it.
//!
//! A permit is taken before an input is handed to an actor and gives itself back when the input
//! is done with, however that happens: answered, refused, or lost with an actor that died.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use parcours_domain::RunId;
use parcours_queue::TimerEntry;
use parcours_wire::{AcceptedEvent, ItemOutcome};
use tokio::sync::{Notify, oneshot};

/// One message to a contact's actor.
#[derive(Debug)]
pub(crate) enum Work {
    /// Client events, with the place where their outcomes are awaited.
    Events { events: Vec<AcceptedEvent>, reply: oneshot::Sender<Vec<ItemOutcome>>, permit: Permit },
    /// A timer that the index gave out.
    Timer { entry: TimerEntry, guard: TimerGuard },
    /// A live run has no timer: set it again from the state.
    Repair { run: RunId, permit: Permit },
    /// Inbox rows may be there.
    Wake { bulk: bool, permits: [Permit; 2] },
}

impl Work {
    /// Nothing of it is done; the sender may come again after a second. Timers and inbox rows are
    /// found again by their sweeps.
    pub(crate) fn refuse_busy(self) {
        self.refuse(&ItemOutcome::Busy(BUSY_SECONDS));
    }

    /// Nothing of it is done; whoever has the shard now does it.
    pub(crate) fn refuse_moved(self) {
        self.refuse(&ItemOutcome::Moved);
    }

    fn refuse(self, outcome: &ItemOutcome) {
        match self {
            Self::Events { events, reply, .. } => {
                // Nobody waits any more: then nobody needs the answer.
                let _ = reply.send(vec![outcome.clone(); events.len()]);
            }
            Self::Timer { .. } | Self::Repair { .. } | Self::Wake { .. } => {}
        }
    }
}

/// After how many seconds a client that was told `Busy` should come again.
pub(crate) const BUSY_SECONDS: u32 = 1;

/// Counts what is under way against a limit.
#[derive(Debug)]
pub(crate) struct Gauge {
    used: AtomicUsize,
    holds: AtomicUsize,
    taken: AtomicUsize,
    max: usize,
    /// Told whenever something is given back.
    pub(crate) given_back: Notify,
}

impl Gauge {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            holds: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            max,
            given_back: Notify::new(),
        })
    }

    /// Room for `n`, or none.
    pub(crate) fn take(self: &Arc<Self>, n: usize) -> Option<Permit> {
        self.used
            .try_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(n).filter(|sum| *sum <= self.max)
            })
            .ok()?;
        self.taken.fetch_add(n, Ordering::AcqRel);
        Some(Permit { gauge: Arc::clone(self), n })
    }

    /// Room that was ever taken; begins anew after the largest number.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// For a loop that must not look idle while it works; takes no room.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.holds.fetch_add(1, Ordering::AcqRel);
        Hold { gauge: Arc::clone(self) }
    }

    /// Room that is taken.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Room that is taken, and loops at work.
    pub(crate) fn busy(&self) -> usize {
        self.used() + self.holds.load(Ordering::Acquire)
    }
}

/// A loop at work.
pub(crate) struct Hold {
    gauge: Arc<Gauge>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.gauge.holds.fetch_sub(1, Ordering::AcqRel);
        self.gauge.given_back.notify_waiters();
    }
}

/// Room taken from a [`Gauge`]; gives itself back.
pub(crate) struct Permit {
    gauge: Arc<Gauge>,
    n: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.used.fetch_sub(self.n, Ordering::AcqRel);
        self.gauge.given_back.notify_waiters();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.n)
    }
}

/// The runs whose timers are with an actor now: the sweep leaves them alone.
#[derive(Debug, Default)]
pub(crate) struct TimersInFlight {
    runs: Mutex<HashSet<RunId>>,
    /// Told whenever one is done with; a token stays for a loop that is not waiting yet.
    pub(crate) done: Notify,
}

impl TimersInFlight {
    /// Marks a run; none when it is marked already.
    pub(crate) fn enter(self: &Arc<Self>, run: RunId, permit: Permit) -> Option<TimerGuard> {
        let new = self.lock().insert(run);
        new.then(|| TimerGuard { timers: Arc::clone(self), run, _permit: permit })
    }

    pub(crate) fn contains(&self, run: RunId) -> bool {
        self.lock().contains(&run)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<RunId>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A timer that is with an actor.
#[derive(Debug)]
pub(crate) struct TimerGuard {
    timers: Arc<TimersInFlight>,
    run: RunId,
    _permit: Permit,
}

impl Drop for TimerGuard {
    fn drop(&mut self) {
        self.timers.lock().remove(&self.run);
        self.timers.done.notify_one();
    }
}

/// Outcomes as they become known, each answered once all of its message's are.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    reply: Option<oneshot::Sender<Vec<ItemOutcome>>>,
    outcomes: Vec<Option<ItemOutcome>>,
    open: usize,
}

/// Where one event's outcome belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    slot: usize,
    index: usize,
}

impl Replies {
    /// Makes room for a message's outcomes and names the places in order.
    pub(crate) fn open(
        &mut self,
        reply: oneshot::Sender<Vec<ItemOutcome>>,
        n: usize,
    ) -> impl Iterator<Item = Place> + use<> {
        let slot = self.slots.len();
        self.slots.push(Slot { reply: Some(reply), outcomes: vec![None; n], open: n });
        self.send_if_whole(slot);
        (0..n).map(move |index| Place { slot, index })
    }

    pub(crate) fn answer(&mut self, place: Place, outcome: ItemOutcome) {
        if let Some(slot) = self.slots.get_mut(place.slot)
            && let Some(open @ None) = slot.outcomes.get_mut(place.index)
        {
            *open = Some(outcome);
            slot.open -= 1;
            self.send_if_whole(place.slot);
        }
    }

    fn send_if_whole(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot)
            && slot.open == 0
            && let Some(reply) = slot.reply.take()
        {
            // A client that went away needs no answer.
            let _ = reply.send(slot.outcomes.drain(..).flatten().collect());
        }
    }

    /// Answers everything that is still open.
    pub(crate) fn answer_rest(&mut self, outcome: &ItemOutcome) {
        for index in 0..self.slots.len() {
            if let Some(slot) = self.slots.get_mut(index) {
                for open in slot.outcomes.iter_mut().filter(|open| open.is_none()) {
                    *open = Some(outcome.clone());
                }
                slot.open = 0;
            }
            self.send_if_whole(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_gives_itself_back_and_the_limit_holds() {
        let gauge = Gauge::new(3);
        let two = gauge.take(2).unwrap();
        assert!(gauge.take(2).is_none());
        let one = gauge.take(1).unwrap();
        assert_eq!(gauge.used(), 3);
        drop(two);
        assert!(gauge.take(2).is_some());
        drop(one);
        assert_eq!(gauge.used(), 0);
    }

    #[tokio::test]
    async fn outcomes_leave_together_in_the_order_asked() {
        let mut replies = Replies::default();
        let (send, mut answer) = oneshot::channel();
        let places: Vec<Place> = replies.open(send, 2).collect();
        replies.answer(places[1], ItemOutcome::Conflict);
        assert!(answer.try_recv().is_err());
        replies.answer(places[1], ItemOutcome::Unavailable);
        replies.answer_rest(&ItemOutcome::Busy(1));
        assert_eq!(answer.await.unwrap(), [ItemOutcome::Busy(1), ItemOutcome::Conflict]);
    }

    #[tokio::test]
    async fn a_message_without_events_is_answered_at_once() {
        let mut replies = Replies::default();
        let (send, answer) = oneshot::channel();
        assert_eq!(replies.open(send, 0).count(), 0);
        assert_eq!(answer.await.unwrap(), []);
    }
}
