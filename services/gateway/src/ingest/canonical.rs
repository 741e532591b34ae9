//! One text for one meaning: what body hashes and stored bodies are made of.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

/// One text for one meaning: members sorted, no spaces.
#[must_use]
pub fn canonical(map: &Map<String, Json>) -> String {
    let mut text = String::new();
    write_map(map, &mut text);
    text
}

fn write_map(map: &Map<String, Json>, text: &mut String) {
    let mut members: Vec<_> = map.iter().collect();
    members.sort_unstable_by_key(|(key, _)| *key);
    text.push('{');
    for (place, (key, value)) in members.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        write_scalar(key, text);
        text.push(':');
        write_value(value, text);
    }
    text.push('}');
}

fn write_value(value: &Json, text: &mut String) {
    match value {
        Json::Object(map) => write_map(map, text),
        Json::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        Json::String(inner) => write_scalar(inner, text),
        Json::Null | Json::Bool(_) | Json::Number(_) => {
            // Writing to a String cannot fail.
            let _ = write!(text, "{value}");
        }
    }
}

fn write_scalar(inner: &str, text: &mut String) {
    text.push_str(&serde_json::to_string(inner).unwrap_or_default());
}
