//! How often workers beat and look at one another, and how long they wait before they believe what
//! they see. One place, so that tests can scale all of it.

use std::time::Duration;

/// The timings of ownership.
///
/// What must hold between them: `deadline` is less than `dead_after` by more than a commit takes,
/// or a worker commits while another believes it dead (the database refuses it then); `look` is at
/// most `beat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardTimes {
    /// Period of a worker's sign of life.
    pub beat: Duration,
    /// How long an observer sees the same beat, by its own clock, before it declares the worker
    /// dead.
    pub dead_after: Duration,
    /// How long after the last beat that was taken was sent a worker commits.
    pub deadline: Duration,
    /// Period in which a worker looks at the others and at shards that nobody has.
    pub look: Duration,
    /// How long the same workers must have been seen before one with too many shards hands over.
    pub calm: Duration,
    /// How long a hand-over waits for commits under way before it asks the database.
    pub drain: Duration,
    /// The most shards that a worker with too many hands over in one beat.
    pub moves: usize,
}

impl Default for ShardTimes {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(1),
            dead_after: Duration::from_secs(5),
            deadline: Duration::from_millis(3_500),
            look: Duration::from_millis(200),
            calm: Duration::from_secs(3),
            drain: Duration::from_secs(2),
            moves: 32,
        }
    }
}

impl ShardTimes {
    /// How long a beat waits for its answer before its connection is given up.
    pub(crate) fn answer(&self) -> Duration {
        self.deadline * 4 / 7
    }

    /// A longer pause between two looks, and what was seen before says nothing about the present.
    pub(crate) fn blind(&self) -> Duration {
        self.beat * 2
    }
}
