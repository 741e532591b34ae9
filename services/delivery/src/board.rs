//! What delivery is doing, for those who wait: how much is in flight, and whether all that was
//! asked for has been looked at.
//!
//! Quiet means: since the last hint a whole look at the queue found nothing that may leave now, and
//! nothing is in flight. It is what a moved clock waits for before it jumps.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use crate::rounds::Head;

/// Hints in, progress out.
#[derive(Debug)]
pub(crate) struct Board {
    asked: AtomicU64,
    settled: watch::Sender<u64>,
    in_flight: AtomicUsize,
    wake: Notify,
    /// Heads that are being claimed from, and whether somebody wanted to meanwhile.
    claims: Mutex<HashMap<Head, bool>>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            asked: AtomicU64::new(1),
            settled: watch::Sender::new(0),
            in_flight: AtomicUsize::new(0),
            wake: Notify::new(),
            claims: Mutex::default(),
        }
    }

    /// A claim from this head begins; it ends when the guard is dropped.
    pub(crate) fn claim(&self, head: Head) -> Claiming<'_> {
        self.claims().entry(head).or_insert(false);
        Claiming { board: self, head }
    }

    /// Whether a claim from this head is under way: another would wait for it and find nothing.
    /// If so there is a hint once it has ended.
    pub(crate) fn is_claiming(&self, head: Head) -> bool {
        self.claims().get_mut(&head).is_some_and(|wanted| {
            *wanted = true;
            true
        })
    }

    /// No code runs under this lock that can panic half-way.
    fn claims(&self) -> MutexGuard<'_, HashMap<Head, bool>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be work: look.
    pub(crate) fn hint(&self) -> u64 {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        asked
    }

    /// Returns when there was a hint since the last return.
    pub(crate) async fn hinted(&self) {
        self.wake.notified().await;
    }

    /// The number of the last hint: taken before a look, given back when the look found nothing.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// All that was asked up to this hint is done.
    pub(crate) fn settle(&self, asked: u64) {
        self.settled.send_if_modified(|settled| {
            let newer = asked > *settled;
            *settled = asked.max(*settled);
            newer
        });
    }

    /// Work has begun; it ends when the guard is dropped.
    pub(crate) fn begin(&self, messages: usize) -> InFlight<'_> {
        self.in_flight.fetch_add(messages, Ordering::SeqCst);
        InFlight { board: self, messages }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn quiet(&self) -> bool {
        *self.settled.borrow() >= self.asked() && self.in_flight() == 0
    }

    /// Returns when all that is asked for now has been looked at and is done.
    pub(crate) async fn settled(&self) {
        let asked = self.hint();
        let mut settled = self.settled.subscribe();
        // The sender lives as long as the board.
        let _ = settled.wait_for(|settled| *settled >= asked).await;
    }
}

/// A claim under way.
#[derive(Debug)]
pub(crate) struct Claiming<'a> {
    board: &'a Board,
    head: Head,
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        if self.board.claims().remove(&self.head) == Some(true) {
            self.board.hint();
        }
    }
}

/// Messages in flight; gives itself back.
#[derive(Debug)]
pub(crate) struct InFlight<'a> {
    board: &'a Board,
    messages: usize,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.board.in_flight.fetch_sub(self.messages, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcours_domain::{TenantId, Timestamp};

    #[tokio::test]
    async fn quiet_means_that_everything_asked_for_is_done() {
        let board = Board::new();
        assert!(!board.quiet(), "nothing was looked at yet");
        board.settle(board.asked());
        assert!(board.quiet());
        let asked = board.hint();
        assert!(!board.quiet());
        let work = board.begin(3);
        board.settle(asked);
        assert!(!board.quiet() && board.in_flight() == 3);
        drop(work);
        assert!(board.quiet());
        board.settle(1);
        assert!(board.quiet(), "an old look takes nothing back");
        board.hinted().await;
    }

    #[tokio::test]
    async fn who_is_kept_from_a_head_is_told_when_its_claim_has_ended() {
        let (board, tenant) = (Board::new(), TenantId::v7(Timestamp::EPOCH, [1; 10]));
        assert!(!board.is_claiming((tenant, 1)));
        let (one, two) = (board.claim((tenant, 1)), board.claim((tenant, 2)));
        assert!(board.is_claiming((tenant, 1)) && !board.is_claiming((tenant, 3)));
        let asked = board.asked();
        drop(two);
        assert_eq!(board.asked(), asked, "nobody was kept from it");
        drop(one);
        assert_eq!(board.asked(), asked + 1);
        assert!(!board.is_claiming((tenant, 1)));
        board.hinted().await;
    }
}
