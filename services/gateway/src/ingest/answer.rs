//! What the caller hears: counts, and the items that were set aside.

use parcours_wire::http::ingest::{IngestAnswer, SetAsideItem};

use super::item::Fault;

/// Collects what became of each item.
#[derive(Debug, Default)]
pub struct Tally {
    accepted: u32,
    duplicates: u32,
    set_aside: Vec<SetAsideItem>,
}

impl Tally {
    /// One item was applied.
    pub const fn accepted(&mut self) {
        self.accepted += 1;
    }

    /// One item had come before.
    pub const fn duplicate(&mut self) {
        self.duplicates += 1;
    }

    /// One item was set aside.
    pub fn set_aside(&mut self, index: u32, fault: &Fault) {
        self.set_aside.push(SetAsideItem {
            index,
            code: fault.code.to_owned(),
            message: fault.message.clone(),
        });
    }

    /// The body of the 200.
    #[must_use]
    pub fn answer(mut self) -> IngestAnswer {
        self.set_aside.sort_by_key(|item| item.index);
        IngestAnswer {
            success: true,
            accepted: self.accepted,
            duplicates: self.duplicates,
            set_aside: self.set_aside,
        }
    }
}
