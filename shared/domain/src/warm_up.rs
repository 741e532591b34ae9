//! Warm-up: how much a sender that nobody knows yet may send on its first days.
//!
//! Mailbox providers trust an address that sends a little more each day; one that begins with a
//! whole campaign is refused. The day is UTC's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A day, counted from 1970-01-01; written `2026-11-23`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(pub i64);

/// The text is not a day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a day is written YYYY-MM-DD, such as 2026-11-23")]
pub struct InvalidDay;

const MILLIS: i64 = 86_400_000;

impl Day {
    /// The day of a moment.
    #[must_use]
    pub const fn of(at: Timestamp) -> Self {
        Self(at.utc_day())
    }
    /// Its first moment.
    #[must_use]
    pub const fn begins(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(MILLIS))
    }
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl FromStr for Day {
    type Err = InvalidDay;
    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let at = format!("{text}T00:00:00Z").parse::<Timestamp>().map_err(|_| InvalidDay)?;
        let day = Self::of(at);
        // What has another form too would be stored as it was not written.
        if day.to_string() == text { Ok(day) } else { Err(InvalidDay) }
    }
}
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.begins().to_string();
        f.write_str(moment.split('T').next().unwrap_or(&moment))
    }
}
impl TryFrom<String> for Day {
    type Error = InvalidDay;
    fn try_from(text: String) -> Result<Self, InvalidDay> {
        text.parse()
    }
}
impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

/// How many messages may leave on each day from the first one on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    /// The first day. What is sent before it is held to its number too.
    pub from: Day,
    /// At most so many on the first day, the second, and so on; afterwards any number.
    pub days: Vec<u32>,
}

impl WarmUp {
    /// The most of a day; none when it is over.
    #[must_use]
    pub fn most_on(&self, day: Day) -> Option<u32> {
        let place = usize::try_from(day.0.saturating_sub(self.from.0)).unwrap_or(0);
        self.days.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_round_trip() {
        for text in ["1970-01-01", "2026-11-23", "2028-02-29"] {
            assert_eq!(text.parse::<Day>().unwrap().to_string(), text);
        }
        for bad in ["", "2026-02-29", "2026-11-23T00:00:00Z", "23.11.2026", "2026-1-1", "20261123"]
        {
            assert_eq!(bad.parse::<Day>(), Err(InvalidDay), "{bad}");
        }
        let day: Day = "2026-11-23".parse().unwrap();
        assert_eq!(day.next().begins().to_string(), "2026-11-24T00:00:00.000Z");
    }

    #[test]
    fn each_day_has_its_number_and_then_there_is_none() {
        let warm_up = WarmUp { from: Day(100), days: vec![50, 100, 200] };
        let most = |day| warm_up.most_on(Day(day));
        assert_eq!([most(100), most(101), most(102)], [Some(50), Some(100), Some(200)]);
        assert_eq!([most(103), most(i64::MAX)], [None, None]);
        assert_eq!([most(99), most(i64::MIN)], [Some(50), Some(50)], "not before it begins either");
    }
}
