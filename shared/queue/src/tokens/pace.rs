//! How far apart slots are, and how long one stays usable.

use std::time::Duration;

use parcours_domain::Rate;

/// Interval between slots and width of a slot, for lessees whose clocks differ by at most `spread`.
///
/// A period of real time is then at most `period + spread` of slot time, so the interval pays for
/// the spread as it does for the width.
pub(super) fn pace(rate: Rate, spread: Duration) -> (Duration, Duration) {
    let period = period(rate);
    let interval = divided(period + spread, rate.count());
    let fiftieth = period / 50;
    if interval >= fiftieth {
        (interval, interval)
    } else {
        (divided(period + spread + fiftieth, rate.count()), fiftieth)
    }
}

pub(super) fn period(rate: Rate) -> Duration {
    Duration::from_millis(u64::try_from(rate.period().0).unwrap_or(1))
}

/// Rounded up, so that rounding never lets one more through.
pub(super) fn divided(span: Duration, by: u32) -> Duration {
    let nanos = span.as_nanos().div_ceil(u128::from(by.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
