//! Delivery as others see it: only hints; work is found in SQL.

use parcours_domain::TenantId;

/// What delivery does for others.
pub trait DeliveryApi: Send + Sync {
    /// Hint that queue rows of this brand and lane were committed; losing it costs only the
    /// sweep's period.
    fn hint(&self, tenant: TenantId, lane: i64);
}
