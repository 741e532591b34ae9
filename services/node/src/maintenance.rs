//! What must be done now and then: counters folded, old keys forgotten, backlogs measured.
//!
//! Nothing here is needed for correctness between two rounds; a round that fails is said and the
//! next one tries again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parcours_domain::{Millis, Name, breaker::Cause};
use parcours_gateway::status::{self, Install};
use parcours_journey::{Document, Kind};
use parcours_kit::{Clock, ProductClock, Shutdown, telemetry};
use parcours_store::{BatchEnd, Reached, Store, StoreError, Watcher};

/// How often backlogs are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(15);

/// The part of the time that measuring may take, as one in so many: each process measures, and a
/// queue of millions is counted row by row.
const MEASURE_SHARE: u32 = 100;

/// However long it takes.
const MEASURE_AT_LEAST_EVERY: Duration = Duration::from_secs(300);

/// How often the store is cleaned.
const CLEAN_EVERY: Duration = Duration::from_secs(600);

/// How long the answer of an idempotent write is kept, machine time.
const IDEMPOTENCY_KEPT: Millis = Millis::days(2);

/// Counter deltas folded in one statement.
const FOLD_ROWS: u32 = 10_000;

/// The window in which a repeated event is recognised, unless a brand says more.
const WINDOW_DAYS: i64 = 30;

/// Runs until shutdown is requested.
pub async fn run(store: Store, clock: Arc<ProductClock>, mut shutdown: Shutdown) {
    let mut cleaned: Option<Instant> = None;
    loop {
        let begun = Instant::now();
        let pause = match measure(&store, &clock).await {
            Ok(()) => {
                (begun.elapsed() * MEASURE_SHARE).clamp(MEASURE_EVERY, MEASURE_AT_LEAST_EVERY)
            }
            Err(error) => {
                tracing::warn!(%error, "backlogs could not be measured");
                MEASURE_EVERY
            }
        };
        if cleaned.is_none_or(|at| at.elapsed() >= CLEAN_EVERY) {
            cleaned = Some(Instant::now());
            if let Err(error) = clean(&store, &clock).await {
                tracing::warn!(%error, "a cleaning round failed; the next one tries again");
            }
        }
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The same numbers as `GET /v1/status`, all brands together: a label for each brand would be
/// without bound. Stuck runs are counted by whoever repairs them.
async fn measure(store: &Store, clock: &ProductClock) -> Result<(), StoreError> {
    let now = clock.now();
    let brands = store.admin().status(Reached::Install, now).await?;
    let found = store.admin().install().await?;
    let install = Install { halted_at: found.halted_at, halt_reason: None };
    let answer = status::answer(&install, &brands, now);
    let halted = brands.iter().filter(|one| one.brand.halted_at.is_some()).count() as u64;
    let stopped = brands.iter().filter(|one| one.stopped.is_some()).count() as u64;
    let total = &answer.total;
    let gauges = [
        ("parcours_timers_oldest_seconds", total.timers_late_seconds),
        ("parcours_timers_held", total.timers_held),
        ("parcours_inbox_live", total.inbox_live),
        ("parcours_inbox_bulk", total.inbox_bulk),
        ("parcours_inbox_oldest_seconds", total.inbox_late_seconds),
        ("parcours_quarantine_open", total.quarantine_open),
        ("parcours_messages_unknown_recent", total.messages_unknown_recent),
        ("parcours_send_queue_ready", total.queue_ready),
        ("parcours_send_queue_oldest_seconds", total.queue_late_seconds),
        ("parcours_send_queue_later", total.queue_later),
        ("parcours_send_queue_leaving", total.queue_claimed + total.queue_leaving),
        ("parcours_brands_halted", halted),
        ("parcours_brands_stopped", stopped),
        ("parcours_install_halted", u64::from(install.halted_at.is_some())),
        ("parcours_attention", answer.attention.len() as u64),
    ];
    for (name, value) in gauges {
        telemetry::metrics().set(name, i64::try_from(value).unwrap_or(i64::MAX));
    }
    Ok(())
}

/// Counts what the store does.
pub struct StoreMetrics;

impl Watcher for StoreMetrics {
    fn batch(&self, end: BatchEnd, contacts: usize, took: Duration) {
        let metrics = telemetry::metrics();
        metrics.add("parcours_commits_total", 1, &[("end", end.as_str())]);
        if end == BatchEnd::Committed {
            metrics.observe("parcours_commit_seconds", took.as_secs_f64(), &[]);
            metrics.observe("parcours_commit_contacts", contacts as f64, &[]);
        }
    }

    fn loaded(&self, contacts: usize, _: usize, took: Duration) {
        let metrics = telemetry::metrics();
        metrics.observe("parcours_load_seconds", took.as_secs_f64(), &[]);
        metrics.observe("parcours_load_contacts", contacts as f64, &[]);
    }

    fn fenced(&self, contacts: usize) {
        telemetry::metrics().add("parcours_fenced_writes_total", contacts as u64, &[]);
    }

    fn tripped(&self, cause: Cause) {
        let labels = [("cause", cause.as_str())];
        telemetry::metrics().add("parcours_breaker_trips_total", 1, &labels);
    }

    fn shards(&self, held: usize) {
        let held = i64::try_from(held).unwrap_or(i64::MAX);
        telemetry::metrics().set("parcours_shards_held", held);
    }
}

async fn clean(store: &Store, clock: &ProductClock) -> Result<(), StoreError> {
    while store.admin().fold_counters(FOLD_ROWS).await? >= u64::from(FOLD_ROWS) {}
    store.admin().forget_outcomes(clock.now()).await?;
    store.admin().idempotency_clean(store.server_now() - IDEMPOTENCY_KEPT).await?;
    let window = Millis::days(window_days(store).await?);
    store.sweep().forget_event_keys(clock.now(), window).await
}

/// The longest window that any brand promises: key partitions are shared by all brands.
async fn window_days(store: &Store) -> Result<i64, StoreError> {
    let mut days = WINDOW_DAYS;
    for brand in store.admin().brands(None).await? {
        let Ok(name) = brand.name.parse::<Name>() else { continue };
        let door = store.for_tenant(brand.tenant);
        let Some(row) = door.document(Kind::Brand.as_str(), &name, None).await? else { continue };
        let body = serde_json::from_str(&row.body).ok();
        if let Some(Ok(Document::Brand(brand))) = body.as_ref().map(Document::from_json) {
            days = days.max(i64::from(brand.event_window_days));
        }
    }
    Ok(days)
}
