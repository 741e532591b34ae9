//! How a timer stands in a sorted set.
//!
//! The member is run, tenant and contact (48 bytes), so a run has one member whatever its timer's
//! number is. A score is a double, exact up to 2^53: 42 bits of due time in milliseconds (until the
//! year 2109; later moments stand for that one) and below them the low 11 bits of the number. The
//! rest of the number, its era, is nearly always 0; the others stand in a hash beside the set.

use parcours_domain::{ContactId, RunId, TenantId, Timestamp};
use uuid::Uuid;

use super::TimerEntry;

/// Numbers in an era. The scripts know it too.
const ERA: u32 = 1 << 11;
const DUE_MAX: i64 = (1 << 42) - 1;

pub(super) fn member(tenant: TenantId, contact: ContactId, run: RunId) -> [u8; 48] {
    let mut member = [0; 48];
    member[..16].copy_from_slice(&run.bytes());
    member[16..32].copy_from_slice(&tenant.bytes());
    member[32..].copy_from_slice(&contact.bytes());
    member
}

pub(super) fn score(due_at: Timestamp, seq: u32) -> u64 {
    let due = u64::try_from(due_at.as_millis().clamp(0, DUE_MAX)).unwrap_or(0);
    due * u64::from(ERA) + u64::from(seq % ERA)
}

/// The highest score that is due at `now`.
pub(super) fn score_at(now: Timestamp) -> u64 {
    score(now, ERA - 1)
}

pub(super) const fn era(seq: u32) -> u32 {
    seq / ERA
}

/// The due time in a score as Redis writes it; none for the end of a set.
pub(super) fn due_at(score: &[u8]) -> Option<Timestamp> {
    parse(score).map(due_of)
}

/// What stands in a set, as an entry; none when it is not one of ours.
pub(super) fn entry(member: &[u8], score: &[u8], era: u32) -> Option<TimerEntry> {
    let id = |at: usize| Uuid::from_slice(member.get(at..at + 16)?).ok();
    let score = parse(score)?;
    let low = u32::try_from(score % u64::from(ERA)).unwrap_or(0);
    (member.len() == 48).then_some(())?;
    Some(TimerEntry {
        run: RunId(id(0)?),
        tenant: TenantId(id(16)?),
        contact: ContactId(id(32)?),
        seq: era.wrapping_mul(ERA).wrapping_add(low),
        due_at: due_of(score),
    })
}

fn due_of(score: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(score / u64::from(ERA)).unwrap_or(DUE_MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a score is a whole number from 0 to 2^53"
)]
fn parse(score: &[u8]) -> Option<u64> {
    let score: f64 = std::str::from_utf8(score).ok()?.parse().ok()?;
    score.is_finite().then_some(score as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entry_comes_back_as_it_went(
            ids in any::<[u128; 3]>(), seq in any::<u32>(), due in 0..DUE_MAX,
        ) {
            let [run, tenant, contact] = ids.map(Uuid::from_u128);
            let (run, tenant, contact) = (RunId(run), TenantId(tenant), ContactId(contact));
            let due_at = Timestamp::from_millis(due);
            let score = score(due_at, seq);
            #[expect(clippy::cast_precision_loss, reason = "that none is lost is the point")]
            let text = format!("{:e}", score as f64);
            let back = entry(&member(tenant, contact, run), text.as_bytes(), era(seq));
            prop_assert_eq!(back, Some(TimerEntry { tenant, contact, run, seq, due_at }));
            prop_assert!(score <= score_at(due_at));
            prop_assert!(score > score_at(Timestamp::from_millis(due - 1)) || due == 0);
        }
    }

    #[test]
    fn far_moments_stand_for_the_last_one() {
        let far = Timestamp::from_millis(i64::MAX);
        assert_eq!(due_of(score(far, 7)).as_millis(), DUE_MAX);
        assert_eq!(due_of(score(Timestamp::from_millis(-5), 7)), Timestamp::EPOCH);
        assert!(score(far, u32::MAX) < 1 << 53);
    }

    #[test]
    fn what_is_none_of_ours_is_no_entry() {
        assert_eq!(entry(b"short", b"1", 0), None);
        assert_eq!(entry(&[0; 48], b"x", 0), None);
        assert_eq!((due_at(b""), due_at(b"inf")), (None, None));
    }
}
