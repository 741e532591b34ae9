//! The built-in mailbox: catches what would be sent, in the store itself.
//!
//! It takes letters from the gate only, like every transport. The copy is written in the
//! transaction that ends the message, so a message between its final commit and its end has
//! certainly not arrived: nothing here is ever unknown.

use std::time::Instant;

use crate::{
    batch::{Desk, Ready},
    ending::{Ending, Ticket},
    gate::{Clearance, Cleared},
    letter::Letter,
};

/// Delivers a batch: as many at once as permits are open.
pub(crate) async fn deliver(desk: &Desk, mut ready: Vec<Ready>) {
    while !ready.is_empty() {
        let now = Instant::now();
        let (due, later): (Vec<Ready>, Vec<Ready>) =
            ready.into_iter().partition(|one| one.permit.opens_at() <= now);
        ready = later;
        if due.is_empty() {
            if let Some(opens) = ready.iter().map(|one| one.permit.opens_at()).min() {
                tokio::time::sleep_until(opens.into()).await;
            }
            continue;
        }
        deliver_due(desk, due).await;
    }
}

async fn deliver_due(desk: &Desk, due: Vec<Ready>) {
    let (mut records, mut tickets, mut letters) = (Vec::new(), Vec::new(), Vec::new());
    let now = Instant::now();
    for one in due {
        let stale = desk.claimed_at.elapsed() > desk.core.config.stale_after;
        if one.permit.is_late(now) || stale || desk.core.is_stopping() {
            records.extend(desk.record(&one.ticket, Ending::Back(desk.core.clock.now())));
            continue;
        }
        tickets.push(one.ticket);
        letters.push((one.judged, one.letter));
    }
    let answers = desk.core.gate.clear_all(letters).await;
    for (ticket, answer) in tickets.iter().zip(answers) {
        records.extend(desk.record(ticket, ending(desk, ticket, answer)));
    }
    desk.core.recorder.all(records).await;
}

fn ending(desk: &Desk, ticket: &Ticket, answer: Clearance<Letter>) -> Ending {
    match answer {
        Clearance::Go(letter) => keep(letter),
        Clearance::Lost => {
            tracing::warn!(tenant = %ticket.tenant, message = %ticket.message, "claim lost");
            Ending::Lost
        }
        Clearance::Rejudge(_) | Clearance::Halted | Clearance::Unanswered => {
            Ending::Back(desk.core.clock.now())
        }
    }
}

/// The data stage of this transport.
fn keep(letter: Cleared<Letter>) -> Ending {
    Ending::Kept(letter.into_inner().raw)
}
