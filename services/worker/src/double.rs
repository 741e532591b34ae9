//! A store in memory and an interpreter of a few words, for this crate's tests.
//!
//! The store keeps the committer's promises (revisions, unique keys, inbox rows applied once) and
//! can be told to refuse, to lose the connection, to be slow, or to panic.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use parcours_domain::{
    AddressHash, Channel, ContactId, EmailAddress, EventId, EventKey, EventKind, Handle, InboxId,
    MessageId, Name, RunId, TenantId, Timestamp, Value, ids::uuid_v7, shard_of, value::Properties,
};
use parcours_journey::{
    ContactState, Effect, Input, RunRow, RunState, RunStatus, SendRequest, Step, TraceEntry,
    Waiting, interpret::StepContext,
};
use parcours_kit::clock::ProductClock;
use parcours_queue::{MemoryTimers, TimerEntry};
use parcours_store::{Cause, StoreError};
use parcours_wire::{AcceptedEvent, DeliveryApi, EventDay};
use tokio::sync::{Notify, Semaphore, watch};

use crate::{durable::*, fold::StepFn, worker::WorkerParts};

/// Shards of this store.
pub(crate) const SHARDS: u16 = 256;

pub(crate) const TENANT: TenantId = TenantId(uuid_of(1));

const fn uuid_of(n: u8) -> uuid::Uuid {
    uuid::Uuid::from_bytes([n; 16])
}

pub(crate) fn contact(n: u8) -> ContactId {
    ContactId(uuid_of(n))
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A track event; its messageId and its name.
pub(crate) fn event(message_id: &str, name: &str) -> AcceptedEvent {
    let mut body_hash = [0; 32];
    body_hash[..name.len().min(32)].copy_from_slice(&name.as_bytes()[..name.len().min(32)]);
    AcceptedEvent {
        message_id: message_id.to_owned(),
        key: EventKey::of(message_id),
        day: EventDay::Undated,
        body_hash,
        kind: EventKind::Track,
        name: name.to_owned(),
        properties: Properties::new(),
        traits: Properties::new(),
        email: None,
        occurred_at: None,
        received_at: at(1_000),
        body: "{}".to_owned(),
    }
}

/// A contact as stored.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub revision: i64,
    pub seq: i64,
    pub state: Option<Vec<u8>>,
    pub merged_into: Option<ContactId>,
    pub inbox: Vec<InboxRow>,
}

/// What the next commit does instead of what it should.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trick {
    /// Nothing is done, and nobody can tell.
    LostBefore,
    /// It is done, and nobody can tell.
    LostAfter,
    /// Someone else moved the contact.
    Stale,
    Moved,
    /// The committer's task is gone.
    Panic,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub contacts: HashMap<ContactId, Row>,
    pub keys: HashMap<StoredKey, KnownKey>,
    pub quarantine: Vec<NewQuarantine>,
    pub timers: BTreeMap<RunId, (TimerEntry, bool)>,
    pub commits: Vec<ContactCommit>,
    pub tricks: VecDeque<Trick>,
    pub loads: usize,
    pub refused_names: HashSet<String>,
    pub refuse_loads: bool,
}

/// The store.
pub(crate) struct Double {
    inner: Mutex<Inner>,
    /// Commits take one each; close to none to make them wait.
    pub commits_allowed: Semaphore,
    pub commit_waiting: Notify,
    /// All shards, unless a test says otherwise.
    pub held: watch::Sender<Arc<HeldShards>>,
}

impl Double {
    pub(crate) fn new() -> Arc<Self> {
        let inner = Mutex::default();
        Arc::new(Self {
            inner,
            commits_allowed: Semaphore::new(1_000_000),
            commit_waiting: Notify::new(),
            held: watch::Sender::new(Arc::new((0..SHARDS).map(|shard| (shard, 1)).collect())),
        })
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From now on these shards are held, under this epoch.
    pub(crate) fn hold(&self, shards: impl Iterator<Item = u16>, epoch: i64) {
        self.held.send_replace(Arc::new(shards.map(|shard| (shard, epoch)).collect()));
    }

    pub(crate) fn trick(&self, trick: Trick) {
        self.inner().tricks.push_back(trick);
    }

    pub(crate) fn row(&self, contact: ContactId) -> Row {
        self.inner().contacts.get(&contact).cloned().unwrap_or_else(Row::new)
    }

    pub(crate) fn state(&self, contact: ContactId) -> ContactState {
        ContactState::decode(&self.row(contact).state.expect("a state")).expect("readable")
    }

    /// What the interpreter of these tests wrote down, in order.
    pub(crate) fn log(&self, contact: ContactId) -> Vec<String> {
        match self.state(contact).attributes.get("log") {
            Some(Value::List(words)) => {
                words.iter().filter_map(Value::as_text).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Writes an inbox row, as another service would.
    pub(crate) fn post(
        &self,
        contact: ContactId,
        n: u8,
        (kind, ref_json, body): (&str, serde_json::Value, Option<Vec<u8>>),
    ) {
        let row = InboxRow {
            id: InboxId(uuid_v7(at(0), [n; 10])),
            kind: kind.to_owned(),
            ref_json: ref_json.to_string(),
            body,
            lane: 0,
            created_at: at(0),
        };
        self.inner().contacts.entry(contact).or_insert_with(Row::new).inbox.push(row);
    }

    fn known(&self, keys: &[StoredKey]) -> Vec<Option<KnownKey>> {
        let inner = self.inner();
        keys.iter()
            .map(|key| {
                let aside = inner.quarantine.iter().find(|row| row.key == Some(key.0));
                inner.keys.get(key).copied().or_else(|| {
                    aside.map(|row| KnownKey {
                        event: EventId(row.id.0),
                        body_hash: row.body_hash.unwrap_or_default(),
                        set_aside: true,
                    })
                })
            })
            .collect()
    }
}

impl Row {
    fn new() -> Self {
        Self { revision: 0, seq: 0, state: None, merged_into: None, inbox: Vec::new() }
    }
}

impl Inner {
    /// What a committer would answer, with its effects when that is `Done`.
    fn commit(&mut self, commit: &ContactCommit) -> CommitOutcome {
        let row = self.contacts.entry(commit.contact).or_insert_with(Row::new);
        if let Some(into) = row.merged_into {
            return CommitOutcome::Merged(into);
        }
        let gone = |id: &InboxId| !row.inbox.iter().any(|there| there.id == *id);
        if row.revision != commit.read_revision || commit.inbox_done.iter().any(gone) {
            return CommitOutcome::Stale;
        }
        let in_the_way = |event: &NewEvent| {
            let aside = self.quarantine.iter().any(|row| row.key == Some(event.key));
            self.keys.contains_key(&(event.key, event.day)) || (aside && !event.requeued)
        };
        if commit.events.iter().any(in_the_way) {
            return CommitOutcome::KeyConflict;
        }
        if commit.events.iter().any(|event| self.refused_names.contains(&event.name)) {
            return CommitOutcome::Refused { code: "22021".into(), detail: "event".into() };
        }
        row.revision += 1;
        row.seq = commit.seq;
        row.state = Some(commit.state.clone());
        row.inbox.retain(|there| !commit.inbox_done.contains(&there.id));
        if let Some(into) = commit.absorbed_into {
            row.merged_into = Some(into);
            let rest = std::mem::take(&mut row.inbox);
            self.contacts.entry(into).or_insert_with(Row::new).inbox.extend(rest);
        }
        self.keys.extend(commit.events.iter().map(|event| {
            let known = KnownKey { event: event.id, body_hash: event.body_hash, set_aside: false };
            ((event.key, event.day), known)
        }));
        self.quarantine.extend(commit.quarantine.iter().cloned());
        self.change_timers(commit);
        for new in &commit.inbox_new {
            let inbox = &mut self.contacts.entry(new.contact).or_insert_with(Row::new).inbox;
            inbox.push(InboxRow {
                id: InboxId(uuid_v7(commit.now, [77; 10])),
                kind: new.kind.to_owned(),
                ref_json: new.ref_json.clone(),
                body: new.body.clone(),
                lane: 0,
                created_at: commit.now,
            });
        }
        self.commits.push(commit.clone());
        CommitOutcome::Done
    }

    fn change_timers(&mut self, commit: &ContactCommit) {
        let (tenant, contact) = (commit.tenant, commit.contact);
        for change in &commit.timers {
            match *change {
                TimerChange::Set { run, seq, due_at, .. } => {
                    let entry = TimerEntry { tenant, contact, run, seq, due_at };
                    self.timers.insert(run, (entry, false));
                }
                TimerChange::Hold { run } => {
                    if let Some(timer) = self.timers.get_mut(&run) {
                        timer.1 = true;
                    }
                }
                TimerChange::Cancel { run } => {
                    self.timers.remove(&run);
                }
            }
        }
    }
}

#[async_trait]
impl Durable for Double {
    fn shards(&self) -> u16 {
        SHARDS
    }
    fn held(&self) -> watch::Receiver<Arc<HeldShards>> {
        self.held.subscribe()
    }
    fn may_act(&self) -> bool {
        true
    }
    async fn load(
        &self,
        _: TenantId,
        contact: ContactId,
        what: LoadWhat,
    ) -> Result<Loaded, StoreError> {
        let mut inner = self.inner();
        inner.loads += 1;
        if inner.refuse_loads {
            return Err(StoreError::Unavailable(Cause::Closed));
        }
        let row = inner.contacts.entry(contact).or_insert_with(Row::new).clone();
        Ok(Loaded {
            exists: true,
            revision: row.revision,
            seq: row.seq,
            handle: Handle(contact.bytes()),
            state: row.state,
            merged_into: row.merged_into,
            inbox: match what {
                LoadWhat::State => Vec::new(),
                LoadWhat::StateAndInbox => row.inbox.into_iter().take(256).collect(),
            },
        })
    }
    async fn known_keys(
        &self,
        _: TenantId,
        keys: Vec<StoredKey>,
    ) -> Result<Vec<Option<KnownKey>>, StoreError> {
        Ok(self.known(&keys))
    }
    async fn commit(&self, commit: ContactCommit) -> CommitOutcome {
        self.commit_waiting.notify_one();
        self.commits_allowed.acquire().await.expect("open").forget();
        let mut inner = self.inner();
        match inner.tricks.pop_front() {
            None => inner.commit(&commit),
            Some(Trick::LostBefore) => CommitOutcome::Unknown,
            Some(Trick::LostAfter) => {
                inner.commit(&commit);
                CommitOutcome::Unknown
            }
            Some(Trick::Stale) => CommitOutcome::Stale,
            Some(Trick::Moved) => CommitOutcome::Moved,
            Some(Trick::Panic) => panic!("planned"),
        }
    }
    async fn address(&self, _: TenantId, _: &EmailAddress) -> Result<NewAddress, StoreError> {
        Ok(NewAddress {
            channel: Channel::Email,
            hmac: AddressHash([3; 32]),
            key_version: 1,
            ciphertext: vec![4],
        })
    }
    async fn published(&self, _: TenantId) -> Result<Published, StoreError> {
        Ok(Published::default())
    }
    async fn published_marks(
        &self,
        tenants: Vec<TenantId>,
    ) -> Result<HashMap<TenantId, [u8; 16]>, StoreError> {
        Ok(tenants.into_iter().map(|tenant| (tenant, [0; 16])).collect())
    }
    async fn plan(&self, _: TenantId, _: &Name, _: u32) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
    async fn due_timers(
        &self,
        before: Timestamp,
        after: Option<TimerMark>,
        limit: usize,
    ) -> Result<Vec<TimerEntry>, StoreError> {
        let inner = self.inner();
        let due = inner.timers.values().filter(|(entry, held)| !held && entry.due_at <= before);
        let mut due: Vec<_> = due.map(|(entry, _)| *entry).collect();
        due.sort_by_key(|entry| (entry.due_at, entry.run));
        due.retain(|entry| after.is_none_or(|mark| (entry.due_at, entry.run) > mark));
        due.truncate(limit);
        Ok(due)
    }
    async fn timers_page(
        &self,
        shard: u16,
        _: Option<TimerCursor>,
        _: usize,
    ) -> Result<(Vec<TimerEntry>, Option<TimerCursor>), StoreError> {
        let inner = self.inner();
        let live = inner.timers.values().filter(|(_, held)| !held).map(|(entry, _)| *entry);
        let of_shard = live.filter(|entry| shard_of(entry.contact, SHARDS) == shard);
        Ok((of_shard.collect(), None))
    }
    async fn stuck_runs(&self, _: usize) -> Result<Vec<StuckRun>, StoreError> {
        let inner = self.inner();
        let mut stuck = Vec::new();
        for (contact, row) in &inner.contacts {
            let state = row.state.as_deref().and_then(|bytes| ContactState::decode(bytes).ok());
            for run in state.into_iter().flat_map(|state| state.runs) {
                if row.merged_into.is_none() && !inner.timers.contains_key(&run.id) {
                    stuck.push(StuckRun { tenant: TENANT, contact: *contact, run: run.id });
                }
            }
        }
        Ok(stuck)
    }
    async fn release_held(&self, _: usize) -> Result<u64, StoreError> {
        let mut released = 0;
        for (_, held) in self.inner().timers.values_mut() {
            released += u64::from(std::mem::take(held));
        }
        Ok(released)
    }
    async fn inbox_contacts(
        &self,
        marks: InboxMarks,
        (limit, _): (usize, usize),
    ) -> Result<(Vec<InboxFound>, InboxMarks), StoreError> {
        let inner = self.inner();
        let waiting = inner.contacts.iter().filter(|(_, row)| !row.inbox.is_empty());
        let found =
            |(id, _): (&ContactId, &Row)| InboxFound { tenant: TENANT, contact: *id, bulk: false };
        Ok((waiting.map(found).take(limit).collect(), marks))
    }
}

/// Delivery that remembers its hints.
#[derive(Default)]
pub(crate) struct Hints(pub Mutex<Vec<i64>>);

impl DeliveryApi for Hints {
    fn hint(&self, _: TenantId, lane: i64) {
        self.0.lock().unwrap().push(lane);
    }
}

/// Parts for a worker over this store and a standing clock.
pub(crate) fn parts(double: &Arc<Double>, clock: &Arc<ProductClock>) -> WorkerParts {
    WorkerParts {
        durable: Arc::clone(double) as Arc<dyn Durable>,
        clock: Arc::clone(clock) as Arc<dyn parcours_kit::clock::Clock>,
        delivery: Arc::new(Hints::default()),
        timers: Arc::new(MemoryTimers::with_shards(SHARDS)),
        step: interpreter(),
    }
}

/// The interpreter: writes each input down; `panic`, `huge`, `send`, and `wait` (1,000 ms) do
/// what they say.
pub(crate) fn interpreter() -> StepFn {
    Arc::new(|state: ContactState, input: &Input, ctx: &StepContext<'_>| {
        let mut step = Step { state, effects: Vec::new(), trace: Vec::new() };
        match input {
            Input::Event(event) => {
                step.state.attributes.extend(event.traits.clone());
                match event.name.as_str() {
                    "panic" => panic!("planned"),
                    "huge" => {
                        step.state
                            .attributes
                            .insert("huge".into(), "x".repeat(70_000).as_str().into());
                    }
                    "wait" => wait(&mut step, ctx),
                    "send" => send(&mut step, ctx),
                    _ => {}
                }
                write_down(&mut step, &event.name);
            }
            Input::Timer { run, .. } => {
                step.state.runs.retain(|state| state.id != *run);
                step.effects.push(Effect::CancelTimer { run: *run });
                write_down(&mut step, "timer");
            }
            Input::Absorbed(absorbed) => {
                for run in &absorbed.runs {
                    step.effects.push(Effect::SetTimer {
                        run: run.id,
                        seq: run.timer_seq,
                        due_at: run.wakes_at,
                    });
                }
                step.state.runs.extend(absorbed.runs.iter().cloned());
                write_down(&mut step, "absorbed");
            }
            Input::Outcome { outcome, .. } => write_down(&mut step, outcome.as_str()),
            Input::Click { .. } => write_down(&mut step, "click"),
            Input::ConsentChanged { .. } => write_down(&mut step, "consent"),
        }
        step
    })
}

fn write_down(step: &mut Step, word: &str) {
    let log = step.state.attributes.entry("log".to_owned()).or_insert_with(|| Value::List(vec![]));
    if let Value::List(words) = log {
        words.push(word.into());
    }
    step.trace.push(TraceEntry {
        run: None,
        journey: name("j"),
        version: 1,
        step: None,
        what: word.to_owned(),
        detail: String::new(),
    });
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The run that `wait` starts.
pub(crate) fn waiting_run() -> RunId {
    RunId(uuid_of(9))
}

fn wait(step: &mut Step, ctx: &StepContext<'_>) {
    let due_at = ctx.now + parcours_domain::Millis(1_000);
    let id = waiting_run();
    step.state.runs.push(RunState {
        id,
        journey: name("j"),
        version: 1,
        key: String::new(),
        entered_at: ctx.now,
        step: name("w"),
        status: RunStatus::Waiting(Waiting::Time),
        timer_seq: 1,
        wakes_at: due_at,
        data: Properties::new(),
        occurrences: BTreeMap::new(),
        sends: BTreeMap::new(),
        arms: BTreeMap::new(),
    });
    step.effects.push(Effect::Run(RunRow {
        id,
        journey: name("j"),
        version: 1,
        key: String::new(),
        status: "waiting",
        step: name("w"),
        entered_at: ctx.now,
        wakes_at: Some(due_at),
        ended_at: None,
        ended_by: None,
    }));
    step.effects.push(Effect::SetTimer { run: id, seq: 1, due_at });
}

fn send(step: &mut Step, ctx: &StepContext<'_>) {
    step.effects.push(Effect::Send(SendRequest {
        message: MessageId(uuid_of(8)),
        run: waiting_run(),
        journey: name("j"),
        version: 1,
        step: name("s"),
        occurrence: 1,
        send_key: [1; 16],
        template: name("t"),
        topic: name("n"),
        sender: None,
        not_before: ctx.now,
        data: Properties::new(),
    }));
}
