//! Whose turn it is: deficit round robin over brands, and round robin over a brand's lanes.
//!
//! Each turn gives a brand a quantum of messages; what it really claimed is taken off. A brand with
//! a million due messages gets as many turns as a brand with ten. A brand without work has no
//! deficit to save up: an idle hour buys no burst.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use parcours_domain::TenantId;

/// A brand's lane that may have work.
pub type Head = (TenantId, i64);

/// One brand's place in the round.
#[derive(Debug, Default)]
struct Seat {
    lanes: VecDeque<i64>,
    known: BTreeSet<i64>,
    deficit: i64,
}

/// The round over all heads with work.
#[derive(Debug)]
pub struct Rounds {
    quantum: i64,
    order: VecDeque<TenantId>,
    seats: BTreeMap<TenantId, Seat>,
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
        Self { quantum: i64::from(quantum.max(1)), order: VecDeque::new(), seats: BTreeMap::new() }
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
        let places = self.order.len();
        // A brand in debt is passed over; each pass pays back one quantum.
        for _ in 0..places.saturating_mul(2) {
            let tenant = self.order.pop_front()?;
            let Some(seat) = self.seats.get_mut(&tenant) else { continue };
            seat.deficit = (seat.deficit + self.quantum).min(self.quantum);
            if seat.deficit <= 0 {
                self.order.push_back(tenant);
                continue;
            }
            let Some(lane) = seat.lanes.pop_front() else {
                self.seats.remove(&tenant);
                continue;
            };
            seat.known.remove(&lane);
            let most = u32::try_from(seat.deficit).unwrap_or(1);
            self.order.push_back(tenant);
            return Some(Turn { head: (tenant, lane), most });
        }
        None
    }

    /// How many messages the turn really took.
    pub fn spent(&mut self, tenant: TenantId, messages: u32) {
        if let Some(seat) = self.seats.get_mut(&tenant) {
            seat.deficit -= i64::from(messages);
        }
    }

    /// Whether no head is waiting for a turn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.values().all(|seat| seat.lanes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcours_domain::Timestamp;

    fn brand(n: u8) -> TenantId {
        TenantId::v7(Timestamp::EPOCH, [n; 10])
    }

    /// Plays the round: `backlog` messages of each brand, and who was served in which turn.
    fn play(backlog: &mut BTreeMap<TenantId, u32>, turns: usize) -> Vec<(TenantId, u32)> {
        let mut rounds = Rounds::new(100);
        let mut served = Vec::new();
        for _ in 0..turns {
            for tenant in backlog.iter().filter(|(_, left)| **left > 0).map(|(t, _)| *t) {
                rounds.add((tenant, 0));
            }
            let Some(turn) = rounds.next() else { break };
            let left = backlog.entry(turn.head.0).or_default();
            let took = turn.most.min(*left);
            *left -= took;
            rounds.spent(turn.head.0, took);
            served.push((turn.head.0, took));
        }
        served
    }

    #[test]
    fn a_brand_with_a_million_messages_does_not_starve_one_with_ten() {
        let mut backlog = BTreeMap::from([(brand(1), 1_000_000), (brand(2), 10), (brand(3), 150)]);
        let served = play(&mut backlog, 6);
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
        rounds.spent(brand(1), 10);
        let second = rounds.next().unwrap().head.1;
        assert_eq!((first, second), (1, 2));
        assert_eq!(rounds.next(), None);
        assert!(rounds.is_empty());
    }

    #[test]
    fn a_brand_that_took_more_than_its_turn_waits_for_the_others() {
        let mut rounds = Rounds::new(10);
        rounds.add((brand(1), 0));
        rounds.add((brand(2), 0));
        assert_eq!(rounds.next().unwrap().head.0, brand(1));
        rounds.spent(brand(1), 25);
        rounds.add((brand(1), 0));
        assert_eq!(rounds.next().unwrap().head.0, brand(2));
        rounds.spent(brand(2), 10);
        rounds.add((brand(2), 0));
        assert_eq!(rounds.next().unwrap().head.0, brand(2), "brand 1 is still in debt");
    }
}
