//! One contact: load, fold, commit, publish, answer. What its actor runs, without the actor.
//!
//! At most one step-chain is uncommitted, because a cycle runs to its end before the next begins.
//! Memory is only ever what a commit left or a load read: any doubt drops it, and the next input
//! reads it again. Outcomes are told after the commit that makes them true, never before.

mod cycle;
mod outcome;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parcours_domain::{ContactId, TenantId, shard_of};
use parcours_journey::ContactState;
use parcours_kit::clock::Clock;
use parcours_queue::TimerIndex;
use parcours_wire::{DeliveryApi, ItemOutcome};
use tokio::sync::{Notify, watch};

use crate::{
    brands::Brands,
    durable::{Durable, HeldShards},
    fold::{Memory, StepFn},
    work::{Permit, Replies, TimerGuard, Work},
};
use cycle::{Cycle, Turn};

/// What every contact of a worker shares.
pub(crate) struct Deps {
    pub durable: Arc<dyn Durable>,
    pub brands: Brands,
    pub clock: Arc<dyn Clock>,
    pub delivery: Arc<dyn DeliveryApi>,
    pub timers: Arc<dyn TimerIndex>,
    /// Told when a timer was indexed that may be due before the loop's next look.
    pub timers_changed: Notify,
    pub step: StepFn,
    /// The shards whose contacts may be in memory.
    pub held: watch::Receiver<Arc<HeldShards>>,
}

impl Deps {
    /// Whether work for this contact is done here.
    pub(crate) fn holds(&self, contact: ContactId) -> bool {
        self.held.borrow().contains(shard_of(contact, self.durable.shards()))
    }
}

/// What a cycle leaves to its actor.
#[derive(Debug, Default)]
pub(crate) struct CycleEnd {
    /// Contacts that got inbox rows.
    pub wakes: Vec<ContactId>,
    /// The contact is no more: leave memory at once.
    pub gone: bool,
    /// The inbox may hold more rows than one load brings.
    pub more_inbox: bool,
    /// Permits and timer guards of what was worked on: to be dropped once the rest is seen to, so
    /// that the worker does not look quiet in between.
    pub held: Vec<Held>,
}

/// One contact in memory.
pub(crate) struct Contact {
    deps: Arc<Deps>,
    pub(crate) tenant: TenantId,
    pub(crate) contact: ContactId,
    memory: Option<Memory>,
    /// The memory between two cycles.
    rest: Option<AtRest>,
}

/// What a contact holds while nothing happens to it: its state as it is stored, which takes a
/// fraction of the room of one that can be worked on.
struct AtRest {
    revision: i64,
    seq: i64,
    state: Box<[u8]>,
}

impl AtRest {
    fn of(memory: &Memory) -> Option<Self> {
        let Memory { revision, seq, ref state } = *memory;
        Some(Self { revision, seq, state: state.encode().ok()?.into_boxed_slice() })
    }

    fn awake(&self) -> Option<Memory> {
        let Self { revision, seq, ref state } = *self;
        Some(Memory { revision, seq, state: ContactState::decode(state).ok()? })
    }
}

impl Contact {
    pub(crate) fn new(deps: Arc<Deps>, tenant: TenantId, contact: ContactId) -> Self {
        Self { deps, tenant, contact, memory: None, rest: None }
    }

    /// Applies everything that waits; returns when all of it is answered.
    pub(crate) async fn cycle(&mut self, works: Vec<Work>) -> CycleEnd {
        self.memory = self.rest.take().as_ref().and_then(AtRest::awake);
        let end = self.work_on(works).await;
        self.rest = self.memory.take().as_ref().and_then(AtRest::of);
        end
    }

    async fn work_on(&mut self, works: Vec<Work>) -> CycleEnd {
        let mut cycle = Cycle {
            contact: self,
            queue: VecDeque::new(),
            replies: Replies::default(),
            known: HashMap::new(),
            doubt: false,
            wake: false,
            alone: 0,
            retries: 0,
            end: CycleEnd::default(),
        };
        cycle.end.held = works.into_iter().map(|work| cycle.unpack(work)).collect();
        loop {
            match cycle.turn().await {
                Ok(Turn::Again) => {}
                Ok(Turn::Over) => break,
                Err(error) => {
                    tracing::warn!(tenant = %cycle.contact.tenant, contact = %cycle.contact.contact, %error, "contact cannot be worked on now");
                    cycle.contact.memory = None;
                    break;
                }
            }
        }
        cycle.replies.answer_rest(&ItemOutcome::Unavailable);
        cycle.end
    }
}

impl Contact {
    pub(crate) fn shard(&self) -> u16 {
        shard_of(self.contact, self.deps.durable.shards())
    }
    pub(crate) fn deps(&self) -> &Deps {
        &self.deps
    }
}

/// What a work item leaves behind while its inputs are worked on.
#[derive(Debug)]
#[expect(dead_code, reason = "held for what dropping them gives back")]
pub(crate) enum Held {
    Permit(Permit),
    Timer(TimerGuard),
    Wake([Permit; 2]),
}

/// Why an input is set aside.
pub(crate) struct Why {
    pub code: &'static str,
    pub detail: String,
}

#[cfg(test)]
mod tests;
