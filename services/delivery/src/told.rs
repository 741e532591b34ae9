//! What a sender tells in traces: attempts to send a message, and their parts.

use std::{borrow::Cow, time::SystemTime};

use parcours_kit::traces::{self, About, Trace};

use crate::{ending::Ticket, recorder::Record};

/// The trace of the run that asked for a message, or of the message itself; none when it is not
/// kept.
fn trace_of(ticket: &Ticket) -> Option<Trace> {
    traces::of(ticket.run.map_or(ticket.message.0, |run| run.0))
}

/// An attempt has ended; it began when the message was claimed.
pub(crate) fn attempt(ticket: &Ticket, record: Option<&Record>, claimed_at: SystemTime) {
    let Some(trace) = trace_of(ticket) else { return };
    let about = About::Attempt(ticket.message.0, ticket.attempt);
    let step = ticket.step.as_ref().map(ToString::to_string).unwrap_or_default();
    let (ended, failed): (Cow<'static, str>, bool) = match record {
        None => ("claim_lost".into(), true),
        Some(Record::Finish(finished, _)) => {
            let ended = finished.outcome.as_str();
            (ended.into(), !matches!(ended, "sent" | "refused" | "skipped"))
        }
        Some(Record::Retry(retry)) => {
            let ended = retry.attempt.as_ref().map(|attempt| attempt.result.clone());
            (ended.map_or("back".into(), Cow::from), retry.counted)
        }
    };
    trace
        .span(format!("send {step}").trim_end().to_owned(), (about, parent(ticket)), claimed_at)
        .with("parcours.tenant", ticket.tenant)
        .with("parcours.contact", ticket.contact)
        .with("parcours.message", ticket.message)
        .with("parcours.attempt", ticket.attempt)
        .with("parcours.ended", &ended)
        .failed(failed.then_some(ended))
        .emit();
}

/// A part of an attempt has ended; it began then.
pub(crate) fn phase(ticket: &Ticket, name: &'static str, from: SystemTime) {
    let Some(trace) = trace_of(ticket) else { return };
    let (message, attempt) = (ticket.message.0, ticket.attempt);
    let about = About::Phase(message, attempt, name);
    trace.span(name, (about, Some(About::Attempt(message, attempt))), from).emit();
}

fn parent(ticket: &Ticket) -> Option<About<'static>> {
    ticket.run.map(|run| About::Run(run.0))
}
