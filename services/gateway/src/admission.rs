//! Whether a brand may bring more events just now: asked before a request costs a worker or the
//! database anything.
//!
//! A gateway leases a chunk of a brand's events (what a quarter of a second allows, or what a larger
//! request needs), spends it from memory for a second, and gives back what is left with the next
//! lease. When a lease gave less than a chunk it leases no sooner than a tenth of a second later, and
//! never before there can be enough; until then requests are refused from memory. So a brand that
//! sends fifty times its quota costs the database a dozen short transactions a second, and one within
//! its quota at most four a second once what may come at once is used up.
//!
//! Sends have leases of another kind (`parcours_queue::tokens`): slots in time, each forfeited a moment
//! later, from a Redis that not every install has. Events keep for a second and are leased where they
//! are to be committed anyway: when the database cannot be reached, neither could they be.
//!
//! What always holds: a request is admitted whole or not at all; all gateways together admit at most
//! `rate x (t + 1 s) + capacity` events in any time `t`, where the capacity is the burst or what a second
//! allows, whichever is more, or one request that is larger than that (see [`EventBucket`]); clocks that
//! differ among gateways add what the rate allows in the difference. Waiting for a lease is bounded by
//! the places of the brand ([`crate::state::InFlight`]).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parcours_domain::{EventAsk, EventBucket, EventGrant, Rate, TenantId};
use parcours_kit::{Problem, telemetry::metrics};
use parcours_store::{Store, StoreError};

use crate::failure;

/// How long what was leased may be spent.
const HOLD: Duration = Duration::from_secs(1);
/// How long a gateway waits after a lease that gave less than a chunk.
const REST: Duration = Duration::from_millis(100);

/// Where events are leased.
#[async_trait]
pub trait EventLease: Send + Sync {
    /// Takes events out of a brand's rate, as of `at`.
    ///
    /// # Errors
    /// What the store says; then it may have been done, and what it gave is lost.
    async fn lease(
        &self,
        tenant: TenantId,
        rate: Rate,
        ask: EventAsk,
        at: Instant,
    ) -> Result<EventGrant, StoreError>;
}

#[async_trait]
impl EventLease for Store {
    async fn lease(
        &self,
        tenant: TenantId,
        rate: Rate,
        ask: EventAsk,
        at: Instant,
    ) -> Result<EventGrant, StoreError> {
        self.for_tenant(tenant).lease_events(rate, ask, at).await
    }
}

/// Moments of this process.
type Ticks = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Admits events of all brands.
pub struct Admission {
    lease: Arc<dyn EventLease>,
    now: Ticks,
    hands: Mutex<HashMap<TenantId, Arc<Hand>>>,
}

/// What this gateway has of one brand's events.
#[derive(Default)]
struct Hand {
    held: Mutex<Held>,
    /// One lease at a time; the others wait for what it brings.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Of which rate the rest is.
    rate: Option<Rate>,
    left: u32,
    /// Until when it may be spent.
    until: Option<Instant>,
    told: Option<Told>,
}

/// What the last lease said.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    lead_ns: i64,
    /// No other lease before then.
    rest_until: Instant,
}

/// What memory says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Enough,
    /// Come again after this long.
    TooMany(Duration),
    /// It does not know.
    Ask,
}

impl Held {
    fn has(&self, events: u32, now: Instant) -> bool {
        self.left >= events && self.until.is_some_and(|until| now < until)
    }

    fn judge(&self, bucket: EventBucket, events: u32, now: Instant) -> Memory {
        if self.has(events, now) {
            return Memory::Enough;
        }
        let Some(told) = self.told else { return Memory::Ask };
        // What is left here would be given back.
        let need = events.min(bucket.capacity()).saturating_sub(self.left);
        let opens_at = told.at + wait(bucket, told.lead_ns, need);
        let next = opens_at.max(told.rest_until);
        match next.checked_duration_since(now) {
            Some(wait) if !wait.is_zero() => Memory::TooMany(wait),
            Some(_) | None => Memory::Ask,
        }
    }
}

fn wait(bucket: EventBucket, lead_ns: i64, events: u32) -> Duration {
    Duration::from_nanos(u64::try_from(bucket.opens_in_ns(lead_ns, events)).unwrap_or(0))
}

impl Hand {
    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing that holds the guard can panic half-way through a change.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spends from memory when there is enough.
    fn spend(&self, rate: Rate, events: u32, now: Instant) -> Memory {
        let mut held = self.held();
        if held.rate != Some(rate) {
            // What is left was of another rate: it is lost, and what was told no longer holds.
            *held = Held { rate: Some(rate), ..Held::default() };
        }
        let memory = held.judge(EventBucket::of(rate), events, now);
        if memory == Memory::Enough {
            held.left -= events;
        }
        memory
    }
}

impl Admission {
    /// Over these leases.
    #[must_use]
    pub fn new(lease: Arc<dyn EventLease>) -> Self {
        Self::with_ticks(lease, Arc::new(Instant::now))
    }

    fn with_ticks(lease: Arc<dyn EventLease>, now: Ticks) -> Self {
        Self { lease, now, hands: Mutex::default() }
    }

    fn hand(&self, tenant: TenantId) -> Arc<Hand> {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hands.entry(tenant).or_default())
    }

    /// Refuses what memory alone can refuse: a brand that has no event left, before anything of the
    /// request is read. Whoever passes is not admitted yet.
    ///
    /// # Errors
    /// 429.
    pub fn glance(&self, tenant: TenantId, rate: Option<Rate>) -> Result<(), Problem> {
        let Some(rate) = rate else { return Ok(()) };
        let held = *self.hand(tenant).held();
        if held.rate != Some(rate) {
            return Ok(());
        }
        match held.judge(EventBucket::of(rate), 1, (self.now)()) {
            Memory::TooMany(wait) => Err(refused(rate, 1, wait)),
            Memory::Enough | Memory::Ask => Ok(()),
        }
    }

    /// Admits a request of so many events, whole or not at all; any number without a rate.
    ///
    /// # Errors
    /// 429 beyond the rate; 503 when the store does not answer.
    pub async fn admit(
        &self,
        tenant: TenantId,
        rate: Option<Rate>,
        events: u32,
    ) -> Result<(), Problem> {
        let Some(rate) = rate else { return Ok(()) };
        let hand = self.hand(tenant);
        if let Some(known) = known(hand.spend(rate, events, (self.now)()), rate, events) {
            return known;
        }
        let _turn = hand.asking.lock().await;
        // Whoever had the turn before may have brought enough, or heard that there is none.
        let now = (self.now)();
        if let Some(known) = known(hand.spend(rate, events, now), rate, events) {
            return known;
        }
        self.ask(&hand, (tenant, rate), events, now).await
    }

    /// Leases, and spends of it what the request needs.
    async fn ask(
        &self,
        hand: &Hand,
        (tenant, rate): (TenantId, Rate),
        events: u32,
        now: Instant,
    ) -> Result<(), Problem> {
        let bucket = EventBucket::of(rate);
        let want = bucket.chunk().max(events);
        // Until the answer comes it is nobody's: what is given back is not spent meanwhile.
        let back = std::mem::take(&mut hand.held().left);
        let ask = EventAsk { need: events, want, back };
        let grant = self.lease.lease(tenant, rate, ask, now).await;
        let end = if grant.is_ok() { "answered" } else { "failed" };
        metrics().add("parcours_quota_leases_total", 1, &[("end", end)]);
        let grant = match grant {
            Ok(grant) => grant,
            Err(error) => {
                // If it was done all the same, more was given than came back.
                hand.held().left = back;
                return Err(failure::of_store(&error));
            }
        };
        let rest_until = if grant.count < want { now + REST } else { now };
        let told = Told { at: now, lead_ns: grant.lead_ns, rest_until };
        let mut held = hand.held();
        held.told = Some(told);
        if grant.count < events {
            let opens = told.at + wait(bucket, told.lead_ns, events);
            let wait = opens.max(rest_until).saturating_duration_since(now);
            return Err(refused(rate, events, wait));
        }
        held.left = grant.count - events;
        held.until = Some(now + HOLD);
        Ok(())
    }
}

/// The answer, when memory has it.
fn known(memory: Memory, rate: Rate, events: u32) -> Option<Result<(), Problem>> {
    match memory {
        Memory::Enough => Some(Ok(())),
        Memory::TooMany(wait) => Some(Err(refused(rate, events, wait))),
        Memory::Ask => None,
    }
}

/// 429: nothing of the request was taken.
fn refused(rate: Rate, events: u32, wait: Duration) -> Problem {
    metrics().add("parcours_quota_refused_total", 1, &[("quota", "events")]);
    let detail = format!(
        "the brand may bring {rate} events, and this request has {events}; nothing of it was taken, \
         repeat it later"
    );
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
    Problem::new(429, "events_quota", "Too many events", detail).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::*;

    /// One rate for all gateways, on a clock that the test moves.
    #[derive(Default)]
    struct Town {
        millis: AtomicU64,
        leases: AtomicU64,
        taken_to: Mutex<HashMap<TenantId, i64>>,
        broken: AtomicI64,
    }

    #[async_trait]
    impl EventLease for Town {
        async fn lease(
            &self,
            tenant: TenantId,
            rate: Rate,
            ask: EventAsk,
            _: Instant,
        ) -> Result<EventGrant, StoreError> {
            self.leases.fetch_add(1, Ordering::Relaxed);
            // An answer takes its time.
            tokio::task::yield_now().await;
            if self.broken.load(Ordering::Relaxed) > 0 {
                return Err(StoreError::Conflict);
            }
            let now = 1_800_000_000_000_000_000 + self.millis() * 1_000_000;
            let mut all = self.taken_to.lock().unwrap();
            let (grant, to) = EventBucket::of(rate).grant(all.get(&tenant).copied(), now, ask);
            all.insert(tenant, to);
            Ok(grant)
        }
    }

    impl Town {
        fn millis(&self) -> i64 {
            i64::try_from(self.millis.load(Ordering::Relaxed)).unwrap()
        }
        fn pass(&self, millis: u64) {
            self.millis.fetch_add(millis, Ordering::Relaxed);
        }
        fn leases(&self) -> u64 {
            self.leases.load(Ordering::Relaxed)
        }
        fn gateway(self: &Arc<Self>) -> Admission {
            let (begun, town) = (Instant::now(), Arc::clone(self));
            let ticks = move || begun + Duration::from_millis(town.millis.load(Ordering::Relaxed));
            Admission::with_ticks(Arc::clone(self) as Arc<dyn EventLease>, Arc::new(ticks))
        }
    }

    fn brand(n: u128) -> TenantId {
        TenantId(uuid::Uuid::from_u128(n))
    }
    fn rate(text: &str) -> Option<Rate> {
        text.parse().ok()
    }

    #[tokio::test]
    async fn two_gateways_together_admit_what_one_may_and_refuse_from_memory() {
        let town = Arc::new(Town::default());
        let gateways = [town.gateway(), town.gateway()];
        let (rate, mut admitted, mut refused) = (rate("1000/s"), 0, 0);
        // Fifty times the quota, for ten seconds: 50 requests of one event each millisecond.
        for step in 0..500_000_u32 {
            if step % 50 == 0 {
                town.pass(1);
            }
            match gateways[(step % 2) as usize].admit(brand(1), rate, 1).await {
                Ok(()) => admitted += 1,
                Err(problem) => {
                    assert_eq!((problem.status, problem.code), (429, "events_quota"));
                    refused += 1;
                }
            }
        }
        // Ten seconds, what may come at once, and what a chunk may be late.
        assert!((10_000..=12_000).contains(&admitted), "{admitted}");
        assert_eq!(refused, 500_000 - admitted);
        // A dozen a second of each, and those for what came at once.
        assert!(town.leases() < 2 * 10 * 15, "{} leases", town.leases());
        // Another brand has its own.
        gateways[0].admit(brand(2), rate, 1_000).await.unwrap();
    }

    #[tokio::test]
    async fn a_brand_within_its_quota_is_never_refused_and_costs_a_lease_for_each_chunk() {
        let town = Arc::new(Town::default());
        let gateways = [town.gateway(), town.gateway()];
        let rate = rate("1000/s");
        for step in 0..10_000_usize {
            town.pass(1);
            gateways[step % 2].admit(brand(1), rate, 1).await.unwrap();
        }
        assert!(town.leases() <= 50, "{} leases for 10,000 events", town.leases());
    }

    #[tokio::test]
    async fn a_request_is_admitted_whole_or_not_at_all() {
        let town = Arc::new(Town::default());
        let gateway = town.gateway();
        let rate = rate("100/s");
        gateway.admit(brand(1), rate, 60).await.unwrap();
        let problem = gateway.admit(brand(1), rate, 60).await.unwrap_err();
        assert_eq!(problem.retry_after_s, Some(1));
        town.pass(100);
        gateway.admit(brand(1), rate, 40).await.unwrap();
        // More than comes at once is taken whole out of a whole capacity, and waited for.
        town.pass(2_000);
        gateway.admit(brand(1), rate, 1_000).await.unwrap();
        let problem = gateway.admit(brand(1), rate, 1).await.unwrap_err();
        assert_eq!(problem.retry_after_s, Some(10));
        assert_eq!(gateway.glance(brand(1), rate).unwrap_err().code, "events_quota");
        town.pass(8_999);
        assert!(gateway.admit(brand(1), rate, 1).await.is_err());
        town.pass(20);
        gateway.admit(brand(1), rate, 1).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_leased_keeps_for_a_second() {
        let town = Arc::new(Town::default());
        let gateway = town.gateway();
        let rate = rate("100/s");
        gateway.admit(brand(1), rate, 1).await.unwrap();
        town.pass(999);
        gateway.admit(brand(1), rate, 1).await.unwrap();
        assert_eq!(town.leases(), 1);
        town.pass(1);
        gateway.admit(brand(1), rate, 1).await.unwrap();
        assert_eq!(town.leases(), 2);
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_decides_and_what_was_leased_is_spent() {
        let town = Arc::new(Town::default());
        let gateway = town.gateway();
        let rate = rate("100/s");
        gateway.admit(brand(1), rate, 1).await.unwrap();
        town.broken.store(1, Ordering::Relaxed);
        let problem = gateway.admit(brand(1), rate, 60).await.unwrap_err();
        assert_eq!(problem.code, "conflict", "what the store says, not a refusal of the quota");
        gateway.admit(brand(1), rate, 24).await.unwrap();
        assert_eq!(gateway.admit(brand(1), rate, 1).await.unwrap_err().code, "conflict");
        town.broken.store(0, Ordering::Relaxed);
        gateway.admit(brand(1), rate, 75).await.unwrap();
        assert!(gateway.admit(brand(1), rate, 1).await.is_err());
    }

    #[tokio::test]
    async fn what_is_given_back_is_not_spent_meanwhile() {
        let town = Arc::new(Town::default());
        let gateway = town.gateway();
        let rate = rate("100/s");
        gateway.admit(brand(1), rate, 1).await.unwrap();
        let (one, two) =
            tokio::join!(gateway.admit(brand(1), rate, 90), gateway.admit(brand(1), rate, 20));
        assert!(one.is_ok() && two.is_err(), "91 of 100 are taken: {two:?}");
    }

    #[tokio::test]
    async fn a_new_rate_counts_at_once_and_no_rate_asks_nobody() {
        let town = Arc::new(Town::default());
        let gateway = town.gateway();
        gateway.admit(brand(1), rate("1/s"), 1).await.unwrap();
        assert!(gateway.admit(brand(1), rate("1/s"), 1).await.is_err());
        gateway.admit(brand(1), rate("1000/s"), 1).await.unwrap_err();
        town.pass(100);
        gateway.admit(brand(1), rate("1000/s"), 1).await.unwrap();
        let leases = town.leases();
        gateway.admit(brand(1), None, 1_000_000).await.unwrap();
        assert_eq!(town.leases(), leases);
    }
}
