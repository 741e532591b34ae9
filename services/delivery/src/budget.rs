//! Permits to send: a place in time from the brand's rate, one from the recipients' and one from the
//! sender's.
//!
//! A permit is taken before a message is claimed (brand, and a provider's lane) or written, never
//! borrowed afterwards. It may be used inside its slots only; one that is used too late is forfeited
//! and the message goes back for another.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use parcours_domain::Rate;
use parcours_queue::tokens::{LimitKey, TokenLease};

use crate::pace::Pace;

/// When a message may leave, as far as rates are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permit {
    opens_at: Instant,
    closes_at: Option<Instant>,
}

impl Permit {
    /// No rate applies.
    pub(crate) const fn free(now: Instant) -> Self {
        Self { opens_at: now, closes_at: None }
    }
    fn slot(at: Instant, width: Duration) -> Self {
        Self { opens_at: at, closes_at: Some(at + width) }
    }
    /// Both permits together.
    pub(crate) fn and(self, other: Self) -> Self {
        let closes_at = match (self.closes_at, other.closes_at) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self { opens_at: self.opens_at.max(other.opens_at), closes_at }
    }
    /// From when it may be used.
    pub(crate) const fn opens_at(self) -> Instant {
        self.opens_at
    }
    /// How long before it opens its message is claimed.
    fn lead(self) -> Duration {
        let width = self.closes_at.map_or(READY, |closes| closes.duration_since(self.opens_at));
        READY.saturating_sub(width).max(READY_LEAST)
    }
    /// Whether its time has passed.
    pub(crate) fn is_late(self, now: Instant) -> bool {
        self.closes_at.is_some_and(|closes| closes <= now)
    }
}

/// The permits of one message, each with whose rate it is of.
#[derive(Clone, Debug)]
pub(crate) struct Pass(Vec<(LimitKey, Permit)>);

impl Pass {
    pub(crate) fn of(key: &LimitKey, permit: Permit) -> Self {
        Self(vec![(key.clone(), permit)])
    }
    pub(crate) fn add(&mut self, key: &LimitKey, permit: Permit) {
        self.0.push((key.clone(), permit));
    }
    /// All of them together.
    pub(crate) fn permit(&self) -> Permit {
        let free = Permit {
            opens_at: self.0.first().map_or_else(Instant::now, |(_, one)| one.opens_at),
            closes_at: None,
        };
        self.0.iter().fold(free, |all, (_, one)| all.and(*one))
    }
}

/// What was taken from the purse.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    /// One for each message that may go, at most as many as were asked for.
    pub permits: Vec<Permit>,
    /// When asking for more is worth while.
    pub next_at: Instant,
}

/// What claiming and writing may take on a busy machine: a permit of a lane with a pace is taken so
/// long before it closes, and not much earlier, because meanwhile the message waits in a batch, whose
/// place another lane could have.
const READY: Duration = Duration::from_millis(500);
const READY_LEAST: Duration = Duration::from_millis(20);
/// No message is sent back to the queue for longer than this for want of a permit: rates change.
const PLACES_AHEAD: Duration = Duration::from_secs(600);
/// Places beyond which those that are past are forgotten.
const PLACES_MOST: usize = 10_000;

/// Permits of one rate for the messages of a claim; what is not used goes back when this is dropped.
pub(crate) struct Ahead<'a> {
    purse: &'a Purse,
    pub pace: Pace,
    permits: VecDeque<Permit>,
}

impl Ahead<'_> {
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.permits.len()).unwrap_or(u32::MAX)
    }
    pub(crate) fn hand_out(&mut self, want: usize) -> Permits {
        let permits = self.permits.drain(..want.min(self.permits.len())).collect();
        Permits { permits, next_at: Instant::now() }
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.purse.put_back(&self.pace.key, self.permits.drain(..));
    }
}

/// Leases permits in blocks and keeps what a turn did not need, for as long as it may be used.
pub(crate) struct Purse {
    tokens: Arc<dyn TokenLease>,
    kept: Mutex<HashMap<LimitKey, VecDeque<Permit>>>,
    /// When the next message that gets no permit may try again, by whose rate it waits for.
    places: Mutex<HashMap<LimitKey, Instant>>,
}

impl Purse {
    pub(crate) fn new(tokens: Arc<dyn TokenLease>) -> Self {
        Self { tokens, kept: Mutex::default(), places: Mutex::default() }
    }

    /// Takes at most `want` permits; all of them, when no rate is set. When the leases cannot be
    /// reached, only what was kept: a rate that is not known is not exceeded.
    pub(crate) async fn take(&self, key: &LimitKey, rate: Option<Rate>, want: u32) -> Permits {
        let now = Instant::now();
        let Some(rate) = rate else {
            return Permits { permits: vec![Permit::free(now); want as usize], next_at: now };
        };
        let mut permits = self.kept(key, want as usize, now);
        let more = want.saturating_sub(u32::try_from(permits.len()).unwrap_or(want));
        if more == 0 {
            return Permits { permits, next_at: now };
        }
        match self.tokens.lease(key, rate, more, now).await {
            Ok(lease) => {
                permits.extend(lease.slots.iter().map(|slot| Permit::slot(*slot, lease.width)));
                Permits { permits, next_at: lease.next_at }
            }
            Err(error) => {
                tracing::warn!(%error, tenant = %key.tenant(), "no send permits can be leased");
                Permits { permits, next_at: now + Duration::from_secs(1) }
            }
        }
    }

    /// Takes at most `want` permits that open soon, for messages that are still to be claimed; when
    /// there is none, the moment at which it is worth while to ask again.
    pub(crate) async fn ahead(&self, pace: Pace, want: u32) -> Result<Ahead<'_>, Instant> {
        let now = Instant::now();
        let Permits { permits, next_at } = self.take(&pace.key, Some(pace.rate), want).await;
        let (soon, later): (Vec<_>, Vec<_>) =
            permits.into_iter().partition(|one| one.opens_at <= now + one.lead() * 2);
        let asks = later.iter().filter_map(|one| one.opens_at.checked_sub(one.lead())).min();
        self.put_back(&pace.key, later);
        if soon.is_empty() {
            return Err(asks.unwrap_or(next_at));
        }
        Ok(Ahead { purse: self, pace, permits: soon.into() })
    }

    /// Puts back all permits of a message that does not leave now.
    pub(crate) fn give_back(&self, pass: Pass) {
        for (key, permit) in pass.0 {
            self.put_back(&key, [permit]);
        }
    }

    /// When a message that got no permit may try again: one after the other at the rate's pace, so
    /// that a thousand that wait do not come back together to wait again.
    pub(crate) fn place(&self, key: &LimitKey, rate: Rate, next_at: Instant) -> Instant {
        let now = Instant::now();
        let step = Duration::from_millis(rate.period().0.unsigned_abs()) / rate.count().max(1);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= PLACES_MOST {
            places.retain(|_, place| *place > now);
        }
        let place = places.entry(key.clone()).or_insert(next_at);
        let at = (*place).max(next_at).min(now + PLACES_AHEAD);
        *place = at + step;
        at
    }

    /// How many processes share the rates.
    pub(crate) fn lessees(&self) -> u32 {
        self.tokens.lessees()
    }

    /// Puts back what was not needed.
    pub(crate) fn put_back(&self, key: &LimitKey, permits: impl IntoIterator<Item = Permit>) {
        let mut limited =
            permits.into_iter().filter(|permit| permit.closes_at.is_some()).peekable();
        if limited.peek().is_some() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.entry(key.clone()).or_default().extend(limited);
        }
    }

    fn kept(&self, key: &LimitKey, want: usize, now: Instant) -> Vec<Permit> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = kept.get_mut(key) else { return Vec::new() };
        own.retain(|permit| !permit.is_late(now));
        own.make_contiguous().sort_unstable_by_key(|permit| permit.opens_at);
        let taken = own.drain(..want.min(own.len())).collect();
        if own.is_empty() {
            kept.remove(key);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_permits_together_open_late_and_close_early() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let one = Permit::slot(now, 3 * second);
        let two = Permit::slot(now + second, second);
        let both = one.and(two);
        assert_eq!(both.opens_at(), now + second);
        assert!(!both.is_late(now + second) && both.is_late(now + 2 * second));
        assert_eq!(one.and(Permit::free(now)), one);
        assert!(!Permit::free(now).is_late(now + Duration::from_secs(9_999)));
    }

    #[tokio::test]
    async fn what_a_turn_did_not_need_is_there_for_the_next() {
        let purse = Purse::new(Arc::new(parcours_queue::MemoryTokens::new()));
        let tenant = parcours_domain::TenantId::v7(parcours_domain::Timestamp::EPOCH, [1; 10]);
        let key = LimitKey::Brand(tenant);
        let rate = Some("1/day burst 3".parse().unwrap());
        let mut first = purse.take(&key, rate, 100).await.permits;
        assert_eq!(first.len(), 3);
        let unused = first.split_off(1);
        assert!(purse.take(&key, rate, 100).await.permits.is_empty());
        purse.put_back(&key, unused);
        assert_eq!(purse.take(&key, rate, 100).await.permits.len(), 2);
    }

    fn provider() -> Pace {
        let tenant = parcours_domain::TenantId::v7(parcours_domain::Timestamp::EPOCH, [1; 10]);
        let (server, recipients) = ("relay:25".to_owned(), "google".to_owned());
        let key = LimitKey::Domain { tenant, server, recipients };
        Pace { key, rate: "1/h burst 3".parse().unwrap() }
    }

    #[tokio::test]
    async fn a_lane_takes_what_it_can_use_and_is_told_when_there_is_more() {
        let purse = Purse::new(Arc::new(parcours_queue::MemoryTokens::new()));
        let mut ahead = purse.ahead(provider(), 100).await.ok().unwrap();
        assert_eq!(ahead.count(), 3);
        assert_eq!(ahead.hand_out(2).permits.len(), 2);
        drop(ahead);
        let mut ahead = purse.ahead(provider(), 100).await.ok().unwrap();
        assert_eq!(ahead.hand_out(100).permits.len(), 1, "what was not used came back");
        drop(ahead);
        let now = Instant::now();
        let asks = purse.ahead(provider(), 100).await.err().unwrap();
        assert!(asks > now + Duration::from_secs(3_000), "not before the next hour");

        // A permit that opens later than a message should wait for stays for the next turn.
        let slow = Pace { rate: "1/s".parse().unwrap(), ..provider() };
        let purse = Purse::new(Arc::new(parcours_queue::MemoryTokens::new()));
        let now = Instant::now();
        assert_eq!(purse.ahead(slow.clone(), 9).await.ok().unwrap().hand_out(9).permits.len(), 1);
        let asks = purse.ahead(slow, 9).await.err().unwrap();
        assert!(asks > now + Duration::from_millis(900) && asks < now + Duration::from_secs(1));
    }

    #[test]
    fn a_message_gives_back_every_permit_that_it_had() {
        let purse = Purse::new(Arc::new(parcours_queue::MemoryTokens::new()));
        let (one, other) = (provider().key, LimitKey::Brand(provider().key.tenant()));
        let now = Instant::now();
        let mut pass = Pass::of(&one, Permit::slot(now, Duration::from_secs(60)));
        pass.add(&other, Permit::slot(now, Duration::from_secs(30)));
        assert!(pass.permit().is_late(now + Duration::from_secs(40)), "the earlier end counts");
        purse.give_back(pass);
        assert_eq!([one, other].map(|key| purse.kept(&key, 9, now).len()), [1, 1]);
    }

    #[test]
    fn who_gets_no_permit_has_a_place_behind_the_others() {
        let purse = Purse::new(Arc::new(parcours_queue::MemoryTokens::new()));
        let (key, rate) = (provider().key, "10/s".parse().unwrap());
        let next_at = Instant::now() + Duration::from_secs(1);
        let places = [(); 3].map(|()| purse.place(&key, rate, next_at) - next_at);
        assert_eq!(places.map(|place| place.as_millis()), [0, 100, 200]);
        let slow = "1/day".parse().unwrap();
        let mut last = next_at;
        for _ in 0..3 {
            last = purse.place(&key, slow, next_at);
        }
        assert!(last <= Instant::now() + PLACES_AHEAD, "a raised rate is noticed");
        let other = LimitKey::Brand(key.tenant());
        assert_eq!(purse.place(&other, rate, next_at), next_at);
    }
}
