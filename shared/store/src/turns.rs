//! A queue in which brands take turns, so that what one of them has waiting in great number does
//! not stand before what another has just brought.
//!
//! What always holds: what a brand put in comes out in that order; no brand gets a second turn
//! while another that waits has had none.

use std::collections::{HashMap, VecDeque};

use parcours_domain::TenantId;

/// See the head of this file.
pub(crate) struct Turns<T> {
    order: VecDeque<TenantId>,
    queues: HashMap<TenantId, VecDeque<T>>,
    len: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), queues: HashMap::new(), len: 0 }
    }
}

impl<T> Turns<T> {
    /// Puts it behind what the brand has waiting.
    pub(crate) fn push(&mut self, tenant: TenantId, one: T) {
        let order = &mut self.order;
        let queue = self.queues.entry(tenant).or_insert_with(|| {
            order.push_back(tenant);
            VecDeque::new()
        });
        queue.push_back(one);
        self.len += 1;
    }

    /// The first of the brand whose turn it is.
    pub(crate) fn next(&mut self) -> Option<(TenantId, T)> {
        let tenant = self.order.pop_front()?;
        let queue = self.queues.get_mut(&tenant)?;
        let one = queue.pop_front()?;
        self.len -= 1;
        if queue.is_empty() {
            self.queues.remove(&tenant);
        } else {
            self.order.push_back(tenant);
        }
        Some((tenant, one))
    }

    /// Puts back what was taken and cannot go yet, in the order in which it was taken, before all
    /// that the brand has waiting.
    pub(crate) fn put_back(&mut self, taken: Vec<(TenantId, T)>) {
        for (tenant, one) in taken.into_iter().rev() {
            let order = &mut self.order;
            let queue = self.queues.entry(tenant).or_insert_with(|| {
                order.push_front(tenant);
                VecDeque::new()
            });
            queue.push_front(one);
            self.len += 1;
        }
    }

    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The first of each brand.
    pub(crate) fn firsts(&self) -> impl Iterator<Item = &T> {
        self.queues.values().filter_map(VecDeque::front)
    }
}

#[cfg(test)]
mod tests {
    use parcours_domain::Timestamp;

    use super::*;

    fn brand(n: u8) -> TenantId {
        TenantId::v7(Timestamp::EPOCH, [n; 10])
    }

    fn all(turns: &mut Turns<u32>) -> Vec<u32> {
        std::iter::from_fn(|| turns.next().map(|(_, one)| one)).collect()
    }

    #[test]
    fn brands_take_turns_and_each_keeps_its_order() {
        let mut turns = Turns::default();
        for (tenant, one) in [(1, 10), (1, 11), (1, 12), (1, 13), (2, 20), (3, 30), (3, 31)] {
            turns.push(brand(tenant), one);
        }
        assert_eq!(turns.len(), 7);
        assert_eq!(all(&mut turns), [10, 20, 30, 11, 31, 12, 13]);
        assert_eq!(turns.len(), 0);
        assert!(turns.firsts().next().is_none());
    }

    #[test]
    fn what_is_put_back_is_first_again() {
        let mut turns = Turns::default();
        for one in 0..6 {
            turns.push(brand(1), one);
        }
        turns.push(brand(2), 20);
        let taken: Vec<_> = std::iter::from_fn(|| turns.next()).take(5).collect();
        turns.put_back(taken);
        assert_eq!(turns.len(), 7);
        let in_order: Vec<u32> = all(&mut turns).into_iter().filter(|one| *one < 20).collect();
        assert_eq!(in_order, [0, 1, 2, 3, 4, 5]);
    }
}
