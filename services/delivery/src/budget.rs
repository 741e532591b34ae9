//! Permits to send: a place in time from the brand's rate and one from the sender's.
//!
//! A permit is taken before a message is claimed (brand) or written (sender), never borrowed
//! afterwards. It may be used inside its slots only; one that is used too late is forfeited and the
//! message goes back for another.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use parcours_domain::Rate;
use parcours_queue::tokens::{LimitKey, TokenLease};

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
    /// Whether its time has passed.
    pub(crate) fn is_late(self, now: Instant) -> bool {
        self.closes_at.is_some_and(|closes| closes <= now)
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

/// Leases permits in blocks and keeps what a turn did not need, for as long as it may be used.
pub(crate) struct Purse {
    tokens: Arc<dyn TokenLease>,
    kept: Mutex<HashMap<LimitKey, VecDeque<Permit>>>,
}

impl Purse {
    pub(crate) fn new(tokens: Arc<dyn TokenLease>) -> Self {
        Self { tokens, kept: Mutex::default() }
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
                tracing::warn!(%error, tenant = ?key.tenant(), "no send permits can be leased");
                Permits { permits, next_at: now + Duration::from_secs(1) }
            }
        }
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
}
