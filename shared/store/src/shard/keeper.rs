//! Keeps this worker's shards: looks at workers and shards again and again, declares dead whose
//! beat stands still, takes what nobody has, hands over what is too much.
//!
//! What always holds: one round at a time; a worker whose own sign of life is overdue decides
//! nothing; after leaving, nothing is taken again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    Ownership, ShardTimes,
    plan::{Plan, Seen, plan},
    rows::{self, ShardRow, Survey, TAKEN_MAX},
};
use crate::{
    db::Db,
    error::{Cause, StoreError},
    pulse::boot_ms,
    watch::Watch,
};

/// What a keeper works with.
pub(crate) struct KeeperParts {
    /// Connections of its own on PostgreSQL: who is busy must not be taken for dead.
    pub(crate) db: Db,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) times: ShardTimes,
    pub(crate) watch: Watch,
}

/// The keeper of one worker's shards.
pub(crate) struct Keeper {
    parts: KeeperParts,
    round: Mutex<Round>,
    /// This worker is about to stop: it takes nothing.
    stopping: AtomicBool,
    /// It was said that some shards' time is ahead of this worker's.
    ahead: AtomicBool,
}

/// What one round remembers for the next.
#[derive(Default)]
struct Round {
    seen: Seen,
    /// When shards were handed over last.
    gave: Option<i64>,
    left: bool,
}

impl Keeper {
    pub(crate) fn new(parts: KeeperParts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            round: Mutex::default(),
            stopping: AtomicBool::new(false),
            ahead: AtomicBool::new(false),
        })
    }

    /// From now on nothing is taken; what is held stays until [`Keeper::leave`].
    pub(crate) fn take_none(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Its connections.
    pub(crate) const fn db(&self) -> &Db {
        &self.parts.db
    }

    /// Rounds without end, until aborted or declared dead.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut tick = interval(self.parts.times.look);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.parts.ownership.pulse().is_lost() {
            tick.tick().await;
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "shards cannot be looked after now; the next round tries again");
            }
        }
    }

    /// One look, and what it asks for.
    pub(crate) async fn round(&self) -> Result<(), StoreError> {
        let mut round = self.round.lock().await;
        let KeeperParts { db, ownership, times, watch } = &self.parts;
        if round.left || !ownership.pulse().is_fresh() {
            return Ok(());
        }
        // What a round before could not give back.
        self.give_back().await?;
        let mut seen = rows::survey(db).await?;
        let (me, now) = (ownership.incarnation(), boot_ms());
        if !seen.workers.iter().any(|row| row.incarnation == me) {
            tracing::error!(incarnation = %me, "declared dead by another; nothing more is committed");
            ownership.lose_all();
            return Ok(());
        }
        if self.bury(round.seen.look((&seen.workers, me), now, times)).await? {
            seen = rows::survey(db).await?;
        }
        self.agree(&seen);
        let often = round.gave.is_some_and(|gave| now - gave < i64_millis(times.beat));
        let give_max = if round.seen.calm(now, times) && !often { times.moves } else { 0 };
        let Plan { take, give } = plan(me, &seen, give_max);
        if !self.stopping.load(Ordering::SeqCst) {
            self.take(&take).await?;
        }
        if !give.is_empty() {
            round.gave = Some(now);
            tracing::info!(shards = give.len(), "handing shards over");
            ownership.seal(|shard| give.contains(&shard));
            self.give_back().await?;
        }
        watch.shards(ownership.held().borrow().len());
        Ok(())
    }

    /// Gives everything back at once and takes nothing more; the others need not wait for
    /// anything. It takes no longer than they would wait for a dead one.
    pub(crate) async fn leave(&self) -> Result<(), StoreError> {
        let late = StoreError::Unavailable(Cause::NoAnswer);
        timeout(self.parts.times.dead_after, self.leave_now()).await.unwrap_or(Err(late))
    }

    async fn leave_now(&self) -> Result<(), StoreError> {
        let mut round = self.round.lock().await;
        if std::mem::replace(&mut round.left, true) {
            return Ok(());
        }
        let KeeperParts { db, ownership, times, watch } = &self.parts;
        ownership.seal(|_| true);
        if !ownership.drained(times.drain).await {
            tracing::warn!("shards are given back with commits under way; the database decides");
        }
        rows::leave(db, (ownership.incarnation(), ownership.pulse().product_ms())).await?;
        ownership.forget(&ownership.mine(true));
        watch.shards(0);
        Ok(())
    }

    /// Declares these dead; whether any was, by this worker.
    async fn bury(&self, dead: Vec<(uuid::Uuid, i64)>) -> Result<bool, StoreError> {
        let mut buried = false;
        for (worker, beat) in dead {
            if rows::declare_dead(&self.parts.db, (worker, beat)).await? {
                tracing::warn!(%worker, beat, "its beat stands still: declared dead");
            }
            // Another may have been first: its shards are free all the same.
            buried = true;
        }
        Ok(buried)
    }

    /// Follows what the database says: a shard that another has is let go of; one that is mine
    /// without my knowing (the answer to taking it was lost) is mine.
    fn agree(&self, seen: &Survey) {
        let ownership = &self.parts.ownership;
        let me = ownership.incarnation();
        let mine = ownership.mine(false);
        let in_rows = |shard: u16, epoch: i64| {
            let row = seen.shards.get(usize::from(shard));
            row.is_some_and(|row| row.owner == Some(me) && row.epoch == epoch)
        };
        let lost: Vec<_> =
            mine.iter().copied().filter(|(shard, epoch)| !in_rows(*shard, *epoch)).collect();
        if !lost.is_empty() {
            ownership.lose(&lost, "they were taken by another");
        }
        let unknown = seen.shards.iter().filter(|row| row.owner == Some(me));
        let unknown = unknown.filter(|row| !mine.contains(&(row.id, row.epoch)));
        let unknown: Vec<ShardRow> = unknown.copied().collect();
        self.gain(&unknown, unknown.iter().map(|row| (row.id, row.epoch)).collect());
    }

    async fn take(&self, free: &[ShardRow]) -> Result<(), StoreError> {
        let free = self.not_ahead(free);
        for chunk in free.chunks(TAKEN_MAX) {
            let me = self.parts.ownership.incarnation();
            let taken = rows::take(&self.parts.db, me, chunk).await?;
            if !taken.is_empty() {
                tracing::info!(shards = taken.len(), "shards taken");
            }
            self.gain(chunk, taken);
        }
        Ok(())
    }

    fn gain(&self, seen: &[ShardRow], taken: Vec<(u16, i64)>) {
        if !taken.is_empty() {
            let high_water = seen.iter().map(|row| row.high_water).max().unwrap_or(0);
            self.parts.ownership.gain(&taken, high_water);
        }
    }

    /// Those whose former owners have not seen a later time than this worker's: the others wait
    /// until it has come, or for a worker that is there already. Before this worker has a time,
    /// all: it begins above what it is told then.
    fn not_ahead(&self, free: &[ShardRow]) -> Vec<ShardRow> {
        let now = self.parts.ownership.pulse().product_ms();
        let reached: Vec<ShardRow> =
            free.iter().filter(|row| now == 0 || row.high_water <= now).copied().collect();
        let ahead = reached.len() < free.len();
        if ahead && !self.ahead.swap(ahead, Ordering::Relaxed) {
            let by_ms = free.iter().map(|row| row.high_water - now).max().unwrap_or(0);
            tracing::error!(
                shards = free.len() - reached.len(),
                by_ms,
                "the time that these shards have seen is ahead of this machine's; they wait for it"
            );
        }
        self.ahead.store(ahead, Ordering::Relaxed);
        reached
    }

    /// Gives back what is sealed, once its commits have ended.
    async fn give_back(&self) -> Result<(), StoreError> {
        let KeeperParts { db, ownership, times, .. } = &self.parts;
        let sealed = ownership.mine(true);
        if sealed.is_empty() {
            return Ok(());
        }
        if !ownership.drained(times.drain).await {
            tracing::warn!("shards are handed over with commits under way; the database decides");
        }
        let who = (ownership.incarnation(), ownership.pulse().product_ms());
        rows::release(db, who, &sealed).await?;
        ownership.forget(&sealed);
        Ok(())
    }
}

fn i64_millis(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
