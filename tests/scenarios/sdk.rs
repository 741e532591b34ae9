//! Clients that behave as the tracking libraries do: the same request again until it is taken.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::watch;

/// How long a client waits for another address before it tries the one it has again.
const AGAIN: Duration = Duration::from_millis(500);

/// Where the server is; a restart gives it another address.
pub struct Whereabouts(watch::Sender<String>);

impl Whereabouts {
    pub fn new(url: &str) -> Self {
        Self(watch::Sender::new(url.to_owned()))
    }

    /// The server has started again, here.
    pub fn moved(&self, url: &str) {
        self.0.send_replace(url.to_owned());
    }

    /// A client with connections of its own.
    pub fn client(&self, key: &str) -> Sdk {
        // A second scenario of this process may have been quicker; either is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Sdk { http, key: Arc::from(key), url: self.0.subscribe() }
    }
}

/// One client.
#[derive(Clone)]
pub struct Sdk {
    http: reqwest::Client,
    key: Arc<str>,
    url: watch::Receiver<String>,
}

/// What became of a request in the end.
pub struct Taken {
    /// The body of the 200.
    pub answer: Value,
    /// Answers other than 200, and connections lost, before it.
    pub refusals: usize,
}

impl Taken {
    /// Items of the request that were applied by the try that was answered.
    pub fn accepted(&self) -> u64 {
        self.answer["accepted"].as_u64().unwrap_or(0)
    }

    /// Items that had been applied before it.
    pub fn duplicates(&self) -> u64 {
        self.answer["duplicates"].as_u64().unwrap_or(0)
    }
}

impl Sdk {
    /// Sends until the answer is 200. Anything that is not 200, 429 or 5xx fails the test.
    pub async fn deliver(&mut self, path: &str, body: &Value) -> Taken {
        let mut refusals = 0;
        loop {
            let url = self.url.borrow_and_update().clone();
            let request = self.http.post(format!("{url}{path}")).bearer_auth(&self.key).json(body);
            let (status, text) = match request.send().await {
                Ok(answer) => (answer.status().as_u16(), answer.text().await),
                Err(_) => {
                    // It was killed: its successor says where it is.
                    let _ = tokio::time::timeout(AGAIN, self.url.changed()).await;
                    refusals += 1;
                    continue;
                }
            };
            match (status, text) {
                (200, Ok(text)) => {
                    let answer = serde_json::from_str(&text).expect("JSON");
                    return Taken { answer, refusals };
                }
                (429 | 500..=599, _) | (200, Err(_)) => refusals += 1,
                (other, text) => panic!("{path}: {other} {text:?}"),
            }
        }
    }
}
