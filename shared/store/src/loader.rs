//! The loader, the committer's twin: activations that wait together are read together.
//!
//! Callers hand in contacts and the event keys they are about to accept; one task reads states,
//! waiting inbox rows and known keys for all who waited, in one statement each.
//!
//! What always holds: answers come in the order of the questions; what was committed before the
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

use crate::{
    db::{Db, listed},
    error::StoreError,
    side::sql::{Row, vals},
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
    /// Waiting inbox rows, live ones first, oldest first, at most 256.
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
/// The answer for one contact: where it stands, and what is known of each key asked about.
pub type LoadAnswer = (Loaded, Vec<Option<KnownKey>>);

type Contacts = HashMap<LoadKey, Loaded>;
type Keys = HashMap<KeyQuestion, KnownKey>;

/// What was found for everyone who waited.
struct Found {
    contacts: Contacts,
    keys: Keys,
}

struct Question {
    contacts: Vec<LoadKey>,
    keys: Vec<KeyQuestion>,
    answer: oneshot::Sender<Result<Arc<Found>, StoreError>>,
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

    /// Reads states, waiting inbox rows, and which of the given event keys were used before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn load(
        &self,
        keys: Vec<(LoadKey, Vec<(EventKey, i64)>)>,
    ) -> Result<Vec<LoadAnswer>, StoreError> {
        let contacts = keys.iter().map(|(key, _)| *key).collect();
        let asked = |key: &LoadKey, event: &(EventKey, i64)| (key.tenant, event.0, event.1);
        let all = keys.iter().flat_map(|(key, events)| events.iter().map(move |e| asked(key, e)));
        let found = self.ask(contacts, all.collect()).await?;
        let answers = keys.iter().map(|(key, events)| {
            let loaded = found.contacts.get(key).cloned().unwrap_or_else(unknown);
            let known = events.iter().map(|e| found.keys.get(&asked(key, e)).copied());
            (loaded, known.collect())
        });
        Ok(answers.collect())
    }

    /// Which of these event keys were used before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn known_keys(
        &self,
        keys: Vec<KeyQuestion>,
    ) -> Result<Vec<Option<KnownKey>>, StoreError> {
        let found = self.ask(Vec::new(), keys.clone()).await?;
        Ok(keys.iter().map(|key| found.keys.get(key).copied()).collect())
    }

    async fn ask(
        &self,
        contacts: Vec<LoadKey>,
        keys: Vec<KeyQuestion>,
    ) -> Result<Arc<Found>, StoreError> {
        let (answer, found) = oneshot::channel();
        let question = Question { contacts, keys, answer };
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
    while let Some(first) = receiver.recv().await {
        let deadline = Instant::now() + WAIT;
        let mut size = first.contacts.len() + first.keys.len();
        let mut questions = vec![first];
        while size < QUESTIONS_MAX {
            let Ok(Some(next)) = timeout_at(deadline, receiver.recv()).await else { break };
            size += next.contacts.len() + next.keys.len();
            questions.push(next);
        }
        let contacts: HashSet<_> = questions.iter().flat_map(|q| q.contacts.clone()).collect();
        let keys: HashSet<_> = questions.iter().flat_map(|q| q.keys.clone()).collect();
        let (begun, size) = (Instant::now(), (contacts.len(), keys.len()));
        let found = read(&db, contacts, keys).await.map(Arc::new);
        watch.loaded(size.0, size.1, begun.elapsed());
        for question in questions {
            // Who asked may have gone.
            let _gone = question.answer.send(found.clone());
        }
    }
}

async fn read(
    db: &Db,
    contacts: HashSet<LoadKey>,
    keys: HashSet<KeyQuestion>,
) -> Result<Found, StoreError> {
    let contacts: Vec<_> = contacts.into_iter().map(|k| vals![k.tenant.0, k.contact.0]).collect();
    let mut found = states(db, contacts.clone()).await?;
    for row in listed(db.read(), INBOX, contacts).await? {
        let key = LoadKey { tenant: row.id("tenant_id")?, contact: row.id("contact_id")? };
        if let Some(loaded) = found.get_mut(&key) {
            loaded.inbox.push(inbox_row(&row)?);
        }
    }
    let keys = known(db, keys).await?;
    Ok(Found { contacts: found, keys })
}

async fn states(db: &Db, contacts: Vec<Vec<Value>>) -> Result<Contacts, StoreError> {
    let sql = (
        "SELECT c.tenant_id, c.id, c.handle, c.merged_into, s.revision, s.seq, s.state \
         FROM contact c LEFT JOIN contact_state s \
         ON s.tenant_id = c.tenant_id AND s.contact_id = c.id \
         WHERE (c.tenant_id, c.id) IN ",
        "",
    );
    let mut found = HashMap::with_capacity(contacts.len());
    for row in listed(db.read(), sql, contacts).await? {
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

const INBOX: (&str, &str) = (
    "SELECT * FROM (SELECT tenant_id, contact_id, id, kind, ref, body, lane, created_at, \
     row_number() OVER (PARTITION BY tenant_id, contact_id ORDER BY lane, id) AS place \
     FROM inbox WHERE (tenant_id, contact_id) IN ",
    ") AS waiting WHERE place <= 256 ORDER BY tenant_id, contact_id, place",
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

async fn known(db: &Db, keys: HashSet<KeyQuestion>) -> Result<Keys, StoreError> {
    let mut found = HashMap::new();
    // A set-aside event is known by its key on whatever day it comes again.
    let pairs = keys.iter().map(|(tenant, key, _)| vals![tenant.0, key.0.to_vec()]).collect();
    let mut aside = HashMap::new();
    for row in listed(db.read(), SET_ASIDE, pairs).await? {
        let key = (row.id::<TenantId>("tenant_id")?, EventKey(row.bytes("key")?));
        aside.insert(key, known_key(&row, true)?);
    }
    let rows: Vec<_> =
        keys.iter().map(|(tenant, key, day)| vals![tenant.0, key.0.to_vec(), *day]).collect();
    for row in listed(db.read(), USED, rows).await? {
        let key = (row.id("tenant_id")?, EventKey(row.bytes("key")?), row.get("day")?);
        found.insert(key, known_key(&row, false)?);
    }
    for question in keys {
        if let Some(known) = aside.get(&(question.0, question.1)) {
            found.entry(question).or_insert(*known);
        }
    }
    Ok(found)
}

const USED: (&str, &str) = (
    "SELECT tenant_id, key, day, event_id AS known_id, body_hash FROM event_key \
     WHERE (tenant_id, key, day) IN ",
    "",
);
const SET_ASIDE: (&str, &str) = (
    "SELECT tenant_id, key, id AS known_id, body_hash FROM quarantine \
     WHERE key IS NOT NULL AND (tenant_id, key) IN ",
    "",
);

fn known_key(row: &Row, set_aside: bool) -> Result<KnownKey, StoreError> {
    let body_hash = row.bytes_opt("body_hash")?.unwrap_or([0; 32]);
    Ok(KnownKey { event: row.id("known_id")?, body_hash, set_aside })
}
