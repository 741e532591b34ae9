//! What must be done now and then: counters folded, old keys forgotten, backlogs measured.
//!
//! Nothing here is needed for correctness between two rounds; a round that fails is said and the
//! next one tries again.

use std::{sync::Arc, time::Duration};

use parcours_domain::{Millis, Name};
use parcours_journey::{Document, Kind};
use parcours_kit::{Clock, ProductClock, Shutdown, machine_now, telemetry};
use parcours_store::{Store, StoreError};

/// How often backlogs are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(15);

/// Every so many measurements the store is cleaned.
const CLEAN_EVERY: u32 = 40;

/// How long the answer of an idempotent write is kept, machine time.
const IDEMPOTENCY_KEPT: Millis = Millis::days(2);

/// Counter deltas folded in one statement.
const FOLD_ROWS: u32 = 10_000;

/// The window in which a repeated event is recognised, unless a brand says more.
const WINDOW_DAYS: i64 = 30;

/// Runs until shutdown is requested.
pub async fn run(store: Store, clock: Arc<ProductClock>, mut shutdown: Shutdown) {
    let mut round: u32 = 0;
    loop {
        if let Err(error) = measure(&store, &clock).await {
            tracing::warn!(%error, "backlogs could not be measured");
        }
        if round.is_multiple_of(CLEAN_EVERY)
            && let Err(error) = clean(&store, &clock).await
        {
            tracing::warn!(%error, "a cleaning round failed; the next one tries again");
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(MEASURE_EVERY) => {}
        }
    }
}

async fn measure(store: &Store, clock: &ProductClock) -> Result<(), StoreError> {
    let counts = store.sweep().counts(clock.now()).await?;
    let metrics = telemetry::metrics();
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    metrics.set("parcours_inbox_live", number(counts.inbox_live));
    metrics.set("parcours_send_queue_ready", number(counts.queue_ready));
    metrics.set("parcours_send_queue_leaving", number(counts.queue_leaving));
    Ok(())
}

async fn clean(store: &Store, clock: &ProductClock) -> Result<(), StoreError> {
    while store.admin().fold_counters(FOLD_ROWS).await? >= u64::from(FOLD_ROWS) {}
    store.admin().idempotency_clean(machine_now() - IDEMPOTENCY_KEPT).await?;
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
