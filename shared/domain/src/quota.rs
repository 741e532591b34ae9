//! What a brand may use, so that no brand hurts another, and the arithmetic of its events.
//!
//! Events are given out in chunks: whoever takes requests in leases some for itself and spends them
//! without asking again. What is kept between leases is one moment, up to which events are given
//! out; each event moves it by an interval, and it is never further behind than a whole capacity.
//!
//! What always holds, whoever leases: in any time `t` chunks hold together at most `capacity + t /
//! interval` events that were not given back. One request that is larger than the capacity is given
//! whole out of a full capacity, and what is too much is taken from the time that follows.

use std::{fmt, str::FromStr, time::Duration};

use crate::rate::{InvalidRate, Rate};

/// What one brand may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Events.
    pub events: EventQuota,
    /// The most contacts; none: any number.
    pub contacts: Option<u32>,
    /// The most published journeys that are not archived; none: any number.
    pub journeys: Option<u32>,
    /// The most messages handed to the next hop in a day (UTC, product time); none: any number.
    pub sends_per_day: Option<u32>,
    /// How much of a processor the rendering of its templates may take; none: any amount.
    pub template_cpu: Option<CpuShare>,
    /// How much of what brands share in delivery is its, beside the others' weights.
    pub weight: Weight,
}

/// A brand's weight beside the other brands': with three times the weight of another it gets three turns'
/// worth of messages while that one gets one, as long as both have some waiting. 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u8);

impl Weight {
    /// The greatest.
    pub const MOST: u32 = 100;

    /// 1 to 100.
    #[must_use]
    pub fn new(weight: u32) -> Option<Self> {
        u8::try_from(weight).ok().filter(|weight| (1..=100).contains(weight)).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }
}

/// 10: there is room below for a brand that may wait.
impl Default for Weight {
    fn default() -> Self {
        Self(10)
    }
}

/// A share of processor time: percent of one core, 1 to 6400.
///
/// What is used is told afterwards and moves a moment on, which is never further behind than a second:
/// whoever has used up what there was waits until that moment. In any time `t` a share of `s` cores
/// lets `s x (t + 1 s)` through, and what was being worked on when it was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuShare(u16);

impl CpuShare {
    /// The greatest: 64 cores.
    pub const MOST: u32 = 6_400;
    /// How much may be used at once after a pause: what so many microseconds bring.
    pub const AHEAD_US: i64 = 1_000_000;

    /// 1 to 6400.
    #[must_use]
    pub fn new(percent: u32) -> Option<Self> {
        let percent = u16::try_from(percent).ok()?;
        (1..=Self::MOST).contains(&u32::from(percent)).then_some(Self(percent))
    }

    /// The number.
    #[must_use]
    pub const fn percent(self) -> u32 {
        self.0 as u32
    }

    /// In how many microseconds the share brings so much processor time.
    #[must_use]
    pub fn brings_in_us(self, used: Duration) -> i64 {
        let us = used.as_nanos().saturating_mul(100).div_ceil(u128::from(self.0) * 1_000);
        i64::try_from(us).unwrap_or(i64::MAX)
    }
}

/// How many events a brand may bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventQuota {
    /// What the install says for brands that have no quota of their own.
    #[default]
    Install,
    /// Any number.
    Unlimited,
    /// So many.
    Rate(Rate),
}

impl EventQuota {
    /// The rate that holds, where brands without a quota of their own have `install`; none: no limit.
    #[must_use]
    pub const fn rate(self, install: Option<Rate>) -> Option<Rate> {
        match self {
            Self::Install => install,
            Self::Unlimited => None,
            Self::Rate(rate) => Some(rate),
        }
    }
}

/// `none`, or a rate such as `500/s burst 5000`.
impl FromStr for EventQuota {
    type Err = InvalidRate;
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        match text.trim() {
            "none" => Ok(Self::Unlimited),
            rate => rate.parse().map(Self::Rate),
        }
    }
}

impl fmt::Display for EventQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install => f.write_str("as the install says"),
            Self::Unlimited => f.write_str("none"),
            Self::Rate(rate) => rate.fmt(f),
        }
    }
}

/// The most events that one request can bring, and so be in debt.
pub const REQUEST_EVENTS_MAX: u32 = 10_000;

/// The longest time in which a whole capacity comes back: 30 years, in nanoseconds.
const REFILL_MAX_NS: i64 = 946_080_000_000_000_000;

const SECOND_NS: i64 = 1_000_000_000;

/// A rate of events as intervals and a capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBucket {
    interval_ns: i64,
    capacity: u32,
}

/// What a lease asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventAsk {
    /// Fewer than these are of no use: nothing is given then.
    pub need: u32,
    /// At most these; at least `need`.
    pub want: u32,
    /// Of an earlier lease, not spent.
    pub back: u32,
}

/// What a lease gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventGrant {
    /// How many events: none, or at least the need.
    pub count: u32,
    /// Up to where events are given out now, in nanoseconds from the moment of the lease; below zero
    /// while more could be given.
    pub lead_ns: i64,
}

impl EventBucket {
    /// Of a rate. What a second allows may always come at once, whatever the rate's burst.
    #[must_use]
    pub fn of(rate: Rate) -> Self {
        let period = rate.period().0.saturating_mul(1_000_000);
        let count = i64::from(rate.count().max(1));
        let interval_ns = period.div_euclid(count) + i64::from(period.rem_euclid(count) > 0);
        let interval_ns = interval_ns.max(1);
        let second = u32::try_from(SECOND_NS / interval_ns).unwrap_or(u32::MAX);
        let most = u32::try_from(REFILL_MAX_NS / interval_ns).unwrap_or(u32::MAX);
        Self { interval_ns, capacity: rate.burst().max(second).clamp(1, most.max(1)) }
    }

    /// How many may come at once after a pause.
    #[must_use]
    pub const fn capacity(self) -> u32 {
        self.capacity
    }

    /// How many are leased at a time: what a quarter of a second allows, at least one.
    #[must_use]
    pub fn chunk(self) -> u32 {
        let quarter = SECOND_NS / 4 / self.interval_ns;
        u32::try_from(quarter).unwrap_or(u32::MAX).clamp(1, self.capacity)
    }

    /// Gives out events. `taken_to` is up to where they were given out before, none when never, and
    /// `now` the moment of the lease; both in nanoseconds of one clock. Answers with what is given and
    /// up to where events are given out then.
    #[must_use]
    pub fn grant(self, taken_to: Option<i64>, now: i64, ask: EventAsk) -> (EventGrant, i64) {
        let full = now.saturating_sub(self.span(self.capacity));
        // Not further ahead than this rate can have brought it: a raised rate counts at once.
        let furthest = now.saturating_add(self.span(REQUEST_EVENTS_MAX));
        let given = taken_to.map_or(full, |to| to.saturating_sub(self.span(ask.back)));
        let from = given.clamp(full, furthest);
        let left = now.saturating_sub(from).max(0) / self.interval_ns;
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let count = if ask.need <= left {
            ask.want.clamp(ask.need, left)
        } else if left >= self.capacity {
            ask.need
        } else {
            0
        };
        let to = from.saturating_add(self.span(count));
        (EventGrant { count, lead_ns: to.saturating_sub(now) }, to)
    }

    /// From when on `need` events can be given, in nanoseconds from the moment at which events were
    /// given out up to `lead_ns` from it.
    #[must_use]
    pub fn opens_in_ns(self, lead_ns: i64, need: u32) -> i64 {
        lead_ns.saturating_add(self.span(need.min(self.capacity))).max(0)
    }

    fn span(self, events: u32) -> i64 {
        self.interval_ns.saturating_mul(i64::from(events))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000_000;

    fn bucket(rate: &str) -> EventBucket {
        EventBucket::of(rate.parse().unwrap())
    }
    fn ask(need: u32, want: u32) -> EventAsk {
        EventAsk { need, want, back: 0 }
    }

    #[test]
    fn quotas_of_events_round_trip() {
        for text in ["none", "500/s burst 5000", "1000/day"] {
            assert_eq!(text.parse::<EventQuota>().unwrap().to_string(), text);
        }
        assert!("unlimited".parse::<EventQuota>().is_err());
        let install = "5/s".parse().ok();
        assert_eq!(EventQuota::Install.rate(install), install);
        assert_eq!(EventQuota::Unlimited.rate(install), None);
    }

    #[test]
    fn a_share_brings_processor_time() {
        let us = |percent, used| {
            CpuShare::new(percent).unwrap().brings_in_us(Duration::from_micros(used))
        };
        assert_eq!([us(1, 10), us(50, 10), us(100, 10), us(6_400, 640)], [1_000, 20, 10, 10]);
        assert_eq!(us(300, 1), 1, "never less than it takes");
        assert_eq!([0, 6_401, u32::MAX].map(CpuShare::new), [None; 3]);
    }

    #[test]
    fn what_a_second_allows_may_come_at_once_and_a_chunk_is_a_quarter_of_it() {
        for (rate, capacity, chunk) in [
            ("1000/s", 1000, 250),
            ("1000/s burst 20000", 20_000, 250),
            ("100/min", 1, 1),
            ("100/min burst 50", 50, 1),
            ("4294967295/s burst 4294967295", u32::MAX, 250_000_000),
        ] {
            assert_eq!(
                (bucket(rate).capacity(), bucket(rate).chunk()),
                (capacity, chunk),
                "{rate}"
            );
        }
    }

    #[test]
    fn all_or_nothing() {
        let bucket = bucket("10/s");
        let (first, to) = bucket.grant(None, NOW, ask(7, 7));
        assert_eq!(first.count, 7);
        let (none, to) = bucket.grant(Some(to), NOW, ask(4, 4));
        assert_eq!((none.count, bucket.opens_in_ns(none.lead_ns, 4)), (0, SECOND_NS / 10));
        let (rest, to) = bucket.grant(Some(to), NOW, ask(3, 99));
        assert_eq!(rest.count, 3);
        assert_eq!(bucket.grant(Some(to), NOW + SECOND_NS / 10, ask(1, 1)).0.count, 1);
    }

    #[test]
    fn more_than_the_capacity_is_given_whole_and_paid_for_later() {
        let bucket = bucket("10/s");
        let (whole, to) = bucket.grant(None, NOW, ask(100, 100));
        assert_eq!(whole.count, 100);
        let later = |seconds| bucket.grant(Some(to), NOW + seconds * SECOND_NS, ask(1, 1)).0.count;
        assert_eq!([later(0), later(9), later(10)], [0, 0, 1]);
        // Not out of a capacity that others have begun.
        let (_, begun) = bucket.grant(None, NOW, ask(1, 1));
        assert_eq!(bucket.grant(Some(begun), NOW, ask(100, 100)).0.count, 0);
    }

    #[test]
    fn what_is_given_back_can_be_given_again() {
        let bucket = bucket("10/s");
        let (_, to) = bucket.grant(None, NOW, ask(10, 10));
        let back = EventAsk { need: 6, want: 6, back: 6 };
        assert_eq!(bucket.grant(Some(to), NOW, back).0.count, 6);
        let more = EventAsk { need: 11, want: 11, back: 99 };
        assert_eq!(bucket.grant(Some(to), NOW, more).0.count, 11, "a whole capacity at most");
    }

    #[test]
    fn a_raised_rate_counts_at_once() {
        let (_, to) = bucket("1/day").grant(None, NOW, ask(10_000, 10_000));
        let waits = bucket("10000/s").grant(Some(to), NOW, ask(1, 1)).0.lead_ns;
        assert_eq!(waits, SECOND_NS);
    }

    proptest! {
        /// Any asking by anybody: in no time more than the capacity and what the time allows, but for
        /// one request that is larger than the capacity.
        #[test]
        fn the_bound(
            count in 1u32..5_000,
            burst in 1u32..5_000,
            asks in prop::collection::vec((0i64..300_000_000, 1u32..400, 0u32..2_000), 1..80),
        ) {
            let bucket = bucket(&format!("{count}/s burst {burst}"));
            let (mut now, mut to, mut given) = (NOW, None, Vec::new());
            for (pause, need, more) in asks {
                now += pause;
                let (grant, taken_to) = bucket.grant(to, now, ask(need, need + more));
                prop_assert!(grant.count == 0 || grant.count >= need);
                to = Some(taken_to);
                given.push((now, u64::from(grant.count)));
            }
            for (first, (begin, _)) in given.iter().enumerate() {
                let mut sum = 0;
                for (at, count) in &given[first..] {
                    sum += count;
                    let in_time = (at - begin) / bucket.interval_ns + 1;
                    let most = u64::from(bucket.capacity) + u64::try_from(in_time).unwrap();
                    prop_assert!(sum <= most.max(400 + u64::try_from(in_time).unwrap()));
                }
            }
        }
    }
}
