//! What a process may send by itself while Redis does not answer: its share of each rate.
//!
//! What always holds: a share's slots are evenly spaced, without a burst, so that in no period all
//! shares together exceed the rate's count; the first comes a whole interval after the beginning; none
//! is leased further ahead than [`SHARE_AHEAD_MAX`].

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use parcours_domain::Rate;

use super::{
    Lease, LimitKey,
    pace::{divided, period},
};

/// How far ahead a share is leased: nobody goes back to Redis before that is over.
pub(super) const SHARE_AHEAD_MAX: Duration = Duration::from_millis(250);
/// Keys beyond which idle ones are forgotten.
const KEYS_MAX: usize = 10_000;

/// One process's share of a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Between two slots; none when there are fewer permits than processes.
    interval: Option<Duration>,
    pub width: Duration,
}

impl Share {
    /// A period touches the slots of `period + width`: that much holds as many slots as the share.
    pub fn of(rate: Rate, processes: u32) -> Self {
        let width = period(rate) / 50;
        let count = rate.count() / processes.max(1);
        let interval = (count > 0).then(|| divided(period(rate) + width, count));
        Self { interval, width }
    }
}

#[derive(Debug, Default)]
pub(super) struct Shares {
    /// The slot after the last one leased, by key.
    keys: Mutex<HashMap<LimitKey, Instant>>,
}

impl Shares {
    /// At most `want` slots, none before `begin` and an interval.
    pub fn lease(
        &self,
        key: &LimitKey,
        (share, want): (Share, u32),
        now: Instant,
        begin: Instant,
    ) -> Lease {
        let width = share.width;
        let Some(interval) = share.interval else {
            return Lease { slots: Vec::new(), width, next_at: now + Duration::from_secs(1) };
        };
        // Nothing that holds the guard can panic half-way through a change.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX {
            keys.retain(|_, next| *next > now);
        }
        let first = (begin + interval).max(now);
        let mut next = keys.get(key).copied().unwrap_or(first).max(first);
        let mut slots = Vec::new();
        while slots.len() < want as usize && next <= now + SHARE_AHEAD_MAX {
            slots.push(next);
            next += interval;
        }
        if !slots.is_empty() {
            keys.insert(key.clone(), next);
        }
        let next_at = next.checked_sub(SHARE_AHEAD_MAX).unwrap_or(now).max(now);
        Lease { slots, width, next_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcours_domain::{TenantId, Timestamp};

    fn key() -> LimitKey {
        LimitKey::Brand(TenantId::v7(Timestamp::EPOCH, [1; 10]))
    }

    /// Every way to share a rate: what all processes send in any period, used as late as allowed.
    #[test]
    fn shares_together_never_exceed_the_count() {
        for (count, processes) in [(100, 3), (7, 3), (60, 1), (3, 3), (2, 3)] {
            let rate: Rate = format!("{count}/s burst 5").parse().unwrap();
            let (begin, mut uses) = (Instant::now(), Vec::new());
            for process in 0..processes {
                let (shares, share) = (Shares::default(), Share::of(rate, processes));
                // Each loses Redis a little later than the one before.
                let own = begin + Duration::from_millis(u64::from(process) * 3);
                for step in 0..600_u64 {
                    let now = own + Duration::from_millis(step * 5);
                    let lease = shares.lease(&key(), (share, 100), now, own);
                    uses.extend(lease.slots.iter().map(|slot| *slot + share.width / 3 * process));
                }
            }
            uses.sort();
            for (i, first) in uses.iter().enumerate() {
                let second = Duration::from_secs(1);
                let inside = uses[i..].iter().take_while(|at| at.duration_since(*first) < second);
                assert!(inside.count() <= count, "{count}/s shared by {processes}");
            }
            let expected = if count < processes as usize { 0 } else { count * 2 };
            assert!(uses.len() >= expected, "{count}/s by {processes}: {} in 3 s", uses.len());
        }
    }
}
