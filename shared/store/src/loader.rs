//! The loader, the committer's twin: activations that wait together are read together.
//!
//! Callers hand in contacts, or event keys that turned out to be in the way; one task reads states,
//! known keys and, for who asks, waiting inbox rows for all who waited, in one statement each.
//!
//! What always holds: brands take turns; answers come in the order of the questions; what was committed before the
//! call is seen; a state that moves afterwards is noticed by the commit.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parcours_domain::{ContactId, EventId, EventKey, Handle, InboxId, TenantId, Timestamp};
use sea_orm::Value;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, Instant, timeout_at},
};
use uuid::Uuid;

use crate::{
    db::{Backend, Db, Look, with_rows},
    error::StoreError,
    side::sql::{Row, vals},
    turns::Turns,
    wall::Door,
    watch::Watch,
};

/// How long the first question waits for company.
const WAIT: Duration = Duration::from_millis(2);
/// Contacts and keys read together.
const QUESTIONS_MAX: usize = 512;
/// Questions that wait; beyond it callers wait for room.
const QUEUE: usize = 1_024;
/// Which contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadKey {
    /// The brand.
    pub tenant: TenantId,
    /// The contact.
    pub contact: ContactId,
}

/// What is read of a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadWhat {
    /// Its state; its inbox is left alone and comes back empty.
    State,
    /// Its state and its waiting inbox rows.
    StateAndInbox,
}

/// Where a contact stands.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Whether there is such a contact at all; if not, the rest says nothing.
    pub exists: bool,
    /// Revision of the state; 0 when there is none yet.
    pub revision: i64,
    /// Number of the last accepted event.
    pub seq: i64,
    /// The contact's random handle.
    pub handle: Handle,
    /// The encoded state.
    pub state: Option<Vec<u8>>,
    /// The contact that this one has become.
    pub merged_into: Option<ContactId>,
    /// Waiting inbox rows if asked for, live ones first, oldest first, at most 256.
    pub inbox: Vec<InboxRow>,
}

/// A waiting inbox row.
#[derive(Clone, Debug)]
pub struct InboxRow {
    /// Its id.
    pub id: InboxId,
    /// Its kind.
    pub kind: String,
    /// Ids and stable words, as JSON.
    pub ref_json: String,
    /// What does not fit there.
    pub body: Option<Vec<u8>>,
    /// 0 live, 1 bulk.
    pub lane: i64,
    /// Product time of its cause.
    pub created_at: Timestamp,
}

/// An event key that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// The event; of a set-aside one the quarantine row's id.
    pub event: EventId,
    /// Hash of its body.
    pub body_hash: [u8; 32],
    /// Whether it was set aside instead of applied.
    pub set_aside: bool,
}

/// A question for keys: brand, key, the key's day as stored.
pub type KeyQuestion = (TenantId, EventKey, i64);

type Contacts = HashMap<LoadKey, Loaded>;
type Keys = HashMap<KeyQuestion, KnownKey>;

/// What was found for everyone who waited.
struct Found {
    contacts: Contacts,
    keys: Keys,
}

struct Question {
    contacts: Vec<LoadKey>,
    what: LoadWhat,
    keys: Vec<KeyQuestion>,
    answer: oneshot::Sender<Result<Arc<Found>, StoreError>>,
}

impl Question {
    /// Whose it is; all that is asked at once is one brand's.
    fn tenant(&self) -> TenantId {
        let contact = self.contacts.first().map(|key| key.tenant);
        contact
            .or_else(|| self.keys.first().map(|(tenant, ..)| *tenant))
            .unwrap_or(TenantId(Uuid::nil()))
    }

    const fn size(&self) -> usize {
        self.contacts.len() + self.keys.len()
    }
}

/// Handle of the loader; clones share its task.
#[derive(Clone)]
pub struct Loader {
    questions: mpsc::Sender<Question>,
}

impl Loader {
    pub(crate) fn start(db: Db, watch: Watch) -> Self {
        let (questions, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(run(db, watch, receiver));
        Self { questions }
    }

    /// Reads contacts.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn load(
        &self,
        contacts: Vec<LoadKey>,
        what: LoadWhat,
    ) -> Result<Vec<Loaded>, StoreError> {
        let found = self.ask((contacts.clone(), what), Vec::new()).await?;
        let loaded = |key| found.contacts.get(key).cloned().unwrap_or_else(unknown);
        Ok(contacts.iter().map(loaded).collect())
    }

    /// Which of these event keys were used before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn known_keys(
        &self,
        keys: Vec<KeyQuestion>,
    ) -> Result<Vec<Option<KnownKey>>, StoreError> {
        let found = self.ask((Vec::new(), LoadWhat::State), keys.clone()).await?;
        Ok(keys.iter().map(|key| found.keys.get(key).copied()).collect())
    }

    async fn ask(
        &self,
        (contacts, what): (Vec<LoadKey>, LoadWhat),
        keys: Vec<KeyQuestion>,
    ) -> Result<Arc<Found>, StoreError> {
        let (answer, found) = oneshot::channel();
        let question = Question { contacts, what, keys, answer };
        self.questions.send(question).await.map_err(|_| StoreError::closed())?;
        found.await.map_err(|_| StoreError::closed())?
    }
}

const fn unknown() -> Loaded {
    Loaded {
        exists: false,
        revision: 0,
        seq: 0,
        handle: Handle([0; 16]),
        state: None,
        merged_into: None,
        inbox: Vec::new(),
    }
}

async fn run(db: Db, watch: Watch, mut receiver: mpsc::Receiver<Question>) {
    let mut waiting = Turns::default();
    loop {
        if waiting.len() == 0 {
            let Some(first) = receiver.recv().await else { return };
            waiting.push(first.tenant(), first);
            gather(&mut receiver, &mut waiting).await;
        }
        while waiting.len() < QUEUE
            && let Ok(next) = receiver.try_recv()
        {
            waiting.push(next.tenant(), next);
        }
        let (mut questions, mut size) = (Vec::new(), 0);
        while size < QUESTIONS_MAX
            && let Some((_, next)) = waiting.next()
        {
            size += next.size();
            questions.push(next);
        }
        let begun = Instant::now();
        let found = read(&db, &questions).await.map(Arc::new);
        let contacts = questions.iter().map(|question| question.contacts.len()).sum();
        watch.loaded(contacts, size - contacts, begun.elapsed());
        for question in questions {
            // Who asked may have gone.
            let _gone = question.answer.send(found.clone());
        }
    }
}

/// Waits a moment for company, unless there is enough.
async fn gather(receiver: &mut mpsc::Receiver<Question>, waiting: &mut Turns<Question>) {
    let deadline = Instant::now() + WAIT;
    let mut size: usize = waiting.firsts().map(Question::size).sum();
    while size < QUESTIONS_MAX {
        let Ok(Some(next)) = timeout_at(deadline, receiver.recv()).await else { return };
        size += next.size();
        waiting.push(next.tenant(), next);
    }
}

async fn read(db: &Db, questions: &[Question]) -> Result<Found, StoreError> {
    let contacts = |wanted: fn(LoadWhat) -> bool| {
        let asked = questions.iter().filter(|question| wanted(question.what));
        let once: HashSet<LoadKey> = asked.flat_map(|q| q.contacts.iter().copied()).collect();
        once.into_iter().map(|key| vals![key.tenant.0, key.contact.0]).collect::<Vec<_>>()
    };
    let keys = questions.iter().flat_map(|question| question.keys.iter().copied());
    let asked: HashSet<KeyQuestion> = keys.collect();
    let tenants = questions.iter().flat_map(|question| question.contacts.iter());
    let tenants = tenants.map(|key| key.tenant).chain(asked.iter().map(|(tenant, ..)| *tenant));
    let on = db.look(Door::of(tenants)).await?;
    let mut found = states(&on, contacts(|_| true)).await?;
    let with_inbox = contacts(|what| what == LoadWhat::StateAndInbox);
    let inbox = if db.backend() == Backend::Postgres { INBOX } else { INBOX_PLAIN };
    for row in with_rows(&on, inbox, with_inbox).await? {
        let key = LoadKey { tenant: row.id("tenant_id")?, contact: row.id("contact_id")? };
        if let Some(loaded) = found.get_mut(&key) {
            loaded.inbox.push(inbox_row(&row)?);
        }
    }
    let keys = known(&on, asked).await?;
    on.end().await?;
    Ok(Found { contacts: found, keys })
}

async fn states(on: &Look, contacts: Vec<Vec<Value>>) -> Result<Contacts, StoreError> {
    let sql = (
        "WITH v (v_tenant, v_contact) AS (VALUES ",
        ") SELECT c.tenant_id, c.id, c.handle, c.merged_into, s.revision, s.seq, s.state FROM v \
         JOIN contact c ON c.tenant_id = v_tenant AND c.id = v_contact \
         LEFT JOIN contact_state s ON s.tenant_id = v_tenant AND s.contact_id = v_contact",
    );
    let mut found = HashMap::with_capacity(contacts.len());
    for row in with_rows(on, sql, contacts).await? {
        let key = LoadKey { tenant: row.id("tenant_id")?, contact: row.id("id")? };
        let loaded = Loaded {
            exists: true,
            revision: row.get::<Option<i64>>("revision")?.unwrap_or(0),
            seq: row.get::<Option<i64>>("seq")?.unwrap_or(0),
            handle: Handle(row.bytes("handle")?),
            state: row.get("state")?,
            merged_into: row.id_opt("merged_into")?,
            inbox: Vec::new(),
        };
        found.insert(key, loaded);
    }
    Ok(found)
}

/// At most 256 rows of each contact, in order. The list leads, and each contact is looked up by
/// itself: this is planned while the inbox is empty and must serve when a million rows come at once.
/// A contact's rows are a range of the only index that goes on with contact and id.
const INBOX: (&str, &str) = (
    "SELECT i.* FROM (VALUES ",
    ") AS v (v_tenant, v_contact) CROSS JOIN LATERAL \
     (SELECT tenant_id, contact_id, id, kind, ref, body, lane, created_at FROM inbox \
     WHERE tenant_id = v_tenant \
     AND (contact_id, id) >= (v_contact, '00000000-0000-0000-0000-000000000000'::uuid) \
     AND (contact_id, id) <= (v_contact, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) \
     ORDER BY lane, id LIMIT 256) AS i",
);

/// The same for SQLite, which knows no LATERAL.
const INBOX_PLAIN: (&str, &str) = (
    "SELECT * FROM (SELECT tenant_id, contact_id, id, kind, ref, body, lane, created_at, \
     row_number() OVER (PARTITION BY tenant_id, contact_id ORDER BY lane, id) AS place \
     FROM inbox WHERE (tenant_id, contact_id) IN (SELECT * FROM (VALUES ",
    ") AS listed)) AS waiting WHERE place <= 256 ORDER BY tenant_id, contact_id, place",
);

fn inbox_row(row: &Row) -> Result<InboxRow, StoreError> {
    Ok(InboxRow {
        id: row.id("id")?,
        kind: row.get("kind")?,
        ref_json: row.get("ref")?,
        body: row.get("body")?,
        lane: row.get("lane")?,
        created_at: row.time("created_at")?,
    })
}

async fn known(on: &Look, keys: HashSet<KeyQuestion>) -> Result<Keys, StoreError> {
    let rows = keys.iter().map(|(tenant, key, day)| vals![tenant.0, key.0.to_vec(), *day]);
    let mut found = Keys::new();
    for row in with_rows(on, KNOWN, rows.collect()).await? {
        let key = (row.id("tenant_id")?, EventKey(row.bytes("key")?), row.get("day")?);
        found.insert(key, known_key(&row)?);
    }
    Ok(found)
}

/// Used keys, and those of set-aside events: such a one is known on whatever day it comes again.
const KNOWN: (&str, &str) = (
    "WITH v (v_tenant, v_key, v_day) AS (VALUES ",
    ") SELECT v_tenant AS tenant_id, v_key AS key, v_day AS day, k.event_id, k.body_hash, \
     q.id AS aside_id, q.body_hash AS aside_hash FROM v \
     LEFT JOIN event_key k ON k.tenant_id = v_tenant AND k.key = v_key AND k.day = v_day \
     LEFT JOIN quarantine q ON q.key IS NOT NULL AND q.tenant_id = v_tenant AND q.key = v_key \
     WHERE k.event_id IS NOT NULL OR q.id IS NOT NULL",
);

fn known_key(row: &Row) -> Result<KnownKey, StoreError> {
    let used: Option<EventId> = row.id_opt("event_id")?;
    let (event, hash) = match used {
        Some(event) => (event, "body_hash"),
        None => (row.id("aside_id")?, "aside_hash"),
    };
    let body_hash = row.bytes_opt(hash)?.unwrap_or([0; 32]);
    Ok(KnownKey { event, body_hash, set_aside: used.is_none() })
}
