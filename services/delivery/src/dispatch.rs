//! The loop that finds work: by hint at once, by sweep at the latest after a moment.
//!
//! It asks which heads (brand and lane) have work, gives them turns by deficit round robin, and
//! works on many at once: a brand whose server is slow keeps its own few places and nobody else's.
//! A head may be worked on twice at a time, so that what has just come in is claimed while the batch
//! before it waits for replies. A head that has no permits rests until it may have some. When the
//! store does not answer, nothing leaves and the loop asks again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use parcours_domain::{TenantId, Timestamp};
use parcours_kit::Shutdown;
use tokio::task::{Id, JoinError, JoinSet};

use crate::{
    batch::{self, Report},
    core::Core,
    rounds::{Head, Rounds, Turn},
};

/// A head without permits asks again at the latest after this.
pub(crate) const REST_MOST: Duration = Duration::from_secs(10);
/// How many messages the store expires in one go.
const EXPIRE_MOST: u64 = 1_000;
/// How often messages whose time is over are looked for, in product time or machine time.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);
/// How long the weights of brands and their templates' shares are believed.
const WEIGHTS_BELIEVED: Duration = Duration::from_secs(10);
/// For so long the heads are believed before they are made from the queue again.
const HEADS_BELIEVED: Duration = Duration::from_secs(3_600);

struct Loop {
    core: Arc<Core>,
    rounds: Rounds,
    work: JoinSet<Report>,
    /// Which head each batch works on.
    busy: HashMap<Id, Head>,
    /// Heads of brands that have all their places taken.
    parked: HashMap<TenantId, HashSet<Head>>,
    resting: HashMap<Head, Instant>,
    /// How many messages a head can use at once, once that is known.
    appetite: HashMap<Head, u32>,
    /// Whether anything was claimed since the last look.
    found: bool,
    /// Whether the last look passed over a head because it is being worked on.
    passed_over: bool,
    /// When messages whose time is over were last looked for.
    expired_at: Option<(Timestamp, Instant)>,
    claims_settled_at: Option<Instant>,
    heads_rebuilt_at: Option<Instant>,
    weighed_at: Option<Instant>,
}

/// Runs until shutdown is requested, then waits for what is being worked on.
pub(crate) async fn run(core: Arc<Core>, mut shutdown: Shutdown) {
    let mut this = Loop {
        rounds: Rounds::new(core.config.claim_most),
        core: Arc::clone(&core),
        work: JoinSet::new(),
        busy: HashMap::new(),
        parked: HashMap::new(),
        resting: HashMap::new(),
        appetite: HashMap::new(),
        found: true,
        passed_over: false,
        expired_at: None,
        claims_settled_at: None,
        heads_rebuilt_at: None,
        weighed_at: None,
    };
    let mut looked = None;
    while !shutdown.is_requested() {
        if looked.is_none() {
            let asked = core.board.asked();
            this.found = false;
            looked = this.look().await.then_some(asked);
        }
        this.fill();
        if let Some(asked) = looked
            && this.is_drained()
        {
            core.board.settle(asked);
        }
        let pause = this.pause();
        tokio::select! {
            Some(done) = this.work.join_next_with_id() => {
                this.account(done);
                // Whoever just left may have made room for more, or was the last.
                let last = this.found && this.work.is_empty();
                if (this.passed_over || last) && this.rounds.is_empty() {
                    looked = None;
                }
            }
            () = core.board.hinted() => looked = None,
            () = tokio::time::sleep(pause) => looked = None,
            () = shutdown.requested() => {}
        }
    }
    while this.work.join_next().await.is_some() {}
}

impl Loop {
    /// Finds heads with work; false when the store did not answer.
    async fn look(&mut self) -> bool {
        if let Err(error) = self.find().await {
            tracing::warn!(%error, "the send queue cannot be read; nothing leaves");
            return false;
        }
        true
    }

    async fn find(&mut self) -> Result<(), parcours_store::StoreError> {
        // First of all: a rest that is over must not wake the loop again, whatever the store says.
        let moment = Instant::now();
        self.resting.retain(|_, until| *until > moment);
        let now = self.core.clock.now();
        if self.claims_settled_at.is_none_or(|at| at.elapsed() >= self.core.config.settle_every) {
            self.core.settle_claims(now, self.core.door.server_now()).await?;
            if self.heads_rebuilt_at.is_none_or(|at| at.elapsed() >= HEADS_BELIEVED) {
                self.core.door.rebuild_heads().await?;
                self.heads_rebuilt_at = Some(Instant::now());
            }
            self.core.pools.prune(self.core.config.idle_connection);
            self.claims_settled_at = Some(Instant::now());
        }
        if self.may_have_expired(now) {
            while self.core.door.expire(now).await? >= EXPIRE_MOST {}
            self.expired_at = Some((now, Instant::now()));
        }
        self.passed_over = false;
        if self.weighed_at.is_none_or(|at| at.elapsed() >= WEIGHTS_BELIEVED) {
            self.rounds.weigh(self.core.door.weights().await?);
            self.core.templates.learn(self.core.door.template_shares().await?);
            self.weighed_at = Some(Instant::now());
        }
        for head in self.core.door.heads(now).await? {
            let waits = self.parked.get(&head.0).is_some_and(|parked| parked.contains(&head));
            let batches = self.busy.values().filter(|busy| **busy == head).count();
            let busy = batches >= self.core.config.batches_of_head_most
                || (batches > 0 && self.core.board.is_claiming(head));
            self.passed_over |= busy;
            if !waits && !busy && !self.resting.contains_key(&head) {
                self.rounds.add(head);
            }
        }
        Ok(())
    }

    /// Whether it is time to look for messages whose time is over; a claim leaves them where they
    /// are, so this can wait a moment.
    fn may_have_expired(&self, now: Timestamp) -> bool {
        self.expired_at.is_none_or(|(product, machine)| {
            let moved = u64::try_from((now - product).0).unwrap_or(u64::MAX);
            Duration::from_millis(moved) >= EXPIRE_EVERY || machine.elapsed() >= EXPIRE_EVERY
        })
    }

    /// Gives turns while there are places.
    fn fill(&mut self) {
        while self.work.len() < self.core.config.batches_most {
            let Some(Turn { head, most }) = self.rounds.next() else { break };
            let places = self.busy.values().filter(|busy| busy.0 == head.0).count();
            if places >= self.core.config.batches_of_brand_most {
                self.rounds.ended(head.0);
                self.parked.entry(head.0).or_default().insert(head);
                continue;
            }
            let own = self.busy.values().filter(|busy| **busy == head).count();
            if own > 0 && places + 1 >= self.core.config.batches_of_brand_most {
                // The last place is for another lane; this one comes back with its batch.
                self.rounds.ended(head.0);
                continue;
            }
            let appetite = self.appetite.get(&head).copied().unwrap_or(most);
            let turn = Turn { head, most: most.min(appetite) };
            let core = Arc::clone(&self.core);
            let task = self.work.spawn(async move { batch::work(&core, turn).await });
            self.busy.insert(task.id(), head);
        }
    }

    fn account(&mut self, done: Result<(Id, Report), JoinError>) {
        let (id, report) = match done {
            Ok((id, report)) => (id, Some(report)),
            Err(error) => {
                // Its claims come back when their lease is over.
                tracing::error!(%error, "a batch of messages ended in a panic");
                (error.id(), None)
            }
        };
        let Some(head) = self.busy.remove(&id) else { return };
        self.rounds.ended(head.0);
        for parked in self.parked.remove(&head.0).unwrap_or_default() {
            self.rounds.add(parked);
        }
        let Some(report) = report else { return };
        if let Some(appetite) = report.appetite {
            self.appetite.insert(head, appetite);
        }
        self.found |= report.claimed > 0;
        if report.gave_back {
            // A batch beside this one may have found no permits, because they were here.
            self.resting.retain(|(tenant, _), _| *tenant != head.0);
        }
        if let Some(until) = report.rest_until {
            self.resting.insert(head, until.min(Instant::now() + REST_MOST));
        } else if report.more {
            self.rounds.add(head);
        }
    }

    /// Whether the last look found nothing that may leave now, and nothing is being worked on.
    fn is_drained(&self) -> bool {
        let idle = self.work.is_empty() && self.rounds.is_empty();
        idle && !self.found && self.resting.is_empty()
    }

    /// Until the next sweep, or until a resting head may go on.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let wake = self.resting.values().map(|until| until.saturating_duration_since(now)).min();
        wake.unwrap_or(Duration::MAX).min(self.core.config.sweep_every)
    }
}
