//! One contact: load, fold, commit, publish, answer. What its actor runs, without the actor.
//!
//! At most one step-chain is uncommitted, because a cycle runs to its end before the next begins.
//! Memory is only ever what a commit left or a load read: any doubt drops it, and the next input
//! reads it again. Outcomes are told after the commit that makes them true, never before.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parcours_domain::{ContactId, TenantId, Timestamp, shard_of};
use parcours_journey::ContactState;
use parcours_kit::{clock::Clock, telemetry::metrics};
use parcours_queue::{TimerEntry, TimerIndex};
use parcours_store::StoreError;
use parcours_wire::{DeliveryApi, ItemOutcome};
use tokio::sync::Notify;

use crate::{
    brands::Brands,
    commit::{self, Prepared, TooLarge},
    config::{FOLD_INPUTS_MAX, INBOX_ROWS_PER_LOAD, RETRIES_MAX},
    durable::{CommitOutcome, Durable, KnownKey, Loaded, StoredKey, TimerChange},
    fold::{FoldContext, Memory, Settlement, StepFn, fold},
    item::{self, Item},
    work::{Replies, Work},
};

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
}

/// One contact in memory.
pub(crate) struct Contact {
    deps: Arc<Deps>,
    pub(crate) tenant: TenantId,
    pub(crate) contact: ContactId,
    memory: Option<Memory>,
}

impl Contact {
    pub(crate) fn new(deps: Arc<Deps>, tenant: TenantId, contact: ContactId) -> Self {
        Self { deps, tenant, contact, memory: None }
    }

    /// Applies everything that waits; returns when all of it is answered.
    pub(crate) async fn cycle(&mut self, works: Vec<Work>) -> CycleEnd {
        let mut cycle = Cycle {
            contact: self,
            queue: VecDeque::new(),
            replies: Replies::default(),
            known: HashMap::new(),
            wake: false,
            alone: 0,
            retries: 0,
            end: CycleEnd::default(),
        };
        // Permits and timer guards are held until the cycle is over.
        let _held: Vec<_> = works.into_iter().map(|work| cycle.unpack(work)).collect();
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

/// What a work item leaves behind while its inputs are worked on.
#[expect(dead_code, reason = "held for what dropping them gives back")]
enum Held {
    Permit(crate::work::Permit),
    Timer(crate::work::TimerGuard),
    Wake(Option<crate::work::Permit>, crate::work::Permit),
}

enum Turn {
    Again,
    Over,
}

struct Cycle<'a> {
    contact: &'a mut Contact,
    queue: VecDeque<Item>,
    replies: Replies,
    /// Keys that were looked up since the last load, and those committed since.
    known: HashMap<StoredKey, Option<KnownKey>>,
    /// The inbox is to be read.
    wake: bool,
    /// So many items at the front are stepped one at a time.
    alone: usize,
    retries: u32,
    end: CycleEnd,
}

impl Cycle<'_> {
    fn unpack(&mut self, work: Work) -> Held {
        match work {
            Work::Events { events, reply, permit } => {
                let places = self.replies.open(reply, events.len());
                let items = events.into_iter().zip(places).map(|(event, place)| Item::Event {
                    event: Box::new(event),
                    place: Some(place),
                    row: None,
                });
                self.queue.extend(items);
                Held::Permit(permit)
            }
            Work::Timer { entry, guard } => {
                let TimerEntry { run, seq, .. } = entry;
                self.queue.push_back(Item::Timer { run, seq, row: None, entry: Some(entry) });
                Held::Timer(guard)
            }
            Work::Wake { bulk, permit } => {
                self.wake = true;
                Held::Wake(bulk, permit)
            }
        }
    }

    /// One load if one is needed, one batch, one commit.
    async fn turn(&mut self) -> Result<Turn, StoreError> {
        if self.queue.is_empty() && !self.wake {
            return Ok(Turn::Over);
        }
        let memory = match self.contact.memory.take() {
            Some(memory) if !self.wake => memory,
            Some(_) | None => match self.load().await? {
                Some(memory) => memory,
                None => return Ok(Turn::Over),
            },
        };
        let items = self.take_batch();
        if items.is_empty() {
            self.contact.memory = Some(memory);
            return Ok(Turn::Over);
        }
        self.look_up(&items).await?;
        match &items[..] {
            [Item::Absorb { into, .. }] => {
                let into = *into;
                let prepared = commit::absorb(self.contact, memory, items, into, self.now())?;
                self.commit(prepared).await
            }
            [Item::Unreadable { detail, .. }] => {
                let why = Why { code: "unreadable", detail: detail.clone() };
                self.set_aside(memory, items, why).await
            }
            _ => self.fold_and_commit(memory, items).await,
        }
    }

    fn now(&self) -> Timestamp {
        self.contact.deps.clock.now()
    }

    /// Reads the contact. None: it was absorbed, and everything is answered.
    async fn load(&mut self) -> Result<Option<Memory>, StoreError> {
        let keys: Vec<StoredKey> =
            self.queue.iter().take(FOLD_INPUTS_MAX).filter_map(Item::key).collect();
        let Contact { deps, tenant, contact, .. } = &*self.contact;
        let (loaded, known) = deps.durable.load(*tenant, *contact, keys.clone()).await?;
        self.known = keys.into_iter().zip(known).collect();
        if let Some(into) = loaded.merged_into {
            self.merged(into);
            return Ok(None);
        }
        let state = match &loaded.state {
            Some(bytes) => ContactState::decode(bytes).map_err(|error| {
                tracing::error!(%tenant, %contact, %error, "stored state is unreadable");
                StoreError::Damaged("contact_state.state")
            })?,
            None => ContactState::new(loaded.handle),
        };
        let memory = Memory { revision: loaded.revision, seq: loaded.seq, state };
        self.take_inbox(loaded);
        Ok(Some(memory))
    }

    /// After a wake, the inbox goes first: it was there before. On any load, rows that were
    /// consumed meanwhile leave the queue.
    fn take_inbox(&mut self, loaded: Loaded) {
        let whole = loaded.inbox.len() < INBOX_ROWS_PER_LOAD;
        self.queue.retain(|item| {
            item.row().is_none_or(|id| !whole || loaded.inbox.iter().any(|row| row.id == id))
        });
        if self.wake {
            self.wake = false;
            self.end.more_inbox = !whole;
            let queued: Vec<_> = self.queue.iter().filter_map(Item::row).collect();
            let fresh: Vec<_> =
                loaded.inbox.into_iter().filter(|row| !queued.contains(&row.id)).collect();
            for row in fresh.into_iter().rev() {
                self.queue.push_front(item::from_row(row));
            }
        }
    }

    fn take_batch(&mut self) -> Vec<Item> {
        let most = if self.alone > 0 { 1 } else { FOLD_INPUTS_MAX };
        let mut items = Vec::new();
        while let Some(next) = self.queue.pop_front() {
            if next.stands_alone() && !items.is_empty() {
                self.queue.push_front(next);
                break;
            }
            let alone = next.stands_alone();
            items.push(next);
            if alone || items.len() == most {
                break;
            }
        }
        items
    }

    /// Items that were not committed go back to the front, to be stepped `alone` if so wanted.
    fn put_back(&mut self, items: Vec<Item>, alone: bool) {
        if alone {
            self.alone = self.alone.max(items.len());
        }
        for item in items.into_iter().rev() {
            self.queue.push_front(item);
        }
    }

    /// Looks up the batch's keys that no load has looked up yet.
    async fn look_up(&mut self, items: &[Item]) -> Result<(), StoreError> {
        let mut keys: Vec<StoredKey> = items.iter().filter_map(Item::key).collect();
        keys.retain(|key| !self.known.contains_key(key));
        if keys.is_empty() {
            return Ok(());
        }
        let Contact { deps, tenant, .. } = &*self.contact;
        let known = deps.durable.known_keys(*tenant, keys.clone()).await?;
        self.known.extend(keys.into_iter().zip(known));
        Ok(())
    }

    async fn fold_and_commit(
        &mut self,
        memory: Memory,
        mut items: Vec<Item>,
    ) -> Result<Turn, StoreError> {
        let deps = Arc::clone(&self.contact.deps);
        let brand = deps.brands.for_state(self.contact.tenant, &memory.state).await?;
        let now = self.now();
        let folded = fold(
            &memory,
            &items,
            &FoldContext {
                tenant: self.contact.tenant,
                contact: self.contact.contact,
                brand: &brand,
                step: &deps.step,
                now,
                known: &self.known,
            },
        );
        if let Some(at) = folded.panicked {
            metrics().add("parcours_actors_panicked_total", 1, &[]);
            let rest = items.split_off(at);
            self.put_back(rest, false);
            if at == 0 {
                let poison = self.queue.pop_front().into_iter().collect();
                let why = Why { code: "panic", detail: "the step panicked on this input".to_owned() };
                return self.set_aside(memory, poison, why).await;
            }
            // The panicking item is first in the next batch.
        }
        if folded.draft.is_empty() {
            self.contact.memory = Some(memory);
            self.settle(folded.settlement).await;
            return Ok(Turn::Again);
        }
        match commit::prepare(self.contact, memory, items, folded, (&brand, now)).await? {
            Ok(prepared) => self.commit(prepared).await,
            Err((memory, TooLarge { items, detail })) => {
                self.refused(memory, items, Why { code: "state_too_large", detail }).await
            }
        }
    }

    /// Commits and does what the outcome asks for.
    async fn commit(&mut self, prepared: Prepared) -> Result<Turn, StoreError> {
        let Prepared { commit, items, before, after, settlement } = prepared;
        let publication = commit::Publication::of(&commit);
        match self.contact.deps.durable.commit(commit).await {
            CommitOutcome::Done => {
                self.retries = 0;
                self.alone = self.alone.saturating_sub(items.len());
                self.contact.memory = after;
                self.publish(publication).await;
                self.settle(settlement).await;
                Ok(Turn::Again)
            }
            CommitOutcome::KeyConflict | CommitOutcome::Stale if self.retries < RETRIES_MAX => {
                self.retries += 1;
                self.put_back(items, false);
                Ok(Turn::Again)
            }
            CommitOutcome::KeyConflict | CommitOutcome::Stale => {
                tracing::warn!(tenant = %self.contact.tenant, contact = %self.contact.contact, "contact keeps being moved by others");
                Ok(Turn::Over)
            }
            CommitOutcome::Merged(into) => {
                self.merged(into);
                Ok(Turn::Over)
            }
            CommitOutcome::Refused { code, detail } => {
                tracing::warn!(tenant = %self.contact.tenant, contact = %self.contact.contact, code, "commit refused");
                let detail = format!("the database refused it: {detail}");
                self.refused(before, items, Why { code: "refused", detail }).await
            }
            CommitOutcome::Moved | CommitOutcome::Unknown => Ok(Turn::Over),
        }
    }

    /// A batch was refused: alone it goes to quarantine, together its items go one by one.
    async fn refused(
        &mut self,
        memory: Memory,
        items: Vec<Item>,
        why: Why,
    ) -> Result<Turn, StoreError> {
        if items.len() > 1 {
            self.put_back(items, true);
            self.contact.memory = Some(memory);
            return Ok(Turn::Again);
        }
        self.set_aside(memory, items, why).await
    }

    /// Quarantines one input in a commit of its own.
    async fn set_aside(
        &mut self,
        memory: Memory,
        items: Vec<Item>,
        why: Why,
    ) -> Result<Turn, StoreError> {
        let now = self.now();
        let Prepared { commit, items, after, settlement, .. } =
            commit::set_aside(self.contact, memory, items, &why, now)?;
        let publication = commit::Publication::of(&commit);
        let (tenant, contact) = (self.contact.tenant, self.contact.contact);
        match self.contact.deps.durable.commit(commit).await {
            CommitOutcome::Done => {
                metrics().add("parcours_inputs_set_aside_total", 1, &[("code", why.code)]);
                tracing::warn!(%tenant, %contact, code = why.code, "input set aside");
                self.retries = 0;
                self.alone = self.alone.saturating_sub(1);
                self.contact.memory = after;
                self.publish(publication).await;
                self.settle(settlement).await;
                Ok(Turn::Again)
            }
            CommitOutcome::KeyConflict | CommitOutcome::Stale if self.retries < RETRIES_MAX => {
                self.retries += 1;
                self.put_back(items, true);
                Ok(Turn::Again)
            }
            CommitOutcome::Merged(into) => {
                self.merged(into);
                Ok(Turn::Over)
            }
            CommitOutcome::Refused { code, .. } => {
                tracing::error!(%tenant, %contact, code, "an input could not even be set aside");
                Ok(Turn::Over)
            }
            CommitOutcome::KeyConflict
            | CommitOutcome::Stale
            | CommitOutcome::Moved
            | CommitOutcome::Unknown => Ok(Turn::Over),
        }
    }

    fn merged(&mut self, into: ContactId) {
        self.contact.memory = None;
        self.queue.clear();
        self.end.gone = true;
        self.replies.answer_rest(&ItemOutcome::Merged(into));
    }

    /// Makes a commit's consequences known: the index, delivery, other contacts.
    async fn publish(&mut self, publication: commit::Publication) {
        let Contact { deps, tenant, contact, .. } = &*self.contact;
        let mut entries = Vec::new();
        for change in publication.timers {
            match change {
                TimerChange::Set { run, seq, due_at, .. } => {
                    entries.push(TimerEntry { tenant: *tenant, contact: *contact, run, seq, due_at });
                }
                TimerChange::Hold { run } | TimerChange::Cancel { run } => {
                    if let Err(error) = deps.timers.remove(run).await {
                        tracing::warn!(%run, %error, "timer stays indexed; its actor will see that it is stale");
                    }
                }
            }
        }
        index(deps, &entries).await;
        for lane in publication.lanes {
            deps.delivery.hint(*tenant, lane);
        }
        self.end.wakes.extend(publication.wakes);
        self.end.gone |= publication.absorbed;
    }

    /// Tells a committed (or empty) fold's outcomes.
    async fn settle(&mut self, fold: Settlement) {
        let now = self.now();
        for due_at in &fold.fired {
            let late = (now - *due_at).0.max(0);
            metrics().add("parcours_timers_fired_total", 1, &[]);
            #[expect(clippy::cast_precision_loss, reason = "a metric in seconds")]
            metrics().observe("parcours_timers_late_seconds", late as f64 / 1_000.0, &[]);
        }
        self.known.extend(fold.accepted.into_iter().map(|(key, known)| (key, Some(known))));
        index(&self.contact.deps, &fold.reindex).await;
        for (place, outcome) in fold.answers {
            self.replies.answer(place, outcome);
        }
    }
}

/// Why an input is set aside.
pub(crate) struct Why {
    pub code: &'static str,
    pub detail: String,
}

/// Indexes timers; what cannot be indexed is found by the sweep.
async fn index(deps: &Deps, entries: &[TimerEntry]) {
    if entries.is_empty() {
        return;
    }
    if let Err(error) = deps.timers.add(entries).await {
        tracing::warn!(%error, "timers are not indexed; the sweep will find them");
    }
    deps.timers_changed.notify_one();
}

impl Contact {
    pub(crate) fn shard(&self) -> u16 {
        shard_of(self.contact, self.deps.durable.shards())
    }
    pub(crate) fn deps(&self) -> &Deps {
        &self.deps
    }
}

#[cfg(test)]
mod tests;
