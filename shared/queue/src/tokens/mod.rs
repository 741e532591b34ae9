//! Send permits as time slots: the generic cell rate algorithm, handed out in blocks.
//!
//! A lease is a block of slots. A slot may be used from its moment on and for [`Lease::width`]
//! thereafter; used later it is forfeited, because the permit's place in time has passed and
//! using it then would let two periods' worth through in one. With every slot used inside its
//! width, **no period ever sees more than `count + burst` uses**, wherever it begins.
//!
//! The arithmetic: slots follow one another at the emission interval `T = period / count` after
//! a burst. The width is `T`, or a fiftieth of the period if that is longer (a fast rate would
//! otherwise forfeit slots to mere scheduling); in the second case the interval is stretched to
//! `(period + width) / count`, which pays for the width with at most 2 % of the rate.

mod census;
mod memory;
mod pace;
mod redis;
mod share;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use parcours_domain::{Name, Rate, TenantId, hash::sha256_head};

pub use self::{
    census::{Census, CensusTimes},
    memory::MemoryTokens,
    redis::{RedisTokens, SKEW_MAX, SlotClock},
};
use crate::QueueError;

/// The most slots in one lease.
pub const LEASE_SLOTS_MAX: u32 = 1_000;
/// How far ahead of now a lease may reach.
pub const LEASE_AHEAD_MAX: Duration = Duration::from_secs(1);

/// Whose rate it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// All that a brand sends.
    Brand(TenantId),
    /// What one sender of a brand sends.
    Sender(TenantId, Name),
    /// What a brand sends over one server to one mailbox provider, or to one domain.
    Domain {
        /// The brand. Brands do not share it even if they name the same server: one could slow
        /// another.
        tenant: TenantId,
        /// The server: what the provider sees, whichever sender it is.
        server: String,
        /// The provider's name, or the domain.
        recipients: String,
    },
}

impl LimitKey {
    /// The brand.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        match self {
            Self::Brand(tenant) | Self::Sender(tenant, _) | Self::Domain { tenant, .. } => *tenant,
        }
    }

    /// 16 bytes that stand for it: a family's own domain is nobody's business.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        let tenant = &self.tenant().bytes()[..];
        match self {
            Self::Brand(_) => sha256_head(&[b"brand", tenant, b""]),
            Self::Sender(_, sender) => {
                sha256_head(&[b"sender", tenant, sender.as_str().as_bytes()])
            }
            Self::Domain { server, recipients, .. } => {
                sha256_head(&[b"domain", tenant, server.as_bytes(), recipients.as_bytes()])
            }
        }
    }
}

/// A block of time slots, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// From when each permit may be used.
    pub slots: Vec<Instant>,
    /// How long after its moment a slot stays usable.
    pub width: Duration,
    /// When asking again is worth while; never before `now`.
    pub next_at: Instant,
}

/// Where now stands against a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotTime {
    /// Wait this long.
    Early(Duration),
    /// Use it now.
    Usable,
    /// Forfeited: lease again.
    Late,
}

impl Lease {
    /// Where `now` stands against one of this lease's slots.
    #[must_use]
    pub fn judge(&self, slot: Instant, now: Instant) -> SlotTime {
        match now.checked_duration_since(slot) {
            None => SlotTime::Early(slot.duration_since(now)),
            Some(late) if late < self.width => SlotTime::Usable,
            Some(_) => SlotTime::Late,
        }
    }
}

/// Leases of send permits.
#[async_trait]
pub trait TokenLease: Send + Sync {
    /// Takes at most `want` slots that begin no later than [`LEASE_AHEAD_MAX`] after `now`; may
    /// be empty. Slots taken and not used are gone.
    async fn lease(
        &self,
        key: &LimitKey,
        rate: Rate,
        want: u32,
        now: Instant,
    ) -> Result<Lease, QueueError>;

    /// How many processes lease at present, this one among them; more than there can be as long as
    /// that is not known.
    fn lessees(&self) -> u32 {
        1
    }
}
