//! Whose turn it is: deficit round robin over brands by weight, and round robin over a brand's lanes.
//!
//! Each time that the round comes to a brand it gets its quantum of messages: the whole one for the
//! greatest weight that is here, for another its part of that. What is not a whole message is its
//! deficit and counts the next time. A brand with a million due messages gets as many turns as a brand
//! with ten. A brand without work has nothing to save up: an idle hour buys no burst.
//!
//! What always holds: each brand with work gets at least one message in every round; and of two that
//! have work whenever the round comes to them, neither gets more than one quantum beyond what its weight
//! says (while the whole quantum has at least a message for each step of weight, which it has: 256).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use parcours_domain::{TenantId, Weight};

/// A brand's lane that may have work.
pub type Head = (TenantId, i64);

/// Parts of a message in which quanta and deficits are reckoned.
const PARTS: u64 = 1_000_000;

/// One brand's place in the round.
#[derive(Debug, Default)]
struct Seat {
    lanes: VecDeque<i64>,
    known: BTreeSet<i64>,
    /// Turns that are not over: it has work, though no lane of it may be waiting.
    turns: usize,
    /// Parts of the next message that it has already; less than one.
    deficit: u64,
}

/// The round over all heads with work.
#[derive(Debug)]
pub struct Rounds {
    quantum: u64,
    order: VecDeque<TenantId>,
    seats: BTreeMap<TenantId, Seat>,
    weights: BTreeMap<TenantId, Weight>,
}

/// A turn: from this head, at most so many messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The head.
    pub head: Head,
    /// How many may be claimed.
    pub most: u32,
}

impl Rounds {
    /// An empty round; `quantum` messages a turn.
    #[must_use]
    pub fn new(quantum: u32) -> Self {
        Self {
            quantum: u64::from(quantum.max(1)),
            order: VecDeque::new(),
            seats: BTreeMap::new(),
            weights: BTreeMap::new(),
        }
    }

    /// From now on brands have these weights; who is not in it has the default.
    pub fn weigh(&mut self, weights: BTreeMap<TenantId, Weight>) {
        self.weights = weights;
    }

    /// This head has work; hearing it twice is hearing it once.
    pub fn add(&mut self, (tenant, lane): Head) {
        let seat = self.seats.entry(tenant).or_insert_with(|| {
            self.order.push_back(tenant);
            Seat::default()
        });
        if seat.known.insert(lane) {
            seat.lanes.push_back(lane);
        }
    }

    /// The next turn, if any head has work. The head leaves the round until it is added again.
    pub fn next(&mut self) -> Option<Turn> {
        let greatest = self.greatest();
        for _ in 0..self.order.len() {
            let tenant = self.order.pop_front()?;
            let weight = self.weight(tenant);
            let Some(seat) = self.seats.get_mut(&tenant) else { continue };
            let Some(lane) = seat.lanes.pop_front() else {
                if seat.turns == 0 {
                    self.seats.remove(&tenant);
                } else {
                    self.order.push_back(tenant);
                }
                continue;
            };
            seat.known.remove(&lane);
            seat.turns += 1;
            let quantum = (self.quantum * PARTS * weight / greatest).max(PARTS);
            let parts = quantum + seat.deficit;
            seat.deficit = parts % PARTS;
            self.order.push_back(tenant);
            let most = u32::try_from(parts / PARTS).unwrap_or(u32::MAX);
            return Some(Turn { head: (tenant, lane), most });
        }
        None
    }

    /// A turn of the brand is over.
    pub fn ended(&mut self, tenant: TenantId) {
        if let Some(seat) = self.seats.get_mut(&tenant) {
            seat.turns = seat.turns.saturating_sub(1);
        }
    }

    /// Whether no head is waiting for a turn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.values().all(|seat| seat.lanes.is_empty())
    }

    fn weight(&self, tenant: TenantId) -> u64 {
        u64::from(self.weights.get(&tenant).copied().unwrap_or_default().get())
    }

    /// The greatest weight of the brands that are here.
    fn greatest(&self) -> u64 {
        if self.weights.is_empty() {
            return u64::from(Weight::default().get());
        }
        self.seats.keys().map(|tenant| self.weight(*tenant)).max().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use parcours_domain::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const QUANTUM: u32 = 100;

    fn brand(n: u8) -> TenantId {
        TenantId::v7(Timestamp::EPOCH, [n; 10])
    }

    fn weighed(weights: &[u32]) -> Rounds {
        let mut rounds = Rounds::new(QUANTUM);
        let weights = (0_u8..).zip(weights);
        rounds.weigh(weights.map(|(n, w)| (brand(n), Weight::new(*w).unwrap())).collect());
        rounds
    }

    /// Plays the round: `backlog` messages of each brand, and who was served in which turn.
    fn play(
        rounds: &mut Rounds,
        backlog: &mut BTreeMap<TenantId, u32>,
        turns: usize,
    ) -> Vec<(TenantId, u32)> {
        let mut served = Vec::new();
        for _ in 0..turns {
            for tenant in backlog.iter().filter(|(_, left)| **left > 0).map(|(t, _)| *t) {
                rounds.add((tenant, 0));
            }
            let Some(turn) = rounds.next() else { break };
            let left = backlog.entry(turn.head.0).or_default();
            let took = turn.most.min(*left);
            *left -= took;
            rounds.ended(turn.head.0);
            served.push((turn.head.0, took));
        }
        served
    }

    #[test]
    fn a_brand_with_a_million_messages_does_not_starve_one_with_ten() {
        let mut backlog = BTreeMap::from([(brand(1), 1_000_000), (brand(2), 10), (brand(3), 150)]);
        let served = play(&mut Rounds::new(QUANTUM), &mut backlog, 6);
        assert_eq!(backlog[&brand(2)], 0, "{served:?}");
        assert_eq!(backlog[&brand(3)], 0, "{served:?}");
    }

    #[test]
    fn lanes_of_a_brand_take_turns() {
        let mut rounds = Rounds::new(10);
        for lane in [1, 2, 2, 1] {
            rounds.add((brand(1), lane));
        }
        let first = rounds.next().unwrap().head.1;
        let second = rounds.next().unwrap().head.1;
        assert_eq!((first, second), (1, 2));
        assert_eq!(rounds.next(), None);
        assert!(rounds.is_empty());
    }

    #[test]
    fn shares_follow_weights() {
        let mut rounds = weighed(&[30, 10]);
        let mut backlog = BTreeMap::from([(brand(0), 1_000_000), (brand(1), 1_000_000)]);
        play(&mut rounds, &mut backlog, 600);
        let [heavy, light] = [0, 1].map(|n| 1_000_000 - backlog[&brand(n)]);
        assert_eq!((heavy, light), (30_000, 9_999), "the rest of a message is still owed");
    }

    #[test]
    fn the_smallest_weight_is_served_in_every_round_beside_the_greatest() {
        let mut rounds = Rounds::new(1);
        rounds.weigh(BTreeMap::from([(brand(0), Weight::new(100).unwrap())]));
        let mut backlog = BTreeMap::from([(brand(0), 1_000), (brand(1), 1_000)]);
        let served = play(&mut rounds, &mut backlog, 20);
        let light = served.iter().filter(|(tenant, took)| *tenant == brand(1) && *took > 0);
        assert_eq!(light.count(), 10, "{served:?}");
    }

    #[test]
    fn an_idle_brand_saves_nothing_up() {
        let mut rounds = weighed(&[7, 3]);
        let mut backlog = BTreeMap::from([(brand(0), 1_000_000), (brand(1), 50)]);
        play(&mut rounds, &mut backlog, 1_000);
        assert_eq!(backlog[&brand(1)], 0);
        backlog.insert(brand(1), 1_000_000);
        let served = play(&mut rounds, &mut backlog, 8);
        let most = served.iter().filter(|(tenant, _)| *tenant == brand(1)).map(|(_, took)| *took);
        assert_eq!(most.max(), Some(43), "its quantum and the rest of a message, no more");
    }

    #[test]
    fn a_brand_whose_messages_are_on_their_way_keeps_its_weight_in_the_round() {
        let mut rounds = weighed(&[100, 10]);
        rounds.add((brand(0), 0));
        assert_eq!(rounds.next().map(|turn| turn.most), Some(100));
        rounds.add((brand(1), 0));
        assert_eq!(rounds.next().map(|turn| turn.most), Some(10), "the heavy one is not gone");
        rounds.ended(brand(0));
        assert_eq!(rounds.next(), None);
        rounds.add((brand(1), 0));
        assert_eq!(rounds.next().map(|turn| turn.most), Some(100), "now it is alone");
    }

    proptest! {
        /// Any weights, any number of turns: whoever always has work is within one quantum of what
        /// the others' weights and turns say, and nobody waits for longer than a round.
        #[test]
        fn shares_are_within_one_quantum(
            weights in prop::collection::vec(1_u32..=100, 2..7),
            turns in 1_usize..400,
        ) {
            let mut rounds = weighed(&weights);
            let mut backlog: BTreeMap<_, _> =
                (0_u8..).zip(&weights).map(|(n, _)| (brand(n), 1_000_000)).collect();
            let served = play(&mut rounds, &mut backlog, turns);
            let got = |n: usize| {
                let own = brand(u8::try_from(n).unwrap());
                served.iter().filter(|(t, _)| *t == own).map(|(_, took)| u64::from(*took)).sum()
            };
            for (one, weight) in weights.iter().enumerate() {
                for (other, beside) in weights.iter().enumerate() {
                    let (mine, theirs): (u64, u64) = (got(one), got(other));
                    // In units of weight x weight, so that nothing is rounded.
                    let (mine, theirs) = (mine * u64::from(*beside), theirs * u64::from(*weight));
                    let quantum = u64::from(QUANTUM) * u64::from(*weight.max(beside));
                    prop_assert!(mine.abs_diff(theirs) <= quantum + u64::from(weight + beside));
                }
            }
            let names: BTreeSet<_> = served.iter().map(|(tenant, _)| *tenant).collect();
            prop_assert_eq!(names.len(), weights.len().min(turns));
        }
    }
}
