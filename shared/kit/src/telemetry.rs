//! Logs and metrics. Logs carry ids as fields, never values of contacts or events. Metrics have
//! static names from one written list, so that the binary can print what it measures.

use std::{collections::BTreeMap, sync::OnceLock};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter, MeterProvider as _},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tracing_subscriber::EnvFilter;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// A present value.
    Gauge,
    /// A distribution, in the unit that ends its name.
    Histogram,
}

use MetricKind::{Counter as C, Gauge as G, Histogram as H};

/// Every metric: name as shown, kind, what it tells.
pub const METRICS: &[(&str, MetricKind, &str)] = &[
    ("parcours_http_requests_total", C, "Requests answered, by group and status class"),
    ("parcours_http_request_seconds", H, "Time from request to answer, by group"),
    ("parcours_ingest_items_total", C, "Ingested items, by outcome"),
    (
        "parcours_sends_put_off_total",
        C,
        "Messages that went back to the queue, or lanes that waited, for a limit of their sender",
    ),
    ("parcours_quota_refused_total", C, "What was refused because of a brand's quota, by quota"),
    ("parcours_quota_leases_total", C, "Leases of events of a brand's quota, by how they ended"),
    ("parcours_events_applied_total", C, "Client events applied in a commit"),
    ("parcours_events_duplicate_total", C, "Repeats recognised by their key"),
    ("parcours_inputs_set_aside_total", C, "Inputs moved to quarantine, by code"),
    ("parcours_actors_live", G, "Contacts active in memory"),
    ("parcours_actors_started_total", C, "Activations of contacts"),
    ("parcours_actors_panicked_total", C, "Steps that panicked and were set aside"),
    ("parcours_mailbox_full_total", C, "Requests answered with 429 because a mailbox was full"),
    ("parcours_timers_fired_total", C, "Timers that came due and were applied"),
    ("parcours_timers_due", G, "Timers that are due and not applied yet"),
    ("parcours_timers_late_seconds", H, "How late a timer was applied"),
    ("parcours_timers_oldest_seconds", G, "How late the earliest timer is that is not applied yet"),
    ("parcours_timers_held", G, "Timers that are held: journey paused, or set aside"),
    ("parcours_inbox_live", G, "Inbox rows waiting in the live lane"),
    ("parcours_inbox_bulk", G, "Inbox rows waiting in the lane of mass work"),
    ("parcours_inbox_oldest_seconds", G, "How long the oldest inbox row waits"),
    ("parcours_runs_stuck", G, "Live runs without a timer"),
    ("parcours_quarantine_open", G, "Inputs set aside and not taken in again"),
    ("parcours_messages_requested_total", C, "Messages committed to the send queue"),
    ("parcours_test_messages_ended_total", C, "Test sends that reached an outcome, by outcome"),
    ("parcours_messages_ended_total", C, "Messages that reached an outcome, by outcome and reason"),
    ("parcours_messages_already_leaving_total", C, "Withdrawals that came after a final commit"),
    ("parcours_messages_unknown_recent", G, "Messages without a known outcome, last 24 hours"),
    ("parcours_send_queue_ready", G, "Messages that may leave now"),
    ("parcours_send_queue_oldest_seconds", G, "How long the first message that may leave waits"),
    ("parcours_send_queue_later", G, "Messages that may leave later: planned or deferred"),
    ("parcours_send_queue_leaving", G, "Messages between the final commit and the recorded reply"),
    ("parcours_template_cpu_seconds", H, "Processor time of the templates of a batch"),
    ("parcours_send_seconds", H, "Time of one transmission"),
    ("parcours_consent_facts_total", C, "Consent facts recorded, by kind"),
    ("parcours_link_guesses_total", C, "Links asked for that are none of ours, by answer"),
    ("parcours_complaints_total", C, "Complaints reported, by what they are about"),
    ("parcours_breaker_trips_total", C, "Breakers of brands that tripped, by cause"),
    ("parcours_brands_halted", G, "Brands whose sending is halted"),
    ("parcours_brands_stopped", G, "Brands that their breaker has stopped"),
    ("parcours_install_halted", G, "1 while all sending is halted"),
    ("parcours_attention", G, "Things that `parcours status` says a person should look at"),
    ("parcours_commits_total", C, "Attempts to commit a batch of contacts, by how they ended"),
    ("parcours_commit_seconds", H, "Time of one committed batch, from BEGIN to COMMIT"),
    ("parcours_commit_contacts", H, "Contacts in a committed batch"),
    ("parcours_fenced_writes_total", C, "Commits refused because another worker has the shard"),
    ("parcours_shards_held", G, "Shards that this worker has"),
    ("parcours_load_seconds", H, "Time of one read of contact states"),
    ("parcours_load_contacts", H, "Contacts read together"),
    ("parcours_route_asks_total", C, "Batches handed to owners of shards, by how it went"),
    ("parcours_route_ask_seconds", H, "Time until the owner of shards answered"),
    ("parcours_route_moved_total", C, "Contacts whose owner said that their shard had moved"),
    ("parcours_route_hops_total", C, "Contacts sent on to another owner"),
    ("parcours_route_waiting", G, "Contacts whose events wait for an owner"),
    ("parcours_route_map_reads_total", C, "Reads of who owns which shard, by how they ended"),
    ("parcours_route_hints_dropped_total", C, "Hints dropped because too many waited"),
    ("parcours_rpc_in_flight", G, "Batches sent to other processes and not answered"),
    ("parcours_rpc_served_total", C, "Batches of other processes, by how they ended"),
    ("parcours_rpc_refused_total", C, "Calls without the secret of the install"),
];

/// The instruments behind [`METRICS`]. Names that are not listed count nothing.
pub struct Metrics {
    registry: Registry,
    counters: BTreeMap<&'static str, Counter<u64>>,
    gauges: BTreeMap<&'static str, Gauge<i64>>,
    histograms: BTreeMap<&'static str, Histogram<f64>>,
    // Dropping the provider would end the export.
    _provider: Option<SdkMeterProvider>,
}

impl Metrics {
    /// Makes one instrument for each listed metric.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let provider = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_counter_suffixes()
            .without_units()
            .without_target_info()
            .build()
            .map(|reader| SdkMeterProvider::builder().with_reader(reader).build())
            .inspect_err(|error| tracing::error!(%error, "metrics are off"))
            .ok();
        let mut metrics = Self {
            registry,
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            histograms: BTreeMap::new(),
            _provider: provider,
        };
        if let Some(meter) = metrics._provider.as_ref().map(|provider| provider.meter("parcours")) {
            metrics.make_instruments(&meter);
        }
        metrics
    }

    fn make_instruments(&mut self, meter: &Meter) {
        for &(name, kind, help) in METRICS {
            match kind {
                MetricKind::Counter => {
                    let counter = meter.u64_counter(name).with_description(help).build();
                    counter.add(0, &[]);
                    self.counters.insert(name, counter);
                }
                MetricKind::Gauge => {
                    let gauge = meter.i64_gauge(name).with_description(help).build();
                    gauge.record(0, &[]);
                    self.gauges.insert(name, gauge);
                }
                MetricKind::Histogram => {
                    let histogram = meter
                        .f64_histogram(name)
                        .with_description(help)
                        .with_boundaries(boundaries(name))
                        .build();
                    self.histograms.insert(name, histogram);
                }
            }
        }
    }

    /// Adds to a counter. Labels hold stable words, never ids or values of people.
    pub fn add(&self, name: &str, amount: u64, labels: &[(&'static str, &'static str)]) {
        if let Some(counter) = self.counters.get(name) {
            counter.add(amount, &key_values(labels));
        }
    }

    /// Sets a gauge.
    pub fn set(&self, name: &str, value: i64) {
        if let Some(gauge) = self.gauges.get(name) {
            gauge.record(value, &[]);
        }
    }

    /// Records one observation.
    pub fn observe(&self, name: &str, value: f64, labels: &[(&'static str, &'static str)]) {
        if let Some(histogram) = self.histograms.get(name) {
            histogram.record(value, &key_values(labels));
        }
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

fn key_values(labels: &[(&'static str, &'static str)]) -> Vec<KeyValue> {
    labels.iter().map(|&(key, value)| KeyValue::new(key, value)).collect()
}

fn boundaries(name: &str) -> Vec<f64> {
    if name.ends_with("_seconds") {
        vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0]
    } else {
        vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]
    }
}

/// The process's instruments: a process has one set, as it has one `/metrics`.
pub fn metrics() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(Metrics::new)
}

/// The process's metrics in Prometheus' text format.
#[must_use]
pub fn render() -> String {
    metrics().render()
}

/// Starts logging to standard error: lines for people, or JSON. `RUST_LOG` chooses what is shown;
/// without it, `info` and above. A second call changes nothing.
pub fn init(json: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,sea_orm=warn,actix_server=warn,h2=warn,hyper=warn,tonic=warn,tower=warn"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if json { lines.json().try_init() } else { lines.try_init() };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_metric_is_shown_under_its_own_name() {
        let metrics = Metrics::new();
        metrics.add("parcours_messages_ended_total", 2, &[("outcome", "done")]);
        for (name, kind, _) in METRICS {
            if *kind == MetricKind::Histogram {
                metrics.observe(name, 0.5, &[]);
            }
        }
        metrics.set("parcours_actors_live", 7);
        let text = metrics.render();
        for (name, _, help) in METRICS {
            assert!(text.contains(&format!("# HELP {name} {help}")), "{name}\n{text}");
        }
        assert!(text.lines().any(|line| line.starts_with("parcours_messages_ended_total{")
            && line.contains("outcome=\"done\"")
            && line.ends_with(" 2")));
        assert!(
            text.lines()
                .any(|line| line.starts_with("parcours_actors_live") && line.ends_with(" 7"))
        );
    }
}
