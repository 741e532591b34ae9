//! How many more contacts a brand may have, as far as this process knows.
//!
//! Contacts are counted in the transaction that makes some, and not for each of them: a count is good
//! for a tenth of what it left free. When the brand is full that is believed for ten seconds.
//!
//! What always holds: one process alone never makes a contact beyond the quota but for those that two
//! transactions make at one moment; of several processes each makes at most a tenth of what was
//! free, or one request's contacts, before it counts those of the others.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use parcours_domain::TenantId;

/// How long a full brand is believed to be full.
const FULL: Duration = Duration::from_secs(10);

/// What is known of one brand.
#[derive(Clone, Copy, Debug)]
struct Room {
    quota: u32,
    /// So many more may be made without counting.
    sure: u32,
    full_until: Option<Instant>,
}

/// What memory says of some more contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MayMake {
    /// They may be made.
    Yes,
    /// None may.
    None,
    /// Count first.
    Count,
}

/// What is known of all brands with a quota.
#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<HashMap<TenantId, Room>>);

impl Rooms {
    fn rooms(&self) -> MutexGuard<'_, HashMap<TenantId, Room>> {
        // Nothing that holds the guard can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the brand was full a moment ago.
    pub(super) fn is_full(&self, tenant: TenantId, quota: u32, now: Instant) -> bool {
        let rooms = self.rooms();
        let room = rooms.get(&tenant).filter(|room| room.quota == quota);
        room.and_then(|room| room.full_until).is_some_and(|until| now < until)
    }

    /// Takes so many.
    pub(super) fn take(&self, tenant: TenantId, quota: u32, want: u32, now: Instant) -> MayMake {
        if self.is_full(tenant, quota, now) {
            return MayMake::None;
        }
        match self.rooms().get_mut(&tenant).filter(|room| room.quota == quota) {
            Some(room) if room.sure >= want => {
                room.sure -= want;
                MayMake::Yes
            }
            Some(_) | None => MayMake::Count,
        }
    }

    /// Notes what was counted; how many of those wanted may be made.
    pub(super) fn counted(
        &self,
        (tenant, quota): (TenantId, u32),
        count: u64,
        want: u32,
        now: Instant,
    ) -> u32 {
        let free = u32::try_from(u64::from(quota).saturating_sub(count)).unwrap_or(u32::MAX);
        let (may, left) = (want.min(free), free.saturating_sub(want));
        let full_until = (left == 0).then(|| now + FULL);
        self.rooms().insert(tenant, Room { quota, sure: left / 10, full_until });
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_good_for_a_tenth_of_what_it_left() {
        let (rooms, now) = (Rooms::default(), Instant::now());
        let tenant = TenantId(uuid::Uuid::from_u128(1));
        let take = |quota, want| rooms.take(tenant, quota, want, now);
        assert_eq!(take(1_000, 1), MayMake::Count);
        assert_eq!(rooms.counted((tenant, 1_000), 499, 1, now), 1);
        assert_eq!([take(1_000, 50), take(1_000, 1)], [MayMake::Yes, MayMake::Count]);
        assert_eq!(rooms.counted((tenant, 1_000), 990, 15, now), 10, "as many as there is room");
        assert_eq!(take(1_000, 1), MayMake::None);
        assert_eq!(take(2_000, 1), MayMake::Count, "a raised quota counts at once");
        let later = now + FULL;
        assert_eq!(rooms.take(tenant, 1_000, 1, later), MayMake::Count);
        assert_eq!(rooms.take(TenantId(uuid::Uuid::nil()), 1_000, 1, now), MayMake::Count);
    }
}
