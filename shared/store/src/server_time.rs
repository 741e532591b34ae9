//! The database's clock, as this process follows it: what moments mean to all processes alike,
//! however the clocks of their machines differ.
//!
//! What always holds: time passes as this machine's monotonic clock does, so nobody who sets the
//! machine's clock moves it; it is corrected at each look at the database, by less than half of
//! what that look took; a difference of more than a second is believed only when it is seen three
//! times in a row.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{task::JoinHandle, time::MissedTickBehavior};

use crate::{
    db::{Backend, Db},
    error::StoreError,
    side::sql::Sql,
    wall::Role,
};

/// How often the database is asked.
const PERIOD: Duration = Duration::from_secs(5);
/// An answer that took longer says too little.
const ANSWER_MAX: Duration = Duration::from_millis(200);
/// A difference that is followed at once.
const STEP_MAX_MICROS: i64 = 1_000_000;
/// How often a greater one must be seen.
const SEEN_MIN: u8 = 3;

/// The clock of the database; see above.
pub(crate) struct ServerTime {
    base: Instant,
    offset: Mutex<Offset>,
}

/// What was learnt.
#[derive(Clone, Copy, Debug, Default)]
struct Offset {
    /// The database's microseconds since the epoch at the base.
    micros: i64,
    /// Whether the database was ever asked.
    known: bool,
    /// How often in a row a great difference was seen.
    strange: u8,
}

impl Offset {
    /// Takes in what a look says.
    fn learn(&mut self, micros: i64) {
        let by = micros.abs_diff(self.micros);
        let strange = self.known && by > STEP_MAX_MICROS.unsigned_abs();
        self.strange = if strange { self.strange + 1 } else { 0 };
        if strange && self.strange < SEEN_MIN {
            tracing::warn!(
                by_micros = by,
                "the database's clock differs suddenly from what it was"
            );
            return;
        }
        *self = Self { micros, known: true, strange: 0 };
    }
}

impl ServerTime {
    /// This machine's clock: SQLite has no other.
    pub(crate) fn machine() -> Self {
        let (base, wall) = (Instant::now(), SystemTime::now());
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        Self { base, offset: Mutex::new(Offset { micros, known: false, strange: 0 }) }
    }

    /// Asks once and then, in a task, again and again until it is aborted. Until the first good
    /// answer the machine's own clock counts.
    pub(crate) async fn follow(db: Db) -> (Arc<Self>, Option<JoinHandle<()>>) {
        let this = Arc::new(Self::machine());
        if db.backend() == Backend::Sqlite {
            return (this, None);
        }
        this.look(&db).await;
        let asking = Arc::clone(&this);
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(PERIOD);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                asking.look(&db).await;
            }
        });
        (this, Some(task))
    }

    async fn look(&self, db: &Db) {
        match server_micros(db).await {
            Ok((micros, asked, took)) if took <= ANSWER_MAX => {
                let at_base = micros - self.since_base(asked + took / 2);
                self.offset.lock().unwrap_or_else(PoisonError::into_inner).learn(at_base);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the database's clock was not read"),
        }
    }

    fn since_base(&self, at: Instant) -> i64 {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        match at.checked_duration_since(self.base) {
            Some(after) => micros(after),
            None => -micros(self.base.duration_since(at)),
        }
    }

    /// A moment of this process in the database's microseconds since the epoch.
    pub(crate) fn micros(&self, at: Instant) -> i64 {
        let offset = *self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        offset.micros.saturating_add(self.since_base(at))
    }
}

/// The answer, when the question itself was sent, and how long that took.
async fn server_micros(db: &Db) -> Result<(i64, Instant, Duration), StoreError> {
    let text = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) AS now";
    let on = db.look(Role::Control).await?;
    let asked = Instant::now();
    let row = Sql::new(text, Vec::new()).one(&on).await?;
    let took = asked.elapsed();
    on.end().await?;
    let now = row.ok_or(StoreError::Damaged("the database's clock"))?.get("now")?;
    Ok((now, asked, took))
}

#[cfg(test)]
mod tests {
    use super::{Offset, SEEN_MIN};

    #[test]
    fn small_differences_are_followed_and_great_ones_only_when_they_last() {
        let hour = 3_600_000_000;
        let mut offset = Offset { micros: hour * 5, known: false, strange: 0 };
        offset.learn(1_000);
        assert_eq!(offset.micros, 1_000, "the first answer counts whatever the machine believed");
        offset.learn(900_000);
        assert_eq!(offset.micros, 900_000);
        for seen in 1..SEEN_MIN {
            offset.learn(hour);
            assert_eq!((offset.micros, offset.strange), (900_000, seen));
        }
        offset.learn(900_500);
        assert_eq!((offset.micros, offset.strange), (900_500, 0), "it was a slip");
        for _ in 0..SEEN_MIN {
            offset.learn(hour);
        }
        assert_eq!(offset.micros, hour, "it lasts");
    }
}
