//! Refusals because of a brand's quota, each with its code and counted: everything but events, which
//! [`crate::admission`] has.

use std::time::{Duration, Instant};

use parcours_domain::{CpuShare, Millis, Name, Timestamp};
use parcours_kit::{Problem, telemetry::metrics};
use parcours_store::{StoreError, TenantStore};

use crate::failure;

const DAY_MS: i64 = Millis::days(1).0;

/// Counts refusals of a quota: `contacts`, `journeys` or `sends`.
pub fn count(quota: &'static str, refusals: u64) {
    metrics().add("parcours_quota_refused_total", refusals, &[("quota", quota)]);
}

/// 403: one journey more than the brand may have.
#[must_use]
pub fn too_many_journeys(most: u32) -> Problem {
    count("journeys", 1);
    let detail = format!(
        "the brand may have {most} journeys that are not archived; archive one, or ask whoever runs \
         the install for more"
    );
    Problem::new(403, "journeys_quota", "Too many journeys", detail)
}

/// Whether the brand may take this journey out of the archive.
///
/// # Errors
/// 403 when it has all it may have; 503.
pub async fn may_open(store: &TenantStore, name: &Name) -> Result<(), Problem> {
    let of_store = |error: StoreError| failure::of_store(&error);
    let Some(most) = store.quotas().await.map_err(of_store)?.journeys else { return Ok(()) };
    let (open, among) = store.open_journeys(name).await.map_err(of_store)?;
    if among || open < most { Ok(()) } else { Err(too_many_journeys(most)) }
}

/// Whether the brand may still send today, as far as senders have taken what it may send.
///
/// # Errors
/// 429 until the day (UTC) is over; 503.
pub async fn may_send(store: &TenantStore, now: Timestamp) -> Result<(), Problem> {
    let of_store = |error: StoreError| failure::of_store(&error);
    let Some(most) = store.quotas().await.map_err(of_store)?.sends_per_day else { return Ok(()) };
    if store.sends_granted(now.utc_day()).await.map_err(of_store)? < u64::from(most) {
        return Ok(());
    }
    count("sends", 1);
    let left = (DAY_MS - now.as_millis().rem_euclid(DAY_MS)) / 1_000;
    let seconds = u32::try_from(left).unwrap_or(1).max(1);
    let detail = format!(
        "the brand may send {most} messages a day (UTC), and has; journeys' messages wait for the next"
    );
    Err(Problem::new(429, "sends_quota", "Too many messages today", detail).retry_after(seconds))
}

/// Whether the brand's templates may be rendered now, and the share of a processor that they have, if
/// it is limited.
///
/// # Errors
/// 429 until they may; 503.
pub async fn may_render(store: &TenantStore) -> Result<Option<CpuShare>, Problem> {
    let of_store = |error: StoreError| failure::of_store(&error);
    let Some(share) = store.quotas().await.map_err(of_store)?.template_cpu else { return Ok(None) };
    let rest = store.charge_templates(share, Duration::ZERO, Instant::now()).await;
    let rest = rest.map_err(of_store)?;
    if rest.is_zero() {
        return Ok(Some(share));
    }
    count("templates", 1);
    let seconds = u32::try_from(rest.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
    let detail = format!(
        "the brand's templates may take {} % of a core, and have taken it for now; messages wait",
        share.percent()
    );
    Err(Problem::new(429, "templates_quota", "Templates took too long", detail)
        .retry_after(seconds))
}

/// They have used so much.
///
/// # Errors
/// 503.
pub async fn rendered(
    store: &TenantStore,
    share: Option<CpuShare>,
    used: Duration,
) -> Result<(), Problem> {
    let Some(share) = share else { return Ok(()) };
    let charged = store.charge_templates(share, used, Instant::now()).await;
    charged.map(|_| ()).map_err(|error| failure::of_store(&error))
}
