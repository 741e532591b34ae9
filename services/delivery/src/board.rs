//! What delivery is doing, for those who wait: how much is in flight, and whether all that was
//! asked for has been looked at.
//!
//! Quiet means: since the last hint a whole look at the queue found nothing that may leave now, and
//! nothing is in flight. It is what a moved clock waits for before it jumps.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

/// Hints in, progress out.
#[derive(Debug)]
pub(crate) struct Board {
    asked: AtomicU64,
    settled: watch::Sender<u64>,
    in_flight: AtomicUsize,
    wake: Notify,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            asked: AtomicU64::new(1),
            settled: watch::Sender::new(0),
            in_flight: AtomicUsize::new(0),
            wake: Notify::new(),
        }
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
}
