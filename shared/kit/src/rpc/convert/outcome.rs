//! What became of events, on the way back.

use parcours_domain::{ContactId, EventId};
use parcours_wire::{ItemOutcome, worker::set_aside};

use super::{
    super::proto::{self, outcome::What},
    ConvertError, id,
};

/// The outcomes of all contacts of an ask, to be sent.
pub(crate) fn outcomes_to(of: Vec<Vec<ItemOutcome>>) -> Vec<proto::ContactOutcomes> {
    let contact = |items: Vec<ItemOutcome>| proto::ContactOutcomes {
        items: items.into_iter().map(outcome_to).collect(),
    };
    of.into_iter().map(contact).collect()
}

/// What was sent, in order.
///
/// # Errors
/// Something is missing, or not known here.
pub(crate) fn outcomes_from(
    contacts: Vec<proto::ContactOutcomes>,
) -> Result<Vec<Vec<ItemOutcome>>, ConvertError> {
    let contact = |of: proto::ContactOutcomes| of.items.into_iter().map(outcome_from).collect();
    contacts.into_iter().map(contact).collect()
}

fn outcome_to(outcome: ItemOutcome) -> proto::Outcome {
    let what = match outcome {
        ItemOutcome::Applied(event) => What::Applied(event.bytes().to_vec()),
        ItemOutcome::Duplicate(event) => What::Duplicate(event.bytes().to_vec()),
        ItemOutcome::Conflict => What::Conflict(proto::Nothing {}),
        ItemOutcome::SetAside { code, detail } => {
            What::SetAside(proto::SetAside { code: code.to_owned(), detail })
        }
        ItemOutcome::Merged(into) => What::Merged(into.bytes().to_vec()),
        ItemOutcome::Moved => What::Moved(proto::Nothing {}),
        ItemOutcome::Busy(seconds) => What::Busy(seconds),
        ItemOutcome::Unavailable => What::Unavailable(proto::Nothing {}),
    };
    proto::Outcome { what: Some(what) }
}

fn outcome_from(outcome: proto::Outcome) -> Result<ItemOutcome, ConvertError> {
    Ok(match outcome.what.ok_or(ConvertError::Missing("outcome"))? {
        What::Applied(event) => ItemOutcome::Applied(EventId(id("outcome.applied", &event)?)),
        What::Duplicate(event) => ItemOutcome::Duplicate(EventId(id("outcome.duplicate", &event)?)),
        What::Conflict(_) => ItemOutcome::Conflict,
        What::SetAside(of) => set_aside_from(of),
        What::Merged(into) => ItemOutcome::Merged(ContactId(id("outcome.merged", &into)?)),
        What::Moved(_) => ItemOutcome::Moved,
        What::Busy(seconds) => ItemOutcome::Busy(seconds),
        What::Unavailable(_) => ItemOutcome::Unavailable,
    })
}

/// The event is set aside whether or not the reason is known here, so an unknown code is no error.
fn set_aside_from(of: proto::SetAside) -> ItemOutcome {
    match set_aside::known(&of.code) {
        Some(code) => ItemOutcome::SetAside { code, detail: of.detail },
        None => ItemOutcome::SetAside {
            code: set_aside::OTHER,
            detail: format!("{}: {}", of.code, of.detail),
        },
    }
}
