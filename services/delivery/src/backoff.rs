//! When to try a message again: exponential, capped, with jitter.
//!
//! The jitter comes from the message's id and the attempt's number, not from dice: the same message
//! waits equally long in every replay, and messages that failed together come back apart.

use parcours_domain::{MessageId, Millis, hash::sha256_head};

/// The shortest and the longest wait, in product time.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Millis,
    /// However many attempts there were.
    pub most: Millis,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Millis::minutes(1), most: Millis::hours(4) }
    }
}

impl Backoff {
    /// The wait after attempt number `attempt` (from 1): doubled each time, then between 75 % and
    /// 125 % of that.
    #[must_use]
    pub fn after(&self, message: MessageId, attempt: u32) -> Millis {
        let doublings = attempt.saturating_sub(1).min(30);
        let plain = self.first.0.saturating_mul(1_i64 << doublings).min(self.most.0);
        let dice = u16::from_be_bytes(sha256_head(&[&message.bytes(), &attempt.to_be_bytes()]));
        let spread = plain / 2;
        let jitter = spread.saturating_mul(i64::from(dice)) / i64::from(u16::MAX);
        Millis((plain - spread / 2).saturating_add(jitter).clamp(1, self.most.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcours_domain::Timestamp;

    fn message(n: u8) -> MessageId {
        MessageId::v7(Timestamp::EPOCH, [n; 10])
    }

    #[test]
    fn waits_double_from_a_minute_to_four_hours() {
        let backoff = Backoff::default();
        for (attempt, minutes) in [(1, 1), (2, 2), (3, 4), (8, 128)] {
            let wait = backoff.after(message(1), attempt).0;
            let plain = Millis::minutes(minutes).0;
            assert!((plain * 3 / 4..=plain * 5 / 4).contains(&wait), "{attempt}: {wait}");
        }
        for attempt in [9, 30, 31, 1_000, u32::MAX] {
            let wait = backoff.after(message(1), attempt);
            assert!(wait <= Millis::hours(4) && wait >= Millis::hours(3), "{attempt}: {wait:?}");
        }
    }

    #[test]
    fn the_same_attempt_waits_equally_long_and_others_do_not() {
        let backoff = Backoff::default();
        assert_eq!(backoff.after(message(1), 3), backoff.after(message(1), 3));
        assert_ne!(backoff.after(message(1), 3), backoff.after(message(2), 3));
    }
}
