//! `split`: the arm follows from the contact's handle and the salt, so it is the same each time;
//! it is also kept in the run.

use parcours_domain::{Handle, hash::sha256_head};

use super::walk::{Move, Walk};
use crate::{
    plan::{Arm, Split},
    state::RunState,
};

pub(super) fn arrive(walk: &mut Walk<'_>, run: &mut RunState, step: &Split) -> Move {
    let kept = run.arms.get(&run.step);
    let arm = step
        .arms
        .iter()
        .find(|arm| kept == Some(&arm.id))
        .or_else(|| draw(walk.state.handle, step));
    match arm {
        Some(arm) => {
            run.arms.insert(run.step.clone(), arm.id.clone());
            walk.trace(run, "split", arm.id.as_str());
            Move::Go(arm.next.clone())
        }
        None => Move::Misfit,
    }
}

/// First 8 bytes of SHA-256(handle, salt), modulo the sum of the weights. With sums up to 2^32 the
/// modulo favours no arm by more than one part in 2^32.
fn draw(handle: Handle, step: &Split) -> Option<&Arm> {
    let total: u64 = step.arms.iter().map(|arm| u64::from(arm.weight)).sum();
    let hash = u64::from_be_bytes(sha256_head::<8>(&[&handle.0, step.salt.as_bytes()]));
    let mut left = hash.checked_rem(total)?;
    step.arms.iter().find(|arm| match left.checked_sub(u64::from(arm.weight)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Next;

    fn split(salt: &str, weights: [u32; 2]) -> Split {
        let arm = |id: &str, weight| Arm { id: id.parse().unwrap(), weight, next: Next::End };
        Split { salt: salt.into(), arms: vec![arm("a", weights[0]), arm("b", weights[1])] }
    }

    fn share_of_a(step: &Split) -> usize {
        let handles = (0..10_000_u128).map(|n| Handle(n.to_be_bytes()));
        handles.filter(|handle| draw(*handle, step).unwrap().id.as_str() == "a").count()
    }

    #[test]
    fn arms_get_their_share_and_an_arm_without_weight_gets_nobody() {
        assert!((7_350..=7_650).contains(&share_of_a(&split("s", [3, 1]))));
        assert_eq!(share_of_a(&split("s", [0, 1])), 0);
        assert_eq!(share_of_a(&split("s", [1, 0])), 10_000);
        assert_eq!(draw(Handle([0; 16]), &split("s", [0, 0])), None);
    }

    /// Golden: a change here deals every running test anew.
    #[test]
    fn the_same_contact_and_salt_always_draw_the_same_arm() {
        let drawn: String = (0..16_u8)
            .map(|n| draw(Handle([n; 16]), &split("nudge/which", [1, 1])).unwrap().id.to_string())
            .collect();
        assert_eq!(drawn, "babaaabaaabaabab");
        let other: String = (0..16_u8)
            .map(|n| draw(Handle([n; 16]), &split("other", [1, 1])).unwrap().id.to_string())
            .collect();
        assert_ne!(drawn, other);
    }
}
