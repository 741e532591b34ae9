//! A client that speaks as Segment's libraries do, and remembers what it sent and what it was told.
//!
//! A batch is repeated with the same messageIds until there is an answer: after a refused or lost
//! connection, a 429 or a 5xx. What it remembers is a witness for the history checker.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::history::{Answer, SentEvent};

/// How long a client waits before it repeats a batch, as libraries do.
const BACKOFF: Duration = Duration::from_millis(20);
/// How long it waits for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Milliseconds since the epoch, by the test's own clock.
#[must_use]
pub fn wall_ms() -> i64 {
    ms_of(SystemTime::now())
}

/// A moment in milliseconds since the epoch.
#[must_use]
pub fn ms_of(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// An event to send.
#[derive(Clone, Debug)]
pub struct Item {
    /// The userId.
    pub user: String,
    /// The messageId.
    pub message_id: String,
    /// The journey that it starts, and the run key under which it does.
    pub starts: Option<(String, String)>,
    /// The item without userId and messageId.
    pub body: Value,
}

/// What all clients of a test have written down.
#[derive(Debug, Default)]
pub struct Ledger {
    events: Mutex<Vec<SentEvent>>,
    requests: AtomicU64,
    attempts: AtomicUsize,
    refusals: Mutex<BTreeMap<(u16, String), usize>>,
    answered: watch::Sender<usize>,
}

impl Ledger {
    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Vec<SentEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests were made, with repeats.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Answers that made a client repeat its batch: how often which status and code.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<(u16, String), usize> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many batches have their answer.
    #[must_use]
    pub fn answered(&self) -> usize {
        *self.answered.borrow()
    }

    /// Returns once so many batches have their answer.
    pub async fn until_answered(&self, batches: usize) {
        // The sender is ours, so it is there.
        let _ = self.answered.subscribe().wait_for(|answered| *answered >= batches).await;
    }
}

/// One client of one brand. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
    brand: String,
    ledger: Arc<Ledger>,
    patience: Duration,
}

impl Client {
    /// A client with this key of this brand, which gives up on a batch after a minute.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(url: &str, brand: &str, key: &str, ledger: &Arc<Ledger>) -> anyhow::Result<Self> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Somebody else in this process may have been quicker; either is fine.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        Ok(Self {
            http: reqwest::Client::builder().timeout(ANSWER).build()?,
            url: url.to_owned(),
            key: key.to_owned(),
            brand: brand.to_owned(),
            ledger: Arc::clone(ledger),
            patience: Duration::from_secs(60),
        })
    }

    /// The same, giving up on a batch after another time; zero: after one attempt.
    #[must_use]
    pub fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends a batch until it is answered; the status that ended it, none when it gave up.
    pub async fn batch(&self, items: &[Item]) -> Option<u16> {
        let request = self.ledger.requests.fetch_add(1, Ordering::Relaxed);
        let batch: Vec<Value> = items
            .iter()
            .map(|item| {
                let mut body = item.body.clone();
                body["userId"] = item.user.as_str().into();
                body["messageId"] = item.message_id.as_str().into();
                body
            })
            .collect();
        let (body, at) = (json!({ "batch": batch }), wall_ms());
        let answer = self.until_answered(&body).await;
        let answered_at = answer.is_some().then(wall_ms);
        let told = |place: usize| match &answer {
            None => Answer::Unknown,
            Some((200, aside)) if aside.contains(&place) => Answer::SetAside,
            Some((200, _)) => Answer::Acknowledged,
            Some(_) => Answer::Refused,
        };
        let events = items.iter().enumerate().map(|(place, item)| SentEvent {
            brand: self.brand.clone(),
            user: item.user.clone(),
            message_id: item.message_id.clone(),
            request,
            place,
            at,
            answered_at,
            answer: told(place),
            starts: item.starts.clone(),
        });
        self.ledger.events.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
        self.ledger.answered.send_modify(|answered| *answered += 1);
        answer.map(|(status, _)| status)
    }

    /// Status and places set aside.
    async fn until_answered(&self, body: &Value) -> Option<(u16, Vec<usize>)> {
        let begun = Instant::now();
        loop {
            self.ledger.attempts.fetch_add(1, Ordering::Relaxed);
            match self.once(body).await {
                Ok((status, answer)) if status != 429 && status < 500 => {
                    let aside = answer["set_aside"].as_array().into_iter().flatten();
                    let place = |one: &Value| usize::try_from(one["index"].as_u64()?).ok();
                    return Some((status, aside.filter_map(place).collect()));
                }
                Ok((status, problem)) => {
                    let code = problem["code"].as_str().unwrap_or_default().to_owned();
                    let refusals = &self.ledger.refusals;
                    let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
                    *refusals.entry((status, code)).or_default() += 1;
                }
                // The server is not there, or went away.
                Err(_) => {}
            }
            if begun.elapsed() >= self.patience {
                return None;
            }
            tokio::time::sleep(BACKOFF).await;
        }
    }

    /// One attempt; status and answer.
    ///
    /// # Errors
    /// The connection was refused or lost.
    async fn once(&self, body: &Value) -> reqwest::Result<(u16, Value)> {
        let request = self.http.post(format!("{}/v1/batch", self.url)).json(body);
        let answer = request.basic_auth(&self.key, None::<&str>).send().await?;
        Ok((answer.status().as_u16(), answer.json().await.unwrap_or_default()))
    }
}
