//! The two clocks. Product time (journeys, timers, records) may stand, be moved on, or run from a
//! chosen moment; machine time (leases, beats, time-outs) is the computer's and nothing moves it.
//!
//! What always holds: a product clock never goes backwards by anything done to it here.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use parcours_domain::{Millis, Timestamp};

/// Product time.
pub trait Clock: Send + Sync {
    /// The product's present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock: for leases and beats, and for product time where nothing moves it.
#[must_use]
pub fn machine_now() -> Timestamp {
    let millis = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => millis(before.duration()).saturating_neg(),
    })
}

/// Time since the machine was started, sleep included: for limits that neither a frozen process nor
/// a sleeping machine may stretch. Setting the wall clock does not move it. Where the system has no
/// such clock (only Linux has), the monotonic one.
#[must_use]
pub fn since_boot() -> std::time::Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(CLOCK);
    std::time::Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// How a product clock goes.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// As the machine's wall clock.
    Machine,
    /// Stands until moved on.
    Standing(Timestamp),
    /// Goes at real speed from a moment, measured by the monotonic clock.
    Running { from: Timestamp, since: Instant },
}

impl Pace {
    fn now(self) -> Timestamp {
        match self {
            Self::Machine => machine_now(),
            Self::Standing(at) => at,
            Self::Running { from, since } => {
                from + Millis(i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX))
            }
        }
    }
}

/// The product clock of a process; shared by reference or `Arc`.
pub struct ProductClock(Mutex<Pace>);

impl ProductClock {
    /// Goes as the machine's clock does.
    #[must_use]
    pub const fn real() -> Self {
        Self(Mutex::new(Pace::Machine))
    }

    /// Stands at `at` until moved on.
    #[must_use]
    pub const fn standing(at: Timestamp) -> Self {
        Self(Mutex::new(Pace::Standing(at)))
    }

    /// Goes at real speed, beginning with `at` now.
    #[must_use]
    pub fn running_from(at: Timestamp) -> Self {
        Self(Mutex::new(Pace::Running { from: at, since: Instant::now() }))
    }

    /// Moves a standing or running clock on to `at`; an earlier moment and a real clock are left
    /// as they are.
    pub fn advance_to(&self, at: Timestamp) {
        let mut pace = self.pace();
        if at <= pace.now() {
            return;
        }
        match *pace {
            Pace::Machine => {}
            Pace::Standing(_) => *pace = Pace::Standing(at),
            Pace::Running { .. } => *pace = Pace::Running { from: at, since: Instant::now() },
        }
    }

    /// A standing clock goes on at real speed from where it stands.
    pub fn run_from_here(&self) {
        let mut pace = self.pace();
        if let Pace::Standing(from) = *pace {
            *pace = Pace::Running { from, since: Instant::now() };
        }
    }

    /// Whether the clock stands.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        matches!(*self.pace(), Pace::Standing(_))
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        // Nothing that holds the guard can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ProductClock {
    fn now(&self) -> Timestamp {
        self.pace().now()
    }
}

impl fmt::Debug for ProductClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pace().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_clock_moves_only_when_told_and_never_back() {
        let clock = ProductClock::standing(Timestamp::from_millis(1_000));
        assert_eq!(clock.now().as_millis(), 1_000);
        clock.advance_to(Timestamp::from_millis(5_000));
        clock.advance_to(Timestamp::from_millis(2_000));
        assert_eq!(clock.now().as_millis(), 5_000);
        assert!(clock.is_standing());
    }

    #[test]
    fn time_since_boot_goes_on_and_never_back() {
        let (first, second) = (since_boot(), since_boot());
        assert!(first > std::time::Duration::ZERO && second >= first);
    }

    #[test]
    fn it_goes_on_from_where_it_stood() {
        let clock = ProductClock::standing(Timestamp::from_millis(7_000));
        clock.run_from_here();
        assert!(!clock.is_standing());
        let first = clock.now();
        assert!(first.as_millis() >= 7_000 && first.as_millis() < 60_000);
        clock.advance_to(Timestamp::from_millis(3_600_000));
        assert!(clock.now().as_millis() >= 3_600_000);
    }

    #[test]
    fn nothing_moves_a_real_clock() {
        let clock = ProductClock::real();
        let far = machine_now() + Millis::days(400);
        clock.advance_to(far);
        assert!(clock.now() < far);
    }
}
