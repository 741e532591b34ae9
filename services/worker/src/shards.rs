//! Follows which shards are held: lets go of contacts and timers of those that go, and takes up
//! timers and inbox rows of those that come. Builds the index of a shard again that lost it.
//!
//! What always holds: changes are followed one after the other; a timer that stays in the index by
//! mistake does not fire here, because the registry takes no work for its contact, and one that is
//! missing in it is found by the sweep.

use std::{collections::BTreeSet, sync::Arc};

use parcours_queue::QueueError;
use parcours_store::StoreError;
use tokio::time::{MissedTickBehavior, interval};

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
        for (shard, epoch) in held.iter() {
            match self.build_timers(shard, epoch).await {
                Ok(built) => timers += built,
                Err(Unbuilt::Store(error)) => return Err(error),
                Err(Unbuilt::Index(_)) => break,
            }
        }
        Ok((held, timers))
    }

    /// Follows the shards on from these; ends when told.
    pub(crate) async fn run_shards(self: Arc<Self>, mut known: Arc<HeldShards>) {
        let (mut held, mut stop) = (self.deps.held.clone(), self.stop.clone());
        let mut tick = interval(self.config.sweep_period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = Arc::clone(&held.borrow_and_update());
            let change = Change::between(&known, &now);
            if change != Change::default() {
                let busy = self.registry.gauge.hold();
                self.follow(change, &now).await;
                drop(busy);
            }
            known = now;
            let look = tokio::select! {
                changed = held.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => return,
                },
                _ = tick.tick() => true,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            if look {
                self.mend_index(&known).await;
            }
        }
    }

    async fn follow(&self, Change { gone, come }: Change, now: &HeldShards) {
        if !gone.is_empty() {
            self.registry.let_go(|shard| gone.contains(&shard));
            tracing::info!(shards = gone.len(), "shards let go of");
        }
        for shard in gone.difference(&come) {
            self.deps.timers.drop_shard(*shard).await;
        }
        if come.is_empty() {
            return;
        }
        let mut timers = 0;
        for (shard, epoch) in now.iter().filter(|(shard, _)| come.contains(shard)) {
            match self.build_timers(shard, epoch).await {
                Ok(built) => timers += built,
                Err(error) => {
                    tracing::warn!(shard, %error, "its timers are not indexed; the sweep finds what is due");
                    break;
                }
            }
        }
        tracing::info!(shards = come.len(), timers, "shards taken up");
        self.deps.timers_changed.notify_one();
        self.sweep_timers.notify_one();
        self.sweep_inbox.notify_one();
    }

    /// Builds again what the index lost: it was emptied, replaced, or missed something.
    async fn mend_index(&self, held: &HeldShards) {
        let shards: Vec<(u16, i64)> = held.iter().collect();
        let Ok(unbuilt) = self.deps.timers.unbuilt(&shards).await else { return };
        let (mut mended, mut timers) = (0, 0);
        for (shard, epoch) in unbuilt {
            // A shard that comes or goes is more urgent; so is an end.
            if *self.stop.borrow() || self.deps.held.borrow().epoch(shard) != Some(epoch) {
                break;
            }
            match self.build_timers(shard, epoch).await {
                Ok(built) => (mended, timers) = (mended + 1, timers + built),
                Err(Unbuilt::Index(QueueError::NotInHand)) => {
                    tracing::debug!(shard, "its index is a later owner's, or was lost again");
                }
                Err(error) => {
                    tracing::debug!(shard, %error, "its timers are not indexed; tried again soon");
                    break;
                }
            }
        }
        if mended > 0 {
            tracing::warn!(shards = mended, timers, "the timer index was lost and built again");
            self.deps.timers_changed.notify_one();
        }
    }

    /// Builds a shard's index from SQL, page by page; how many timers.
    async fn build_timers(&self, shard: u16, epoch: i64) -> Result<usize, Unbuilt> {
        let timers = &self.deps.timers;
        if !timers.begin(shard, epoch).await? {
            return Err(QueueError::NotInHand.into());
        }
        let (mut after, mut count) = (None, 0);
        loop {
            let (page, next) = self.deps.durable.timers_page(shard, after, SWEEP_ROWS_MAX).await?;
            count += page.len();
            timers.add(&page).await?;
            if next.is_none() {
                break;
            }
            after = next;
        }
        if timers.finish(shard, epoch).await? {
            Ok(count)
        } else {
            Err(QueueError::NotInHand.into())
        }
    }
}

/// Why an index is not built.
#[derive(Debug, thiserror::Error)]
enum Unbuilt {
    /// The timers cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index cannot be used, or is another's.
    #[error(transparent)]
    Index(#[from] QueueError),
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
