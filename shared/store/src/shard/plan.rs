//! What a look at workers and shards asks for: whom to declare dead, what to take, what to hand
//! over. PURE: rows and moments in, decisions out.
//!
//! What always holds: a worker is found dead only by a beat that stood still while the observer
//! itself was looking; a fair share is the same for all who see the same rows, so nobody takes
//! what another would then hand over, and nothing moves that need not.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    ShardTimes,
    rows::{ShardRow, Survey, WorkerRow},
};

/// Beats as this observer has seen them, by its own clock, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The beat, and when it was seen first.
    beats: HashMap<Uuid, (i64, i64)>,
    /// When it was looked last.
    at: Option<i64>,
    /// Who took part at the last look, and since when it has been these.
    workers: (Vec<Uuid>, i64),
}

impl Seen {
    /// Takes in a look; the workers whose beat has stood still for too long, with that beat. After
    /// a pause in looking nothing is known: who could not be seen may have beaten all the while,
    /// or not have been able to.
    pub(super) fn look(
        &mut self,
        (rows, me): (&[WorkerRow], Uuid),
        now: i64,
        times: &ShardTimes,
    ) -> Vec<(Uuid, i64)> {
        if self.at.is_none_or(|at| now - at > millis(times.blind())) {
            self.beats.clear();
            self.workers.0.clear();
        }
        self.at = Some(now);
        self.beats.retain(|worker, _| rows.iter().any(|row| row.incarnation == *worker));
        let mut dead = Vec::new();
        for row in rows.iter().filter(|row| row.incarnation != me) {
            let (beat, since) = self.beats.entry(row.incarnation).or_insert((row.beat, now));
            if *beat != row.beat {
                (*beat, *since) = (row.beat, now);
            }
            if now - *since >= millis(times.dead_after) {
                dead.push((row.incarnation, row.beat));
            }
        }
        let workers = working(rows);
        if workers != self.workers.0 {
            self.workers = (workers, now);
        }
        dead
    }

    /// Whether the same workers have been seen for long enough to move shards between them.
    pub(super) fn calm(&self, now: i64, times: &ShardTimes) -> bool {
        now - self.workers.1 >= millis(times.calm)
    }
}

fn millis(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Those who share the shards, ascending.
fn working(rows: &[WorkerRow]) -> Vec<Uuid> {
    rows.iter().filter(|row| !row.leaving).map(|row| row.incarnation).collect()
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Nobody has these; ascending.
    pub take: Vec<ShardRow>,
    /// Hand these over.
    pub give: Vec<u16>,
}

/// What this worker's fair share asks for; hands over at most `give_max`.
pub(super) fn plan(me: Uuid, seen: &Survey, give_max: usize) -> Plan {
    let workers = working(&seen.workers);
    let Some(rank) = workers.iter().position(|worker| *worker == me) else {
        return Plan::default();
    };
    let share = seen.shards.len().div_ceil(workers.len());
    let mine: Vec<u16> =
        seen.shards.iter().filter(|row| row.owner == Some(me)).map(|row| row.id).collect();
    let mut free: Vec<ShardRow> =
        seen.shards.iter().filter(|row| row.owner.is_none()).copied().collect();
    // Workers that look at the same moment begin at different places.
    let begin = free.len() * rank / workers.len();
    free.rotate_left(begin);
    free.truncate(share.saturating_sub(mine.len()));
    free.sort_unstable_by_key(|row| row.id);
    let over = mine.len().saturating_sub(share).min(give_max);
    Plan { take: free, give: mine.into_iter().rev().take(over).collect() }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;

    fn worker(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn row(n: u128, beat: i64) -> WorkerRow {
        WorkerRow { incarnation: worker(n), beat, leaving: false }
    }

    /// The protocol's timings; looked at every 200 ms.
    fn look(seen: &mut Seen, rows: &[WorkerRow], now: i64) -> Vec<(Uuid, i64)> {
        seen.look((rows, worker(1)), now, &ShardTimes::default())
    }

    #[test]
    fn a_beat_that_stands_still_for_five_seconds_of_looking_is_a_death() {
        let mut seen = Seen::default();
        for now in (0..5_000).step_by(200) {
            assert_eq!(look(&mut seen, &[row(1, 0), row(2, 7)], now), []);
        }
        assert_eq!(look(&mut seen, &[row(1, 0), row(2, 7)], 5_000), [(worker(2), 7)]);
        // Not this observer itself, whatever its row says; and a beat begins anew.
        assert_eq!(look(&mut seen, &[row(1, 0), row(2, 8)], 5_200), []);
        assert_eq!(look(&mut seen, &[row(1, 0), row(2, 8)], 7_000), []);
    }

    #[test]
    fn who_could_not_look_has_seen_nobody_dead() {
        let mut seen = Seen::default();
        assert_eq!(look(&mut seen, &[row(2, 7)], 0), []);
        // The database was away, or this process stood still: the others had no chance to beat.
        assert_eq!(look(&mut seen, &[row(2, 7)], 60_000), []);
        for now in (60_200..65_000).step_by(200) {
            assert_eq!(look(&mut seen, &[row(2, 7)], now), []);
        }
        assert_eq!(look(&mut seen, &[row(2, 7)], 65_000), [(worker(2), 7)]);
    }

    #[test]
    fn shards_are_handed_over_only_after_a_calm() {
        let (mut seen, times) = (Seen::default(), ShardTimes::default());
        let both = [row(1, 0), row(2, 0)];
        look(&mut seen, &both, 0);
        look(&mut seen, &both, 1_900);
        assert!(!seen.calm(2_999, &times) && seen.calm(3_000, &times));
        look(&mut seen, &[row(1, 0), row(2, 0), row(3, 0)], 3_000);
        assert!(!seen.calm(5_999, &times));
        let leaving = WorkerRow { leaving: true, ..row(3, 0) };
        look(&mut seen, &[row(1, 0), row(2, 0), leaving], 4_000);
        assert!(!seen.calm(6_999, &times) && seen.calm(7_000, &times));
    }

    /// Shards and their owners as a database would have them; each worker sees a look, then acts.
    struct House {
        seen: Survey,
        moves: usize,
    }

    impl House {
        fn new(shards: u16) -> Self {
            let shard = |id| ShardRow { id, owner: None, epoch: 0, high_water: 0 };
            let seen = Survey { workers: Vec::new(), shards: (0..shards).map(shard).collect() };
            Self { seen, moves: 0 }
        }

        fn set(&mut self, workers: &[u128]) {
            let mut workers = workers.to_vec();
            workers.sort_unstable();
            self.seen.workers = workers.iter().map(|n| row(*n, 0)).collect();
            for shard in &mut self.seen.shards {
                let lives = |owner: Uuid| workers.iter().any(|n| worker(*n) == owner);
                shard.owner = shard.owner.filter(|owner| lives(*owner));
            }
        }

        /// Everybody looks at the same moment, then all act; whether anything changed. At most
        /// `give_max` a worker are handed over.
        fn round(&mut self, give_max: usize) -> bool {
            let seen = self.seen.clone();
            let workers = seen.workers.clone();
            let plans =
                workers.iter().map(|row| (row.incarnation, plan(row.incarnation, &seen, give_max)));
            let mut changed = false;
            for (me, plan) in plans {
                assert!(plan.give.len() <= give_max && plan.take.is_sorted_by_key(|row| row.id));
                for wanted in plan.take {
                    let shard = &mut self.seen.shards[usize::from(wanted.id)];
                    // The epoch decides between two who want the same one.
                    if shard.epoch == wanted.epoch {
                        (shard.owner, shard.epoch) = (Some(me), shard.epoch + 1);
                        self.moves += 1;
                        changed = true;
                    }
                }
                for given in plan.give {
                    self.seen.shards[usize::from(given)].owner = None;
                    changed = true;
                }
            }
            changed
        }

        fn settle(&mut self) -> usize {
            let mut rounds = 0;
            while self.round(32) {
                rounds += 1;
                assert!(rounds < 1_000, "it never comes to rest");
            }
            rounds
        }

        fn held(&self) -> BTreeMap<Uuid, usize> {
            let mut held = BTreeMap::new();
            for owner in self.seen.shards.iter().map(|shard| shard.owner.expect("somebody has it"))
            {
                *held.entry(owner).or_default() += 1;
            }
            held
        }
    }

    #[test]
    fn workers_that_come_and_go_move_no_more_than_they_must() {
        let mut house = House::new(1_000);
        house.set(&[1, 2, 3]);
        house.settle();
        assert_eq!(house.moves, 1_000, "at the start each shard is taken once");
        for turn in 0..20_u128 {
            let before = house.moves;
            house.set(&[1, 2, 3, 10 + turn]);
            let rounds = house.settle();
            let came = house.moves - before;
            assert!(house.held().values().all(|held| *held <= 250), "{:?}", house.held());
            assert!(came <= 250, "{came} moved to one who came");
            assert!(rounds >= 84 / 32, "not all at once: {rounds}");
            let before = house.moves;
            house.set(&[1, 2, 3]);
            house.settle();
            assert!(house.moves - before <= 250, "only what the one who left had");
        }
    }

    #[test]
    fn whatever_comes_and_goes_all_shards_are_had_by_somebody_and_nobody_has_too_many() {
        for shards in [1_u16, 2, 16, 255, 256] {
            let mut house = House::new(shards);
            for workers in [&[5][..], &[5, 9], &[9], &[1, 5, 9, 12, 30], &[12, 1], &[2, 3, 4]] {
                house.set(workers);
                house.settle();
                let share = usize::from(shards).div_ceil(workers.len());
                assert!(house.held().values().all(|held| *held <= share), "{workers:?}");
                assert_eq!(house.held().values().sum::<usize>(), usize::from(shards));
            }
        }
    }

    #[test]
    fn who_is_leaving_takes_nothing_and_counts_for_nobody() {
        let mut house = House::new(16);
        house.set(&[1, 2]);
        house.seen.workers[0].leaving = true;
        house.settle();
        assert_eq!(house.held(), BTreeMap::from([(worker(2), 16)]));
    }

    #[test]
    fn what_a_beat_waits_for_is_less_than_its_deadline() {
        let times = ShardTimes::default();
        assert_eq!(times.answer(), Duration::from_secs(2));
        assert!(times.deadline < times.dead_after && times.look <= times.beat);
    }
}
