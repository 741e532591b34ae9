//! Leases in the memory of one process.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parcours_domain::Rate;

use super::{LEASE_AHEAD_MAX, LEASE_SLOTS_MAX, Lease, LimitKey, TokenLease, pace::pace};
use crate::QueueError;

/// Keys beyond which idle ones are forgotten.
const KEYS_MAX: usize = 10_000;

/// Leases kept in this process's memory.
#[derive(Debug, Default)]
pub struct MemoryTokens {
    /// The theoretical arrival time of the next permit, by key. A time in the past is the same
    /// as none.
    arrivals: Mutex<HashMap<LimitKey, Instant>>,
}

impl MemoryTokens {
    /// With every burst whole.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl TokenLease for MemoryTokens {
    async fn lease(
        &self,
        key: &LimitKey,
        rate: Rate,
        want: u32,
        now: Instant,
    ) -> Result<Lease, QueueError> {
        let (interval, width) = pace(rate, Duration::ZERO);
        let tolerance = interval.saturating_mul(rate.burst().saturating_sub(1));
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        // No further ahead than this rate can have brought it: a raised rate counts at once.
        let furthest = now + LEASE_AHEAD_MAX + tolerance + interval;
        let arrival = arrivals.get(key).copied().unwrap_or(now);
        let mut arrival = arrival.clamp(now, furthest);
        let mut slots = Vec::new();
        let mut slot = earliest(arrival, tolerance, now);
        while slots.len() < want.min(LEASE_SLOTS_MAX) as usize && slot <= now + LEASE_AHEAD_MAX {
            slots.push(slot);
            arrival = arrival.max(slot) + interval;
            slot = earliest(arrival, tolerance, now);
        }
        if arrivals.len() >= KEYS_MAX {
            arrivals.retain(|_, arrival| *arrival > now);
        }
        arrivals.insert(key.clone(), arrival);
        Ok(Lease {
            slots,
            width,
            next_at: slot.checked_sub(LEASE_AHEAD_MAX).unwrap_or(now).max(now),
        })
    }
}

/// The burst lets a permit go `tolerance` ahead of its arrival time, but never before now.
fn earliest(arrival: Instant, tolerance: Duration, now: Instant) -> Instant {
    arrival.checked_sub(tolerance).unwrap_or(now).max(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::SlotTime;
    use parcours_domain::{TenantId, Timestamp, ids::uuid_v7};
    use proptest::prelude::*;

    fn key(n: u8) -> LimitKey {
        let tenant = TenantId(uuid_v7(Timestamp::EPOCH, [n; 10]));
        LimitKey::Sender(tenant, "news".parse().unwrap())
    }
    fn lease(tokens: &MemoryTokens, rate: &str, want: u32, now: Instant) -> Lease {
        let rate = rate.parse().unwrap();
        futures_block(tokens.lease(&key(1), rate, want, now))
    }
    fn futures_block<T>(future: impl Future<Output = Result<T, QueueError>>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(future).unwrap()
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let (tokens, now) = (MemoryTokens::new(), Instant::now());
        let got = lease(&tokens, "60/min burst 3", 5, now);
        let offsets: Vec<u64> =
            got.slots.iter().map(|slot| slot.duration_since(now).as_millis() as u64).collect();
        // 60/min: one a second is shorter than a fiftieth of the minute, hence 1.02 s.
        assert_eq!(offsets, [0, 0, 0]);
        assert_eq!(got.next_at, now + Duration::from_millis(20));
        let later = lease(&tokens, "60/min burst 3", 5, now + Duration::from_millis(20));
        assert_eq!(later.slots, [now + Duration::from_millis(1020)]);
    }

    #[test]
    fn one_key_does_not_spend_anothers_permits() {
        let (tokens, now) = (MemoryTokens::new(), Instant::now());
        let rate = "1/day".parse().unwrap();
        for n in 1..=3 {
            let got = futures_block(tokens.lease(&key(n), rate, 2, now));
            assert_eq!(got.slots.len(), 1, "key {n}");
        }
    }

    #[test]
    fn a_late_slot_is_forfeited_and_an_early_one_waits() {
        let (tokens, now) = (MemoryTokens::new(), Instant::now());
        let got = lease(&tokens, "10/s", 2, now);
        let [first, second] = got.slots[..] else { panic!("two slots") };
        assert_eq!(got.judge(first, now), SlotTime::Usable);
        assert_eq!(got.judge(second, now), SlotTime::Early(Duration::from_millis(100)));
        assert_eq!(got.judge(first, now + Duration::from_millis(99)), SlotTime::Usable);
        assert_eq!(got.judge(first, now + Duration::from_millis(100)), SlotTime::Late);
    }

    #[test]
    fn a_long_pause_earns_one_burst_and_no_more() {
        let (tokens, now) = (MemoryTokens::new(), Instant::now());
        lease(&tokens, "1/h burst 4", 100, now);
        let got = lease(&tokens, "1/h burst 4", 100, now + Duration::from_secs(86_400));
        assert_eq!(got.slots.len(), 4);
    }

    #[test]
    fn a_raised_rate_counts_at_once() {
        let (tokens, now) = (MemoryTokens::new(), Instant::now());
        assert_eq!(lease(&tokens, "1/day", 5, now).slots.len(), 1);
        let soon = now + Duration::from_secs(2);
        assert_eq!(lease(&tokens, "10/s", 5, soon).slots.len(), 0, "a second's worth at most");
        let then = soon + Duration::from_secs(1);
        assert_eq!(lease(&tokens, "10/s", 5, then).slots.len(), 5);
    }

    proptest! {
        /// Used as late as each slot allows, in any pattern of asking: never more than
        /// count + burst in any period.
        #[test]
        fn no_period_sees_more_than_count_and_burst(
            count in 1u32..200,
            burst in 1u32..20,
            unit in prop::sample::select(vec![("s", 1_000u64), ("min", 60_000)]),
            asks in prop::collection::vec((0u64..400, 1u32..80, 0u32..100), 1..120),
        ) {
            let (tokens, begin) = (MemoryTokens::new(), Instant::now());
            let rate: Rate = format!("{count}/{} burst {burst}", unit.0).parse().unwrap();
            let period = Duration::from_millis(unit.1);
            let mut now = begin;
            let mut uses = Vec::new();
            for (pause, want, lateness) in asks {
                now += Duration::from_millis(pause) * u32::try_from(unit.1 / 1_000).unwrap();
                let got = futures_block(tokens.lease(&key(1), rate, want, now));
                let late = got.width.mul_f64(f64::from(lateness) / 100.0);
                uses.extend(got.slots.iter().map(|slot| *slot + late));
            }
            uses.sort();
            for (i, first) in uses.iter().enumerate() {
                let inside = uses[i..].iter().take_while(|at| at.duration_since(*first) < period);
                prop_assert!(inside.count() <= (count + burst) as usize);
            }
        }
    }
}
