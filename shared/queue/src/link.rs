//! The way to Redis: one connection that all callers share, limits in time, a rest after a failure.
//!
//! What always holds: a call ends within the limits of [`LinkTimes`]; after a failure nobody waits
//! again until the rest is over, and then one caller tries while the others are told at once that
//! there is nothing to be had. A connection that failed once, by silence too, is not used again: a
//! network that swallows packets leaves connections that look alive for many minutes.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection};
use tokio::{runtime::Handle, time::timeout};

use crate::QueueError;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct LinkTimes {
    /// For a connection.
    pub connect: Duration,
    /// For an answer.
    pub response: Duration,
    /// After a failure, until the next attempt.
    pub rest: Duration,
}

impl Default for LinkTimes {
    fn default() -> Self {
        let half = Duration::from_millis(500);
        Self { connect: half, response: half, rest: half }
    }
}

/// A connection to Redis that comes back by itself.
pub struct RedisLink {
    client: Client,
    times: LinkTimes,
    /// Carries the connection, whoever asks: an actor's thread may stall or end.
    home: Handle,
    state: Mutex<State>,
}

enum State {
    Up {
        connection: MultiplexedConnection,
        /// Which connection it is, so that a late failure of an earlier one does not count.
        number: u64,
    },
    Down {
        until: Instant,
        number: u64,
        /// Said once, not at each call.
        said: bool,
    },
}

impl std::fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may hold a password.
        f.debug_struct("RedisLink").field("times", &self.times).finish_non_exhaustive()
    }
}

impl RedisLink {
    /// Inside the runtime that shall carry the connection. Connects at the first call, so that a
    /// Redis that is away hinders no start.
    ///
    /// # Errors
    /// [`QueueError::InvalidAddress`].
    pub fn new(url: &str, times: LinkTimes) -> Result<Self, QueueError> {
        let client = Client::open(url).map_err(|_| QueueError::InvalidAddress)?;
        let state = Mutex::new(State::Down { until: Instant::now(), number: 0, said: false });
        Ok(Self { client, times, home: Handle::current(), state })
    }

    /// Asks one thing: a command, a script, a pipeline.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] for every failure; a server that refuses (out of memory, read
    /// only, still loading) is as good as none.
    pub(crate) async fn ask<T, F>(
        &self,
        ask: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, QueueError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (connection, number) = self.connection().await?;
        match timeout(self.times.response, ask(connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(number, Some(&error))),
            Err(_) => Err(self.failed(number, None)),
        }
    }

    /// How long listeners wait before they try again.
    pub(crate) const fn rest(&self) -> Duration {
        self.times.rest
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// The runtime that carries connections.
    pub(crate) const fn home(&self) -> &Handle {
        &self.home
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), QueueError> {
        let number = match &mut *self.state() {
            State::Up { connection, number } => return Ok((connection.clone(), *number)),
            State::Down { until, number, .. } => {
                let now = Instant::now();
                if *until > now {
                    return Err(QueueError::Unavailable);
                }
                // This caller tries; meanwhile the others do not wait.
                *until = now + self.times.connect + self.times.rest;
                *number + 1
            }
        };
        let client = self.client.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.times.connect))
            .set_response_timeout(None);
        let connecting = self.home.spawn(async move {
            client.get_multiplexed_async_connection_with_config(&config).await
        });
        match timeout(self.times.connect, connecting).await {
            Ok(Ok(Ok(connection))) => {
                let mut state = self.state();
                if matches!(*state, State::Down { said: true, .. }) {
                    tracing::info!("Redis can be used again");
                }
                *state = State::Up { connection: connection.clone(), number };
                Ok((connection, number))
            }
            Ok(Ok(Err(error))) => Err(self.failed(number, Some(&error))),
            Ok(Err(_)) | Err(_) => Err(self.failed(number, None)),
        }
    }

    fn failed(&self, failed: u64, error: Option<&RedisError>) -> QueueError {
        let mut state = self.state();
        let (present, said) = match &*state {
            State::Up { number, .. } => (*number, false),
            State::Down { number, said, .. } => (*number, *said),
        };
        if present <= failed {
            if !said {
                let error =
                    error.map_or_else(|| "no answer in time".to_owned(), ToString::to_string);
                tracing::warn!(%error, "Redis cannot be used; what is due is found in SQL meanwhile");
            }
            let until = Instant::now() + self.times.rest;
            *state = State::Down { until, number: failed, said: true };
        }
        QueueError::Unavailable
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the guard can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
