//! A cycle: what waits becomes a queue; each turn loads if it must, takes a batch, folds it, and
//! hands it over to be committed.
//!
//! Items leave the queue only with an outcome. Those of a batch that must be stepped again go back
//! to its front, in order. Nobody looks an event's key up before: the commit refuses one that was
//! used, and then, or before an input is set aside, the keys of the batch are looked up.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parcours_domain::Timestamp;
use parcours_journey::ContactState;
use parcours_kit::telemetry::metrics;
use parcours_queue::TimerEntry;
use parcours_store::StoreError;
use parcours_wire::worker::set_aside;

use super::{Contact, CycleEnd, Held, Why};
use crate::{
    commit::{self, TooLarge},
    config::{FOLD_INPUTS_MAX, INBOX_ROWS_PER_LOAD},
    durable::{KnownKey, LoadWhat, Loaded, StoredKey},
    fold::{FoldContext, Memory, fold},
    item::{self, Item},
    work::{Replies, Work},
};

pub(super) enum Turn {
    Again,
    Over,
}

pub(super) struct Cycle<'a> {
    pub(super) contact: &'a mut Contact,
    pub(super) queue: VecDeque<Item>,
    pub(super) replies: Replies,
    /// Used keys: those looked up, and those committed since.
    pub(super) known: HashMap<StoredKey, KnownKey>,
    /// The next batch may hold events that came before: its keys are looked up.
    pub(super) doubt: bool,
    /// The inbox is to be read.
    pub(super) wake: bool,
    /// So many items at the front are stepped one at a time.
    pub(super) alone: usize,
    pub(super) retries: u32,
    pub(super) end: CycleEnd,
}

impl Cycle<'_> {
    pub(super) fn unpack(&mut self, work: Work) -> Held {
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
            Work::Repair { run, permit } => {
                self.queue.push_back(Item::Repair { run });
                Held::Permit(permit)
            }
            Work::Wake { permits, .. } => {
                self.wake = true;
                Held::Wake(permits)
            }
        }
    }

    /// One load if one is needed, one batch, one commit.
    pub(super) async fn turn(&mut self) -> Result<Turn, StoreError> {
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
        if self.doubt {
            self.look_up(&items).await?;
        }
        match &items[..] {
            [Item::Absorb { into, .. }] => {
                let into = *into;
                let prepared = commit::absorb(self.contact, memory, items, into, self.now())?;
                self.commit(prepared).await
            }
            [Item::Unreadable { detail, .. }] => {
                let why = Why { code: set_aside::UNREADABLE, detail: detail.clone() };
                self.set_aside(memory, items, why).await
            }
            _ => self.fold_and_commit(memory, items).await,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.contact.deps.clock.now()
    }

    /// Reads the contact. None: it was absorbed, and everything is answered.
    pub(super) async fn load(&mut self) -> Result<Option<Memory>, StoreError> {
        let Contact { deps, tenant, contact, .. } = &*self.contact;
        // Only a wake reads the inbox, and rows in the queue must be seen to be there still.
        let inbox = self.wake || self.queue.iter().any(|item| item.row().is_some());
        let what = if inbox { LoadWhat::StateAndInbox } else { LoadWhat::State };
        let loaded = deps.durable.load(*tenant, *contact, what).await?;
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
    pub(super) fn take_inbox(&mut self, loaded: Loaded) {
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

    pub(super) fn take_batch(&mut self) -> Vec<Item> {
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
    pub(super) fn put_back(&mut self, items: Vec<Item>, alone: bool) {
        if alone {
            self.alone = self.alone.max(items.len());
        }
        for item in items.into_iter().rev() {
            self.queue.push_front(item);
        }
    }

    /// Looks up which of the batch's keys were used before.
    pub(super) async fn look_up(&mut self, items: &[Item]) -> Result<(), StoreError> {
        let keys: Vec<StoredKey> = items.iter().filter_map(Item::key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let Contact { deps, tenant, .. } = &*self.contact;
        let known = deps.durable.known_keys(*tenant, keys.clone()).await?;
        let known = keys.into_iter().zip(known).filter_map(|(key, known)| Some((key, known?)));
        self.known.extend(known);
        Ok(())
    }

    /// What waits is stepped again with its keys looked up: a repeat is never set aside.
    pub(super) fn step_in_doubt(&mut self, memory: Memory) -> Turn {
        self.doubt = true;
        self.contact.memory = Some(memory);
        Turn::Again
    }

    pub(super) async fn fold_and_commit(
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
            if at == 0 && !self.doubt {
                return Ok(self.step_in_doubt(memory));
            }
            if at == 0 {
                let poison = self.queue.pop_front().into_iter().collect();
                let why = Why {
                    code: set_aside::PANIC,
                    detail: "the step panicked on this input".to_owned(),
                };
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
                self.refused(memory, items, Why { code: set_aside::STATE_TOO_LARGE, detail }).await
            }
        }
    }
}
