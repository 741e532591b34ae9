//! Ids. Every id that can leave an install is a UUID; none is serial.
//!
//! Record ids (event, message, attempt, consent fact, inbox, quarantine) are UUID version 7 (RFC
//! 9562, section 5.7) of product time, because records are partitioned by the month in their id.
//! Chance is an argument: callers pass the random or derived tail.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A UUIDv7 of `at` whose 74 free bits come from `tail`.
            #[must_use]
            pub fn v7(at: Timestamp, tail: [u8; 10]) -> Self {
                Self(uuid_v7(at, tail))
            }
            /// The 16 bytes, big endian.
            #[must_use]
            pub fn bytes(self) -> [u8; 16] {
                *self.0.as_bytes()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// A brand: the unit of data, keys, rates and failure.
    TenantId
);
id!(
    /// The agency or company that owns brands.
    OrganisationId
);
id!(
    /// A person (or an anonymous visitor) as one brand knows them.
    ContactId
);
id!(
    /// One walk of one contact through one journey.
    RunId
);
id!(
    /// One message, through all its attempts.
    MessageId
);
id!(
    /// One accepted client event.
    EventId
);
id!(
    /// One consent fact.
    FactId
);
id!(
    /// One inbox row.
    InboxId
);
id!(
    /// One attempt to transmit a message.
    AttemptId
);
id!(
    /// One input that was set aside.
    QuarantineId
);
id!(
    /// An API key (not its secret).
    KeyId
);

/// A contact's random 128-bit handle: what splits hash and what the consent log names, so that
/// neither holds personal data (E-01).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle(pub [u8; 16]);

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}
impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 9562 section 5.7: 48 bits of Unix milliseconds, then version, then free bits from `tail`.
/// A time before 1970 counts as 1970.
#[must_use]
pub fn uuid_v7(at: Timestamp, tail: [u8; 10]) -> Uuid {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}

/// How an id ends: its last 8 bytes.
#[must_use]
pub fn tail(id: Uuid) -> [u8; 8] {
    id.as_bytes().last_chunk::<8>().copied().unwrap_or_default()
}

impl RunId {
    /// A run that an event started. It ends as the event's id does, so that everything about the
    /// run can be told to come from that event; `head` is what tells it from other runs.
    #[must_use]
    pub fn started_by(event: EventId, head: [u8; 8]) -> Self {
        let mut bytes = [0; 16];
        let (front, back) = bytes.split_at_mut(8);
        front.copy_from_slice(&head);
        back.copy_from_slice(&tail(event.0));
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_as_the_event_that_started_it() {
        let event = EventId::v7(Timestamp::from_millis(1_000), [9; 10]);
        let (one, two) = (RunId::started_by(event, [1; 8]), RunId::started_by(event, [2; 8]));
        assert_ne!(one, two);
        assert_eq!((tail(one.0), tail(two.0)), (tail(event.0), tail(event.0)));
        assert_eq!(one.0.get_version_num(), 8);
    }

    #[test]
    fn a_v7_id_carries_its_month_and_sorts_by_time() {
        let early = EventId::v7(Timestamp::from_millis(1_000), [255; 10]);
        let late = EventId::v7(Timestamp::from_millis(1_001), [0; 10]);
        assert!(early < late);
        assert_eq!(early.0.get_version_num(), 7);
        assert_eq!(late.0.get_timestamp().map(|t| t.to_unix().0), Some(1));
    }
}
