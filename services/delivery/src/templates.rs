//! What a brand's templates may use of processors, when it has a quota of that.
//!
//! What rendering has used is told to the store after each batch, before its messages leave; a brand
//! that has used up its share rests until the store says otherwise. Brands without a quota cost nothing:
//! the others are learnt in one query every few seconds.
//!
//! What always holds: all processes together use at most the share, what a second of it brings, and what
//! they were rendering when it was used up (see [`CpuShare`]).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use parcours_domain::{CpuShare, TenantId};
use parcours_kit::telemetry;
use parcours_store::{Store, StoreError};

/// What is known of a brand with a quota.
#[derive(Clone, Copy, Debug)]
struct Known {
    share: CpuShare,
    /// Whether the store was asked what it has used.
    asked: bool,
    /// It rests until then.
    over_until: Option<Instant>,
}

/// The templates' time of all brands.
pub(crate) struct TemplateTime {
    store: Store,
    known: Mutex<HashMap<TenantId, Known>>,
}

impl TemplateTime {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TenantId, Known>> {
        // Nothing that holds the guard can panic half-way through a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These brands have a quota, and no others.
    pub(crate) fn learn(&self, shares: BTreeMap<TenantId, CpuShare>) {
        let mut known = self.known();
        let learnt = shares.into_iter().map(|(tenant, share)| {
            let before = known.get(&tenant).copied();
            let fresh = Known { share, asked: false, over_until: None };
            (tenant, Known { share, ..before.unwrap_or(fresh) })
        });
        *known = learnt.collect();
    }

    /// Until when nothing of the brand may be rendered, as far as is known.
    pub(crate) fn over_until(&self, tenant: TenantId) -> Option<Instant> {
        let until = self.known().get(&tenant)?.over_until?;
        (Instant::now() < until).then_some(until)
    }

    /// The same; a brand that nothing is known of yet is asked for.
    pub(crate) async fn rest_until(&self, tenant: TenantId) -> Result<Option<Instant>, StoreError> {
        if self.known().get(&tenant).is_some_and(|known| !known.asked) {
            self.charge(tenant, Duration::ZERO).await?;
        }
        Ok(self.over_until(tenant))
    }

    /// The brand's templates have used so much.
    pub(crate) async fn charge(&self, tenant: TenantId, used: Duration) -> Result<(), StoreError> {
        telemetry::metrics().observe("parcours_template_cpu_seconds", used.as_secs_f64(), &[]);
        let Some(Known { share, .. }) = self.known().get(&tenant).copied() else { return Ok(()) };
        let now = Instant::now();
        let rest = self.store.for_tenant(tenant).charge_templates(share, used, now).await?;
        if let Some(known) = self.known().get_mut(&tenant) {
            known.asked = true;
            known.over_until = (!rest.is_zero()).then(|| now + rest);
        }
        if !rest.is_zero() {
            let labels = [("quota", "templates")];
            telemetry::metrics().add("parcours_quota_refused_total", 1, &labels);
        }
        Ok(())
    }
}
