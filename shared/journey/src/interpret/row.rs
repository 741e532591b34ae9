//! A run's row, and how runs end.

use crate::{
    effect::RunRow,
    state::{RunState, RunStatus, Waiting},
};

/// How a run ends.
pub(super) struct End {
    pub status: &'static str,
    pub by: String,
}

impl End {
    /// As something that should not happen, visibly.
    pub fn failed(by: &str) -> Self {
        Self { status: "failed", by: by.to_owned() }
    }
}

impl RunState {
    /// What it waits for, held or not.
    pub(super) const fn waiting(&self) -> Waiting {
        match self.status {
            RunStatus::Waiting(waiting) | RunStatus::Held(waiting) => waiting,
        }
    }
}

/// The row of a live run.
pub(super) fn live_row(run: &RunState) -> RunRow {
    RunRow {
        id: run.id,
        journey: run.journey.clone(),
        version: run.version,
        key: run.key.clone(),
        status: match run.status {
            RunStatus::Waiting(_) => "waiting",
            RunStatus::Held(_) => "held",
        },
        step: run.step.clone(),
        entered_at: run.entered_at,
        wakes_at: Some(run.wakes_at),
        ended_at: None,
        ended_by: None,
    }
}
