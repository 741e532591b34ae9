//! The brands in memory: read once, dropped when something was published.
//!
//! Readers that arrive together share one read of the store. A brand dropped while it is being
//! read is read again by the next reader, so nobody steps on plans older than a hint that came
//! before the step.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use parcours_domain::TenantId;
use parcours_journey::ContactState;
use parcours_store::StoreError;
use tokio::sync::OnceCell;

use crate::{brand::Brand, durable::Durable};

type Slot = Arc<OnceCell<Arc<Brand>>>;

/// Brands by tenant.
pub(crate) struct Brands {
    durable: Arc<dyn Durable>,
    slots: Mutex<HashMap<TenantId, Slot>>,
}

impl Brands {
    pub(crate) fn new(durable: Arc<dyn Durable>) -> Self {
        Self { durable, slots: Mutex::default() }
    }

    /// The brand as published.
    pub(crate) async fn get(&self, tenant: TenantId) -> Result<Arc<Brand>, StoreError> {
        let slot = Arc::clone(self.lock().entry(tenant).or_default());
        let read = async {
            let published = self.durable.published(tenant).await?;
            Ok(Arc::new(Brand::new(&published)))
        };
        slot.get_or_try_init(|| read).await.cloned()
    }

    /// The brand with every plan version that this state's runs are on, as far as stored.
    pub(crate) async fn for_state(
        &self,
        tenant: TenantId,
        state: &ContactState,
    ) -> Result<Arc<Brand>, StoreError> {
        let brand = self.get(tenant).await?;
        let wanted = brand.wanted(brand.book.needs(state));
        if wanted.is_empty() {
            return Ok(brand);
        }
        let mut found = Vec::new();
        for (journey, version) in wanted {
            let bytes = self.durable.plan(tenant, &journey, version).await?;
            found.push(((journey, version), bytes));
        }
        let fuller = Arc::new(brand.with_plans(found));
        self.replace(tenant, &brand, &fuller);
        Ok(fuller)
    }

    /// Puts the fuller brand in the place of the one it was made from, unless that place is taken
    /// by a newer one.
    fn replace(&self, tenant: TenantId, old: &Arc<Brand>, fuller: &Arc<Brand>) {
        let mut slots = self.lock();
        let same = slots
            .get(&tenant)
            .and_then(|slot| slot.get())
            .is_some_and(|present| Arc::ptr_eq(present, old));
        if same {
            slots.insert(tenant, Arc::new(OnceCell::new_with(Some(Arc::clone(fuller)))));
        }
    }

    /// Forgets a brand; the next step reads it again.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.lock().remove(&tenant);
    }

    /// The brands in memory with their marks.
    pub(crate) fn marks(&self) -> Vec<(TenantId, [u8; 16])> {
        let slots = self.lock();
        slots.iter().filter_map(|(tenant, slot)| Some((*tenant, slot.get()?.mark()))).collect()
    }

    /// No code runs under this lock that can panic half-way.
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
