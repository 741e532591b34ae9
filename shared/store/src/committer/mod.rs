//! The group committer: many contacts' steps in one transaction.
//!
//! Cast: [`Committer`] is the handle; a lane (`lane.rs`) collects a batch and has one transaction
//! in flight; `batch.rs` decides who is in it and halves it when the database refuses a value;
//! `rows.rs`, `sends.rs` and `ends.rs` write.
//!
//! What always holds: an answer other than `Unknown` is certain; `Done` is given after COMMIT
//! returned; a contact appears once per batch; shard decides the lane, so a contact's commits are
//! in order; a value that the database refuses costs its own contact only.

mod batch;
mod ends;
mod lane;
mod rows;
mod sends;
mod types;

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

pub use types::{
    CommitOutcome, ContactCommit, NewAddress, NewEvent, NewInbox, NewMessage, NewQuarantine,
    TimerChange,
};

use crate::{
    db::Db,
    fault::FaultHook,
    identity,
    shard::{Ownership, UnderWay},
    watch::Watch,
};

/// Commits that wait for one lane; beyond it callers wait for room.
const LANE_QUEUE: usize = 4_096;

/// What a lane works with.
#[derive(Clone)]
pub(crate) struct CommitterParts {
    pub(crate) db: Db,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) faults: FaultHook,
    pub(crate) shards: u16,
    pub(crate) watch: Watch,
    pub(crate) identities: Arc<identity::Memory>,
}

/// One commit under way.
struct Job {
    commit: ContactCommit,
    bytes: usize,
    since: Instant,
    answer: oneshot::Sender<CommitOutcome>,
    /// Keeps the shard from being given back meanwhile.
    _under_way: Option<UnderWay>,
}

impl Job {
    fn tell(self, outcome: CommitOutcome) {
        // Nobody may be listening any more; the commit stands all the same.
        let _gone = self.answer.send(outcome);
    }
}

enum Message {
    Commit(Box<Job>),
    /// Everything before this is answered; nothing after it is taken.
    Stop(oneshot::Sender<()>),
}

/// Handle of the committer; clones share its lanes.
#[derive(Clone)]
pub struct Committer {
    lanes: Arc<[mpsc::Sender<Message>]>,
    ownership: Arc<Ownership>,
}

impl Committer {
    pub(crate) fn start(parts: CommitterParts, lanes: usize) -> Self {
        let ownership = Arc::clone(&parts.ownership);
        let lanes = (0..lanes).map(|_| {
            let (sender, receiver) = mpsc::channel(LANE_QUEUE);
            tokio::spawn(lane::run(parts.clone(), receiver));
            sender
        });
        Self { lanes: lanes.collect(), ownership }
    }

    /// Commits one contact's step-chain with others that wait; answers after COMMIT, and at once
    /// when the shard is not this process's or is being handed over.
    ///
    /// The caller must not have another commit of the same contact under way.
    pub async fn commit(&self, one: ContactCommit) -> CommitOutcome {
        let Some(under_way) = self.ownership.enter(one.shard) else { return CommitOutcome::Moved };
        let lane = usize::from(one.shard).checked_rem(self.lanes.len()).unwrap_or(0);
        let Some(lane) = self.lanes.get(lane) else { return CommitOutcome::Unknown };
        let (answer, outcome) = oneshot::channel();
        let (bytes, since) = (one.bytes(), Instant::now());
        let job = Job { commit: one, bytes, since, answer, _under_way: Some(under_way) };
        if lane.send(Message::Commit(Box::new(job))).await.is_err() {
            return CommitOutcome::Unknown;
        }
        outcome.await.unwrap_or(CommitOutcome::Unknown)
    }

    /// Waits until everything handed over before is answered; later commits are `Unknown`.
    pub(crate) async fn stop(&self) {
        for lane in self.lanes.iter() {
            let (done, stopped) = oneshot::channel();
            if lane.send(Message::Stop(done)).await.is_ok() {
                let _ended = stopped.await;
            }
        }
    }
}
