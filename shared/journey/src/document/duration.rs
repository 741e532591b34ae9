//! Durations and offsets that people write: `3d`, `36h`, `1d12h`, `-7d`.
//!
//! A duration is an exact span: `1d` is 24 hours, `1w` is 168. An offset belongs to a date: its
//! whole days are calendar days, the rest is exact.

use std::{fmt, str::FromStr};

use parcours_domain::Millis;
use serde::{Deserialize, Serialize};

/// Units, largest first: letter and milliseconds.
const UNITS: [(char, i64); 5] =
    [('w', 604_800_000), ('d', DAY_MS), ('h', 3_600_000), ('m', 60_000), ('s', 1_000)];

/// Milliseconds in 24 hours.
const DAY_MS: i64 = 86_400_000;

/// The longest span that can be written.
const LONGEST_MS: i64 = 3_660 * DAY_MS;

/// A span of at least one second and at most 3660 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration(i64);

/// The text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a duration is a whole number with w, d, h, m or s, largest first, from 1s to 3660d, such as 3d, 36h, 90m or 1d12h"
)]
pub struct InvalidDuration;

impl Duration {
    /// `n` hours, held to the limits of a duration.
    #[must_use]
    pub const fn hours(n: u32) -> Self {
        let ms = n as i64 * 3_600_000;
        Self(if ms < 1_000 {
            1_000
        } else if ms > LONGEST_MS {
            LONGEST_MS
        } else {
            ms
        })
    }
    /// The exact span.
    #[must_use]
    pub const fn millis(self) -> Millis {
        Millis(self.0)
    }
}

/// Reads `1d12h`: each unit at most once, largest first.
fn parse_span(text: &str) -> Option<i64> {
    let mut total = 0_i64;
    let mut rest = text;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest.get(..digits)?.parse().ok()?;
        let letter = rest.get(digits..)?.chars().next()?;
        let (_, unit_ms) = units.find(|(unit, _)| *unit == letter)?;
        total = total.checked_add(count.checked_mul(*unit_ms)?)?;
        rest = rest.get(digits + letter.len_utf8()..)?;
    }
    (total <= LONGEST_MS && !text.is_empty()).then_some(total)
}

/// The largest of d, h, m, s that divides the span.
fn print_span(span_ms: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let whole = UNITS.iter().skip(1).find(|(_, unit_ms)| span_ms % unit_ms == 0);
    match whole {
        Some((letter, unit_ms)) => write!(f, "{}{letter}", span_ms / unit_ms),
        None => write!(f, "{}s", span_ms / 1_000),
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;
    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        match parse_span(text.trim()) {
            Some(ms) if ms >= 1_000 => Ok(Self(ms)),
            Some(_) | None => Err(InvalidDuration),
        }
    }
}
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_span(self.0, f)
    }
}
impl TryFrom<String> for Duration {
    type Error = InvalidDuration;
    fn try_from(text: String) -> Result<Self, InvalidDuration> {
        text.parse()
    }
}
impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

/// A distance from a date, before (`-7d`) or after (`2d`); `0d` is the date itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Offset(i64);

/// The text is not an offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an offset is a duration with an optional sign, such as -7d or 2d12h")]
pub struct InvalidOffset;

impl Offset {
    /// Whole calendar days, negative before the date.
    #[must_use]
    pub const fn days(self) -> i64 {
        self.0 / DAY_MS
    }
    /// What is left beside the whole days, exact.
    #[must_use]
    pub const fn rest(self) -> Millis {
        Millis(self.0 % DAY_MS)
    }
}

impl FromStr for Offset {
    type Err = InvalidOffset;
    fn from_str(text: &str) -> Result<Self, InvalidOffset> {
        let text = text.trim();
        let (sign, span) = match text.strip_prefix('-') {
            Some(span) => (-1, span),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        parse_span(span).map(|ms| Self(sign * ms)).ok_or(InvalidOffset)
    }
}
impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        print_span(self.0.abs(), f)
    }
}
impl TryFrom<String> for Offset {
    type Error = InvalidOffset;
    fn try_from(text: String) -> Result<Self, InvalidOffset> {
        text.parse()
    }
}
impl From<Offset> for String {
    fn from(offset: Offset) -> Self {
        offset.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_the_same_span() {
        for (text, ms, shown) in [
            ("3d", 3 * DAY_MS, "3d"),
            ("36h", 36 * 3_600_000, "36h"),
            ("90m", 90 * 60_000, "90m"),
            ("1w", 7 * DAY_MS, "7d"),
            ("45s", 45_000, "45s"),
            ("1d12h", 36 * 3_600_000, "36h"),
            ("1h30s", 3_630_000, "3630s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.millis(), Millis(ms), "{text}");
            assert_eq!(duration.to_string(), shown);
            assert_eq!(shown.parse::<Duration>().unwrap(), duration);
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for bad in [
            "",
            "0s",
            "3",
            "d",
            "3x",
            "12h1d",
            "1d1d",
            "-3d",
            "3661d",
            "99999999999999999999d",
            "3é",
        ] {
            assert_eq!(bad.parse::<Duration>(), Err(InvalidDuration), "{bad}");
        }
    }

    #[test]
    fn offsets_have_a_sign_and_split_into_days_and_the_rest() {
        let offset: Offset = "-1d12h".parse().unwrap();
        assert_eq!((offset.days(), offset.rest()), (-1, Millis(-12 * 3_600_000)));
        assert_eq!(offset.to_string(), "-36h");
        assert_eq!("0d".parse::<Offset>().unwrap(), Offset::default());
        assert_eq!(Offset::default().to_string(), "0d");
        assert_eq!("--1d".parse::<Offset>(), Err(InvalidOffset));
    }
}
