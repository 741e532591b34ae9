//! The values that one message merges: picked by the template's paths, with defaults filled in and
//! nothing empty left, so that a missing value does not exist and cannot print as nothing.

use std::collections::BTreeMap;

use minijinja::Value as Merged;
use parcours_domain::{Value, value::Properties};

use crate::{
    engine::MARKS,
    render::{RenderData, RenderError},
    template::{CompiledTemplate, FieldRule, FieldUse, ROOTS},
};

const VALUE_MAX_BYTES: usize = 16 * 1024;

/// The values that the template uses, with defaults filled in and nothing empty left.
pub(crate) struct MergeValues<'a> {
    fields: &'a [FieldUse],
    roots: BTreeMap<&'static str, Value>,
}

impl<'a> MergeValues<'a> {
    pub(crate) fn collect(
        template: &'a CompiledTemplate,
        data: &RenderData<'_>,
    ) -> Result<Self, RenderError> {
        let sources = [data.contact, data.run, data.brand, data.message];
        let mut roots = BTreeMap::new();
        let used = template.fields_used().iter().map(|field| field.path.as_str());
        let paths: Vec<&str> = used.chain(template.rules().keys().map(String::as_str)).collect();
        for (root, source) in ROOTS.into_iter().zip(sources) {
            let mut kept = Properties::new();
            for path in &paths {
                let mut words = path.split('.');
                if words.next() == Some(root)
                    && let Some(key) = words.next()
                    && let Some(value) = source.get(key).and_then(present)
                {
                    kept.insert(key.to_owned(), value);
                }
            }
            roots.insert(root, Value::Map(kept));
        }
        let mut values = Self { fields: template.fields_used(), roots };
        for (path, rule) in template.rules() {
            match rule {
                FieldRule::Default(default) => values.fill_in(path, default),
                FieldRule::Required if values.get(path).is_none() => {
                    return Err(RenderError::Missing { path: path.clone() });
                }
                FieldRule::Required => {}
            }
        }
        Ok(values)
    }

    fn get(&self, path: &str) -> Option<&Value> {
        let mut words = path.split('.');
        let root = self.roots.get(words.next()?)?;
        words.try_fold(root, |value, word| match value {
            Value::Map(map) => map.get(word),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_) => None,
        })
    }

    fn fill_in(&mut self, path: &str, default: &Value) {
        let mut words: Vec<&str> = path.split('.').collect();
        let last = words.pop().unwrap_or("");
        let mut words = words.into_iter();
        let Some(mut at) = words.next().and_then(|root| self.roots.get_mut(root)) else { return };
        for word in words {
            let Value::Map(map) = at else { return };
            at = map.entry(word.to_owned()).or_insert_with(|| Value::Map(Properties::new()));
        }
        if let Value::Map(map) = at {
            map.entry(last.to_owned()).or_insert_with(|| default.clone());
        }
    }

    pub(crate) fn merged(&self) -> Result<BTreeMap<&'static str, Merged>, RenderError> {
        self.roots.iter().map(|(root, value)| Ok((*root, to_merged(value)?))).collect()
    }

    /// The missing field that a failing expression speaks of.
    pub(crate) fn missing_in(&self, named: &str, undefined: bool) -> Option<RenderError> {
        let below = format!("{named}.");
        let speaks_of = |field: &&&FieldUse| {
            named.contains(&field.path) || (undefined && field.path.starts_with(&below))
        };
        let missing: Vec<&FieldUse> =
            self.fields.iter().filter(|field| self.get(&field.path).is_none()).collect();
        let path = match missing.iter().find(speaks_of) {
            Some(field) => field.path.clone(),
            None if undefined && !named.is_empty() => named.to_owned(),
            None if undefined => missing.first()?.path.clone(),
            None => return None,
        };
        Some(RenderError::Missing { path })
    }
}

/// The value without what is empty; none when nothing is left of it.
pub(crate) fn present(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Text(text) if text.trim().is_empty() => None,
        Value::List(items) => Some(Value::List(items.iter().filter_map(present).collect())),
        Value::Map(map) => Some(Value::Map(
            map.iter().filter_map(|(key, item)| Some((key.clone(), present(item)?))).collect(),
        )),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => Some(value.clone()),
    }
}

fn to_merged(value: &Value) -> Result<Merged, RenderError> {
    Ok(match value {
        Value::Null => Merged::UNDEFINED,
        Value::Bool(truth) => Merged::from(*truth),
        Value::Int(whole) => Merged::from(*whole),
        Value::Float(number) => Merged::from(*number),
        Value::Text(text) if text.len() > VALUE_MAX_BYTES => return Err(RenderError::TooLarge),
        Value::Text(text) if text.contains(MARKS) => Merged::from(text.replace(MARKS, "")),
        Value::Text(text) => Merged::from(text.as_str()),
        Value::List(items) => {
            items.iter().map(to_merged).collect::<Result<Vec<Merged>, _>>()?.into()
        }
        Value::Map(map) => map
            .iter()
            .map(|(key, item)| Ok((key.clone(), to_merged(item)?)))
            .collect::<Result<BTreeMap<String, Merged>, _>>()?
            .into(),
    })
}
