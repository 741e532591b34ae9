//! Keeps what cannot be applied: whole, with its cause, once however often it is sent.

use parcours_domain::{
    EventKey, QuarantineId,
    hash::{sha256, sha256_head},
};
use parcours_kit::Problem;
use parcours_store::QuarantineEntry;
use parcours_wire::http::ingest::IngestAnswer;

use super::{
    answer::Tally,
    apply::{Ingest, count},
    canonical::canonical,
    item::Fault,
};
use crate::failure;

impl Ingest<'_> {
    /// A body that is no batch: kept as it came, up to the cap, and answered as one item.
    ///
    /// # Errors
    /// 503 when it cannot be kept.
    pub async fn take_unreadable(
        &self,
        bytes: &[u8],
        mut fault: Fault,
    ) -> Result<IngestAnswer, Problem> {
        let cap = self.gateway.state.limits.quarantine_bytes_max;
        if bytes.len() > cap {
            fault.message = format!("{} (the first {cap} bytes are kept)", fault.message);
        }
        self.keep(&[self.entry(bytes, &fault)]).await?;
        let mut tally = Tally::default();
        tally.set_aside(0, &fault);
        let answer = tally.answer();
        count(&answer);
        Ok(answer)
    }

    /// Keeps faulty items.
    pub(super) async fn keep(&self, entries: &[QuarantineEntry]) -> Result<(), Problem> {
        if entries.is_empty() {
            return Ok(());
        }
        let kept = self.store.quarantine_items(entries, self.rules.received_at).await;
        kept.map(|_| ()).map_err(|error| failure::of_store(&error))
    }

    pub(super) fn entry(&self, payload: &[u8], fault: &Fault) -> QuarantineEntry {
        let cap = self.gateway.state.limits.quarantine_bytes_max;
        let payload = payload.get(..cap).unwrap_or(payload);
        let id = QuarantineId::v7(self.rules.received_at, self.gateway.state.chance.tail());
        QuarantineEntry {
            id,
            contact: None,
            origin: "ingest".to_owned(),
            code: fault.code.to_owned(),
            detail: fault.message.clone(),
            payload: self.with_kind(payload),
            key: Some(fault_key(fault.code, payload)),
            body_hash: Some(sha256(&[payload])),
        }
    }

    /// On a route of one kind the item need not name it; what is kept does, so that it can be
    /// taken through ingest again.
    fn with_kind(&self, payload: &[u8]) -> Vec<u8> {
        let kept = || payload.to_vec();
        let Some(kind) = self.kind else { return kept() };
        let Ok(serde_json::Value::Object(mut map)) = serde_json::from_slice(payload) else {
            return kept();
        };
        map.insert("type".to_owned(), kind.as_str().into());
        serde_json::to_vec(&map).unwrap_or_else(|_| kept())
    }
}

/// What tells a repeated faulty item from a new one: the same payload at fault for the same
/// reason is kept once. Members that a client stamps anew on each retry do not count.
fn fault_key(code: &str, payload: &[u8]) -> EventKey {
    let stable = match serde_json::from_slice(payload) {
        Ok(serde_json::Value::Object(mut map)) => {
            for member in ["sentAt", "receivedAt", "context"] {
                map.remove(member);
            }
            canonical(&map).into_bytes()
        }
        Ok(_) | Err(_) => payload.to_vec(),
    };
    EventKey(sha256_head(&[b"set-aside", code.as_bytes(), &stable]))
}
