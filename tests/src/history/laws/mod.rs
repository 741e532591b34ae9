//! The laws, each a function from a history to what breaks it.

mod consent;
mod events;
mod messages;
pub(super) mod runs;

use super::{finding::Finding, index::Index};

/// One law.
pub(super) type Law = fn(&Index<'_>) -> Vec<Finding>;

/// Every law.
pub(super) const ALL: [Law; 12] = [
    events::applied_once,
    events::in_order,
    events::numbered_without_gaps,
    events::started_once,
    runs::timers_fire_once,
    runs::timers_keep_time,
    runs::live_runs_have_a_timer,
    runs::nothing_waits,
    messages::asked_for_once,
    messages::outcomes_reach_their_run_once,
    messages::at_the_sink_once,
    consent::only_who_said_yes,
];

/// Those that hold at any moment.
pub(super) const MIDWAY: [Law; 2] = [events::numbered_without_gaps, runs::live_runs_have_a_timer];
