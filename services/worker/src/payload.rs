//! What a set-aside input looks like in quarantine, so that nothing is lost and it can come back.
//!
//! Versioned JSON. It is personal data and is erased with the contact.

use data_encoding::{BASE64, HEXLOWER};
use parcours_domain::{EventKey, EventKind, RunId, Timestamp, Value, value::Properties};
use parcours_wire::{AcceptedEvent, EventDay};
use serde::{Deserialize, Serialize};

use crate::durable::InboxRow;

/// The version this build writes.
const VERSION: u32 = 1;

/// A payload cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    /// Not this form at all.
    #[error("the payload is not a set-aside input: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by another build.
    #[error("the payload has version {0}, this build reads version 1")]
    Version(u32),
    /// A field does not hold what it should.
    #[error("the payload's {0} is damaged")]
    Field(&'static str),
}

/// A set-aside input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Payload {
    v: u32,
    #[serde(flatten)]
    pub input: SetAside,
}

/// Which input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub(crate) enum SetAside {
    /// A client event.
    Event(Box<EventPayload>),
    /// A timer.
    Timer { run: RunId, seq: u32 },
    /// An inbox row.
    Inbox { kind: String, reference: String, body: Option<String> },
}

/// A client event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EventPayload {
    message_id: String,
    day: Option<i64>,
    body_hash: String,
    kind: EventKind,
    name: String,
    properties: serde_json::Value,
    traits: serde_json::Value,
    email: Option<String>,
    occurred_at: Option<Timestamp>,
    received_at: Timestamp,
    body: String,
}

impl SetAside {
    pub(crate) fn event(event: &AcceptedEvent) -> Self {
        Self::Event(Box::new(EventPayload {
            message_id: event.message_id.clone(),
            day: match event.day {
                EventDay::Day(day) => Some(day),
                EventDay::Undated => None,
            },
            body_hash: HEXLOWER.encode(&event.body_hash),
            kind: event.kind,
            name: event.name.clone(),
            properties: Value::Map(event.properties.clone()).to_json(),
            traits: Value::Map(event.traits.clone()).to_json(),
            email: event.email.as_ref().map(|email| email.expose().to_owned()),
            occurred_at: event.occurred_at,
            received_at: event.received_at,
            body: event.body.clone(),
        }))
    }

    pub(crate) fn inbox(row: &InboxRow) -> Self {
        Self::Inbox {
            kind: row.kind.clone(),
            reference: row.ref_json.clone(),
            body: row.body.as_deref().map(|body| BASE64.encode(body)),
        }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        serde_json::to_vec(&Payload { v: VERSION, input: self }).unwrap_or_default()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PayloadError> {
        let payload: Payload = serde_json::from_slice(bytes)?;
        if payload.v == VERSION { Ok(payload.input) } else { Err(PayloadError::Version(payload.v)) }
    }
}

impl EventPayload {
    /// The event again.
    pub(crate) fn accepted(self) -> Result<AcceptedEvent, PayloadError> {
        let hash = HEXLOWER.decode(self.body_hash.as_bytes()).ok();
        let email = self.email.map(|text| text.parse()).transpose();
        Ok(AcceptedEvent {
            key: EventKey::of(&self.message_id),
            day: self.day.map_or(EventDay::Undated, EventDay::Day),
            body_hash: hash
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(PayloadError::Field("body_hash"))?,
            message_id: self.message_id,
            kind: self.kind,
            name: self.name,
            properties: map(self.properties, "properties")?,
            traits: map(self.traits, "traits")?,
            email: email.map_err(|_| PayloadError::Field("email"))?,
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            body: self.body,
        })
    }
}

fn map(json: serde_json::Value, field: &'static str) -> Result<Properties, PayloadError> {
    match Value::from_json(json) {
        Value::Map(map) => Ok(map),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::List(_) => Err(PayloadError::Field(field)),
    }
}

/// An inbox body as it stands in a payload.
pub(crate) fn inbox_body(text: Option<String>) -> Result<Option<Vec<u8>>, PayloadError> {
    text.map(|text| BASE64.decode(text.as_bytes()))
        .transpose()
        .map_err(|_| PayloadError::Field("body"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::double::event;

    #[test]
    fn an_event_comes_back_as_it_was() {
        let mut before = event("a", "bought");
        before.properties.insert("price".into(), Value::Float(2.0));
        before.properties.insert("lines".into(), Value::List(vec![Value::Int(1), Value::Null]));
        before.traits.insert("email".into(), "ada@example.org".into());
        before.email = "ada@example.org".parse().ok();
        let Ok(SetAside::Event(after)) = SetAside::decode(&SetAside::event(&before).encode())
        else {
            panic!("an event")
        };
        assert_eq!(format!("{:?}", after.accepted().unwrap()), format!("{before:?}"));
    }

    #[test]
    fn what_another_build_wrote_is_refused_by_name() {
        let text =
            br#"{"v":9,"input":"timer","run":"00000000-0000-0000-0000-000000000000","seq":1}"#;
        assert!(matches!(SetAside::decode(text), Err(PayloadError::Version(9))));
        assert!(matches!(SetAside::decode(b"[]"), Err(PayloadError::Json(_))));
    }
}
