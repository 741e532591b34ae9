//! What every lease of permits promises to one process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use parcours_domain::{Rate, TenantId, Timestamp};
use parcours_queue::{Lease, LimitKey, MemoryTokens, RedisLink, RedisTokens, TokenLease};
use parcours_testkit::redis::TempRedis;
use proptest::prelude::*;

use crate::ground::link;

/// A lessee in Redis whose clock is ahead of the true one by `skew` microseconds.
pub fn lessee(
    (link, install): (Arc<RedisLink>, &str),
    begin: Instant,
    skew: i64,
    processes: u32,
) -> RedisTokens {
    let clock = move |at: Instant| {
        let since = i64::try_from(at.duration_since(begin).as_micros()).unwrap();
        1_790_000_000_000_000 + skew + since
    };
    RedisTokens::new(link, install, Arc::new(clock), Arc::new(AtomicU32::new(processes)))
}

pub fn brand(n: u8) -> LimitKey {
    LimitKey::Brand(TenantId::v7(Timestamp::EPOCH, [n; 10]))
}

/// What brand `n` sends over a server to a provider.
pub fn domain(n: u8, server: &str, recipients: &str) -> LimitKey {
    let (server, recipients) = (server.to_owned(), recipients.to_owned());
    LimitKey::Domain { tenant: brand(n).tenant(), server, recipients }
}

pub fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

pub fn after(begin: Instant, millis: u64) -> Instant {
    begin + Duration::from_millis(millis)
}

/// The most uses in any period.
pub fn most_in_a_period(mut uses: Vec<Instant>, period: Duration) -> usize {
    uses.sort();
    let inside = |(i, first): (usize, &Instant)| {
        uses[i..].iter().take_while(|at| at.duration_since(*first) < period).count()
    };
    uses.iter().enumerate().map(inside).max().unwrap_or(0)
}

async fn ask(tokens: &dyn TokenLease, rate_text: &str, want: u32, now: Instant) -> Lease {
    tokens.lease(&brand(1), rate(rate_text), want, now).await.unwrap()
}

async fn a_burst_goes_at_once_and_the_rest_at_the_rate(tokens: &dyn TokenLease, begin: Instant) {
    let first = ask(tokens, "60/min burst 3", 5, begin).await;
    assert_eq!(first.slots, [begin; 3]);
    let wait = first.next_at.duration_since(begin);
    assert!(wait < Duration::from_millis(30), "the next slot is a second off: {wait:?}");
    let next = ask(tokens, "60/min burst 3", 5, first.next_at).await;
    let gap = next.slots[0].duration_since(begin);
    assert!(gap > Duration::from_secs(1) && gap < Duration::from_millis(1_030), "{gap:?}");
    assert_eq!(next.slots.len(), 1);
}

async fn one_limit_does_not_spend_anothers_permits(tokens: &dyn TokenLease, begin: Instant) {
    let tenant = brand(1).tenant();
    let sender = |name: &str| LimitKey::Sender(tenant, name.parse().unwrap());
    let keys = [
        brand(1),
        brand(2),
        sender("news"),
        sender("shop"),
        domain(1, "here:25", "google"),
        domain(1, "here:25", "example.net"),
        domain(1, "there:25", "google"),
        domain(2, "here:25", "google"),
    ];
    for key in keys {
        let lease = tokens.lease(&key, rate("1/day"), 2, begin).await.unwrap();
        assert_eq!(lease.slots.len(), 1, "{key:?}");
    }
}

async fn a_long_pause_earns_one_burst_and_no_more(tokens: &dyn TokenLease, begin: Instant) {
    ask(tokens, "1/h burst 4", 100, begin).await;
    let day = after(begin, 86_400_000);
    assert_eq!(ask(tokens, "1/h burst 4", 100, day).await.slots.len(), 4);
}

async fn a_raised_rate_counts_at_once(tokens: &dyn TokenLease, begin: Instant) {
    assert_eq!(ask(tokens, "1/day", 5, begin).await.slots.len(), 1);
    ask(tokens, "10/s", 5, after(begin, 2_000)).await;
    assert_eq!(ask(tokens, "10/s", 5, after(begin, 4_000)).await.slots.len(), 5);
}

/// Used as late as each slot allows, in any pattern of asking.
async fn no_period_sees_more_than_count_and_burst(tokens: &dyn TokenLease, begin: Instant) {
    let runtime = tokio::runtime::Handle::current();
    let asks = prop::collection::vec((0u64..400, 1u32..80, 0u32..100), 1..60);
    let units = prop::sample::select(vec![("s", 1_000u64), ("min", 60_000)]);
    let config = ProptestConfig { cases: 24, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let number = AtomicU32::new(0);
    let plans = (1u32..200, 1u32..20, units, asks);
    // The runner knows nothing of futures.
    let outcome = tokio::task::block_in_place(|| {
        runner.run(&plans, |(count, burst, unit, asks)| {
            let case = number.fetch_add(1, Ordering::Relaxed);
            let key = domain(1, "here:25", &case.to_string());
            let limit = rate(&format!("{count}/{} burst {burst}", unit.0));
            let (mut now, mut uses) = (begin, Vec::new());
            for (pause, want, lateness) in asks {
                now += Duration::from_millis(pause * unit.1 / 1_000);
                let got = runtime.block_on(tokens.lease(&key, limit, want, now)).unwrap();
                let late = got.width.mul_f64(f64::from(lateness) / 100.0);
                uses.extend(got.slots.iter().map(|slot| *slot + late));
            }
            let most = most_in_a_period(uses, Duration::from_millis(unit.1));
            prop_assert!(most <= (count + burst) as usize, "{most} of {limit}");
            Ok(())
        })
    });
    outcome.unwrap();
}

macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                super::$promise(&MemoryTokens::new(), Instant::now()).await;
            })*
        }
        mod in_redis {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                let begin = Instant::now();
                if let Some(redis) = TempRedis::new(stringify!($promise)).unwrap() {
                    let tokens = lessee((link(redis.url()), redis.install()), begin, 0, 1);
                    super::$promise(&tokens, begin).await;
                }
            })*
        }
    };
}

contract!(
    a_burst_goes_at_once_and_the_rest_at_the_rate,
    one_limit_does_not_spend_anothers_permits,
    a_long_pause_earns_one_burst_and_no_more,
    a_raised_rate_counts_at_once,
    no_period_sees_more_than_count_and_burst,
);
