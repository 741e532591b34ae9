//! What the processes of an install have in common through Redis, when there is one: the index of
//! due timers, send permits, hints. Truth stays in SQL; without Redis everything still happens.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use parcours_domain::TenantId;
use parcours_queue::{
    Hint, LinkTimes, RedisHints, RedisLink, RedisTimers, RedisTokens, TimerIndex, TokenLease,
    tokens::{Census, CensusTimes, SlotClock},
};
use parcours_store::Store;
use parcours_wire::DeliveryApi;
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle};

use crate::config::NodeConfig;

/// This process's part in what is common.
pub(crate) struct Common {
    link: Arc<RedisLink>,
    install: String,
    shards: u16,
    hints: Arc<RedisHints>,
    /// Counts those who send; only while this process does.
    census: Option<Census>,
    listening: Option<JoinHandle<()>>,
}

impl Common {
    /// None without a Redis, and while a restored store catches up, which is done alone. Inside the
    /// runtime that outlives all requests.
    ///
    /// # Errors
    /// The address is none, or the store is SQLite, which has one process.
    pub(crate) fn of(config: &NodeConfig, store: &Store) -> anyhow::Result<Option<Self>> {
        let Some(url) = config.redis_url.as_deref().filter(|_| !config.catching_up) else {
            return Ok(None);
        };
        if config.database_url.is_none() {
            bail!("PARCOURS_REDIS_URL is for processes on one PostgreSQL; SQLite has only one");
        }
        let link = RedisLink::new(url, LinkTimes::default());
        let link = Arc::new(link.context("PARCOURS_REDIS_URL cannot be used")?);
        let install = store.install_id().simple().to_string();
        let hints = Arc::new(RedisHints::start(Arc::clone(&link), &install));
        let shards = store.shards();
        Ok(Some(Self { link, install, shards, hints, census: None, listening: None }))
    }

    /// The index of due timers.
    pub(crate) fn timers(&self) -> Arc<dyn TimerIndex> {
        Arc::new(RedisTimers::new(Arc::clone(&self.link), &self.install, self.shards))
    }

    /// Permits of which all who send have their part.
    pub(crate) fn tokens(&mut self, store: &Store) -> Arc<dyn TokenLease> {
        let link = || Arc::clone(&self.link);
        let census = Census::start(link(), &self.install, CensusTimes::default());
        let time = store.clone();
        let clock: SlotClock = Arc::new(move |at| time.server_micros(at));
        let tokens = RedisTokens::new(link(), &self.install, clock, census.count());
        self.census = Some(census);
        Arc::new(tokens)
    }

    /// Tells whoever sends, in whichever process; `own` is told what all others say.
    pub(crate) fn delivery(&mut self, own: Option<Arc<dyn DeliveryApi>>) -> Arc<dyn DeliveryApi> {
        let mut told = self.hints.listen();
        self.listening = own.map(|own| {
            tokio::spawn(async move {
                loop {
                    match told.recv().await {
                        Ok(Hint { tenant, lane }) => own.hint(tenant, lane),
                        // The sweep finds what was missed.
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    }
                }
            })
        });
        Arc::new(Everybody(Arc::clone(&self.hints)))
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// All who send.
struct Everybody(Arc<RedisHints>);

impl DeliveryApi for Everybody {
    fn hint(&self, tenant: TenantId, lane: i64) {
        self.0.tell(Hint { tenant, lane });
    }
}
