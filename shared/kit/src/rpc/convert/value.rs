//! Values of properties: one level of nesting is one level of messages.

use std::collections::BTreeMap;

use parcours_domain::{Value, value::Properties};

use super::{
    super::proto::{self, value::Kind},
    ConvertError,
};

/// The deepest nesting that is sent. The API lets in half of it, and protobuf readers refuse
/// messages nested about 100 levels deep, of which other messages take five.
const DEPTH_MAX: usize = 64;

pub(super) fn properties_to(properties: &Properties) -> Result<proto::Value, ConvertError> {
    members_to(properties, 1)
}

pub(super) fn properties_from(
    field: &'static str,
    value: Option<proto::Value>,
) -> Result<Properties, ConvertError> {
    match value_from(value.ok_or(ConvertError::Missing(field))?)? {
        Value::Map(members) => Ok(members),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::List(_) => Err(ConvertError::Unreadable(field)),
    }
}

fn value_to(value: &Value, depth: usize) -> Result<proto::Value, ConvertError> {
    if depth > DEPTH_MAX {
        return Err(ConvertError::TooDeep);
    }
    Ok(match value {
        Value::Null => of(Kind::Null),
        Value::Bool(false) => of(Kind::False),
        Value::Bool(true) => of(Kind::True),
        Value::Int(whole) => proto::Value { whole: *whole, ..of(Kind::Whole) },
        Value::Float(number) => proto::Value { number: *number, ..of(Kind::Number) },
        Value::Text(text) => proto::Value { text: text.clone(), ..of(Kind::Text) },
        Value::List(items) => {
            proto::Value { items: all_to(items.iter(), depth + 1)?, ..of(Kind::List) }
        }
        Value::Map(members) => members_to(members, depth)?,
    })
}

fn members_to(
    members: &BTreeMap<String, Value>,
    depth: usize,
) -> Result<proto::Value, ConvertError> {
    let items = all_to(members.values(), depth + 1)?;
    Ok(proto::Value { items, keys: members.keys().cloned().collect(), ..of(Kind::Map) })
}

fn all_to<'a>(
    values: impl Iterator<Item = &'a Value>,
    depth: usize,
) -> Result<Vec<proto::Value>, ConvertError> {
    values.map(|value| value_to(value, depth)).collect()
}

fn of(kind: Kind) -> proto::Value {
    proto::Value { kind: kind.into(), ..proto::Value::default() }
}

/// The recursion is bounded by the reader of the message, which refuses deep nesting.
fn value_from(value: proto::Value) -> Result<Value, ConvertError> {
    let kind = Kind::try_from(value.kind).map_err(|_| ConvertError::Unknown("value.kind"))?;
    Ok(match kind {
        Kind::Unspecified => return Err(ConvertError::Missing("value.kind")),
        Kind::Null => Value::Null,
        Kind::False => Value::Bool(false),
        Kind::True => Value::Bool(true),
        Kind::Whole => Value::Int(value.whole),
        Kind::Number => Value::Float(value.number),
        Kind::Text => Value::Text(value.text),
        Kind::List => Value::List(all_from(value.items)?),
        Kind::Map if value.keys.len() != value.items.len() => {
            return Err(ConvertError::Length("value.keys"));
        }
        Kind::Map => Value::Map(value.keys.into_iter().zip(all_from(value.items)?).collect()),
    })
}

fn all_from(values: Vec<proto::Value>) -> Result<Vec<Value>, ConvertError> {
    values.into_iter().map(value_from).collect()
}
