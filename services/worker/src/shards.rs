//! Follows which shards are held: lets go of contacts and timers of those that go, and takes up
//! timers and inbox rows of those that come.
//!
//! What always holds: changes are followed one after the other; a timer that stays in the index by
//! mistake does not fire here (see `Loops::fire`), and one that is missing in it is found by the
//! sweep.

use std::{collections::BTreeSet, sync::Arc};

use parcours_store::StoreError;

use crate::{config::SWEEP_ROWS_MAX, durable::HeldShards, loops::Loops};

/// What became different between two moments.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    /// Held before; if they are held now, then under another epoch.
    gone: BTreeSet<u16>,
    /// Held now; if they were held before, then under another epoch.
    come: BTreeSet<u16>,
}

impl Change {
    fn between(before: &HeldShards, now: &HeldShards) -> Self {
        let not_in = |those: &HeldShards, these: &HeldShards| {
            let missing = these.iter().filter(|(shard, epoch)| those.epoch(*shard) != Some(*epoch));
            missing.map(|(shard, _)| shard).collect()
        };
        Self { gone: not_in(now, before), come: not_in(before, now) }
    }
}

impl Loops {
    /// Takes up the shards that are held now; which, and how many timers.
    pub(crate) async fn take_up(&self) -> Result<(Arc<HeldShards>, usize), StoreError> {
        let held = Arc::clone(&self.deps.held.borrow());
        let mut timers = 0;
        for (shard, _) in held.iter() {
            timers += self.rebuild_timers(shard).await?;
        }
        Ok((held, timers))
    }

    /// Follows the shards on from these; ends when told.
    pub(crate) async fn run_shards(self: Arc<Self>, mut known: Arc<HeldShards>) {
        let (mut held, mut stop) = (self.deps.held.clone(), self.stop.clone());
        loop {
            let now = Arc::clone(&held.borrow_and_update());
            let change = Change::between(&known, &now);
            if change != Change::default() {
                let busy = self.registry.gauge.hold();
                self.follow(change).await;
                drop(busy);
            }
            known = now;
            tokio::select! {
                changed = held.changed() => if changed.is_err() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn follow(&self, Change { gone, come }: Change) {
        if !gone.is_empty() {
            self.registry.let_go(|shard| gone.contains(&shard));
            tracing::info!(shards = gone.len(), "shards let go of");
        }
        for shard in gone.difference(&come) {
            self.forget_timers(*shard).await;
        }
        if come.is_empty() {
            return;
        }
        let mut timers = 0;
        for shard in &come {
            match self.rebuild_timers(*shard).await {
                Ok(found) => timers += found,
                Err(error) => {
                    tracing::warn!(shard, %error, "its timers are not indexed; the sweep finds what is due");
                }
            }
        }
        tracing::info!(shards = come.len(), timers, "shards taken up");
        self.deps.timers_changed.notify_one();
        self.sweep_timers.notify_one();
        self.sweep_inbox.notify_one();
    }

    /// Fills the index with a shard's timers from SQL, page by page; how many.
    async fn rebuild_timers(&self, shard: u16) -> Result<usize, StoreError> {
        let (mut after, mut count) = (None, 0);
        loop {
            let (page, next) = self.deps.durable.timers_page(shard, after, SWEEP_ROWS_MAX).await?;
            count += page.len();
            self.index(&page).await;
            if next.is_none() {
                return Ok(count);
            }
            after = next;
        }
    }

    /// Takes a shard's timers out of the index, as far as SQL still has them.
    async fn forget_timers(&self, shard: u16) {
        let mut after = None;
        loop {
            let page = self.deps.durable.timers_page(shard, after, SWEEP_ROWS_MAX).await;
            let Ok((page, next)) = page else { return };
            for entry in page {
                if self.deps.timers.remove(entry.run).await.is_err() {
                    return;
                }
            }
            if next.is_none() {
                return;
            }
            after = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_was_away_meanwhile_goes_and_comes() {
        let before: HeldShards = [(1, 1), (2, 1), (3, 1)].into_iter().collect();
        let now: HeldShards = [(2, 1), (3, 4), (5, 2)].into_iter().collect();
        let change = Change::between(&before, &now);
        assert_eq!((change.gone, change.come), (BTreeSet::from([1, 3]), BTreeSet::from([3, 5])));
        assert_eq!(Change::between(&now, &now), Change::default());
    }
}
