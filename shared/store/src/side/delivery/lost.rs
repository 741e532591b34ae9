//! Claims of which this process does not know whether they were made: the answer to their commit
//! was lost.
//!
//! Nobody works on the messages of such a claim, so they must not wait for its lease. It may still
//! be committed after the connection has gone: each stays listed until its lease would be over.

use std::sync::{Mutex, PoisonError};

use parcours_domain::Timestamp;
use uuid::Uuid;

#[derive(Default)]
pub(crate) struct LostClaims(Mutex<Vec<(Uuid, Timestamp)>>);

impl LostClaims {
    /// This claim may be there until then, by machine time.
    pub(super) fn note(&self, claim: Uuid, until: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((claim, until));
    }

    /// Those whose lease may still run.
    pub(super) fn present(&self, now: Timestamp) -> Vec<Uuid> {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lost.retain(|(_, until)| *until > now);
        lost.iter().map(|(claim, _)| *claim).collect()
    }
}
