//! What a commit's outcome asks for: publish and tell, step again, set aside, or forget.

use std::time::SystemTime;

use parcours_domain::ContactId;
use parcours_kit::telemetry::metrics;
use parcours_queue::TimerEntry;
use parcours_store::StoreError;
use parcours_wire::{ItemOutcome, worker::set_aside};

use super::{
    Contact, Deps, Why,
    cycle::{Cycle, Turn},
};
use crate::{
    commit::{self, Prepared},
    config::RETRIES_MAX,
    durable::{CommitOutcome, TimerChange},
    fold::{DUPLICATE_ID, Memory, Settlement},
    item::Item,
    told,
};

impl Cycle<'_> {
    /// Commits and does what the outcome asks for.
    pub(super) async fn commit(&mut self, prepared: Prepared) -> Result<Turn, StoreError> {
        let Prepared { commit, items, before, after, settlement } = prepared;
        let publication = commit::Publication::of(&commit);
        let (begun, ended) = (SystemTime::now(), told::ended(&commit.runs));
        match self.contact.deps.durable.commit(commit).await {
            CommitOutcome::Done => {
                told::emit((self.contact.tenant, self.contact.contact), begun, &settlement.spans);
                told::emit_runs(self.contact.tenant, &ended);
                (self.retries, self.doubt) = (0, false);
                self.alone = self.alone.saturating_sub(items.len());
                self.contact.memory = after;
                self.publish(publication).await;
                self.settle(settlement).await;
                Ok(Turn::Again)
            }
            CommitOutcome::KeyConflict if self.retries < RETRIES_MAX => {
                self.retries += 1;
                self.put_back(items, false);
                Ok(self.step_in_doubt(before))
            }
            CommitOutcome::Stale if self.retries < RETRIES_MAX => {
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
                self.refused(before, items, Why { code: set_aside::REFUSED, detail }).await
            }
            CommitOutcome::Moved => {
                self.moved();
                Ok(Turn::Over)
            }
            CommitOutcome::Unknown => Ok(Turn::Over),
        }
    }

    /// A batch was refused: alone it goes to quarantine, together its items go one by one.
    pub(super) async fn refused(
        &mut self,
        memory: Memory,
        items: Vec<Item>,
        why: Why,
    ) -> Result<Turn, StoreError> {
        if items.len() > 1 || !self.doubt {
            self.put_back(items, true);
            return Ok(self.step_in_doubt(memory));
        }
        self.set_aside(memory, items, why).await
    }

    /// Quarantines one input in a commit of its own.
    pub(super) async fn set_aside(
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
                (self.retries, self.doubt) = (0, false);
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
            CommitOutcome::Moved => {
                self.moved();
                Ok(Turn::Over)
            }
            CommitOutcome::KeyConflict | CommitOutcome::Stale | CommitOutcome::Unknown => {
                Ok(Turn::Over)
            }
        }
    }

    /// The shard is another worker's: nothing of what waits was done, and nothing will be here.
    fn moved(&mut self) {
        self.contact.memory = None;
        self.queue.clear();
        self.end.gone = true;
        self.replies.answer_rest(&ItemOutcome::Moved);
    }

    pub(super) fn merged(&mut self, into: ContactId) {
        self.contact.memory = None;
        self.queue.clear();
        self.end.gone = true;
        self.replies.answer_rest(&ItemOutcome::Merged(into));
    }

    /// Makes a commit's consequences known: the index, delivery, other contacts.
    async fn publish(&mut self, publication: commit::Publication) {
        let Contact { deps, tenant, contact, .. } = &*self.contact;
        let (mut entries, mut ended) = (Vec::new(), Vec::new());
        for change in publication.timers {
            match change {
                TimerChange::Set { run, seq, due_at, .. } => {
                    entries.push(TimerEntry {
                        tenant: *tenant,
                        contact: *contact,
                        run,
                        seq,
                        due_at,
                    });
                }
                TimerChange::Hold { run } | TimerChange::Cancel { run } => ended.push(run),
            }
        }
        if !ended.is_empty()
            && let Err(error) = deps.timers.remove(*tenant, *contact, &ended).await
        {
            tracing::debug!(%error, "timers stay indexed; their actor will see that they are stale");
        }
        index(deps, &entries).await;
        count("parcours_messages_requested_total", publication.messages as u64, &[]);
        for lane in publication.lanes {
            deps.delivery.hint(*tenant, lane);
        }
        self.end.wakes.extend(publication.wakes);
        self.end.gone |= publication.absorbed;
    }

    /// Tells a committed (or empty) fold's outcomes.
    pub(super) async fn settle(&mut self, fold: Settlement) {
        let now = self.now();
        for due_at in &fold.fired {
            let late = (now - *due_at).0.max(0);
            metrics().add("parcours_timers_fired_total", 1, &[]);
            #[expect(clippy::cast_precision_loss, reason = "a metric in seconds")]
            metrics().observe("parcours_timers_late_seconds", late as f64 / 1_000.0, &[]);
        }
        self.known.extend(fold.accepted);
        index(&self.contact.deps, &fold.reindex).await;
        // Counted before they are told, so that who was answered finds them counted.
        let told = |which: fn(&ItemOutcome) -> bool| {
            fold.answers.iter().filter(|(_, outcome)| which(outcome)).count() as u64
        };
        let applied = told(|outcome| matches!(outcome, ItemOutcome::Applied(_)));
        count("parcours_events_applied_total", applied, &[]);
        let repeats = told(|outcome| matches!(outcome, ItemOutcome::Duplicate(_)));
        count("parcours_events_duplicate_total", repeats, &[]);
        let conflicts = told(|outcome| *outcome == ItemOutcome::Conflict);
        count("parcours_inputs_set_aside_total", conflicts, &[("code", DUPLICATE_ID)]);
        for (place, outcome) in fold.answers {
            self.replies.answer(place, outcome);
        }
    }
}

fn count(name: &'static str, amount: u64, labels: &[(&'static str, &'static str)]) {
    if amount > 0 {
        metrics().add(name, amount, labels);
    }
}

/// Indexes timers; what cannot be indexed is found by the sweep.
async fn index(deps: &Deps, entries: &[TimerEntry]) {
    if entries.is_empty() {
        return;
    }
    if let Err(error) = deps.timers.add(entries).await {
        // The index itself says aloud that it cannot be used, once.
        tracing::debug!(%error, "timers are not indexed; the sweep will find them");
    }
    deps.timers_changed.notify_one();
}
