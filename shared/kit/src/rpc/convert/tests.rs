//! Everything that is sent comes back equal, and what cannot be read is said.

use std::collections::BTreeMap;

use parcours_domain::{ContactId, EventId, EventKey, EventKind, TenantId, Timestamp, Value};
use parcours_wire::{AcceptedEvent, ContactEvents, EventDay, ItemOutcome, worker::set_aside};
use proptest::{collection, option, prelude::*};
use prost::Message as _;
use uuid::Uuid;

use super::{super::proto, *};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        // Not NaN: it comes from no JSON, and equals nothing.
        any::<f64>().prop_filter("a number", |n| !n.is_nan()).prop_map(Value::Float),
        ".{0,12}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            collection::btree_map(".{0,6}", inner, 0..6).prop_map(Value::Map),
        ]
    })
}

fn event() -> impl Strategy<Value = AcceptedEvent> {
    let properties = || collection::btree_map(".{0,8}", value(), 0..4);
    let day = prop_oneof![any::<i64>().prop_map(EventDay::Day), Just(EventDay::Undated)];
    let kind = proptest::sample::select(EventKind::ALL.to_vec());
    let email = option::of("[a-z]{1,8}@[a-z]{1,8}\\.example");
    let key = (".{0,20}", any::<[u8; 16]>(), day, any::<[u8; 32]>());
    let what = (kind, ".{0,20}", properties(), properties(), email);
    let when = (option::of(any::<i64>()), any::<i64>(), ".{0,40}");
    (key, what, when).prop_map(|(key, what, when)| AcceptedEvent {
        message_id: key.0,
        key: EventKey(key.1),
        day: key.2,
        body_hash: key.3,
        kind: what.0,
        name: what.1,
        properties: what.2,
        traits: what.3,
        email: what.4.map(|text| text.parse().unwrap()),
        occurred_at: when.0.map(Timestamp::from_millis),
        received_at: Timestamp::from_millis(when.1),
        body: when.2,
    })
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn contact_events() -> impl Strategy<Value = ContactEvents> {
    (uuid(), uuid(), collection::vec(event(), 0..4)).prop_map(|(tenant, contact, events)| {
        ContactEvents { tenant: TenantId(tenant), contact: ContactId(contact), events }
    })
}

fn outcome() -> impl Strategy<Value = ItemOutcome> {
    let codes = [set_aside::REFUSED, set_aside::PANIC, set_aside::EARLIER, set_aside::OTHER];
    prop_oneof![
        uuid().prop_map(|id| ItemOutcome::Applied(EventId(id))),
        uuid().prop_map(|id| ItemOutcome::Duplicate(EventId(id))),
        Just(ItemOutcome::Conflict),
        (proptest::sample::select(codes.to_vec()), ".{0,30}")
            .prop_map(|(code, detail)| ItemOutcome::SetAside { code, detail }),
        uuid().prop_map(|id| ItemOutcome::Merged(ContactId(id))),
        Just(ItemOutcome::Moved),
        any::<u32>().prop_map(ItemOutcome::Busy),
        Just(ItemOutcome::Unavailable),
    ]
}

/// Through the bytes, as between two processes.
fn carried(contacts: Vec<proto::ContactEvents>) -> Vec<proto::ContactEvents> {
    let accept = proto::Accept { number: 1, patience_ms: 1, contacts };
    let bytes = proto::Ask { what: Some(proto::ask::What::Accept(accept)) }.encode_to_vec();
    match proto::Ask::decode(bytes.as_slice()).unwrap().what {
        Some(proto::ask::What::Accept(accept)) => accept.contacts,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn events_come_back_equal(contacts in collection::vec(contact_events(), 0..3)) {
        let sent = contacts.iter().map(contact_to).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(batch_from(carried(sent)).unwrap(), contacts);
    }

    #[test]
    fn outcomes_come_back_equal(of in collection::vec(collection::vec(outcome(), 0..5), 0..4)) {
        let sent = proto::Outcomes { number: 7, contacts: outcomes_to(of.clone()) };
        let read = proto::Outcomes::decode(sent.encode_to_vec().as_slice()).unwrap();
        prop_assert_eq!(outcomes_from(read.contacts).unwrap(), of);
    }

    /// Whatever a peer sends: an error or a value, never a panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in collection::vec(any::<u8>(), 0..200)) {
        if let Ok(of) = proto::ContactEvents::decode(bytes.as_slice()) {
            let _ = batch_from(vec![of]);
        }
        if let Ok(of) = proto::ContactOutcomes::decode(bytes.as_slice()) {
            let _ = outcomes_from(vec![of]);
        }
    }
}

fn sent_event() -> proto::Event {
    let nothing = proto::Value { kind: proto::value::Kind::Map.into(), ..Default::default() };
    proto::Event {
        key: vec![1; 16],
        day: Some(proto::event::Day::Undated(true)),
        body_hash: vec![2; 32],
        kind: proto::EventKind::Track.into(),
        properties: Some(nothing.clone()),
        traits: Some(nothing),
        received_at_ms: Some(0),
        ..Default::default()
    }
}

fn read(change: impl FnOnce(&mut proto::Event)) -> Result<Vec<ContactEvents>, ConvertError> {
    let mut event = sent_event();
    change(&mut event);
    batch_from(vec![proto::ContactEvents {
        tenant: vec![3; 16],
        contact: vec![4; 16],
        events: vec![event],
    }])
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    use ConvertError::{Length, Missing, Unknown, Unreadable};
    assert!(read(|_| ()).is_ok());
    let error = |change: fn(&mut proto::Event)| read(change).unwrap_err();
    assert_eq!(error(|e| e.key.clear()), Missing("event.key"));
    assert_eq!(error(|e| e.key.push(0)), Length("event.key"));
    assert_eq!(error(|e| e.body_hash.truncate(16)), Length("event.body_hash"));
    assert_eq!(error(|e| e.day = None), Missing("event.day"));
    let undated = Some(proto::event::Day::Undated(false));
    assert_eq!(read(|e| e.day = undated).unwrap_err(), Unknown("event.undated"));
    assert_eq!(error(|e| e.kind = 0), Missing("event.kind"));
    assert_eq!(error(|e| e.kind = 77), Unknown("event.kind"));
    assert_eq!(error(|e| e.received_at_ms = None), Missing("event.received_at_ms"));
    assert_eq!(error(|e| e.properties = None), Missing("event.properties"));
    assert_eq!(error(|e| e.email = Some("no address".into())), Unreadable("event.email"));
    let list = proto::Value { kind: proto::value::Kind::List.into(), ..Default::default() };
    assert_eq!(read(|e| e.traits = Some(list)).unwrap_err(), Unreadable("event.traits"));
    assert_eq!(error(|e| e.traits = Some(proto::Value::default())), Missing("value.kind"));
    let newer = proto::Value { kind: 99, ..Default::default() };
    assert_eq!(read(|e| e.traits = Some(newer)).unwrap_err(), Unknown("value.kind"));
    let keyed = |e: &mut proto::Event| {
        e.traits.as_mut().unwrap().keys.push("a".into());
    };
    assert_eq!(read(keyed).unwrap_err(), Length("value.keys"));
}

#[test]
fn an_outcome_of_a_newer_worker_is_an_error_and_a_newer_code_is_not() {
    let empty = proto::ContactOutcomes { items: vec![proto::Outcome { what: None }] };
    assert_eq!(outcomes_from(vec![empty]), Err(ConvertError::Missing("outcome")));
    let what = proto::SetAside { code: "cursed".into(), detail: "by a witch".into() };
    let newer = proto::Outcome { what: Some(proto::outcome::What::SetAside(what)) };
    let read = outcomes_from(vec![proto::ContactOutcomes { items: vec![newer] }]).unwrap();
    let detail = "cursed: by a witch".to_owned();
    assert_eq!(read, [[ItemOutcome::SetAside { code: set_aside::OTHER, detail }]]);
}

fn nested(levels: usize) -> ContactEvents {
    let deep = (1..levels).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    let mut one = batch_from(vec![proto::ContactEvents {
        tenant: vec![3; 16],
        contact: vec![4; 16],
        events: vec![sent_event()],
    }])
    .unwrap()
    .remove(0);
    one.events[0].properties = BTreeMap::from([("deep".to_owned(), deep)]);
    one
}

#[test]
fn nesting_is_carried_as_deep_as_it_is_let_in_and_refused_before_a_reader_would() {
    let most = nested(63);
    let sent = contact_to(&most).unwrap();
    assert_eq!(batch_from(carried(vec![sent])).unwrap(), [most]);
    assert_eq!(contact_to(&nested(64)), Err(ConvertError::TooDeep));
}
