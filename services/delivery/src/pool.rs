//! Connections of one sender to its server: at most N, kept while they are used.
//!
//! A connection is an owned value behind a permit: whoever holds it talks alone, and what is
//! dropped, for whatever reason, gives its place back. A server that does not let us in is left
//! alone for a while, so that a thousand messages do not knock a thousand times.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use parcours_domain::{Name, TenantId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::mail::smtp::{Connection, SmtpFailure, SmtpTarget};

const REST_FIRST: Duration = Duration::from_millis(500);
const REST_MOST: Duration = Duration::from_secs(60);

/// All senders' connections.
#[derive(Default)]
pub(crate) struct Pools(Mutex<HashMap<(TenantId, Name), Arc<Pool>>>);

impl Pools {
    /// The sender's pool; a new one when its server or its password has changed.
    pub(crate) fn of(
        &self,
        tenant: TenantId,
        sender: &Name,
        target: &SmtpTarget,
        places: u32,
    ) -> Arc<Pool> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant, sender.clone());
        match pools.get(&key) {
            Some(pool) if pool.target == *target && pool.places == places => Arc::clone(pool),
            Some(_) | None => {
                let pool = Arc::new(Pool::new(target.clone(), places));
                pools.insert(key, Arc::clone(&pool));
                pool
            }
        }
    }
}

impl Pools {
    /// Closes connections that nobody has used for so long.
    pub(crate) fn prune(&self, idle_most: Duration) {
        let pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for pool in pools.values() {
            pool.state().idle.retain(|(_, since)| since.elapsed() < idle_most);
        }
    }
}

/// One sender's connections.
pub(crate) struct Pool {
    target: SmtpTarget,
    places: u32,
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<(Connection, Instant)>,
    refused: u32,
    rests_until: Option<Instant>,
}

/// A place at the server's table, with a connection once there is one.
pub(crate) struct Place {
    pool: Arc<Pool>,
    connection: Option<Connection>,
    _permit: OwnedSemaphorePermit,
}

/// Why there is no connection.
pub(crate) enum NoConnection {
    /// The server was tried a moment ago and did not let us in.
    Resting,
    /// It was tried now.
    Failed(SmtpFailure),
}

impl Pool {
    fn new(target: SmtpTarget, places: u32) -> Self {
        let permits = Arc::new(Semaphore::new(places.max(1) as usize));
        Self { target, places, permits, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(self: Arc<Self>) -> Result<Connection, NoConnection> {
        if self.state().rests_until.is_some_and(|until| until > Instant::now()) {
            return Err(NoConnection::Resting);
        }
        match Connection::connect(&self.target).await {
            Ok(connection) => {
                let mut state = self.state();
                (state.refused, state.rests_until) = (0, None);
                Ok(connection)
            }
            Err(failure) => {
                let mut state = self.state();
                let rest = REST_FIRST.saturating_mul(1 << state.refused.min(10)).min(REST_MOST);
                state.refused = state.refused.saturating_add(1);
                state.rests_until = Some(Instant::now() + rest);
                Err(NoConnection::Failed(failure))
            }
        }
    }

    /// Waits for a place; none when the pool is gone.
    pub(crate) async fn place(self: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        Some(Place { pool: Arc::clone(self), connection: None, _permit: permit })
    }
}

impl Place {
    /// The connection: one that was kept, unless `fresh` is asked for or it stood idle longer than
    /// `idle_most`; otherwise a new one.
    pub(crate) async fn connection(
        &mut self,
        idle_most: Duration,
        fresh: bool,
    ) -> Result<(&mut Connection, bool), NoConnection> {
        let kept = if fresh { None } else { self.kept(idle_most) };
        let reused = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => Arc::clone(&self.pool).connect().await?,
        };
        Ok((self.connection.insert(connection), reused))
    }

    fn kept(&self, idle_most: Duration) -> Option<Connection> {
        let mut state = self.pool.state();
        while let Some((connection, since)) = state.idle.pop() {
            if since.elapsed() < idle_most {
                return Some(connection);
            }
        }
        None
    }

    /// The connection that this place holds.
    pub(crate) fn held(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Gives the connection back for the next message if it is in order; drops it otherwise.
    pub(crate) fn keep_if(&mut self, usable: bool) {
        let connection = self.connection.take();
        if let Some(connection) = connection.filter(|_| usable) {
            self.pool.state().idle.push((connection, Instant::now()));
        }
    }
}
