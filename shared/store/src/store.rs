//! The open store, how it is configured, and the door for one brand.
//!
//! What always holds: a [`Store`] was migrated, its durability settings were checked and its locks
//! are held; a [`TenantStore`] reaches one brand's rows only.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use parcours_domain::{Millis, TenantId, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    committer::Committer,
    db::{Backend, Db},
    error::StoreError,
    fault::{FaultHook, Faults},
    identity,
    keys::{self, KeyCache, RootKey, TenantKeys},
    loader::Loader,
    open::Hold,
    server_time::ServerTime,
    shard::{HeldShards, Ownership, ShardOwner, ShardTimes, rows},
    side::{delivery::LostClaims, sql::Sql},
    sweep::Sweep,
    wall::{Door, Role},
    watch::{Watch, Watcher},
};

/// Shards of an install unless asked otherwise.
pub const SHARDS_DEFAULT: u16 = 256;

/// Where the root key comes from.
#[derive(Clone)]
pub enum RootKeySource {
    /// A file with 64 hexadecimal digits, mode 0600; made for a new install when the flag says so.
    File(PathBuf, bool),
    /// 64 hexadecimal digits.
    Hex(String),
}

/// How to open a store.
#[derive(Clone)]
pub struct StoreConfig {
    /// `sqlite:PATH`, or `postgres://...`.
    pub url: String,
    /// Where the root key comes from.
    pub root_key: RootKeySource,
    /// Shards of a new install; an existing one keeps its own number.
    pub shards: u16,
    /// Commits under way at once; always 1 on SQLite.
    pub lanes: usize,
    /// Whether this process hosts actors: has its share of the shards.
    pub worker_role: bool,
    /// Whether this process sends. One that is no worker gives a sign of life all the same, so that
    /// what it had claimed is given back soon after it is gone.
    pub sends: bool,
    /// Whether no other worker may be on the database meanwhile; on SQLite none ever is.
    pub sole_worker: bool,
    /// Where other processes reach this worker, told with its shards.
    pub worker_address: Option<String>,
    /// The timings of ownership.
    pub shard_times: ShardTimes,
    /// A new install's product clock stands here; none: it is the machine's clock.
    pub product_clock_start: Option<Timestamp>,
    /// Planned faults, for tests.
    pub faults: Option<Arc<dyn Faults>>,
    /// Who counts what the store does.
    pub watcher: Option<Arc<dyn Watcher>>,
}

impl StoreConfig {
    /// A worker's store with the default number of shards and lanes.
    #[must_use]
    pub fn new(url: impl Into<String>, root_key: RootKeySource) -> Self {
        Self {
            url: url.into(),
            root_key,
            shards: SHARDS_DEFAULT,
            lanes: 2,
            worker_role: true,
            sends: false,
            sole_worker: false,
            worker_address: None,
            shard_times: ShardTimes::default(),
            product_clock_start: None,
            faults: None,
            watcher: None,
        }
    }
}

/// A product clock that was moved, as stored with the install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredClock {
    /// Product time at `set_at`.
    pub at: Timestamp,
    /// 1: it runs on from there; 0: it stands.
    pub speed: i64,
    /// Machine time at which it was stored.
    pub set_at: Timestamp,
}

impl StoredClock {
    /// Product time at this machine time.
    #[must_use]
    pub fn at_machine(&self, now: Timestamp) -> Timestamp {
        match self.speed {
            0 => self.at,
            _ => self.at + (now - self.set_at).max(Millis(0)),
        }
    }
}

/// What the install's row says; never changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Install {
    pub(crate) id: Uuid,
    pub(crate) shards: u16,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) install: Install,
    pub(crate) root: RootKey,
    pub(crate) keys: KeyCache,
    pub(crate) identities: Arc<identity::Memory>,
    pub(crate) rooms: identity::Rooms,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) faults: FaultHook,
    pub(crate) watch: Watch,
    pub(crate) committer: Committer,
    pub(crate) loader: Loader,
    pub(crate) hold: Hold,
    pub(crate) lost_claims: LostClaims,
    pub(crate) server_time: Arc<ServerTime>,
}

/// An open store. Clones share everything.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

impl Store {
    /// Opens, migrates, checks that commits are durable, takes the locks and, as a worker, the
    /// shards that nobody has, as far as they are its share.
    ///
    /// # Errors
    /// [`StoreError::Held`] when another process has it: a SQLite file; on PostgreSQL, with the
    /// worker role, who must be alone, or a worker for who must. [`StoreError::Unsafe`] when the database
    /// would lose acknowledged data, [`StoreError::Key`] when the root key is missing or wrong.
    pub async fn open(config: StoreConfig) -> Result<Self, StoreError> {
        crate::open::open(config).await
    }

    /// Which database.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.inner.db.backend()
    }

    /// How many shards the install has.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.inner.install.shards
    }

    /// The install's id.
    #[must_use]
    pub fn install_id(&self) -> Uuid {
        self.inner.install.id
    }

    /// This process's id, new with each start.
    #[must_use]
    pub fn incarnation(&self) -> Uuid {
        self.inner.ownership.incarnation()
    }

    /// The shards that this process owns and takes work for, as they change; one that is being
    /// handed over is gone from it before it is another's. None without the worker role.
    #[must_use]
    pub fn held(&self) -> watch::Receiver<Arc<HeldShards>> {
        self.inner.ownership.held()
    }

    /// Who has each shard, ascending; readable by every process.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn shard_owners(&self) -> Result<Vec<ShardOwner>, StoreError> {
        rows::owners(self.db()).await
    }

    /// Whether this process may act on what it owns; false while its sign of life is overdue, when
    /// it may have a successor.
    #[must_use]
    pub fn may_act(&self) -> bool {
        self.inner.ownership.may_commit().is_ok()
    }

    /// From now on no shard is taken: this worker is about to stop.
    pub fn take_no_shards(&self) {
        self.inner.hold.take_none();
    }

    /// Gives all shards back at once, in order: nothing new begins in them, what is being
    /// committed ends, then they are free for others. None is taken again; everything else goes
    /// on. [`Store::close`] does it too.
    pub async fn release_shards(&self) {
        self.inner.hold.leave().await;
    }

    /// The highest product time that the workers before this one have seen; the time of a new one
    /// must not begin before it. The beginning of 1970 without the worker role.
    #[must_use]
    pub fn high_water(&self) -> Timestamp {
        self.inner.ownership.high_water()
    }

    /// From now on this worker's sign of life keeps the product time that `now` tells.
    pub fn follow_time(&self, now: impl Fn() -> Timestamp + Send + Sync + 'static) {
        self.inner.ownership.pulse().follow(Arc::new(now));
    }

    /// Returns when another has declared this worker dead: nothing that it does is committed any
    /// more, and it must end. Without the worker role it never returns.
    pub async fn declared_dead(&self) {
        self.inner.ownership.pulse().until_lost().await;
    }

    /// The door for everything that a request does.
    #[must_use]
    pub fn for_tenant(&self, tenant: TenantId) -> TenantStore {
        TenantStore { store: self.clone(), tenant }
    }

    /// The group committer.
    #[must_use]
    pub fn committer(&self) -> Committer {
        self.inner.committer.clone()
    }

    /// The batch reader of contact states.
    #[must_use]
    pub fn loader(&self) -> Loader {
        self.inner.loader.clone()
    }

    /// Finds due timers and waiting inbox rows.
    #[must_use]
    pub fn sweep(&self) -> Sweep {
        Sweep::new(self.clone())
    }

    /// A brand's keys; cached.
    ///
    /// # Errors
    /// [`StoreError::Key`] when the brand has none or they do not open.
    pub async fn keys(&self, tenant: TenantId) -> Result<Arc<TenantKeys>, StoreError> {
        self.inner.keys.get(&self.db().read(tenant), &self.inner.root, tenant).await
    }

    /// Makes a brand's keys, in the transaction that makes the brand.
    pub(crate) async fn create_keys(
        &self,
        on: &impl sea_orm::ConnectionTrait,
        tenant: TenantId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        keys::create(on, &self.inner.root, tenant, now).await
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    /// The last migration that was applied, such as `v2`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn schema(&self) -> Result<String, StoreError> {
        let on = self.db().begin(Door::Owner).await?;
        let applied = crate::migration::applied(&on).await?;
        applied.into_iter().next_back().ok_or(StoreError::Damaged("seaql_migrations"))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Sql::new("SELECT 1 AS one", Vec::new())
            .one(&self.db().read(Role::Control))
            .await
            .map(|_| ())
    }

    /// A moment of this process by the database's clock, in microseconds since the epoch: processes
    /// on several machines mean the same by it, whatever their own clocks say. It is asked every
    /// five seconds; on SQLite it is the machine's clock as it was when the store was opened.
    #[must_use]
    pub fn server_micros(&self, at: Instant) -> i64 {
        self.inner.server_time.micros(at)
    }

    /// Now, by the database's clock; see [`Store::server_micros`].
    #[must_use]
    pub fn server_now(&self) -> Timestamp {
        Timestamp::from_millis(self.server_micros(Instant::now()) / 1_000)
    }

    /// The stored product clock; none while product time is the machine's time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn product_clock(&self) -> Result<Option<StoredClock>, StoreError> {
        product_clock(&self.db().read(Role::Control)).await
    }

    /// Stores where the product clock is now, and whether it runs on from there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn set_product_clock(&self, at: Timestamp, running: bool) -> Result<(), StoreError> {
        let tx = self.db().begin(Role::Control).await?;
        Sql::default()
            .text("UPDATE install SET product_now = ")
            .arg(at.as_millis())
            .text(", product_speed = ")
            .arg(i64::from(running))
            .text(", clock_set_at = ")
            .arg(machine_now().as_millis())
            .text(" WHERE id = 1")
            .run(&tx)
            .await?;
        tx.commit().await
    }

    /// Finishes the batches under way, then closes every connection and gives the locks back.
    pub async fn close(self) {
        self.inner.committer.stop().await;
        self.inner.hold.release().await;
        self.db().close().await;
        self.inner.hold.unlock().await;
    }
}

/// One brand's door.
#[derive(Clone)]
pub struct TenantStore {
    pub(crate) store: Store,
    pub(crate) tenant: TenantId,
}

impl TenantStore {
    /// Which brand.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }
}

/// The product clock as the install stores it.
pub(crate) async fn product_clock(
    on: &impl sea_orm::ConnectionTrait,
) -> Result<Option<StoredClock>, StoreError> {
    let text = "SELECT product_now, product_speed, clock_set_at FROM install WHERE id = 1";
    let Some(row) = Sql::new(text, Vec::new()).one(on).await? else {
        return Err(StoreError::Damaged("install"));
    };
    let (at, set_at) = (row.time_opt("product_now")?, row.time_opt("clock_set_at")?);
    let speed = row.get("product_speed")?;
    Ok(at.zip(set_at).map(|(at, set_at)| StoredClock { at, speed, set_at }))
}

/// Machine time in milliseconds since the epoch.
pub(crate) fn machine_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
