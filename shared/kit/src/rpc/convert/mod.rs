//! Between the types of `wire` and what stands on the wire.
//!
//! What always holds: a value that goes out comes back equal; nothing that a peer sends makes this
//! panic; what is missing or not known is named, never guessed.

mod event;
mod outcome;
mod value;

use parcours_domain::{ContactId, TenantId};
use uuid::Uuid;

use super::proto;

pub(crate) use event::{batch_from, contact_to};
pub(crate) use outcome::{outcomes_from, outcomes_to};

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

/// Why a message cannot be sent or understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value of a newer version, or none at all.
    #[error("{0} has a value that is not known here")]
    Unknown(&'static str),
    /// An id, a key or a hash of another length; or lists that should be equally long.
    #[error("{0} has another length than it should")]
    Length(&'static str),
    /// Text that is not what the field holds.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// Properties nested deeper than any process takes in.
    #[error("values nest too deeply")]
    TooDeep,
}

fn bytes<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], ConvertError> {
    if bytes.is_empty() {
        return Err(ConvertError::Missing(field));
    }
    bytes.try_into().map_err(|_| ConvertError::Length(field))
}

fn id(field: &'static str, from: &[u8]) -> Result<Uuid, ConvertError> {
    bytes(field, from).map(Uuid::from_bytes)
}

/// A tenant of a hint.
pub(crate) fn tenant_from(tenant: &[u8]) -> Result<TenantId, ConvertError> {
    id("tenant", tenant).map(TenantId)
}

/// A contact of a hint.
pub(crate) fn contact_from(
    contact: &proto::Contact,
) -> Result<(TenantId, ContactId), ConvertError> {
    Ok((tenant_from(&contact.tenant)?, ContactId(id("contact", &contact.contact)?)))
}

/// A lane of a hint.
pub(crate) fn lane_from(lane: &proto::Lane) -> Result<(TenantId, i64), ConvertError> {
    Ok((tenant_from(&lane.tenant)?, lane.lane))
}
