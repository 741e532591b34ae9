//! Traces (OpenTelemetry): what befell one event and the runs that it started, over all processes
//! and however long it took, as one tree of spans.
//!
//! Nothing carries a context from process to process or from row to row: the ids that rows have
//! anyway are the context. A run's id ends as the id of the event that started it ends
//! ([`parcours_domain::RunId::started_by`]), the trace's id is a digest of that ending, and each span's id a digest
//! of the trace and of what the span is about. So every process names its parent span and draws the
//! same lot whether the trace is among those that are kept, with nothing but the row before it; a
//! timer that fires after thirty days continues the trace of the request that began it.
//!
//! How to use it. `if let Some(trace) = traces::of(id) { trace.span(..).emit() }`: `of` is none when
//! traces are off or this one is not kept, and costs one digest otherwise. Spans hold ids and names
//! that authors gave, never values of contacts or events.

use std::{
    borrow::Cow,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{Link, SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor},
};
use parcours_domain::{Timestamp, hash::sha256_head, ids::tail};
use uuid::Uuid;

/// How long the end of the process waits for the last spans to be taken.
const FLUSH: Duration = Duration::from_secs(2);

/// Where traces go, and which.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// An OTLP receiver (gRPC), such as `http://collector:4317`.
    pub endpoint: String,
    /// The share of traces that is kept, from 0 to 1.
    pub share: f64,
    /// The process's roles, for `service.instance`.
    pub roles: String,
}

#[derive(Debug)]
struct Traces {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    /// Traces whose lot is at most this are kept.
    kept: u64,
}

static TRACES: OnceLock<Traces> = OnceLock::new();

/// Begins to send spans; needs a running tokio. A second call changes nothing.
///
/// # Errors
/// The endpoint is no `http://` URL.
pub fn start(settings: &TraceSettings) -> Result<(), String> {
    if !settings.endpoint.starts_with("http://") {
        return Err(format!("{} is no http:// URL", settings.endpoint));
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&settings.endpoint)
        .build()
        .map_err(|error| error.to_string())?;
    let resource = Resource::builder()
        .with_service_name("parcours")
        .with_attribute(KeyValue::new("parcours.roles", settings.roles.clone()))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build();
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(&resource);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of all lots; casts saturate"
    )]
    let kept = (settings.share.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    let scope = InstrumentationScope::builder("parcours").build();
    if TRACES.set(Traces { processor, scope, kept }).is_err() {
        tracing::debug!("traces were started before");
    }
    Ok(())
}

/// Sends what is left; for the end of the process. Blocks for two seconds at most.
pub fn finish() {
    if let Some(traces) = TRACES.get()
        && let Err(error) = traces.processor.shutdown_with_timeout(FLUSH)
    {
        tracing::warn!(%error, "the last spans may be lost");
    }
}

/// Whether spans are sent at all.
#[must_use]
pub fn are_on() -> bool {
    TRACES.get().is_some()
}

/// The trace of an event, a run or a message without a run; none when it is not kept.
#[must_use]
pub fn of(id: Uuid) -> Option<Trace> {
    let traces = TRACES.get()?;
    let trace = Trace::of(id);
    (trace.lot() <= traces.kept && traces.kept > 0).then_some(trace)
}

/// A trace that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace(TraceId);

/// What a span is about: one span of each in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    /// The event at the gateway: the root.
    Taken,
    /// The event at its contact.
    Applied,
    /// A run, from entry to end.
    Run(Uuid),
    /// A run that another event reached.
    Reached(Uuid, Uuid),
    /// A timer of a run.
    Timer(Uuid, u32),
    /// An attempt to send a message.
    Attempt(Uuid, u32),
    /// A part of an attempt.
    Phase(Uuid, u32, &'a str),
    /// A message's outcome at its run.
    Outcome(Uuid),
}

impl About<'_> {
    fn span(self, Trace(trace): Trace) -> SpanId {
        let none = Uuid::nil();
        let (kind, id, other, number, name) = match self {
            Self::Taken => (b"taken", none, none, 0, ""),
            Self::Applied => (b"apply", none, none, 0, ""),
            Self::Run(run) => (b"run__", run, none, 0, ""),
            Self::Reached(run, event) => (b"reach", run, event, 0, ""),
            Self::Timer(run, seq) => (b"timer", run, none, seq, ""),
            Self::Attempt(message, number) => (b"tries", message, none, number, ""),
            Self::Phase(message, number, name) => (b"phase", message, none, number, name),
            Self::Outcome(message) => (b"ended", message, none, 0, ""),
        };
        SpanId::from_bytes(sha256_head(&[
            &trace.to_bytes(),
            kind,
            id.as_bytes(),
            other.as_bytes(),
            &number.to_be_bytes(),
            name.as_bytes(),
        ]))
    }
}

/// A span to be sent; see [`Trace::span`].
#[derive(Debug)]
#[must_use = "a span is sent by `emit`"]
pub struct Span {
    trace: Trace,
    id: SpanId,
    parent: SpanId,
    kind: SpanKind,
    name: Cow<'static, str>,
    from: SystemTime,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    failed: Option<Cow<'static, str>>,
}

impl Trace {
    fn of(id: Uuid) -> Self {
        Self(TraceId::from_bytes(sha256_head(&[b"trace", &tail(id)])))
    }

    fn lot(self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(self.0.to_bytes().first_chunk::<8>().unwrap_or(&[0; 8]));
        u64::from_be_bytes(head)
    }

    fn context(self, about: About<'_>) -> SpanContext {
        let id = about.span(self);
        SpanContext::new(self.0, id, TraceFlags::SAMPLED, true, TraceState::default())
    }

    /// A span about this, under the span about that, which began then.
    pub fn span(
        self,
        name: impl Into<Cow<'static, str>>,
        (about, under): (About<'_>, Option<About<'_>>),
        from: SystemTime,
    ) -> Span {
        let kind = match about {
            About::Taken => SpanKind::Server,
            About::Attempt(..) => SpanKind::Client,
            About::Applied | About::Reached(..) | About::Outcome(..) => SpanKind::Consumer,
            About::Run(..) | About::Timer(..) | About::Phase(..) => SpanKind::Internal,
        };
        let parent = under.map_or(SpanId::INVALID, |under| under.span(self));
        let (id, name) = (about.span(self), name.into());
        Span {
            trace: self,
            id,
            parent,
            kind,
            name,
            from,
            attributes: Vec::new(),
            links: Vec::new(),
            failed: None,
        }
    }
}

impl Span {
    /// An attribute: an id, a stable word, or a name that an author gave.
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.attributes.push(KeyValue::new(key, value.to_string()));
        self
    }

    /// A span of another trace that this one belongs to.
    pub fn linked(mut self, trace: Trace, about: About<'_>) -> Self {
        self.links.push(Link::with_context(trace.context(about)));
        self
    }

    /// It failed, for this reason; none: it did not.
    pub fn failed(mut self, reason: Option<Cow<'static, str>>) -> Self {
        self.failed = reason;
        self
    }

    /// It has ended now.
    pub fn emit(self) {
        self.emit_at(SystemTime::now());
    }

    /// It ended then.
    pub fn emit_at(self, until: SystemTime) {
        let Some(traces) = TRACES.get() else { return };
        let mut links = SpanLinks::default();
        links.links = self.links;
        let own = SpanContext::new(
            self.trace.0,
            self.id,
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        traces.processor.on_end(SpanData {
            span_context: own,
            parent_span_id: self.parent,
            parent_span_is_remote: false,
            span_kind: self.kind,
            name: self.name,
            start_time: self.from.min(until),
            end_time: until,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: self.failed.map_or(Status::Unset, Status::error),
            instrumentation_scope: traces.scope.clone(),
        });
    }
}

/// A moment of the machine from one of the product's.
#[must_use]
pub fn moment(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_and_its_runs_are_one_trace() {
        let event = Uuid::from_u128(0x0123_4567_89ab_7cde_8fed_cba9_8765_4321);
        let run = Uuid::from_u128(0xffff_0000_ffff_8000_8fed_cba9_8765_4321);
        assert_eq!(Trace::of(event), Trace::of(run));
        let other = Uuid::from_u128(0x0123_4567_89ab_7cde_8fed_cba9_8765_4322);
        assert_ne!(Trace::of(event), Trace::of(other));
    }

    #[test]
    fn no_two_spans_of_a_trace_have_one_id() {
        let trace = Trace::of(Uuid::from_u128(7));
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let all = [
            About::Taken,
            About::Applied,
            About::Run(one),
            About::Run(two),
            About::Reached(one, two),
            About::Timer(one, 1),
            About::Timer(one, 2),
            About::Attempt(one, 1),
            About::Attempt(one, 2),
            About::Phase(one, 1, "data"),
            About::Phase(one, 1, "envelope"),
            About::Outcome(one),
        ];
        let ids: std::collections::BTreeSet<_> =
            all.iter().map(|about| about.span(trace).to_bytes()).collect();
        assert_eq!(ids.len(), all.len());
    }

    #[test]
    fn lots_are_drawn_evenly() {
        let kept =
            (0..10_000u128).filter(|n| Trace::of(Uuid::from_u128(*n)).lot() <= u64::MAX / 10);
        let kept = kept.count();
        assert!((800..1_200).contains(&kept), "{kept}");
    }
}
