//! `exit`: ends the run as exited, for the author's reason.

use super::walk::Move;
use crate::{plan::Exit, state::RunState};

pub(super) fn arrive(run: &RunState, step: &Exit) -> Move {
    Move::Exit(step.reason.clone().unwrap_or_else(|| run.step.to_string()))
}
