//! Hints between processes, by Redis's publish and subscribe.
//!
//! One task sends what was told, many hints in a message; another listens. A connection that only
//! listens cannot tell silence from death, so every sender says something every few seconds, and a
//! listener that hears nothing for longer connects again.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{Hint, WAITING_MAX, decode, encode};
use crate::RedisLink;

/// Hints in one message.
const MESSAGE_MAX: usize = 256;
/// How often a sender says something.
const SIGN_PERIOD: Duration = Duration::from_secs(5);
/// After how much silence a listener connects again.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Hints among the processes of an install.
#[derive(Debug)]
pub struct RedisHints {
    here: broadcast::Sender<Hint>,
    elsewhere: mpsc::Sender<Hint>,
    tasks: [JoinHandle<()>; 2],
}

impl RedisHints {
    /// Begins to send and to listen; both end when this is dropped.
    #[must_use]
    pub fn start(link: Arc<RedisLink>, install: &str) -> Self {
        let channel = format!("p:{install}:1:hints");
        let me = Uuid::new_v4();
        let here = broadcast::Sender::new(WAITING_MAX);
        let (elsewhere, to_send) = mpsc::channel(WAITING_MAX);
        let home = link.home().clone();
        let tasks = [
            home.spawn(send(Arc::clone(&link), channel.clone(), me, to_send)),
            home.spawn(hear(link, channel, me, here.clone())),
        ];
        Self { here, elsewhere, tasks }
    }
}

impl Drop for RedisHints {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl RedisHints {
    /// Tells every listener, here at once and elsewhere soon, or nobody.
    pub fn tell(&self, hint: Hint) {
        // Nobody listens here, or too much waits: the sweeps find it.
        let _ = self.here.send(hint);
        let _ = self.elsewhere.try_send(hint);
    }
    /// Hears what is told from now on. A listener that lags misses the oldest ones, and is told how
    /// many.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Hint> {
        self.here.subscribe()
    }
}

async fn send(link: Arc<RedisLink>, channel: String, me: Uuid, mut to_send: mpsc::Receiver<Hint>) {
    let mut hints = Vec::with_capacity(MESSAGE_MAX);
    loop {
        hints.clear();
        if let Ok(0) = timeout(SIGN_PERIOD, to_send.recv_many(&mut hints, MESSAGE_MAX)).await {
            return;
        }
        let mut message = redis::cmd("PUBLISH");
        message.arg(&channel).arg(encode(me, &hints));
        // What cannot be sent is lost; the link says so once.
        let _ = link.ask(|mut redis| async move { message.exec_async(&mut redis).await }).await;
    }
}

async fn hear(link: Arc<RedisLink>, channel: String, me: Uuid, here: broadcast::Sender<Hint>) {
    loop {
        if let Err(error) = hear_once(&link, &channel, me, &here).await {
            tracing::debug!(%error, "hints of other processes cannot be heard; trying again");
        }
        sleep(link.rest()).await;
    }
}

/// Until the connection is lost or silent.
async fn hear_once(
    link: &RedisLink,
    channel: &str,
    me: Uuid,
    here: &broadcast::Sender<Hint>,
) -> redis::RedisResult<()> {
    let connecting = async {
        let mut listening = link.client().get_async_pubsub().await?;
        listening.subscribe(channel).await?;
        redis::RedisResult::Ok(listening.into_on_message())
    };
    let Ok(messages) = timeout(SIGN_PERIOD, connecting).await else { return Ok(()) };
    let mut messages = messages?;
    while let Ok(Some(message)) = timeout(SILENCE_MAX, messages.next()).await {
        let told = decode(message.get_payload_bytes()).filter(|(from, _)| *from != me);
        for hint in told.into_iter().flat_map(|(_, hints)| hints) {
            // Nobody listens here.
            let _ = here.send(hint);
        }
    }
    Ok(())
}
