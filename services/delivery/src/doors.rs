//! How many conversations about one provider's mail a process has at once.
//!
//! A cap is shared among the processes that send: each has an equal part, and at least one. Who
//! waits at a door holds no connection, so a provider that is slow takes no more of a sender's
//! connections than its cap.
//!
//! What always holds: while the number of processes stays, all together have at most the cap, or one
//! each if they are more than that. A process that starts takes one until it has been counted; one
//! that has grown its part never had more conversations than the part it believed in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use parcours_queue::tokens::LimitKey;
use tokio::sync::Notify;

use crate::core::Core;

/// Doors beyond which those that nobody uses are forgotten.
const DOORS_MOST: usize = 10_000;

/// All doors of this process.
#[derive(Debug, Default)]
pub(crate) struct Doors(Mutex<HashMap<LimitKey, Arc<Door>>>);

impl Doors {
    /// The door to these recipients.
    pub(crate) fn to(&self, key: &LimitKey) -> Arc<Door> {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if doors.len() >= DOORS_MOST {
            doors.retain(|_, door| Arc::strong_count(door) > 1);
        }
        Arc::clone(doors.entry(key.clone()).or_default())
    }
}

/// A door, and how many may be inside in all processes together.
pub(crate) struct Entrance {
    pub door: Arc<Door>,
    pub cap: u32,
}

impl Entrance {
    /// This process's part of it now.
    pub(crate) fn part(&self, core: &Core) -> u32 {
        part(self.cap, core.purse.lessees())
    }
    pub(crate) async fn enter(&self, core: &Core) -> Inside {
        self.door.enter(|| self.part(core)).await
    }
}

/// A process's part of a cap.
fn part(cap: u32, processes: u32) -> u32 {
    (cap / processes.max(1)).max(1)
}

#[derive(Debug, Default)]
pub(crate) struct Door {
    inside: Mutex<u32>,
    left: Notify,
}

/// Somebody who has come through; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Inside(Arc<Door>);

impl Door {
    fn inside(&self) -> MutexGuard<'_, u32> {
        // Nothing that holds the guard can panic half-way through a change.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until fewer than `most` are inside; that is asked each time anew.
    pub(crate) async fn enter(self: &Arc<Self>, most: impl Fn() -> u32) -> Inside {
        loop {
            let left = self.left.notified();
            {
                let (most, mut inside) = (most(), self.inside());
                if *inside < most {
                    *inside += 1;
                    if *inside < most {
                        // Two may have left at once, and only one of those who wait was woken.
                        self.left.notify_one();
                    }
                    return Inside(Arc::clone(self));
                }
            }
            left.await;
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut inside = self.0.inside();
        *inside = inside.saturating_sub(1);
        drop(inside);
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::{FutureExt as _, poll};

    use super::*;

    #[test]
    fn parts_never_make_more_than_the_cap_unless_there_are_more_processes() {
        for (cap, processes, expected) in [(10, 1, 10), (10, 3, 3), (2, 3, 1), (5, u32::MAX, 1)] {
            assert_eq!(part(cap, processes), expected, "{cap} by {processes}");
            assert!(part(cap, processes).saturating_mul(processes) <= cap.max(processes));
        }
        assert_eq!(part(4, 0), 4);
    }

    #[tokio::test]
    async fn nobody_enters_beyond_the_part_and_who_leaves_lets_the_next_in() {
        let (door, most) = (Arc::new(Door::default()), AtomicU32::new(2));
        let most = || most.load(Ordering::Relaxed);
        let (one, two) = (door.enter(most).await, door.enter(most).await);
        let mut third = Box::pin(door.enter(most));
        let mut fourth = Box::pin(door.enter(most));
        assert!(poll!(third.as_mut()).is_pending() && poll!(fourth.as_mut()).is_pending());
        drop(one);
        let three = third.now_or_never().expect("one has left");
        assert!(poll!(fourth.as_mut()).is_pending(), "only one has");
        drop(two);
        drop(three);
        drop(fourth.await);
        assert_eq!(*door.inside(), 0);
    }

    #[tokio::test]
    async fn a_part_that_shrinks_or_grows_counts_for_whoever_comes_next() {
        let (door, most) = (Arc::new(Door::default()), AtomicU32::new(3));
        let now = || most.load(Ordering::Relaxed);
        let mut inside = vec![door.enter(now).await, door.enter(now).await, door.enter(now).await];
        most.store(1, Ordering::Relaxed);
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(door.enter(now))).collect();
        for left in [2, 1] {
            assert!(poll!(waiting[0].as_mut()).is_pending());
            inside.pop();
            assert_eq!(inside.len(), left);
        }
        assert!(poll!(waiting[0].as_mut()).is_pending(), "one is inside, and that is the part");
        for one in &mut waiting {
            assert!(poll!(one.as_mut()).is_pending());
        }
        most.store(3, Ordering::Relaxed);
        inside.clear();
        // One leaves, three may enter: each lets the next one know.
        let entered = futures::future::join_all(waiting).now_or_never();
        assert_eq!(entered.map(|entered| entered.len()), Some(3));
    }
}
