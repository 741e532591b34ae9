//! What attributes and event properties are made of: JSON's values with integers kept apart from
//! floats, in an ordered map.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A value of an attribute or of an event property.
///
/// `Serialize` tags the variant (the stored, binary form); JSON goes through [`Value::from_json`]
/// and [`Value::to_json`].
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub enum Value {
    /// JSON null; in attributes, "set to nothing".
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number that fits 64 bits.
    Int(i64),
    /// Any other number; never NaN or infinite when it came from JSON.
    Float(f64),
    /// Text without NUL.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A map, ordered by key.
    Map(BTreeMap<String, Value>),
}

/// An ordered map of values: attributes, properties.
pub type Properties = BTreeMap<String, Value>;

impl Value {
    /// From JSON. Whole numbers become `Int`, those beyond 64 bits and fractions `Float`.
    #[must_use]
    pub fn from_json(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(truth) => Self::Bool(truth),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.as_f64().unwrap_or(0.0)),
            },
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) => {
                Self::List(items.into_iter().map(Self::from_json).collect())
            }
            serde_json::Value::Object(map) => {
                Self::Map(map.into_iter().map(|(key, item)| (key, Self::from_json(item))).collect())
            }
        }
    }

    /// To JSON. A float that JSON cannot hold becomes null.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(truth) => (*truth).into(),
            Self::Int(whole) => (*whole).into(),
            Self::Float(number) => serde_json::Number::from_f64(*number)
                .map_or(serde_json::Value::Null, serde_json::Value::Number),
            Self::Text(text) => text.clone().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(map) => map.iter().map(|(key, item)| (key.clone(), item.to_json())).collect(),
        }
    }

    /// The text, if this is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::List(_)
            | Self::Map(_) => None,
        }
    }

    /// The member at a dotted path of maps, if every part is there.
    #[must_use]
    pub fn at<'a>(&'a self, path: &[String]) -> Option<&'a Value> {
        path.iter().try_fold(self, |value, part| match value {
            Self::Map(map) => map.get(part),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::List(_) => None,
        })
    }

    /// Nesting depth: 1 for a scalar.
    #[must_use]
    pub fn depth(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => 1,
            Self::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Map(map) => 1 + map.values().map(Self::depth).max().unwrap_or(0),
        }
    }

    /// Whether any text or key holds U+0000, which PostgreSQL refuses in text and JSON.
    #[must_use]
    pub fn has_nul(&self) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => false,
            Self::Text(text) => text.contains('\0'),
            Self::List(items) => items.iter().any(Self::has_nul),
            Self::Map(map) => map.iter().any(|(key, item)| key.contains('\0') || item.has_nul()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<i64> for Value {
    fn from(whole: i64) -> Self {
        Self::Int(whole)
    }
}
impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}
impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips_and_whole_numbers_stay_whole() {
        let json = serde_json::json!({"a": [1, 1.5, "x", null, true], "b": {"c": -7}});
        let value = Value::from_json(json.clone());
        assert_eq!(value.to_json(), json);
        assert_eq!(value.at(&["b".into(), "c".into()]), Some(&Value::Int(-7)));
        assert_eq!(value.depth(), 3);
    }

    #[test]
    fn a_nul_is_found_however_deep() {
        assert!(Value::from_json(serde_json::json!({"a": [{"b\u{0}": 1}]})).has_nul());
        assert!(!Value::from_json(serde_json::json!({"a": ["b"]})).has_nul());
    }
}
