//! Planned faults at named places, so that tests can fail a commit where it hurts.
//!
//! What always holds: without a hook in [`crate::StoreConfig`] nothing here does anything.

use std::sync::Arc;

use crate::{
    db::Tx,
    error::{Cause, StoreError},
    side::sql::Sql,
    wall::Door,
};

/// A place at which a hook is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    /// Everything of the transaction is written, COMMIT is not sent.
    BeforeCommit,
    /// The connection is about to be lost with COMMIT on the wire.
    DuringCommit,
    /// COMMIT succeeded, nobody was told.
    AfterCommitBeforeAck,
    /// A sign of life is about to be sent; whatever the hook says, it is not: the worker looks
    /// frozen to the others.
    Beat,
    /// A claim of messages was committed, the claimer was not told.
    AfterClaim,
    /// The list of a batch's brands is made; whatever the hook says, the last one is left out, as
    /// if a row had slipped into the batch of others.
    BatchBrands,
}

/// What a hook wants to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation ends there with an error, as if the store had become unavailable.
    Fail,
    /// PostgreSQL: the session is terminated before COMMIT. SQLite: as [`Fault::Fail`].
    DropConnection,
}

/// Decides at each point whether something goes wrong. Asked before and around every commit of the
/// committer, around those of identity resolution, before each beat, and after every claim; it must not block for long.
pub trait Faults: Send + Sync {
    /// What happens at this point, this time.
    fn at(&self, point: FaultPoint) -> Option<Fault>;
}

/// The hook of one store.
#[derive(Clone, Default)]
pub(crate) struct FaultHook(pub(crate) Option<Arc<dyn Faults>>);

impl FaultHook {
    pub(crate) fn at(&self, point: FaultPoint) -> Option<Fault> {
        self.0.as_ref().and_then(|faults| faults.at(point))
    }

    /// Whether the answer to a claim is lost as planned.
    pub(crate) fn after_claim(&self) -> Result<(), StoreError> {
        match self.at(FaultPoint::AfterClaim) {
            Some(_) => Err(StoreError::OutcomeUnknown(Cause::Injected)),
            None => Ok(()),
        }
    }

    /// Commits, with the planned faults around it.
    pub(crate) async fn commit(&self, mut tx: Tx) -> Result<(), StoreError> {
        if self.at(FaultPoint::BeforeCommit).is_some() {
            tx.rollback().await;
            return Err(StoreError::Unavailable(Cause::Injected));
        }
        if let Some(fault) = self.at(FaultPoint::DuringCommit) {
            if fault == Fault::DropConnection && tx.is_postgres() {
                // Who may do it is the login; the role of the transaction may not.
                tx.turn(Door::Owner).await?;
                // The answer is the loss of the connection; the commit below meets it.
                let kill = "SELECT pg_terminate_backend(pg_backend_pid())";
                let _lost = Sql::new(kill, Vec::new()).all(&tx).await;
            } else {
                tx.rollback().await;
                return Err(StoreError::OutcomeUnknown(Cause::Injected));
            }
        }
        tx.commit().await?;
        match self.at(FaultPoint::AfterCommitBeforeAck) {
            Some(_) => Err(StoreError::OutcomeUnknown(Cause::Injected)),
            None => Ok(()),
        }
    }
}
