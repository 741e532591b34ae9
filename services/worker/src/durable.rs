//! What the worker asks of the durable store, as a trait: the store in production, a double in
//! tests. Types are the store's own; nothing is translated twice.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use parcours_domain::{
    Channel, ContactId, EmailAddress, EventKey, Name, RunId, TenantId, Timestamp, hash::sha256_head,
};
use parcours_queue::TimerEntry;
pub use parcours_store::{
    CommitOutcome, ContactCommit, HeldShards, InboxFound, InboxMarks, InboxRow, KnownKey, LoadWhat,
    Loaded, NewAddress, NewEvent, NewInbox, NewMessage, NewQuarantine, TimerChange, TimerCursor,
};
use parcours_store::{
    Committer, DocumentHead, DocumentRow, DocumentStatus, LoadKey, Loader, Store, StoreError,
    Sweep, TenantKeys, TimerRow,
};
use tokio::{runtime::Handle, sync::watch};

/// A key of an event as the store knows it: the hash and the stored day.
pub type StoredKey = (EventKey, i64);

/// Where a pass over the due timers stands: due time and run of the last one seen.
pub type TimerMark = (Timestamp, RunId);

/// The documents of a brand, as published.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The head version of every document.
    pub heads: Vec<PublishedHead>,
    /// Changes whenever a head or a status does.
    pub mark: [u8; 16],
}

/// One document's head version.
#[derive(Clone, Debug)]
pub struct PublishedHead {
    /// Its kind's word.
    pub kind: String,
    /// Its name.
    pub name: Name,
    /// The head version.
    pub version: u32,
    /// `live`, `paused` or `archived`.
    pub status: String,
    /// The document as canonical JSON.
    pub body: String,
    /// The compiled plan of a journey.
    pub compiled: Option<Vec<u8>>,
}

/// A live run without a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StuckRun {
    /// The brand.
    pub tenant: TenantId,
    /// The contact.
    pub contact: ContactId,
    /// The run.
    pub run: RunId,
}

/// The durable store as the worker uses it.
#[async_trait]
pub trait Durable: Send + Sync {
    /// How many shards the install has.
    fn shards(&self) -> u16;

    /// The shards that this process takes work for, as they change.
    fn held(&self) -> watch::Receiver<Arc<HeldShards>>;

    /// Whether this process may act on them; false while it may have a successor.
    fn may_act(&self) -> bool;

    /// Reads a contact, and its inbox if asked.
    async fn load(
        &self,
        tenant: TenantId,
        contact: ContactId,
        what: LoadWhat,
    ) -> Result<Loaded, StoreError>;

    /// Which of these keys are known.
    async fn known_keys(
        &self,
        tenant: TenantId,
        keys: Vec<StoredKey>,
    ) -> Result<Vec<Option<KnownKey>>, StoreError>;

    /// Commits one contact's step-chain; answers when it is on disk, or why not.
    async fn commit(&self, commit: ContactCommit) -> CommitOutcome;

    /// The keyed hash and the sealed form of an address.
    async fn address(
        &self,
        tenant: TenantId,
        email: &EmailAddress,
    ) -> Result<NewAddress, StoreError>;

    /// The brand's documents.
    async fn published(&self, tenant: TenantId) -> Result<Published, StoreError>;

    /// What [`Published::mark`] would be now, for each of these brands; asked in one.
    async fn published_marks(
        &self,
        tenants: Vec<TenantId>,
    ) -> Result<HashMap<TenantId, [u8; 16]>, StoreError>;

    /// One older version of a journey's compiled plan.
    async fn plan(
        &self,
        tenant: TenantId,
        journey: &Name,
        version: u32,
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// Timer rows of the held shards that are due, oldest first, after the mark.
    async fn due_timers(
        &self,
        before: Timestamp,
        after: Option<TimerMark>,
        limit: usize,
    ) -> Result<Vec<TimerEntry>, StoreError>;

    /// A page of a shard's live timer rows, and where the next page begins, if there is one.
    async fn timers_page(
        &self,
        shard: u16,
        after: Option<TimerCursor>,
        limit: usize,
    ) -> Result<(Vec<TimerEntry>, Option<TimerCursor>), StoreError>;

    /// Live runs that nothing will wake, in whatever shard.
    async fn stuck_runs(&self, limit: usize) -> Result<Vec<StuckRun>, StoreError>;

    /// Puts held timers of journeys that are not paused back, in the held shards; how many.
    async fn release_held(&self, limit: usize) -> Result<u64, StoreError>;

    /// Contacts of the held shards with inbox rows, live lane first, on from the marks; so many rows of either lane
    /// (live, bulk). And the marks for the next pass.
    async fn inbox_contacts(
        &self,
        marks: InboxMarks,
        limits: (usize, usize),
    ) -> Result<(Vec<InboxFound>, InboxMarks), StoreError>;
}

/// The store itself.
///
/// Actors run on runtimes of their own; what talks to the database directly (keys, documents,
/// sweeps) runs on the runtime that made this, where the connections live.
pub(crate) struct StoreDurable {
    store: Store,
    committer: Committer,
    loader: Loader,
    sweep: Sweep,
    runtime: Handle,
}

impl StoreDurable {
    /// Over an open store; inside the runtime that opened it.
    pub(crate) fn new(store: Store) -> Self {
        Self {
            committer: store.committer(),
            loader: store.loader(),
            sweep: store.sweep(),
            store,
            runtime: Handle::current(),
        }
    }

    async fn at_home<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        // The runtime is going down, or the work panicked: nothing is known to be done.
        self.runtime
            .spawn(work)
            .await
            .unwrap_or(Err(StoreError::Unavailable(parcours_store::Cause::Closed)))
    }
}

#[async_trait]
impl Durable for StoreDurable {
    fn shards(&self) -> u16 {
        self.store.shards()
    }

    fn held(&self) -> watch::Receiver<Arc<HeldShards>> {
        self.store.held()
    }

    fn may_act(&self) -> bool {
        self.store.may_act()
    }

    async fn load(
        &self,
        tenant: TenantId,
        contact: ContactId,
        what: LoadWhat,
    ) -> Result<Loaded, StoreError> {
        let found = self.loader.load(vec![LoadKey { tenant, contact }], what).await?.pop();
        found.filter(|loaded| loaded.exists).ok_or(StoreError::NotFound)
    }

    async fn known_keys(
        &self,
        tenant: TenantId,
        keys: Vec<StoredKey>,
    ) -> Result<Vec<Option<KnownKey>>, StoreError> {
        let keys = keys.into_iter().map(|(key, day)| (tenant, key, day)).collect();
        self.loader.known_keys(keys).await
    }

    async fn commit(&self, commit: ContactCommit) -> CommitOutcome {
        self.committer.commit(commit).await
    }

    async fn address(
        &self,
        tenant: TenantId,
        email: &EmailAddress,
    ) -> Result<NewAddress, StoreError> {
        let store = self.store.clone();
        let keys = self.at_home(async move { store.keys(tenant).await }).await?;
        let (hmac, ciphertext) = keys.seal_address(email)?;
        let key_version = TenantKeys::VERSION;
        Ok(NewAddress { channel: Channel::Email, hmac, key_version, ciphertext })
    }

    async fn published(&self, tenant: TenantId) -> Result<Published, StoreError> {
        let door = self.store.for_tenant(tenant);
        let rows = self.at_home(async move { door.documents().await }).await?;
        let heads = rows.iter();
        let mark = mark_of(heads.map(|row| (&*row.kind, &row.name, row.version, row.status)));
        Ok(Published { heads: rows.into_iter().map(PublishedHead::from).collect(), mark })
    }

    async fn published_marks(
        &self,
        tenants: Vec<TenantId>,
    ) -> Result<HashMap<TenantId, [u8; 16]>, StoreError> {
        let (admin, asked) = (self.store.admin(), tenants.clone());
        let heads = self.at_home(async move { admin.document_heads(&asked).await }).await?;
        let mut of_brand: HashMap<TenantId, Vec<&DocumentHead>> = HashMap::new();
        for head in &heads {
            of_brand.entry(head.tenant).or_default().push(head);
        }
        let mark = |tenant| {
            let heads = of_brand.get(&tenant).map_or(&[][..], Vec::as_slice).iter();
            mark_of(heads.map(|head| (&*head.kind, &head.name, head.version, head.status)))
        };
        Ok(tenants.into_iter().map(|tenant| (tenant, mark(tenant))).collect())
    }

    async fn plan(
        &self,
        tenant: TenantId,
        journey: &Name,
        version: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let (door, journey) = (self.store.for_tenant(tenant), journey.clone());
        let row = self
            .at_home(async move { door.document("Journey", &journey, Some(version)).await })
            .await?;
        Ok(row.and_then(|row| row.compiled))
    }

    async fn due_timers(
        &self,
        before: Timestamp,
        after: Option<TimerMark>,
        limit: usize,
    ) -> Result<Vec<TimerEntry>, StoreError> {
        let (sweep, limit) = (self.sweep.clone(), limit as u64);
        let rows =
            self.at_home(async move { sweep.due_timers(before, after, limit).await }).await?;
        Ok(rows.iter().map(entry_of).collect())
    }

    async fn timers_page(
        &self,
        shard: u16,
        after: Option<TimerCursor>,
        limit: usize,
    ) -> Result<(Vec<TimerEntry>, Option<TimerCursor>), StoreError> {
        let (sweep, limit) = (self.sweep.clone(), limit as u64);
        let (rows, next) =
            self.at_home(async move { sweep.shard_timers_page(shard, after, limit).await }).await?;
        Ok((rows.iter().map(entry_of).collect(), next))
    }

    async fn stuck_runs(&self, limit: usize) -> Result<Vec<StuckRun>, StoreError> {
        let (sweep, limit) = (self.sweep.clone(), limit as u64);
        let rows = self.at_home(async move { sweep.stuck_runs(limit).await }).await?;
        let stuck = |row: &parcours_store::StuckRun| StuckRun {
            tenant: row.tenant,
            contact: row.contact,
            run: row.run,
        };
        Ok(rows.iter().map(stuck).collect())
    }

    async fn release_held(&self, limit: usize) -> Result<u64, StoreError> {
        let (sweep, limit) = (self.sweep.clone(), limit as u64);
        self.at_home(async move { sweep.release_held(limit).await }).await
    }

    async fn inbox_contacts(
        &self,
        marks: InboxMarks,
        (live, bulk): (usize, usize),
    ) -> Result<(Vec<InboxFound>, InboxMarks), StoreError> {
        let (sweep, limits) = (self.sweep.clone(), (live as u64, bulk as u64));
        self.at_home(async move { sweep.inbox_contacts(marks, limits).await }).await
    }
}

impl From<DocumentRow> for PublishedHead {
    fn from(row: DocumentRow) -> Self {
        Self {
            kind: row.kind,
            name: row.name,
            version: row.version,
            status: row.status.as_str().to_owned(),
            body: row.body,
            compiled: row.compiled,
        }
    }
}

fn entry_of(row: &TimerRow) -> TimerEntry {
    let TimerRow { tenant, contact, run, seq, due_at, .. } = *row;
    TimerEntry { tenant, contact, run, seq, due_at }
}

/// The same for the same heads, in whatever order they come.
fn mark_of<'a>(heads: impl Iterator<Item = (&'a str, &'a Name, u32, DocumentStatus)>) -> [u8; 16] {
    let line = |(kind, name, version, status): (&str, &Name, u32, DocumentStatus)| {
        format!("{kind}/{name}/{version}/{}", status.as_str())
    };
    let mut lines: Vec<String> = heads.map(line).collect();
    lines.sort_unstable();
    sha256_head(&lines.iter().map(String::as_bytes).collect::<Vec<_>>())
}
