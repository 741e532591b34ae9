//! The sign of life of a worker, as the worker itself sees it.
//!
//! Every second a beat is written on a connection of its own. When none has been taken for some
//! seconds, others may believe this worker dead: it commits nothing until one is taken again. When
//! the database says that it *is* dead, it never commits again.
//!
//! What always holds: a beat counts from when it was sent, not from when it was answered; time is
//! the boot-time clock, which goes on while the machine sleeps and which nobody sets.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use parcours_domain::Timestamp;
use tokio::sync::watch;

/// Tells the present product time.
pub(crate) type ProductTime = Arc<dyn Fn() -> Timestamp + Send + Sync>;

pub(crate) struct Pulse {
    /// When the last successful beat was sent, by the boot-time clock.
    sent: AtomicI64,
    /// How long it counts; none: for ever, because nobody else can come.
    deadline_ms: Option<i64>,
    lost: watch::Sender<bool>,
    time: OnceLock<ProductTime>,
}

impl Pulse {
    /// Begins fresh. `deadline`: how long a beat counts.
    pub(crate) fn new(deadline: Option<Duration>) -> Self {
        let sent = AtomicI64::new(boot_ms());
        let deadline_ms =
            deadline.map(|limit| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
        Self { sent, deadline_ms, lost: watch::Sender::new(false), time: OnceLock::new() }
    }

    /// A beat that was sent at this moment was taken.
    pub(crate) fn taken(&self, sent: i64) {
        self.sent.fetch_max(sent, Ordering::SeqCst);
    }

    /// The database says that this incarnation is dead.
    pub(crate) fn lose(&self) {
        self.lost.send_replace(true);
    }

    pub(crate) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    pub(crate) fn is_fresh(&self) -> bool {
        !self.is_lost() && self.counts_at(boot_ms())
    }

    fn counts_at(&self, now: i64) -> bool {
        let age = now.saturating_sub(self.sent.load(Ordering::SeqCst));
        self.deadline_ms.is_none_or(|limit| age < limit)
    }

    /// Returns when this incarnation was declared dead; otherwise never.
    pub(crate) async fn until_lost(&self) {
        // The sender lives as long as this does.
        let _ = self.lost.subscribe().wait_for(|lost| *lost).await;
    }

    /// From now on beats carry the product time; the first to say so counts.
    pub(crate) fn follow(&self, time: ProductTime) {
        let _ = self.time.set(time);
    }

    /// The product time to write with a beat; 0 while nobody tells.
    pub(crate) fn product_ms(&self) -> i64 {
        self.time.get().map_or(0, |time| time().as_millis())
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// Milliseconds since the machine was started, its sleep included.
pub(crate) fn boot_ms() -> i64 {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    at.tv_sec.saturating_mul(1_000).saturating_add(at.tv_nsec / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_counts_for_its_time_from_when_it_was_sent() {
        let pulse = Pulse::new(Some(Duration::from_millis(3_500)));
        let begun = pulse.sent.load(Ordering::SeqCst);
        assert!(pulse.counts_at(begun + 3_499) && !pulse.counts_at(begun + 3_500));
        pulse.taken(begun + 1_000);
        pulse.taken(begun + 500);
        assert!(pulse.counts_at(begun + 4_499) && !pulse.counts_at(begun + 4_500));
        assert!(pulse.is_fresh());
        pulse.lose();
        assert!(!pulse.is_fresh());
    }

    #[test]
    fn without_a_deadline_only_the_database_ends_it() {
        let pulse = Pulse::new(None);
        assert!(pulse.counts_at(i64::MAX));
        pulse.lose();
        assert!(!pulse.is_fresh());
    }

    #[test]
    fn the_boot_clock_goes_on() {
        let first = boot_ms();
        assert!(first > 0 && boot_ms() >= first);
    }
}
