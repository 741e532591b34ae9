//! What a worker tells in traces: an event applied, a timer fired, an outcome heard, a run ended.
//! Gathered while folding, told once it is committed, and nothing where the trace is not kept.

use std::time::SystemTime;

use parcours_domain::{ContactId, EventId, MessageId, Name, RunId, StepId, TenantId, Timestamp};
use parcours_journey::{Input, RunRow, TraceEntry};
use parcours_kit::traces::{self, About, Trace, moment};

/// One span in the making.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// An event was applied.
    Event(Trace, EventId),
    /// An event reached a run that another had started.
    Reached { trace: Trace, run: RunId, event: EventId, journey: Name },
    /// A timer came due and was applied.
    Timer { trace: Trace, run: RunId, seq: u32, step: StepId, due_at: Timestamp },
    /// A run heard how its message ended.
    Outcome { trace: Trace, run: RunId, message: MessageId, step: StepId, outcome: &'static str },
}

impl Told {
    pub(crate) fn timer(
        (run, seq): (RunId, u32),
        step: &StepId,
        due_at: Timestamp,
    ) -> Option<Self> {
        let trace = traces::of(run.0)?;
        Some(Self::Timer { trace, run, seq, step: step.clone(), due_at })
    }

    pub(crate) fn outcome(input: &Input) -> Option<Self> {
        let Input::Outcome { message, run, step, outcome, .. } = input else { return None };
        let (trace, outcome) = (traces::of(run.0)?, outcome.as_str());
        Some(Self::Outcome { trace, run: *run, message: *message, step: step.clone(), outcome })
    }
}

/// An event, and the runs of other events that it reached.
pub(crate) fn event(event: EventId, lines: &[(String, TraceEntry)], told: &mut Vec<Told>) {
    if !traces::are_on() {
        return;
    }
    let own = traces::of(event.0);
    told.extend(own.map(|trace| Told::Event(trace, event)));
    let mut reached: Vec<(RunId, &Name)> =
        lines.iter().filter_map(|(_, line)| Some((line.run?, &line.journey))).collect();
    reached.dedup();
    for (run, journey) in reached {
        if let Some(trace) = traces::of(run.0).filter(|trace| Some(*trace) != own) {
            told.push(Told::Reached { trace, run, event, journey: journey.clone() });
        }
    }
}

/// The runs that end with a commit and whose traces are kept.
pub(crate) fn ended(runs: &[RunRow]) -> Vec<(Trace, RunRow)> {
    if !traces::are_on() {
        return Vec::new();
    }
    let ended = runs.iter().filter(|run| run.ended_at.is_some());
    ended.filter_map(|run| Some((traces::of(run.id.0)?, run.clone()))).collect()
}

/// Tells what was committed; the commit began then.
pub(crate) fn emit((tenant, contact): (TenantId, ContactId), begun: SystemTime, all: &[Told]) {
    for one in all {
        let span = match one {
            Told::Event(trace, event) => trace
                .span("apply event", (About::Applied, Some(About::Taken)), begun)
                .with("parcours.event", event),
            Told::Reached { trace, run, event, journey } => {
                let about = About::Reached(run.0, event.0);
                let span = trace
                    .span("event reached run", (about, Some(About::Run(run.0))), begun)
                    .with("parcours.run", run)
                    .with("parcours.event", event)
                    .with("parcours.journey", journey);
                match traces::of(event.0) {
                    Some(own) => span.linked(own, About::Applied),
                    None => span,
                }
            }
            Told::Timer { trace, run, seq, step, due_at } => {
                let about = (About::Timer(run.0, *seq), Some(About::Run(run.0)));
                let span = trace.span(format!("timer {step}"), about, moment(*due_at));
                span.with("parcours.run", run).with("parcours.step", step)
            }
            Told::Outcome { trace, run, message, step, outcome } => {
                let about = (About::Outcome(message.0), Some(About::Run(run.0)));
                let span = trace.span(format!("outcome {step}"), about, begun);
                span.with("parcours.run", run)
                    .with("parcours.message", message)
                    .with("parcours.outcome", outcome)
            }
        };
        span.with("parcours.tenant", tenant).with("parcours.contact", contact).emit();
    }
}

/// Tells runs that have ended, from entry to end.
pub(crate) fn emit_runs(tenant: TenantId, ended: &[(Trace, RunRow)]) {
    for (trace, run) in ended {
        let about = (About::Run(run.id.0), Some(About::Applied));
        trace
            .span(format!("run {}", run.journey), about, moment(run.entered_at))
            .with("parcours.tenant", tenant)
            .with("parcours.run", run.id)
            .with("parcours.journey", &run.journey)
            .with("parcours.journey_version", run.version)
            .with("parcours.status", run.status)
            .emit_at(run.ended_at.map_or_else(SystemTime::now, moment));
    }
}
