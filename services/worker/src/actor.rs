//! The actor of one contact: a mailbox, a turn at a time, and leaving memory. Nothing here decides
//! anything about the contact; that is the cycle's.
//!
//! While a cycle runs, the actor takes no messages: its mailbox is the bounded queue, and a full
//! one is told to the sender. Messages that came meanwhile are drained together and make the next
//! cycle, which is how they fold.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt as _, AsyncContext, Context, Handler, Message, SpawnHandle,
    WrapFuture as _,
};

use crate::{
    contact::{Contact, CycleEnd},
    registry::{ContactKey, Registry},
    work::Work,
};

/// What registry and actor both look at.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Messages handed over and not yet handled.
    pub queued: AtomicUsize,
    /// A wake is on its way that will read the inbox: another says nothing new.
    pub wake_queued: AtomicBool,
    /// The contact's shard is not held any more; the registry has forgotten the actor.
    pub moved: AtomicBool,
}

/// A message with its work.
pub(crate) struct Deliver(pub Work);

impl Message for Deliver {
    type Result = ();
}

/// The contact's shard is not held any more: look at [`Shared::moved`].
pub(crate) struct LetGo;

impl Message for LetGo {
    type Result = ();
}

/// Everything that was in the mailbox has been taken: run a cycle over it.
struct Run;

impl Message for Run {
    type Result = ();
}

/// One contact's actor.
pub(crate) struct ContactActor {
    key: ContactKey,
    generation: u64,
    registry: Weak<Registry>,
    shared: Arc<Shared>,
    /// Not here while a cycle runs.
    contact: Option<Contact>,
    pending: Vec<Work>,
    run_scheduled: bool,
    idle: Option<SpawnHandle>,
    limits: Limits,
}

/// What an actor is bound by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Inputs drained from the mailbox and not yet in a cycle.
    pub pending: usize,
    /// Machine time after which an idle actor leaves.
    pub idle: Idle,
}

/// How long a contact stays in memory without an event: to take it in again costs about as much as
/// what it does then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// While at most `room` contacts are in memory.
    pub in_room: Duration,
    /// While there are more.
    pub crowded: Duration,
    /// For how many there is room.
    pub room: usize,
}

impl Idle {
    /// How long one may rest that comes to rest beside so many.
    pub(crate) const fn beside(self, live: usize) -> Duration {
        if live > self.room { self.crowded } else { self.in_room }
    }
}

impl ContactActor {
    pub(crate) fn new(
        contact: Contact,
        generation: u64,
        registry: Weak<Registry>,
        shared: Arc<Shared>,
        limits: Limits,
    ) -> Self {
        Self {
            key: (contact.tenant, contact.contact),
            generation,
            registry,
            shared,
            contact: Some(contact),
            pending: Vec::new(),
            run_scheduled: false,
            idle: None,
            limits,
        }
    }

    fn schedule(&mut self, ctx: &mut Context<Self>) {
        if !self.run_scheduled {
            self.run_scheduled = true;
            ctx.notify(Run);
        }
    }

    /// A cycle is over.
    fn settle(&mut self, end: CycleEnd, bulk_only: bool, ctx: &mut Context<Self>) {
        let CycleEnd { wakes, gone, more_inbox, held } = end;
        let Some(registry) = self.registry.upgrade() else {
            ctx.stop();
            return;
        };
        for contact in wakes {
            registry.wake((self.key.0, contact), false);
        }
        if more_inbox {
            registry.wake(self.key, bulk_only);
        }
        drop(held);
        if self.has_moved() {
            self.let_go(ctx);
            return;
        }
        if (gone || bulk_only) && self.leave(&registry, ctx) {
            return;
        }
        self.idle = Some(ctx.run_later(self.limits.idle.beside(registry.live()), |actor, ctx| {
            actor.idle = None;
            if let Some(registry) = actor.registry.upgrade() {
                actor.leave(&registry, ctx);
            }
        }));
    }

    fn has_moved(&self) -> bool {
        self.shared.moved.load(Ordering::Acquire)
    }

    /// Refuses what waits. The registry has forgotten the address, so the actor ends by itself once
    /// its mailbox is empty.
    fn let_go(&mut self, ctx: &mut Context<Self>) {
        self.registry = Weak::new();
        self.pending.drain(..).for_each(Work::refuse_moved);
        if let Some(idle) = self.idle.take() {
            ctx.cancel_future(idle);
        }
    }

    /// Leaves memory, unless something is on its way here. The registry forgets the address
    /// before the actor stops, so nothing can be sent to it in between.
    fn leave(&mut self, registry: &Registry, ctx: &mut Context<Self>) -> bool {
        let left = self.pending.is_empty() && registry.retire(self.key, self.generation);
        if left {
            self.registry = Weak::new();
            ctx.stop();
        }
        left
    }
}

impl Actor for ContactActor {
    type Context = Context<Self>;
}

impl Drop for ContactActor {
    /// An actor that still knows its registry, and is known there, did not leave: it died.
    fn drop(&mut self) {
        if !self.has_moved()
            && let Some(registry) = self.registry.upgrade()
        {
            registry.died(self.key, self.generation);
        }
    }
}

impl Handler<Deliver> for ContactActor {
    type Result = ();

    fn handle(&mut self, Deliver(work): Deliver, ctx: &mut Context<Self>) {
        self.shared.queued.fetch_sub(1, Ordering::AcqRel);
        if self.has_moved() {
            work.refuse_moved();
            return;
        }
        if self.pending.len() >= self.limits.pending {
            if matches!(work, Work::Wake { .. }) {
                self.shared.wake_queued.store(false, Ordering::Release);
            }
            work.refuse_busy();
            return;
        }
        if let Some(idle) = self.idle.take() {
            ctx.cancel_future(idle);
        }
        self.pending.push(work);
        self.schedule(ctx);
    }
}

impl Handler<Run> for ContactActor {
    type Result = ();

    fn handle(&mut self, _: Run, ctx: &mut Context<Self>) {
        self.run_scheduled = false;
        if self.has_moved() {
            self.let_go(ctx);
            return;
        }
        let Some(mut contact) = self.contact.take() else { return };
        let works = std::mem::take(&mut self.pending);
        // From here on a new wake has something new to say.
        self.shared.wake_queued.store(false, Ordering::Release);
        let bulk_only = works.iter().all(|work| matches!(work, Work::Wake { bulk: true, .. }));
        let cycle = async move {
            let end = contact.cycle(works).await;
            (contact, end)
        };
        ctx.wait(cycle.into_actor(self).map(move |(contact, end), actor, ctx| {
            actor.contact = Some(contact);
            actor.settle(end, bulk_only, ctx);
        }));
    }
}

impl Handler<LetGo> for ContactActor {
    type Result = ();

    fn handle(&mut self, _: LetGo, ctx: &mut Context<Self>) {
        self.let_go(ctx);
    }
}
