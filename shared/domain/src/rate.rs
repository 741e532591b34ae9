//! Human-readable limits that round-trip: `500/min burst 50`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// A rate with a burst. `burst` is how many may go at once after a pause; at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    count: u32,
    unit: RateUnit,
    burst: u32,
}

/// The period of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateUnit {
    /// `s`
    Second,
    /// `min`
    Minute,
    /// `h`
    Hour,
    /// `day`
    Day,
}

/// The text is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rate is COUNT/UNIT with an optional burst, such as 500/min burst 50; units: s, min, h, day"
)]
pub struct InvalidRate;

impl Rate {
    /// So many a minute; the numbers are at least 1.
    pub(crate) const fn a_minute(count: u32, burst: u32) -> Self {
        Self { count, unit: RateUnit::Minute, burst }
    }
    /// Tokens a period.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }
    /// How many may go at once.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }
    /// The length of a period.
    #[must_use]
    pub const fn period(self) -> Millis {
        match self.unit {
            RateUnit::Second => Millis::seconds(1),
            RateUnit::Minute => Millis::minutes(1),
            RateUnit::Hour => Millis::hours(1),
            RateUnit::Day => Millis::days(1),
        }
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let mut words = text.split_whitespace();
        let (count, unit) = words.next().and_then(|w| w.split_once('/')).ok_or(InvalidRate)?;
        let count: u32 = count.parse().map_err(|_| InvalidRate)?;
        let unit = match unit {
            "s" | "sec" => RateUnit::Second,
            "min" => RateUnit::Minute,
            "h" | "hour" => RateUnit::Hour,
            "day" => RateUnit::Day,
            _ => return Err(InvalidRate),
        };
        let burst = match (words.next(), words.next(), words.next()) {
            (None, None, None) => 1,
            (Some("burst"), Some(burst), None) => burst.parse().map_err(|_| InvalidRate)?,
            _ => return Err(InvalidRate),
        };
        if count == 0 || burst == 0 { Err(InvalidRate) } else { Ok(Self { count, unit, burst }) }
    }
}
impl TryFrom<String> for Rate {
    type Error = InvalidRate;
    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}
impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            RateUnit::Second => "s",
            RateUnit::Minute => "min",
            RateUnit::Hour => "h",
            RateUnit::Day => "day",
        };
        write!(f, "{}/{unit}", self.count)?;
        if self.burst == 1 { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_round_trip() {
        for text in ["500/min burst 50", "1/s", "20/h burst 2", "9000/day burst 100"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for bad in ["", "500", "0/min", "5/week", "5/min burst", "5/min burst 0", "5/min x 1"] {
            assert_eq!(bad.parse::<Rate>(), Err(InvalidRate), "{bad}");
        }
    }
}
