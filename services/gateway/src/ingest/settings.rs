//! A brand's settings for ingest, remembered for seconds.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use parcours_domain::{Rate, TenantId};
use parcours_kit::Problem;

use crate::{failure, publish, state::GatewayState};

/// How long settings are believed without asking again.
const SEEN_MAX: Duration = Duration::from_secs(3);

/// What ingest needs to know of a brand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestSettings {
    /// How many days back a repeat is recognised.
    pub window_days: u32,
    /// Whether the brand takes an e-mail address as an identity.
    pub identify_by_email: bool,
    /// How many events it may bring; none: any number.
    pub events: Option<Rate>,
    /// The most contacts; none: any number.
    pub contacts: Option<u32>,
}

/// Settings seen in the last seconds.
#[derive(Default)]
pub struct SettingsCache(Mutex<HashMap<TenantId, (IngestSettings, Instant)>>);

impl SettingsCache {
    /// The brand's settings.
    ///
    /// # Errors
    /// 503 when the store does not answer.
    pub async fn get(
        &self,
        state: &GatewayState,
        tenant: TenantId,
    ) -> Result<IngestSettings, Problem> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).copied();
        if let Some((settings, _)) = seen.filter(|(_, at)| at.elapsed() < SEEN_MAX) {
            return Ok(settings);
        }
        let brand = publish::store::brand_document(&state.store, tenant).await;
        let brand = brand.map_err(|error| failure::of_store(&error))?;
        let quotas = state.store.for_tenant(tenant).quotas().await;
        let quotas = quotas.map_err(|error| failure::of_store(&error))?;
        let settings = IngestSettings {
            window_days: brand.as_ref().map_or(30, |brand| brand.event_window_days),
            identify_by_email: brand.is_some_and(|brand| brand.identify_by_email),
            events: quotas.events.rate(state.limits.events),
            contacts: quotas.contacts,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(tenant, (settings, Instant::now()));
        Ok(settings)
    }

    /// Forgets a brand: its document or its quotas changed here.
    pub fn forget(&self, tenant: TenantId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
    }
}
