//! `send`: asks for one message. Its identity follows from run, step and occurrence, so that a
//! replay asks for the same message, not for another.

use parcours_domain::{MessageId, Millis, SendOutcome, hash::sha256_head};

use super::walk::{Move, Walk};
use crate::{
    effect::SendRequest,
    plan::{PlanStep, Send},
    state::{RunState, SendState, Waiting},
};

/// How long a run waits for an outcome that never comes: longer than any message may wait to
/// leave by default (72 h).
const SAFETY_NET: Millis = Millis::hours(96);

pub(super) fn arrive(walk: &mut Walk<'_>, run: &mut RunState, step: &Send) -> Move {
    let occurrences = run.occurrences.entry(run.step.clone()).or_insert(0);
    *occurrences = occurrences.saturating_add(1);
    let occurrence = *occurrences;
    let (run_bytes, times) = (run.id.bytes(), occurrence.to_be_bytes());
    let step_bytes = run.step.as_str().as_bytes();
    let tenant = walk.ctx.tenant.bytes();
    let tail = sha256_head::<10>(&[&tenant, &run_bytes, step_bytes, &times]);
    let message = MessageId::v7(walk.ctx.now, tail);
    let request = SendRequest {
        message,
        run: run.id,
        journey: run.journey.clone(),
        version: run.version,
        step: run.step.clone(),
        occurrence,
        send_key: sha256_head::<16>(&[&run_bytes, step_bytes, &times]),
        template: step.template.clone(),
        topic: step.topic.clone(),
        sender: step.sender.clone(),
        not_before: walk.ctx.now,
        data: run.data.clone(),
    };
    walk.request(request);
    run.sends.insert(run.step.clone(), SendState { message, outcome: None, clicked: false });
    walk.trace(run, "sent", step.template.as_str());
    if step.on.is_empty() {
        Move::Go(step.next.clone())
    } else {
        Move::Wait(Waiting::Outcome, walk.ctx.now + SAFETY_NET)
    }
}

/// The outcome is known, or the safety net caught the run: then it is unknown.
pub(super) fn wake(walk: &mut Walk<'_>, run: &mut RunState, step: &PlanStep) -> Move {
    let PlanStep::Send(step) = step else { return Move::Misfit };
    let known = run.sends.get(&run.step).and_then(|send| send.outcome);
    let outcome = known.unwrap_or(SendOutcome::Unknown);
    walk.trace(run, "branched", outcome.as_str());
    Move::Go(step.on.get(&outcome).unwrap_or(&step.next).clone())
}
