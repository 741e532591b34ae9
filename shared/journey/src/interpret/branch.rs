//! `branch`: the first case that holds, else the default.

use super::walk::{Move, Walk};
use crate::{
    plan::{Branch, Next},
    state::RunState,
};

pub(super) fn arrive(walk: &mut Walk<'_>, run: &RunState, step: &Branch) -> Move {
    let taken = step.cases.iter().find(|case| walk.holds(&case.when, run));
    let next = taken.map_or(&step.default, |case| &case.next);
    let target = match next {
        Next::Step(id) => id.as_str(),
        Next::End => "end",
    };
    walk.trace(run, "branched", target);
    Move::Go(next.clone())
}
