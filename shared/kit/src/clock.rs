//! The two clocks. Product time (journeys, timers, records) may stand, be moved on, or run from a
//! chosen moment; machine time (leases, beats, time-outs) is the computer's and nothing moves it.
//!
//! What always holds: a product clock never goes backwards by anything done to it here; machine
//! time neither goes backwards nor follows a wall clock that is moved by more than a second at
//! once, so that nobody who sets the clock makes timers fire early or leases end.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use parcours_domain::{Millis, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Product time.
pub trait Clock: Send + Sync {
    /// The product's present moment.
    fn now(&self) -> Timestamp;
}

/// Machine time: the wall clock as this process first saw it, carried on by the clock that counts
/// from boot (it goes on while the machine sleeps). For leases and beats, and for product time
/// where nothing moves it.
#[must_use]
pub fn machine_now() -> Timestamp {
    // A process has one machine under it, and so one such clock.
    static STEADY: Mutex<Option<Steady>> = Mutex::new(None);
    // Nothing that holds the guard can panic half-way through a change.
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    let boot = i64::try_from(since_boot().as_millis()).unwrap_or(i64::MAX);
    let (wall, boot) = (wall_clock(), Millis(boot));
    steady.get_or_insert_with(|| Steady::new(wall, boot)).read(wall, boot)
}

fn wall_clock() -> Timestamp {
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
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let now = clock_gettime(CLOCK);
    std::time::Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// The most that the wall clock may move at once and be followed.
const STEP_MAX: Millis = Millis(1_000);

/// A wall clock that does not jump.
#[derive(Clone, Copy, Debug)]
struct Steady {
    /// The last reading that was believed, and the moment since boot at which it was taken.
    wall: Timestamp,
    boot: Millis,
    /// The last answer; none is earlier.
    last: Timestamp,
    /// By how much the wall clock was off when that was last said.
    refused: Millis,
}

impl Steady {
    const fn new(wall: Timestamp, boot: Millis) -> Self {
        Self { wall, boot, last: wall, refused: Millis(0) }
    }

    /// The moment, given what both clocks say. Small corrections are followed; a jump is refused,
    /// and said once.
    fn read(&mut self, wall: Timestamp, boot: Millis) -> Timestamp {
        let expected = self.wall + Millis(boot.0.saturating_sub(self.boot.0));
        let off = wall - expected;
        let now = if off.0.abs() <= STEP_MAX.0 {
            (self.wall, self.boot, self.refused) = (wall, boot, Millis(0));
            wall
        } else {
            if (off.0 - self.refused.0).abs() > STEP_MAX.0 {
                self.refused = off;
                tracing::error!(
                    moved_ms = off.0,
                    "the machine's clock was moved by more than a second at once; time goes on here \
                     as if it had not been. When the clock is right, restart this process"
                );
            }
            expected
        };
        self.last = self.last.max(now);
        self.last
    }
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
    fn a_moved_wall_clock_is_not_followed() {
        let at = Timestamp::from_millis;
        let hour = Millis::hours(1).0;
        let mut steady = Steady::new(at(10_000), Millis(500));
        // An hour on, while a tenth of a second passed; then two seconds more.
        assert_eq!(steady.read(at(10_100 + hour), Millis(600)), at(10_100));
        assert_eq!(steady.read(at(12_100 + hour), Millis(2_600)), at(12_100));
        // An hour back.
        assert_eq!(steady.read(at(12_200 - hour), Millis(2_700)), at(12_200));
        // Set right again, and followed from there.
        assert_eq!(steady.read(at(12_350), Millis(2_800)), at(12_350));
    }

    #[test]
    fn small_corrections_are_followed_and_time_never_goes_back() {
        let at = Timestamp::from_millis;
        let mut steady = Steady::new(at(10_000), Millis(0));
        assert_eq!(steady.read(at(11_900), Millis(1_000)), at(11_900));
        assert_eq!(steady.read(at(11_500), Millis(1_100)), at(11_900));
        assert_eq!(steady.read(at(12_500), Millis(2_100)), at(12_500));
    }

    #[test]
    fn nothing_moves_a_real_clock() {
        let clock = ProductClock::real();
        let far = machine_now() + Millis::days(400);
        clock.advance_to(far);
        assert!(clock.now() < far);
    }
}
