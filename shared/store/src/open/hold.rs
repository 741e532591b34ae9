//! What keeps other processes out while a store is open, and becoming a worker, or one who only
//! sends.
//!
//! What always holds: a worker registers only with its part in the lock; its first beat counts from
//! before its row was there; what it gives back, it gives back before it is marked as ended.

use std::sync::Arc;

use tokio::{sync::Mutex, task::JoinHandle};
use uuid::Uuid;

use super::{
    beat, host, postgres,
    worker_lock::{Holding, WorkerLock},
};
use crate::{
    db::{Backend, Db},
    error::StoreError,
    fault::FaultHook,
    pulse::Pulse,
    shard::{Keeper, KeeperParts, Ownership, rows},
    store::StoreConfig,
    wall::Role,
    watch::Watch,
};

/// What keeps other processes out, and the background work of an open store.
pub(crate) struct Hold {
    db: Db,
    /// Whose row says that it lives.
    registered: Option<Uuid>,
    tasks: Vec<JoinHandle<()>>,
    /// The session that holds the worker lock, and beats.
    session: Arc<Mutex<Option<WorkerLock>>>,
    /// Of a worker.
    keeper: Option<Arc<Keeper>>,
    /// SQLite: the locked file; closing it unlocks.
    file: Mutex<Option<std::fs::File>>,
}

impl Hold {
    pub(super) fn new(db: Db, tasks: Vec<JoinHandle<()>>, file: Option<std::fs::File>) -> Self {
        let (session, file) = (Arc::default(), Mutex::new(file));
        Self { db, registered: None, tasks, session, keeper: None, file }
    }

    /// No shard is taken any more.
    pub(crate) fn take_none(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.take_none();
        }
    }

    /// Gives all shards back; this process goes on as what else it is, and goes on beating.
    pub(crate) async fn leave(&self) {
        if let Some(keeper) = &self.keeper
            && let Err(error) = keeper.leave().await
        {
            tracing::warn!(%error, "shards were not given back; they pass on when this beat stops");
        }
    }

    /// Gives all shards back, ends the background work and marks the incarnation as ended.
    pub(crate) async fn release(&self) {
        self.leave().await;
        self.abort();
        if let Some(incarnation) = self.registered
            && let Err(error) = rows::retire(&self.db, incarnation).await
        {
            tracing::warn!(%error, "the worker row was not marked as ended");
        }
        if let Some(keeper) = &self.keeper {
            keeper.db().close().await;
        }
    }

    /// Becomes a worker: takes its part in the lock, registers, takes the shards that nobody has, as
    /// far as they are its share, begins to beat and to look after them.
    pub(super) async fn take_over(
        &mut self,
        config: &StoreConfig,
        incarnation: Uuid,
        shards: u16,
    ) -> Result<Arc<Ownership>, StoreError> {
        self.registered = Some(incarnation);
        let times = config.shard_times;
        let (db, heart, deadline) = match self.db.backend() {
            // The file's lock cannot pass to another process while this one lives, however late its
            // beats are: a slow disk is no reason to refuse commits.
            Backend::Sqlite => {
                bury_all(&self.db).await?;
                (self.db.clone(), beat::Heart::Shared(self.db.clone()), None)
            }
            Backend::Postgres => {
                *self.session.lock().await = Some(lock_role(config, &self.db).await?);
                let heart = beat::Heart::Session(Arc::clone(&self.session));
                (postgres::connect_keeper(&config.url).await?, heart, Some(times.deadline))
            }
        };
        // Made before the row is there, so that its first beat counts from before.
        let pulse = Arc::new(Pulse::new(deadline));
        let host = host::name();
        let new =
            rows::NewWorker { incarnation, host: &host, address: config.worker_address.as_deref() };
        let high_water = rows::register(&self.db, &new).await?;
        let ownership = Arc::new(Ownership::new(incarnation, shards, (pulse, high_water)));
        let watch = Watch(config.watcher.clone());
        let keeper =
            Keeper::new(KeeperParts { db, ownership: Arc::clone(&ownership), times, watch });
        keeper.round().await?;
        let faults = FaultHook(config.faults.clone());
        self.tasks.push(tokio::spawn(beat::run(
            heart,
            Arc::clone(&ownership),
            (times.beat, faults),
        )));
        if self.db.backend() == Backend::Postgres {
            self.tasks.push(tokio::spawn(Arc::clone(&keeper).run()));
        }
        self.keeper = Some(keeper);
        Ok(ownership)
    }

    /// Says that this process lives, which takes no shards and sends: whoever finds its beat standing
    /// still gives back what it had claimed. It needs no part in the workers' lock.
    pub(super) async fn sign_on(
        &mut self,
        config: &StoreConfig,
        incarnation: Uuid,
    ) -> Result<(), StoreError> {
        let host = host::name();
        rows::sign(&self.db, (incarnation, &host)).await?;
        self.registered = Some(incarnation);
        let beat = beat::sign(self.db.clone(), (incarnation, host), config.shard_times.beat);
        self.tasks.push(tokio::spawn(beat));
        Ok(())
    }

    /// Whether this store is a worker's.
    pub(crate) const fn is_worker(&self) -> bool {
        self.keeper.is_some()
    }

    /// Gives the lock back.
    pub(crate) async fn unlock(&self) {
        drop(self.file.lock().await.take());
        if let Some(session) = self.session.lock().await.take() {
            session.release().await;
        }
    }

    fn abort(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Takes the worker's part in the lock. Workers that have not ended and have no session are dead
/// if they do not beat soon; at once where this one must be alone.
async fn lock_role(config: &StoreConfig, db: &Db) -> Result<WorkerLock, StoreError> {
    let holding = if config.sole_worker { Holding::Whole } else { Holding::Shared };
    let times = config.shard_times;
    let (lock, left) = WorkerLock::take(&config.url, db, (holding, times.answer())).await?;
    match left {
        Some(_) if holding == Holding::Whole => {
            let tx = db.begin(Role::Shards).await?;
            rows::bury_workers(&tx).await?;
            tx.commit().await?;
        }
        Some(left) if !left.is_empty() => {
            // One that has only lost its session, as all do when the server is started again,
            // beats within this time.
            tokio::time::sleep(times.beat * 3 / 2).await;
            for worker in left {
                rows::declare_dead(db, (worker.incarnation, worker.beat)).await?;
            }
        }
        Some(_) | None => {}
    }
    Ok(lock)
}

async fn bury_all(db: &Db) -> Result<(), StoreError> {
    let tx = db.begin(Role::Shards).await?;
    rows::bury_all(&tx).await?;
    tx.commit().await
}
