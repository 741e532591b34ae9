//! When a brand's own outcomes stop its mail, so that it cannot burn what other brands share.
//!
//! Addresses of senders are shared by reputation: a mailbox provider that is annoyed by one brand slows
//! all that come from the same place. So what became of a brand's messages is counted in buckets of
//! five minutes, and a brand whose share of complaints, bounces or refusals is too large is stopped
//! until a person has looked.
//!
//! What always holds: nothing is stopped by fewer outcomes than the sample, nor by fewer than three
//! bad ones; marketing is judged by marketing alone, so that orders do not hide a bad list; test sends
//! are neither counted nor stopped.

use std::{fmt, str::FromStr};

use crate::{
    message::MessageClass,
    time::{Millis, Timestamp},
};

/// The length of a bucket.
pub const BUCKET: Millis = Millis::minutes(5);

/// Bounces and refusals are judged over this time: a bad list shows itself while it is sent.
pub const OUTCOMES_OVER: Millis = Millis::hours(1);

/// Complaints are judged over this time, as mailbox providers do, who say them by the day. A complaint
/// counts at the moment at which its message was sent, so that it is compared with what it is part of.
pub const COMPLAINTS_OVER: Millis = Millis::hours(24);

/// Fewer bad outcomes than these are chance.
const BAD_LEAST: u64 = 3;

/// Transactional mail is stopped only when at least this share of it is refused by policy: what is sent
/// on then is lost, what waits is not.
const REFUSED_HARD: Share = Share(500_000);

/// A share, such as `0.3%`; kept in parts per million, at most 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

/// The text is not a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a share is a percentage above 0 and up to 100 with at most 4 decimals, such as 0.3%")]
pub struct InvalidShare;

impl Share {
    /// Of parts per million: 1 to 1,000,000.
    #[must_use]
    pub fn of_millionths(parts: u32) -> Option<Self> {
        (1..=1_000_000).contains(&parts).then_some(Self(parts))
    }

    /// In parts per million.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Whether `part` of `whole` is at least this share.
    #[must_use]
    pub fn is_reached(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 1_000_000 >= u128::from(self.0) * u128::from(whole)
    }
}

impl FromStr for Share {
    type Err = InvalidShare;
    fn from_str(text: &str) -> Result<Self, InvalidShare> {
        let number = text.trim().strip_suffix('%').ok_or(InvalidShare)?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > 4 {
            return Err(InvalidShare);
        }
        let parts: u32 = format!("{whole}{decimals:0<4}").parse().map_err(|_| InvalidShare)?;
        Self::of_millionths(parts).ok_or(InvalidShare)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0 / 10_000, format!("{:04}", self.0 % 10_000));
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{whole}%"),
            decimals => write!(f, "{whole}.{decimals}%"),
        }
    }
}

/// From which shares on a brand is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Complaints, of what was sent. 0.3 % is what Google ("Email sender guidelines") and Yahoo
    /// ("Sender best practices") ask senders to stay below.
    pub complaints: Share,
    /// Recipients refused for good, of what was handed to a next hop. At 10 % large shared senders
    /// pause a customer (Amazon SES, "Sending review process").
    pub bounces: Share,
    /// Messages refused by policy, reputation or content, of the same. 20 %: one provider that refuses
    /// a campaign, while the others take it, is enough.
    pub refusals: Share,
    /// Fewer outcomes than these decide nothing.
    pub sample: u32,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self {
            complaints: Share(3_000),
            bounces: Share(100_000),
            refusals: Share(200_000),
            sample: 100,
        }
    }
}

/// What was set for a brand; the rest is as by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerRules {
    /// See [`BreakerLimits::complaints`].
    pub complaints: Option<Share>,
    /// See [`BreakerLimits::bounces`].
    pub bounces: Option<Share>,
    /// See [`BreakerLimits::refusals`].
    pub refusals: Option<Share>,
    /// See [`BreakerLimits::sample`].
    pub sample: Option<u32>,
}

impl BreakerRules {
    /// The limits that hold.
    #[must_use]
    pub fn limits(&self) -> BreakerLimits {
        let by_default = BreakerLimits::default();
        BreakerLimits {
            complaints: self.complaints.unwrap_or(by_default.complaints),
            bounces: self.bounces.unwrap_or(by_default.bounces),
            refusals: self.refusals.unwrap_or(by_default.refusals),
            sample: self.sample.unwrap_or(by_default.sample),
        }
    }
}

/// How a message ended, as far as the breaker counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// The next hop took it.
    Sent,
    /// The recipient was refused for good.
    Bounced,
    /// Refused for good, and not because of the recipient.
    Refused,
}

/// Outcomes, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Taken by the next hop.
    pub sent: u64,
    /// Recipient refused for good.
    pub bounced: u64,
    /// Refused for good by policy, reputation or content.
    pub refused: u64,
    /// Of those sent, complained about.
    pub complained: u64,
}

impl Tally {
    /// One more.
    pub const fn add(&mut self, counted: Counted) {
        match counted {
            Counted::Sent => self.sent += 1,
            Counted::Bounced => self.bounced += 1,
            Counted::Refused => self.refused += 1,
        }
    }

    /// All that a next hop had its say about.
    #[must_use]
    pub const fn ended(&self) -> u64 {
        self.sent + self.bounced + self.refused
    }

    /// Whether it holds an outcome that could stop a brand.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        self.bounced + self.refused > 0
    }
}

/// What of a brand's mail is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stops {
    /// Nothing.
    #[default]
    Nothing,
    /// Marketing.
    Marketing,
    /// Everything but test sends.
    Everything,
}

impl Stops {
    /// As it is stored: 0, 1, 2.
    #[must_use]
    pub const fn level(self) -> i64 {
        match self {
            Self::Nothing => 0,
            Self::Marketing => 1,
            Self::Everything => 2,
        }
    }
    /// From what is stored; an unknown level stops everything.
    #[must_use]
    pub const fn of_level(level: i64) -> Self {
        match level {
            0 => Self::Nothing,
            1 => Self::Marketing,
            _ => Self::Everything,
        }
    }
    /// A message of the class leaves only while the brand's level is below this.
    #[must_use]
    pub const fn level_that_holds(class: MessageClass) -> i64 {
        match class {
            MessageClass::Marketing => 1,
            MessageClass::Transactional => 2,
            MessageClass::Test => 3,
        }
    }
    /// Whether messages of the class wait.
    #[must_use]
    pub const fn holds(self, class: MessageClass) -> bool {
        self.level() >= Self::level_that_holds(class)
    }
    /// The word shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Marketing => "marketing",
            Self::Everything => "everything",
        }
    }
}

/// What stopped a brand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Complaints.
    Complaints,
    /// Bounces.
    Bounces,
    /// Refusals by policy, reputation or content.
    Refusals,
}

impl Cause {
    /// The stored and shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complaints => "complaints",
            Self::Bounces => "bounces",
            Self::Refusals => "refusals",
        }
    }
    /// From the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Complaints, Self::Bounces, Self::Refusals].into_iter().find(|c| c.as_str() == text)
    }
}

/// The breaker trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    /// What it stops.
    pub stops: Stops,
    /// Why.
    pub cause: Cause,
    /// The counts that said so.
    pub tally: Tally,
}

impl BreakerLimits {
    /// What the outcomes of messages of a class over [`OUTCOMES_OVER`] say.
    #[must_use]
    pub fn on_outcomes(&self, class: MessageClass, tally: Tally) -> Option<Trip> {
        let trip = |cause, stops| Trip { stops, cause, tally };
        let is_over = |limit: Share, bad: u64| {
            bad >= BAD_LEAST
                && tally.ended() >= u64::from(self.sample)
                && limit.is_reached(bad, tally.ended())
        };
        match class {
            MessageClass::Marketing if is_over(self.refusals, tally.refused) => {
                Some(trip(Cause::Refusals, Stops::Marketing))
            }
            MessageClass::Marketing if is_over(self.bounces, tally.bounced) => {
                Some(trip(Cause::Bounces, Stops::Marketing))
            }
            MessageClass::Transactional
                if is_over(self.refusals.max(REFUSED_HARD), tally.refused) =>
            {
                Some(trip(Cause::Refusals, Stops::Everything))
            }
            MessageClass::Marketing | MessageClass::Transactional | MessageClass::Test => None,
        }
    }

    /// What the complaints about marketing over [`COMPLAINTS_OVER`] say.
    #[must_use]
    pub fn on_complaints(&self, tally: Tally) -> Option<Trip> {
        let over = tally.complained >= BAD_LEAST
            && tally.sent >= u64::from(self.sample)
            && self.complaints.is_reached(tally.complained, tally.sent);
        over.then_some(Trip { stops: Stops::Marketing, cause: Cause::Complaints, tally })
    }
}

/// The bucket that a moment is in, by its beginning.
#[must_use]
pub fn bucket_of(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis().div_euclid(BUCKET.0) * BUCKET.0)
}

/// The first bucket of those that cover the time up to `now`, the one of `now` included.
#[must_use]
pub fn first_bucket(now: Timestamp, over: Millis) -> Timestamp {
    bucket_of(now) - over + BUCKET
}

#[cfg(test)]
mod tests;
