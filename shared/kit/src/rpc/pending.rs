//! The asks of one stream that are not answered, as the caller sees them.
//!
//! What always holds: an ask is told that nothing was done only when it never left this process or
//! the callee said that it did not take it; in every other doubt it is told that nothing is known.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::proto::{self, refusal::Reason};

/// What an ask hears. Hearing nothing at all means that it was never sent.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    /// One entry for each contact.
    Outcomes(Vec<proto::ContactOutcomes>),
    /// Nothing was done.
    Refused(Reason),
    /// Nothing was done: the callee stops.
    NotTaken,
    /// It was sent, and the stream ended.
    Lost,
}

/// Asks that were sent.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The last number given.
    last: u64,
    /// Nothing more may be sent.
    closed: bool,
    waiting: BTreeMap<u64, oneshot::Sender<Reply>>,
}

impl Pending {
    /// A number for an ask that is about to be sent; none, and no reply, when nothing may be.
    pub(super) fn send(&self, reply: oneshot::Sender<Reply>) -> Option<u64> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        state.last += 1;
        let number = state.last;
        state.waiting.insert(number, reply);
        Some(number)
    }

    /// The callee answered.
    pub(super) fn answer(&self, number: u64, reply: Reply) {
        let waiting = self.state().waiting.remove(&number);
        // An ask may have stopped waiting.
        drop(waiting.map(|waiting| waiting.send(reply)));
    }

    /// The callee stops, and did not look at what came after this number.
    pub(super) fn close_after(&self, taken: u64) {
        let left = {
            let mut state = self.state();
            state.closed = true;
            state.waiting.split_off(&taken.saturating_add(1))
        };
        left.into_values().for_each(|waiting| drop(waiting.send(Reply::NotTaken)));
    }

    /// The stream ended.
    pub(super) fn end(&self) {
        let left = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        left.into_values().for_each(|waiting| drop(waiting.send(Reply::Lost)));
    }

    /// Whether asks may be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the guard can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pending: &Pending) -> oneshot::Receiver<Reply> {
        let (reply, answer) = oneshot::channel();
        assert!(pending.send(reply).is_some());
        answer
    }

    #[test]
    fn who_was_not_taken_and_who_was_lost_are_told_apart() {
        let pending = Pending::default();
        let (mut one, mut two, mut three) = (sent(&pending), sent(&pending), sent(&pending));
        pending.answer(1, Reply::Outcomes(Vec::new()));
        pending.close_after(2);
        assert!(!pending.is_open());
        assert_eq!(one.try_recv(), Ok(Reply::Outcomes(Vec::new())));
        assert_eq!(three.try_recv(), Ok(Reply::NotTaken));
        assert!(two.try_recv().is_err(), "it was taken, and may be answered yet");
        pending.end();
        assert_eq!(two.try_recv(), Ok(Reply::Lost));
    }

    #[test]
    fn nothing_is_sent_on_a_stream_that_closed() {
        let pending = Pending::default();
        pending.close_after(0);
        let (reply, mut answer) = oneshot::channel();
        assert_eq!(pending.send(reply), None);
        assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
