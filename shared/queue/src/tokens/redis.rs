//! Leases from Redis, so that all delivery processes together keep a rate.
//!
//! A slot is a moment of a clock that the processes share ([`SlotClock`]): product time as each of
//! them synchronised it with the database, in microseconds. Redis keeps, by key, the theoretical
//! arrival time and the latest `now` that any lessee gave; a lessee whose clock is behind gets slots
//! from that moment on, so slots are given out in order whatever the clocks say.
//!
//! **Bound.** Clocks that differ by at most [`SKEW_MAX`] at any moment: no period sees more than
//! `count + burst` uses; the interval pays for the skew (1 % of a rate per second, less of slower
//! ones). With a greater difference `d`, a period sees at most `(d - SKEW_MAX) / T` more. A clock
//! that is ahead by more than a second is served alone until ten seconds after it stops asking.
//!
//! **Without Redis** each process keeps to its share: `count / processes` a period, without a burst,
//! from the moment on at which all slots that Redis can have given out are over. All processes cut
//! off: never more than `count`. Some cut off (`c` of `n`): at most `c / n` of the rate more. In the
//! period in which Redis comes back: at most `processes` more, and one burst more if it came back
//! empty. A rate with fewer than `processes` permits a period rests.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parcours_domain::Rate;
use redis::Script;

use super::{
    LEASE_AHEAD_MAX, LEASE_SLOTS_MAX, Lease, LimitKey, TokenLease,
    pace::pace,
    share::{Share, Shares},
};
use crate::{QueueError, RedisLink};

/// By how much the clocks of two processes may differ at one moment for the limits to hold exactly.
pub const SKEW_MAX: Duration = Duration::from_millis(10);

/// A moment of this process, as microseconds of the clock that all processes share.
pub type SlotClock = Arc<dyn Fn(Instant) -> i64 + Send + Sync>;

/// Gives out at most ARGV[5] slots that begin no later than ARGV[4]; says how many, the arrival time
/// of the first and the moment it counted as now. All in microseconds. The key is forgotten when it
/// would say nothing any more.
const LEASE: &str = r"
local was = redis.call('HMGET', KEYS[1], 'arrival', 'seen')
local given, interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local horizon = tonumber(ARGV[4])
local now = math.max(given, tonumber(was[2] or given))
local furthest = now + horizon - given + tolerance + interval
local arrival = math.min(math.max(tonumber(was[1] or now), now), furthest)
local n = 0
if now <= horizon then
  n = math.floor((horizon + tolerance - arrival) / interval) + 1
  n = math.max(0, math.min(n, tonumber(ARGV[5])))
end
local last = arrival + n * interval
redis.call('HSET', KEYS[1], 'arrival', string.format('%.0f', last), 'seen', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', (last - given) / 1000 + 10000))
return { n, string.format('%.0f', arrival), string.format('%.0f', now) }
";

/// Leases that all processes share.
pub struct RedisTokens {
    link: Arc<RedisLink>,
    install: String,
    clock: SlotClock,
    /// How many processes lease, this one among them.
    processes: Arc<AtomicU32>,
    script: Script,
    /// Since when Redis has not answered.
    lost_at: Mutex<Option<Instant>>,
    shares: Shares,
}

impl RedisTokens {
    /// For an install. `processes` is how many processes lease at present, this one among them; it
    /// is read when Redis does not answer.
    #[must_use]
    pub fn new(
        link: Arc<RedisLink>,
        install: &str,
        clock: SlotClock,
        processes: Arc<AtomicU32>,
    ) -> Self {
        Self {
            link,
            install: install.to_owned(),
            clock,
            processes,
            script: Script::new(LEASE),
            lost_at: Mutex::new(None),
            shares: Shares::default(),
        }
    }

    async fn ask(
        &self,
        key: &LimitKey,
        rate: Rate,
        want: u32,
        now: Instant,
    ) -> Result<Lease, QueueError> {
        let (interval, width) = pace(rate, SKEW_MAX);
        let tolerance = interval.saturating_mul(rate.burst().saturating_sub(1));
        let (interval, tolerance) = (micros(interval), micros(tolerance));
        let given = (self.clock)(now);
        let digest = uuid::Uuid::from_bytes(key.digest()).simple();
        let mut call = self.script.key(format!("p:{}:1:slots:{digest}", self.install));
        call.arg(given).arg(interval).arg(tolerance);
        call.arg(given + micros(LEASE_AHEAD_MAX)).arg(want);
        let told: (i64, i64, i64) =
            self.link.ask(|mut redis| async move { call.invoke_async(&mut redis).await }).await?;
        let (count, arrival, from) = told;
        let slot = |n: i64| {
            let at = (arrival + n * interval - tolerance).max(from) - given;
            now + Duration::from_micros(u64::try_from(at).unwrap_or(0))
        };
        let next_at = slot(count).checked_sub(LEASE_AHEAD_MAX).unwrap_or(now).max(now);
        Ok(Lease { slots: (0..count).map(slot).collect(), width, next_at })
    }

    fn lost_at(&self) -> Option<Instant> {
        *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when Redis has not answered, if it does not now.
    fn lost(&self, now: Instant) -> Instant {
        let mut lost_at = self.lost_at.lock().unwrap_or_else(PoisonError::into_inner);
        *lost_at.get_or_insert(now)
    }

    fn found(&self) {
        *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Rounded up, so that rounding never lets one more through.
fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX)
}

#[async_trait]
impl TokenLease for RedisTokens {
    async fn lease(
        &self,
        key: &LimitKey,
        rate: Rate,
        want: u32,
        now: Instant,
    ) -> Result<Lease, QueueError> {
        let share = Share::of(rate, self.processes.load(Ordering::Relaxed));
        // A server that came back may have forgotten what it gave out; until that is over there
        // is nothing to be had.
        let pause_end = |lost_at| lost_at + LEASE_AHEAD_MAX + SKEW_MAX + share.width;
        if let Some(next_at) = self.lost_at().map(pause_end).filter(|end| now < *end) {
            return Ok(Lease { slots: Vec::new(), width: share.width, next_at });
        }
        let owed = self.shares.owed(key, now);
        let want = want.min(LEASE_SLOTS_MAX);
        match self.ask(key, rate, want.saturating_add(owed), now).await {
            Ok(mut lease) => {
                self.found();
                let paid = lease.slots.len().min(owed as usize);
                lease.slots.drain(..paid);
                self.shares.paid(key, owed, paid);
                Ok(lease)
            }
            Err(_) => Ok(self.shares.lease(key, (share, want), now, pause_end(self.lost(now)))),
        }
    }
}
