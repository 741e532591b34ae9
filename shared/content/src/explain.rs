//! Where each merge field's value comes from: for previews. Says of every field what rendering would
//! find, without rendering.

use std::collections::BTreeSet;

use parcours_domain::{Value, value::Properties};

use crate::{
    merge::present,
    render::RenderData,
    template::{CompiledTemplate, FieldRule, ROOTS},
};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldSource {
    /// From the root that the path begins with.
    Given,
    /// From the template's own default.
    Default,
    /// There is none: where it is printed, the message is skipped.
    Missing,
    /// There is none and the template demands one: the message is skipped.
    RequiredMissing,
}

/// A merge field with what stands for it.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldValue {
    /// The path.
    pub path: String,
    /// Its value.
    pub value: Option<Value>,
    /// Where that comes from.
    pub source: FieldSource,
}

/// Every merge field that the template uses or has a rule for, by path.
#[must_use]
pub fn explain(template: &CompiledTemplate, data: &RenderData<'_>) -> Vec<FieldValue> {
    let used = template.fields_used().iter().map(|field| field.path.as_str());
    let paths: BTreeSet<&str> = used.chain(template.rules().keys().map(String::as_str)).collect();
    let one = |path: &str| {
        let rule = template.rules().get(path);
        let (value, source) = match (given(path, data), rule) {
            (Some(value), _) => (Some(value), FieldSource::Given),
            (None, Some(FieldRule::Default(value))) => (Some(value.clone()), FieldSource::Default),
            (None, Some(FieldRule::Required)) => (None, FieldSource::RequiredMissing),
            (None, None) => (None, FieldSource::Missing),
        };
        FieldValue { path: path.to_owned(), value, source }
    };
    paths.into_iter().map(one).collect()
}

/// The value at a path; what is null or empty does not exist.
fn given(path: &str, data: &RenderData<'_>) -> Option<Value> {
    let (root, rest) = path.split_once('.')?;
    let roots: [&Properties; 4] = [data.contact, data.run, data.brand, data.message];
    let at = ROOTS.iter().position(|known| *known == root)?;
    let mut words = rest.split('.');
    let mut value = roots.get(at)?.get(words.next()?)?;
    for word in words {
        value = match value {
            Value::Map(map) => map.get(word)?,
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_) => return None,
        };
    }
    present(value)
}
