//! Shares, limits and windows at their edges.

use super::*;

fn tally(sent: u64, bounced: u64, refused: u64) -> Tally {
    Tally { sent, bounced, refused, complained: 0 }
}

#[test]
fn shares_round_trip_and_nonsense_is_none() {
    for text in ["0.3%", "10%", "100%", "0.0001%", "12.5%"] {
        assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
    }
    assert_eq!("20.50 %".parse::<Share>().unwrap().to_string(), "20.5%");
    for text in ["", "%", "0%", "0.00001%", "101%", "-1%", "1", "1.%", ".5%", "1e1%", "+1%"] {
        assert!(text.parse::<Share>().is_err(), "{text}");
    }
}

#[test]
fn marketing_is_stopped_at_the_limit_and_not_before() {
    use Cause::{Bounces, Refusals};
    let limits = BreakerLimits::default();
    for (counts, cause) in [
        (tally(0, 99, 0), None),
        (tally(91, 9, 0), None),
        (tally(90, 10, 0), Some(Bounces)),
        (tally(900, 99, 0), None),
        (tally(81, 0, 19), None),
        (tally(80, 0, 20), Some(Refusals)),
        (tally(0, 50, 50), Some(Refusals)),
        (tally(1_000_000, 0, 0), None),
    ] {
        let trip = limits.on_outcomes(MessageClass::Marketing, counts);
        assert_eq!(trip.map(|trip| trip.cause), cause, "{counts:?}");
        assert!(trip.is_none_or(|trip| trip.stops == Stops::Marketing));
    }
}

#[test]
fn two_bounces_of_three_trip_nothing_however_small_the_sample() {
    let limits = BreakerLimits { sample: 1, ..BreakerLimits::default() };
    assert_eq!(limits.on_outcomes(MessageClass::Marketing, tally(1, 2, 0)), None);
    assert!(limits.on_outcomes(MessageClass::Marketing, tally(1, 3, 0)).is_some());
}

#[test]
fn transactional_mail_is_stopped_only_by_hard_refusals_and_tests_never() {
    let limits = BreakerLimits::default();
    let of = |class, counts| limits.on_outcomes(class, counts).map(|trip| trip.stops);
    assert_eq!(of(MessageClass::Transactional, tally(51, 0, 49)), None);
    assert_eq!(of(MessageClass::Transactional, tally(0, 100, 0)), None);
    assert_eq!(of(MessageClass::Transactional, tally(50, 0, 50)), Some(Stops::Everything));
    assert_eq!(of(MessageClass::Test, tally(0, 0, 500)), None);
    for (stops, holds) in [
        (Stops::Nothing, [false, false, false]),
        (Stops::Marketing, [true, false, false]),
        (Stops::Everything, [true, true, false]),
    ] {
        let classes = [MessageClass::Marketing, MessageClass::Transactional, MessageClass::Test];
        assert_eq!(classes.map(|class| stops.holds(class)), holds, "{stops:?}");
        assert_eq!(Stops::of_level(stops.level()), stops);
    }
}

#[test]
fn complaints_are_a_share_of_what_was_sent() {
    let limits = BreakerLimits::default();
    for (sent, complained, trips) in
        [(99, 50, false), (100, 2, false), (100, 3, true), (1_000, 3, true), (1_001, 3, false)]
    {
        let counts = Tally { sent, complained, ..Tally::default() };
        assert_eq!(limits.on_complaints(counts).is_some(), trips, "{complained} of {sent}");
    }
}

#[test]
fn a_window_is_whole_buckets_and_slides() {
    let at = |minutes: i64| Timestamp::EPOCH + Millis::minutes(minutes);
    assert_eq!((bucket_of(at(0)), bucket_of(at(4)), bucket_of(at(5))), (at(0), at(0), at(5)));
    assert_eq!(first_bucket(at(64), OUTCOMES_OVER), at(5));
    assert_eq!(first_bucket(at(65), OUTCOMES_OVER), at(10));
}
