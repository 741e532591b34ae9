//! One item of the Segment tracking API: from JSON text to an accepted event, or to its fault.
//!
//! Limits: an item has at most 32 KiB and 32 levels; ids and names at most 255 characters. Ids may
//! be text or numbers (numbers become text, as Segment's own servers do it); null is absent.
//! A timestamp that cannot be read, or lies more than 24 h ahead, makes the item undated.

use parcours_domain::{
    EmailAddress, EventKey, EventKind, Millis, Timestamp, Value, hash::sha256, value::Properties,
};
use parcours_wire::{AcceptedEvent, EventDay};
use serde_json::{Map, Value as Json};

use super::{canonical::canonical, envelope::RawItem};

/// The most bytes of one item.
pub const ITEM_BYTES_MAX: usize = 32 * 1024;
/// The deepest nesting of one item.
pub const ITEM_DEPTH_MAX: usize = 32;
/// The most characters of an id or a name.
pub const NAME_CHARS_MAX: usize = 255;
/// How far ahead of receipt a timestamp may lie.
const AHEAD_MAX: Millis = Millis::hours(24);

/// Why an item is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Stable word.
    pub code: &'static str,
    /// What is wrong and how to mend it, without the values.
    pub message: String,
}

impl Fault {
    /// A fault.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// An item that can be applied once its contact is known.
#[derive(Clone, Debug)]
pub struct Item {
    /// The brand's own id of the person.
    pub user_id: Option<String>,
    /// The id of a visitor who is not known yet.
    pub anonymous_id: Option<String>,
    /// The other id of the person (alias).
    pub previous_id: Option<String>,
    /// The event.
    pub event: AcceptedEvent,
}

/// What the reader of items needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Product time of receipt.
    pub received_at: Timestamp,
    /// How many days back a repeat is recognised.
    pub window_days: u32,
    /// Whether the key may be seen by anybody.
    pub public_key: bool,
}

/// Reads one item. `kind` is the route's; none in a batch, where the item names its own.
///
/// # Errors
/// The first fault found.
pub fn read(
    raw: RawItem<'_>,
    kind: Option<EventKind>,
    rules: &Rules,
    made_id: impl FnOnce() -> String,
) -> Result<Item, Fault> {
    let mut map = parse(raw)?;
    let kind = kind_of(&map, kind)?;
    let user_id = id(&map, "userId")?;
    let anonymous_id = id(&map, "anonymousId")?;
    let previous_id = if kind == EventKind::Alias { id(&map, "previousId")? } else { None };
    check_identity(kind, user_id.as_deref(), anonymous_id.as_deref(), previous_id.as_deref())?;
    let email = if kind == EventKind::Identify { email(&map)? } else { None };
    if rules.public_key {
        check_public(kind, user_id.is_some() || has_email(&map))?;
    }
    let name = name(&map, kind)?;
    let (day, occurred_at) = time(&map, rules)?;
    let message_id = id(&map, "messageId")?.unwrap_or_else(made_id);
    for member in ["sentAt", "receivedAt", "context"] {
        map.remove(member);
    }
    let body = canonical(&map);
    let traits = match kind {
        EventKind::Identify => object(&mut map, "traits")?,
        EventKind::Track
        | EventKind::Page
        | EventKind::Screen
        | EventKind::Group
        | EventKind::Alias => Properties::new(),
    };
    let properties = properties(&mut map, kind)?;
    let event = AcceptedEvent {
        key: EventKey::of(&message_id),
        message_id,
        day,
        body_hash: sha256(&[body.as_bytes()]),
        kind,
        name,
        properties,
        traits,
        email,
        occurred_at,
        received_at: rules.received_at,
        body,
    };
    Ok(Item { user_id, anonymous_id, previous_id, event })
}

fn parse(raw: RawItem<'_>) -> Result<Map<String, Json>, Fault> {
    if raw.text.len() > ITEM_BYTES_MAX {
        let message =
            format!("an item has at most {ITEM_BYTES_MAX} bytes, this one has {}", raw.text.len());
        return Err(Fault::new("too_large", message));
    }
    if raw.damaged {
        return Err(Fault::new("invalid_utf8", "the item holds bytes that are not UTF-8"));
    }
    if depth(raw.text) > ITEM_DEPTH_MAX {
        return Err(Fault::new(
            "too_deep",
            format!("an item nests at most {ITEM_DEPTH_MAX} levels"),
        ));
    }
    let json: Json = serde_json::from_str(raw.text).map_err(|error| {
        let message = format!(
            "the item is not JSON: malformed at line {}, column {}",
            error.line(),
            error.column()
        );
        Fault::new("malformed_json", message)
    })?;
    let Json::Object(map) = json else {
        return Err(Fault::new("not_an_object", "an item is a JSON object"));
    };
    if map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)) {
        return Err(Fault::new("nul_character", "text may not hold the character U+0000"));
    }
    Ok(map)
}

/// Nesting depth by brackets outside of strings; the text need not be valid.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn has_nul(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
        Json::String(text) => text.contains('\0'),
        Json::Array(items) => items.iter().any(has_nul),
        Json::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
    }
}

fn kind_of(map: &Map<String, Json>, route: Option<EventKind>) -> Result<EventKind, Fault> {
    if let Some(kind) = route {
        return Ok(kind);
    }
    map.get("type").and_then(Json::as_str).and_then(EventKind::parse).ok_or_else(|| {
        Fault::new("unknown_type", "`type` is one of track, identify, page, screen, group, alias")
    })
}

/// An id: text or number; null and empty text are absent.
fn id(map: &Map<String, Json>, member: &'static str) -> Result<Option<String>, Fault> {
    let text = match map.get(member) {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) => text.trim().to_owned(),
        Some(Json::Number(number)) => number.to_string(),
        Some(Json::Bool(_) | Json::Array(_) | Json::Object(_)) => {
            return Err(Fault::new("wrong_type", format!("`{member}` is text or a number")));
        }
    };
    if text.chars().count() > NAME_CHARS_MAX {
        let message = format!("`{member}` has at most {NAME_CHARS_MAX} characters");
        return Err(Fault::new("too_long", message));
    }
    Ok(if text.is_empty() { None } else { Some(text) })
}

fn check_identity(
    kind: EventKind,
    user: Option<&str>,
    anonymous: Option<&str>,
    previous: Option<&str>,
) -> Result<(), Fault> {
    if kind == EventKind::Alias && (user.is_none() || previous.is_none()) {
        return Err(Fault::new("no_identity", "an alias names `userId` and `previousId`"));
    }
    if user.is_none() && anonymous.is_none() {
        return Err(Fault::new("no_identity", "an item names `userId`, `anonymousId` or both"));
    }
    Ok(())
}

fn check_public(kind: EventKind, names_somebody: bool) -> Result<(), Fault> {
    let allowed = match kind {
        EventKind::Track | EventKind::Page | EventKind::Screen | EventKind::Identify => true,
        EventKind::Group | EventKind::Alias => false,
    };
    if allowed && !names_somebody {
        Ok(())
    } else {
        let message = "a public key takes track, page, screen and anonymous identify; send userId, \
                       e-mail, group and alias with a secret key";
        Err(Fault::new("needs_secret_key", message))
    }
}

/// Whether any place where clients put an e-mail address holds one.
fn has_email(map: &Map<String, Json>) -> bool {
    let given = |value: Option<&Json>| value.is_some_and(|value| !value.is_null() && value != "");
    let places = [
        map.get("email"),
        map.get("traits").and_then(|traits| traits.get("email")),
        map.get("properties").and_then(|properties| properties.get("email")),
        map.get("context")
            .and_then(|context| context.get("traits"))
            .and_then(|traits| traits.get("email")),
    ];
    places.into_iter().any(given)
}

fn email(map: &Map<String, Json>) -> Result<Option<EmailAddress>, Fault> {
    match map.get("traits").and_then(|traits| traits.get("email")) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Json::String(text)) => text
            .parse()
            .map(Some)
            .map_err(|error| Fault::new("invalid_email", format!("`traits.email` is {error}"))),
        Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
            Err(Fault::new("wrong_type", "`traits.email` is text"))
        }
    }
}

fn name(map: &Map<String, Json>, kind: EventKind) -> Result<String, Fault> {
    let member = match kind {
        EventKind::Track => "event",
        EventKind::Page | EventKind::Screen => "name",
        EventKind::Identify | EventKind::Group | EventKind::Alias => return Ok(String::new()),
    };
    let name = match map.get(member) {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => text.trim().to_owned(),
        Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
            return Err(Fault::new("wrong_type", format!("`{member}` is text")));
        }
    };
    if name.is_empty() && kind == EventKind::Track {
        return Err(Fault::new("no_event_name", "a track item names its `event`"));
    }
    if name.chars().count() > NAME_CHARS_MAX {
        let message = format!("`{member}` has at most {NAME_CHARS_MAX} characters");
        return Err(Fault::new("too_long", message));
    }
    Ok(name)
}

/// The day of the key and the client's own time. The day follows `originalTimestamp`, else
/// `timestamp`, exactly as sent: a client repeats it on a retry.
fn time(map: &Map<String, Json>, rules: &Rules) -> Result<(EventDay, Option<Timestamp>), Fault> {
    let read = |member: &str| -> Option<Timestamp> { map.get(member)?.as_str()?.parse().ok() };
    let own = match map.get("originalTimestamp") {
        None | Some(Json::Null) => read("timestamp"),
        Some(_) => read("originalTimestamp"),
    };
    let occurred_at = read("timestamp").or(own);
    let Some(at) = own.filter(|at| *at <= rules.received_at + AHEAD_MAX) else {
        return Ok((EventDay::Undated, occurred_at));
    };
    if at < rules.received_at - Millis::days(i64::from(rules.window_days)) {
        let message = format!(
            "the event is older than the {} days within which a repeat is recognised; bring it by history import",
            rules.window_days
        );
        return Err(Fault::new("too_old", message));
    }
    Ok((EventDay::Day(at.utc_day()), occurred_at))
}

fn object(map: &mut Map<String, Json>, member: &'static str) -> Result<Properties, Fault> {
    match map.remove(member) {
        None | Some(Json::Null) => Ok(Properties::new()),
        Some(Json::Object(members)) => {
            Ok(members.into_iter().map(|(key, value)| (key, Value::from_json(value))).collect())
        }
        Some(Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_)) => {
            Err(Fault::new("wrong_type", format!("`{member}` is an object")))
        }
    }
}

/// What conditions see as `event.*`.
fn properties(map: &mut Map<String, Json>, kind: EventKind) -> Result<Properties, Fault> {
    let named = |map: &Map<String, Json>, properties: &mut Properties, from: &str, to: &str| {
        if let Some(Json::String(text)) = map.get(from) {
            properties.entry(to.to_owned()).or_insert_with(|| Value::Text(text.clone()));
        }
    };
    match kind {
        EventKind::Track => object(map, "properties"),
        EventKind::Identify => {
            object(map, "properties")?;
            Ok(Properties::new())
        }
        EventKind::Page | EventKind::Screen => {
            let mut properties = object(map, "properties")?;
            named(map, &mut properties, "name", "name");
            named(map, &mut properties, "category", "category");
            Ok(properties)
        }
        EventKind::Group => {
            let group = id(map, "groupId")?
                .ok_or_else(|| Fault::new("no_group", "a group item names its `groupId`"))?;
            let mut properties = object(map, "traits")?;
            properties.insert("group_id".to_owned(), Value::Text(group));
            Ok(properties)
        }
        EventKind::Alias => {
            let mut properties = Properties::new();
            named(map, &mut properties, "previousId", "previous_id");
            Ok(properties)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn rules(public_key: bool) -> Rules {
        Rules { received_at: NOW.parse().unwrap(), window_days: 30, public_key }
    }

    fn try_read(text: &str, public_key: bool) -> Result<Item, Fault> {
        let raw = RawItem { index: 0, text, bytes: text.as_bytes(), damaged: false };
        read(raw, None, &rules(public_key), || "made".to_owned())
    }

    fn good(text: &str) -> Item {
        try_read(text, false).unwrap()
    }

    fn hash(text: &str) -> [u8; 32] {
        good(text).event.body_hash
    }

    #[test]
    fn every_fault_has_its_own_word() {
        for (text, code) in faults() {
            let short: String = text.chars().take(90).collect();
            let fault = try_read(&text, false).map(|_| ()).map_err(|fault| fault.code);
            assert_eq!(fault, Err(code), "{short}");
        }
    }

    fn faults() -> Vec<(String, &'static str)> {
        let deep = format!(r#"{{"type":"track","x":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
        let bottomless = format!(r#"{{"type":"track","x":{}"#, "[".repeat(30_000));
        let large = format!(r#"{{"type":"track","x":"{}"}}"#, "x".repeat(ITEM_BYTES_MAX));
        let long = "x".repeat(256);
        vec![
            ("{".into(), "malformed_json"),
            (r#"{"type":"track","x":"\ud800"}"#.into(), "malformed_json"),
            ("7".into(), "not_an_object"),
            ("[]".into(), "not_an_object"),
            ("{}".into(), "unknown_type"),
            (r#"{"type":7}"#.into(), "unknown_type"),
            (r#"{"type":"purchase"}"#.into(), "unknown_type"),
            (deep, "too_deep"),
            (bottomless, "too_deep"),
            (large, "too_large"),
            (r#"{"type":"track","event":"a"}"#.into(), "no_identity"),
            (
                r#"{"type":"track","event":"a","userId":null,"anonymousId":""}"#.into(),
                "no_identity",
            ),
            (r#"{"type":"alias","userId":"a"}"#.into(), "no_identity"),
            (r#"{"type":"track","event":"a","userId":{"a":1}}"#.into(), "wrong_type"),
            (r#"{"type":"track","event":7,"userId":"a"}"#.into(), "wrong_type"),
            (r#"{"type":"track","event":"a","userId":"a","properties":[1]}"#.into(), "wrong_type"),
            (r#"{"type":"identify","userId":"a","traits":"x"}"#.into(), "wrong_type"),
            (r#"{"type":"identify","userId":"a","traits":{"email":7}}"#.into(), "wrong_type"),
            (
                r#"{"type":"identify","userId":"a","traits":{"email":"nobody"}}"#.into(),
                "invalid_email",
            ),
            (r#"{"type":"track","userId":"a"}"#.into(), "no_event_name"),
            (r#"{"type":"track","event":" ","userId":"a"}"#.into(), "no_event_name"),
            (r#"{"type":"group","userId":"a"}"#.into(), "no_group"),
            (r#"{"type":"track","event":"a\u0000","userId":"a"}"#.into(), "nul_character"),
            (
                r#"{"type":"track","event":"a","userId":"a","properties":{"k\u0000":1}}"#.into(),
                "nul_character",
            ),
            (format!(r#"{{"type":"track","event":"a","userId":"{long}"}}"#), "too_long"),
            (format!(r#"{{"type":"track","event":"{long}","userId":"a"}}"#), "too_long"),
            (
                format!(r#"{{"type":"track","event":"a","userId":"a","messageId":"{long}"}}"#),
                "too_long",
            ),
            (
                r#"{"type":"track","event":"a","userId":"a","timestamp":"2026-10-01T00:00:00Z"}"#
                    .into(),
                "too_old",
            ),
            (
                r#"{"type":"track","event":"a","userId":"a","timestamp":"0001-01-01T00:00:00Z"}"#
                    .into(),
                "too_old",
            ),
        ]
    }

    #[test]
    fn numbers_become_text_and_null_is_absent() {
        let item = good(r#"{"type":"track","event":"a","userId":17,"anonymousId":null}"#);
        assert_eq!(item.user_id.as_deref(), Some("17"));
        assert_eq!(item.anonymous_id, None);
        assert_eq!(item.event.message_id, "made");
    }

    #[test]
    fn a_public_key_names_nobody() {
        for allowed in [
            r#"{"type":"track","event":"a","anonymousId":"v"}"#,
            r#"{"type":"page","anonymousId":"v"}"#,
            r#"{"type":"identify","anonymousId":"v","traits":{"plan":"x"}}"#,
        ] {
            assert!(try_read(allowed, true).is_ok(), "{allowed}");
        }
        for refused in [
            r#"{"type":"track","event":"a","userId":"u"}"#,
            r#"{"type":"identify","anonymousId":"v","traits":{"email":"a@b.cd"}}"#,
            r#"{"type":"track","event":"a","anonymousId":"v","properties":{"email":"a@b.cd"}}"#,
            r#"{"type":"track","event":"a","anonymousId":"v","context":{"traits":{"email":"a@b.cd"}}}"#,
            r#"{"type":"group","anonymousId":"v","groupId":"g"}"#,
            r#"{"type":"alias","userId":"u","previousId":"v"}"#,
        ] {
            assert_eq!(try_read(refused, true).unwrap_err().code, "needs_secret_key", "{refused}");
        }
    }

    #[test]
    fn a_retry_hashes_the_same_and_another_body_does_not() {
        let first = r#"{"type":"track","event":"a","userId":"u","messageId":"m","sentAt":"1","context":{"x":1},"properties":{"a":1,"b":2}}"#;
        let again = r#"{"context":{"y":2},"properties":{"b":2,"a":1},"receivedAt":"9","sentAt":"2","messageId":"m","userId":"u","event":"a","type":"track"}"#;
        let other = r#"{"type":"track","event":"a","userId":"u","messageId":"m","properties":{"a":1,"b":3}}"#;
        assert_eq!(hash(first), hash(again));
        assert_ne!(hash(first), hash(other));
    }

    #[test]
    fn the_day_follows_the_original_timestamp_and_absurd_ones_are_undated() {
        let day = |members: &str| {
            let text = format!(r#"{{"type":"track","event":"a","userId":"u",{members}}}"#);
            good(&text).event.day
        };
        let of = |text: &str| EventDay::Day(text.parse::<Timestamp>().unwrap().utc_day());
        assert_eq!(day(r#""timestamp":"2026-11-20T23:59:59Z""#), of("2026-11-20T00:00:00Z"));
        assert_eq!(
            day(
                r#""originalTimestamp":"2026-11-19T01:00:00+02:00","timestamp":"2026-11-22T01:00:00Z""#
            ),
            of("2026-11-18T00:00:00Z")
        );
        for absurd in [
            r#""timestamp":"9999-01-01T00:00:00Z""#,
            r#""timestamp":"2026-11-23T12:00:01Z""#,
            r#""timestamp":"yesterday""#,
            r#""timestamp":1"#,
            r#""timestamp":null"#,
            r#""x":1"#,
        ] {
            assert_eq!(day(absurd), EventDay::Undated, "{absurd}");
        }
    }

    #[test]
    fn each_call_puts_its_members_where_conditions_look() {
        let page = good(
            r#"{"type":"page","anonymousId":"v","name":"Home","category":"shop","properties":{"url":"/"}}"#,
        );
        assert_eq!(page.event.name, "Home");
        assert_eq!(page.event.properties.len(), 3);
        let group = good(
            r#"{"type":"group","userId":"u","groupId":7,"traits":{"plan":"x","email":"no address"}}"#,
        );
        assert_eq!(group.event.properties.get("group_id"), Some(&Value::Text("7".into())));
        assert!(group.event.traits.is_empty() && group.event.email.is_none());
        let identify =
            good(r#"{"type":"identify","userId":"u","traits":{"email":"Anna@Example.org","n":1}}"#);
        assert_eq!(identify.event.email.unwrap().expose(), "anna@example.org");
        assert_eq!(identify.event.traits.len(), 2);
    }
}
