//! Permits to send: a place in time from the brand's rate and one from the sender's.
//!
//! A permit is leased before a message is claimed (brand) or made (sender), never borrowed
//! afterwards. It may be used inside its slots only; one that is used too late is forfeited and the
//! message goes back for another.

use std::time::{Duration, Instant};

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

/// What a lease gave.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    /// One for each message that may go, at most as many as were asked for.
    pub permits: Vec<Permit>,
    /// When asking for more is worth while.
    pub next_at: Instant,
}

/// Asks for `want` permits; all of them, when no rate is set. When the leases cannot be reached,
/// none: a rate that is not known is kept.
pub(crate) async fn lease(
    tokens: &dyn TokenLease,
    key: &LimitKey,
    rate: Option<Rate>,
    want: u32,
) -> Permits {
    let now = Instant::now();
    let Some(rate) = rate else {
        return Permits { permits: vec![Permit::free(now); want as usize], next_at: now };
    };
    match tokens.lease(key, rate, want, now).await {
        Ok(lease) => Permits {
            permits: lease.slots.iter().map(|slot| Permit::slot(*slot, lease.width)).collect(),
            next_at: lease.next_at,
        },
        Err(error) => {
            tracing::warn!(%error, tenant = %key.tenant, "no send permits; nothing leaves");
            Permits { permits: Vec::new(), next_at: now + Duration::from_secs(1) }
        }
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
}
