//! Leases from Redis, so that all delivery processes together keep a rate.
//!
//! A slot is a moment of a clock that the processes share ([`SlotClock`]): real time in microseconds,
//! as each of them synchronised it with the database. Never Redis's own time, which may jump or be
//! another's after a failover. Redis keeps, by key, the theoretical arrival time and the latest `now`
//! that any lessee gave; a lessee whose clock is behind gets slots from that moment on, so slots are
//! given out in order whatever the clocks say.
//!
//! **Bound.** Clocks that differ by at most [`SKEW_MAX`] at any moment: no period sees more than
//! `count + burst` uses; the interval pays for the skew (1 % of a rate per second, less of slower
//! ones). With a greater difference `d`, a period sees at most `(d - SKEW_MAX) / T` more. A clock
//! that is ahead by more than a second is served alone until ten seconds after it stops asking.
//!
//! **An answer that does not come** costs the time until the next one: for two seconds no permits are
//! given, and if Redis answers by then nothing else happens.
//!
//! **Without Redis** each process keeps to its share: `count / processes` a period, without a burst. It
//! begins when all slots that Redis can have given out are over, and ends a second before the first
//! slot of a Redis that is back, so that neither overlaps the other in any process. All processes cut
//! off: never more than `count`. While `c` of `n` are cut off and the others not: at most `c / n` of the
//! rate more. A Redis that comes back empty: one burst more in that period. A rate with fewer permits
//! than there are processes rests. Each pause is little more than a second and a fiftieth of the period.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    share::{SHARE_AHEAD_MAX, Share, Shares},
};
use crate::{QueueError, RedisLink};

/// By how much the clocks of two processes may differ at one moment for the limits to hold exactly.
pub const SKEW_MAX: Duration = Duration::from_millis(10);

/// How long a process that reaches Redis again waits before it leases there: longer than the others
/// need to notice it too (a link's rest and an attempt) and than shares are leased ahead.
const RETURN_PAUSE: Duration = Duration::from_secs(1).saturating_add(SHARE_AHEAD_MAX);

/// How long Redis may not answer before this process goes by its share: longer than a link waits for
/// an answer, rests and tries again.
const DOUBT: Duration = Duration::from_secs(2);
/// How soon it is asked again meanwhile.
const DOUBT_STEP: Duration = Duration::from_millis(100);

/// A moment of this process, as microseconds of the clock that all processes share.
pub type SlotClock = Arc<dyn Fn(Instant) -> i64 + Send + Sync>;

/// Gives out at most `ARGV[5]` slots that begin no later than `ARGV[4]`; says how many, the arrival time
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
    contact: Mutex<Contact>,
    shares: Shares,
}

/// How Redis was found last.
#[derive(Clone, Copy, Debug)]
enum Contact {
    Unbroken,
    /// It did not answer, first at this moment; that may pass.
    Doubtful(Instant),
    Lost(Instant),
    Back(Instant),
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
            contact: Mutex::new(Contact::Unbroken),
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

    fn contact(&self) -> MutexGuard<'_, Contact> {
        // Nothing that holds the guard can panic half-way through a change.
        self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when slots of before may be in use, if that is not over.
    fn pause(&self, width: Duration, now: Instant) -> Option<Instant> {
        let end = match *self.contact() {
            Contact::Unbroken | Contact::Doubtful(_) => return None,
            Contact::Lost(at) => share_begins(at, width),
            Contact::Back(at) => at + RETURN_PAUSE + width,
        };
        (now < end).then_some(end)
    }

    /// Redis answered. True: for the first time since it was lost.
    fn found(&self, now: Instant) -> bool {
        let mut contact = self.contact();
        let lost = matches!(*contact, Contact::Lost(_));
        match *contact {
            Contact::Lost(_) => *contact = Contact::Back(now),
            // Nobody went by a share meanwhile.
            Contact::Doubtful(_) => *contact = Contact::Unbroken,
            Contact::Unbroken | Contact::Back(_) => {}
        }
        lost
    }

    /// Redis did not answer; since when it does not, once that is no passing matter.
    fn lost(&self, now: Instant) -> Option<Instant> {
        let mut contact = self.contact();
        match *contact {
            Contact::Lost(at) => return Some(at),
            Contact::Doubtful(at) if now.saturating_duration_since(at) >= DOUBT => {
                *contact = Contact::Lost(at);
                return Some(at);
            }
            Contact::Doubtful(_) => {}
            Contact::Unbroken => *contact = Contact::Doubtful(now),
            Contact::Back(_) => {
                *contact = Contact::Lost(now);
                return Some(now);
            }
        }
        None
    }
}

/// When all slots are over that Redis can have given out before it was lost.
fn share_begins(lost_at: Instant, width: Duration) -> Instant {
    lost_at + LEASE_AHEAD_MAX + SKEW_MAX + width
}

/// Rounded up, so that rounding never lets one more through.
fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX)
}

#[async_trait]
impl TokenLease for RedisTokens {
    fn lessees(&self) -> u32 {
        self.processes.load(Ordering::Relaxed)
    }

    async fn lease(
        &self,
        key: &LimitKey,
        rate: Rate,
        want: u32,
        now: Instant,
    ) -> Result<Lease, QueueError> {
        let share = Share::of(rate, self.processes.load(Ordering::Relaxed));
        let nothing_until = |next_at| Lease { slots: Vec::new(), width: share.width, next_at };
        if let Some(end) = self.pause(share.width, now) {
            return Ok(nothing_until(end));
        }
        let want = want.min(LEASE_SLOTS_MAX);
        let lost = matches!(*self.contact(), Contact::Lost(_));
        // A Redis that is back is asked whether it is; for slots, after a pause.
        match self.ask(key, rate, if lost { 0 } else { want }, now).await {
            Ok(lease) => {
                let back = self.found(now) || lost;
                let end = self.pause(share.width, now).unwrap_or(now);
                Ok(if back { nothing_until(end) } else { lease })
            }
            Err(_) => Ok(match self.lost(now) {
                Some(at) => {
                    let begin = share_begins(at, share.width);
                    self.shares.lease(key, (share, want), now, begin)
                }
                None => nothing_until(now + DOUBT_STEP),
            }),
        }
    }
}
