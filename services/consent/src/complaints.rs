//! Complaints: who calls a message spam wants no more of them. The address is suppressed for every
//! class, as mailbox providers expect of whoever gets their reports (RFC 6650), and
//! direct marketing must end on objection (Art. 21(3) GDPR).

use parcours_domain::{
    AddressHash, Channel, MessageId, TenantId,
    consent::{FactKind, Scope},
};
use parcours_kit::telemetry;
use parcours_store::{Complained, NewFact, Recipient, StoreError};
use parcours_wire::{ComplaintAbout, ComplaintTaken, ConsentError};

use crate::service::{ConsentService, count, refused};

/// What a complaint is found to be about.
enum Found {
    Message(MessageId),
    /// Somebody to whom nothing was sent, as far as is known.
    Contact(Recipient, AddressHash),
}

/// Records a complaint.
pub(crate) async fn take(
    service: &ConsentService,
    tenant: TenantId,
    about: ComplaintAbout,
    source: String,
) -> Result<ComplaintTaken, ConsentError> {
    let found = find(service, tenant, about).await?;
    let (id, nonce) = service.fresh();
    let fact = NewFact {
        id,
        kind: FactKind::Suppressed,
        scope: Scope::AllMarketing,
        purpose: String::new(),
        channel: Channel::Email,
        address: None,
        source: format!("complaint:{source}"),
        wording: None,
        nonce,
        once: false,
    };
    let (door, now) = (service.store.consent(), service.clock.now());
    let taken = match found {
        Found::Message(message) => {
            let complained = door.complain((tenant, message), fact, now).await.map_err(missing)?;
            let Complained { contact, suppression } = complained;
            ComplaintTaken { contact, message: Some(message), suppression }
        }
        Found::Contact(Recipient { contact, is_suppressed: true, .. }, _) => {
            ComplaintTaken { contact, message: None, suppression: None }
        }
        Found::Contact(Recipient { contact, .. }, address) => {
            let fact = NewFact { address: Some(address), ..fact };
            let facts = door.record(tenant, contact, vec![fact], now).await.map_err(missing)?;
            ComplaintTaken { contact, message: None, suppression: facts.first().copied() }
        }
    };
    if taken.suppression.is_some() {
        count(FactKind::Suppressed);
        service.count_leaving(tenant, taken.contact).await;
        service.wake(tenant, taken.contact);
    }
    let about = match (taken.suppression, taken.message) {
        (Some(_), Some(_)) => "message",
        (Some(_), None) => "address",
        (None, _) => "nothing_new",
    };
    telemetry::metrics().add("parcours_complaints_total", 1, &[("about", about)]);
    Ok(taken)
}

async fn find(
    service: &ConsentService,
    tenant: TenantId,
    about: ComplaintAbout,
) -> Result<Found, ConsentError> {
    let address = match about {
        ComplaintAbout::Message(message) => return Ok(Found::Message(message)),
        ComplaintAbout::Address(address) => address,
    };
    let keys = service.store.keys(tenant).await.map_err(refused)?;
    let hash = address.hash(&keys.address);
    let found = service.store.consent().recipient(tenant, Channel::Email, hash).await;
    let found = found.map_err(refused)?.ok_or(ConsentError::NotFound)?;
    Ok(match found.message {
        Some(message) => Found::Message(message),
        None => Found::Contact(found, hash),
    })
}

fn missing(error: StoreError) -> ConsentError {
    match error {
        StoreError::NotFound => ConsentError::NotFound,
        error => refused(error),
    }
}
