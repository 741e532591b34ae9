//! Events on their way to the owner of their contact.

use parcours_domain::{ContactId, EventKey, EventKind, Timestamp};
use parcours_wire::{AcceptedEvent, ContactEvents, EventDay};

use super::{
    super::proto::{self, event::Day},
    ConvertError, bytes, id, tenant_from,
    value::{properties_from, properties_to},
};

/// A contact's events, to be sent.
///
/// # Errors
/// Properties nested deeper than the API lets in.
pub(crate) fn contact_to(of: &ContactEvents) -> Result<proto::ContactEvents, ConvertError> {
    Ok(proto::ContactEvents {
        tenant: of.tenant.bytes().to_vec(),
        contact: of.contact.bytes().to_vec(),
        events: of.events.iter().map(event_to).collect::<Result<_, _>>()?,
    })
}

/// What was sent, in order.
///
/// # Errors
/// Something is missing, or not known here.
pub(crate) fn batch_from(
    contacts: Vec<proto::ContactEvents>,
) -> Result<Vec<ContactEvents>, ConvertError> {
    contacts.into_iter().map(contact_from).collect()
}

fn contact_from(of: proto::ContactEvents) -> Result<ContactEvents, ConvertError> {
    Ok(ContactEvents {
        tenant: tenant_from(&of.tenant)?,
        contact: ContactId(id("contact", &of.contact)?),
        events: of.events.into_iter().map(event_from).collect::<Result<_, _>>()?,
    })
}

fn event_to(event: &AcceptedEvent) -> Result<proto::Event, ConvertError> {
    Ok(proto::Event {
        message_id: event.message_id.clone(),
        key: event.key.0.to_vec(),
        day: Some(match event.day {
            EventDay::Day(day) => Day::UtcDay(day),
            EventDay::Undated => Day::Undated(true),
        }),
        body_hash: event.body_hash.to_vec(),
        kind: kind_to(event.kind).into(),
        name: event.name.clone(),
        properties: Some(properties_to(&event.properties)?),
        traits: Some(properties_to(&event.traits)?),
        email: event.email.as_ref().map(|address| address.expose().to_owned()),
        occurred_at_ms: event.occurred_at.map(Timestamp::as_millis),
        received_at_ms: Some(event.received_at.as_millis()),
        body: event.body.clone(),
    })
}

fn event_from(event: proto::Event) -> Result<AcceptedEvent, ConvertError> {
    let email = match event.email {
        Some(text) => Some(text.parse().map_err(|_| ConvertError::Unreadable("event.email"))?),
        None => None,
    };
    let received_at = event.received_at_ms.ok_or(ConvertError::Missing("event.received_at_ms"))?;
    Ok(AcceptedEvent {
        message_id: event.message_id,
        key: EventKey(bytes("event.key", &event.key)?),
        day: match event.day {
            Some(Day::UtcDay(day)) => EventDay::Day(day),
            Some(Day::Undated(true)) => EventDay::Undated,
            Some(Day::Undated(false)) => return Err(ConvertError::Unknown("event.undated")),
            None => return Err(ConvertError::Missing("event.day")),
        },
        body_hash: bytes("event.body_hash", &event.body_hash)?,
        kind: kind_from(event.kind)?,
        name: event.name,
        properties: properties_from("event.properties", event.properties)?,
        traits: properties_from("event.traits", event.traits)?,
        email,
        occurred_at: event.occurred_at_ms.map(Timestamp::from_millis),
        received_at: Timestamp::from_millis(received_at),
        body: event.body,
    })
}

const fn kind_to(kind: EventKind) -> proto::EventKind {
    match kind {
        EventKind::Track => proto::EventKind::Track,
        EventKind::Identify => proto::EventKind::Identify,
        EventKind::Page => proto::EventKind::Page,
        EventKind::Screen => proto::EventKind::Screen,
        EventKind::Group => proto::EventKind::Group,
        EventKind::Alias => proto::EventKind::Alias,
    }
}

fn kind_from(kind: i32) -> Result<EventKind, ConvertError> {
    match proto::EventKind::try_from(kind) {
        Ok(proto::EventKind::Track) => Ok(EventKind::Track),
        Ok(proto::EventKind::Identify) => Ok(EventKind::Identify),
        Ok(proto::EventKind::Page) => Ok(EventKind::Page),
        Ok(proto::EventKind::Screen) => Ok(EventKind::Screen),
        Ok(proto::EventKind::Group) => Ok(EventKind::Group),
        Ok(proto::EventKind::Alias) => Ok(EventKind::Alias),
        Ok(proto::EventKind::Unspecified) => Err(ConvertError::Missing("event.kind")),
        Err(_) => Err(ConvertError::Unknown("event.kind")),
    }
}
