//! Messages as version 1 wrote them, kept for ever: processes of two versions run side by side
//! during an upgrade, so what one of them wrote is read by the other.

use parcours_domain::{ContactId, EventId, EventKey, EventKind, TenantId, Timestamp, Value};
use parcours_wire::{AcceptedEvent, ContactEvents, EventDay, ItemOutcome, worker::set_aside};
use prost::Message;
use serde_json::json;
use uuid::Uuid;

use super::{super::proto, *};

const ACCEPT: &str = include_str!("../../../../wire/proto/golden/accept.v1.hex");
const OUTCOMES: &str = include_str!("../../../../wire/proto/golden/outcomes.v1.hex");

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn hex(message: &impl Message) -> String {
    message.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn contact() -> ContactEvents {
    let Value::Map(properties) = Value::from_json(json!({
        "null": null, "yes": true, "no": false, "whole": -7, "number": 1.5, "text": "été",
        "list": [1, ["x"]], "map": {"a": {"b": 1}},
    })) else {
        panic!("a map")
    };
    let event = AcceptedEvent {
        message_id: "m-1".into(),
        key: EventKey([1; 16]),
        day: EventDay::Day(20_779),
        body_hash: [2; 32],
        kind: EventKind::Identify,
        name: "name".into(),
        properties,
        traits: [("plan".to_owned(), Value::from("pro"))].into(),
        email: Some("anna@example.org".parse().unwrap()),
        occurred_at: Some(Timestamp::from_millis(-5)),
        received_at: Timestamp::from_millis(1_795_348_800_000),
        body: "{}".into(),
    };
    let later = AcceptedEvent {
        day: EventDay::Undated,
        kind: EventKind::Alias,
        email: None,
        occurred_at: None,
        ..event.clone()
    };
    ContactEvents {
        tenant: TenantId(Uuid::from_u128(0xa)),
        contact: ContactId(Uuid::from_u128(0xb)),
        events: vec![event, later],
    }
}

fn outcomes() -> Vec<Vec<ItemOutcome>> {
    let id = |n| Uuid::from_u128(n);
    let set_aside = ItemOutcome::SetAside { code: set_aside::PANIC, detail: "it panicked".into() };
    vec![
        vec![
            ItemOutcome::Applied(EventId(id(1))),
            ItemOutcome::Duplicate(EventId(id(2))),
            ItemOutcome::Conflict,
            set_aside,
        ],
        vec![],
        vec![
            ItemOutcome::Merged(ContactId(id(3))),
            ItemOutcome::Moved,
            ItemOutcome::Busy(0),
            ItemOutcome::Busy(5),
            ItemOutcome::Unavailable,
        ],
    ]
}

#[test]
fn an_ask_of_version_1_reads_and_writes_the_same() {
    let contacts = vec![contact_to(&contact()).unwrap()];
    let accept = proto::Accept { number: 9, patience_ms: 10_000, contacts };
    let ask = proto::Ask { what: Some(proto::ask::What::Accept(accept)) };
    assert_eq!(hex(&ask), ACCEPT.trim(), "version 1 changed: that strands running processes");
    let read = proto::Ask::decode(unhex(ACCEPT).as_slice()).unwrap();
    let Some(proto::ask::What::Accept(accept)) = read.what else { panic!("an accept") };
    assert_eq!(batch_from(accept.contacts).unwrap(), [contact()]);
}

#[test]
fn an_answer_of_version_1_reads_and_writes_the_same() {
    let of = proto::Outcomes { number: 9, contacts: outcomes_to(outcomes()) };
    let answer = proto::Answer { what: Some(proto::answer::What::Outcomes(of)) };
    assert_eq!(hex(&answer), OUTCOMES.trim(), "version 1 changed: that strands running processes");
    let read = proto::Answer::decode(unhex(OUTCOMES).as_slice()).unwrap();
    let Some(proto::answer::What::Outcomes(of)) = read.what else { panic!("outcomes") };
    assert_eq!(outcomes_from(of.contacts).unwrap(), outcomes());
}
