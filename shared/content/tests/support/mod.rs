//! Short ways to write templates and values in tests.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::collections::BTreeMap;

use parcours_content::{
    CompiledTemplate, FieldRule, LinkUrls, RenderData, RenderError, Rendered, TemplateSource,
    compile, render,
};
use parcours_domain::{Value, value::Properties};

/// A template with a subject and HTML.
pub fn html(html: &str) -> TemplateSource {
    TemplateSource { subject: "Hello".into(), html: html.into(), ..TemplateSource::default() }
}

/// The compiled template.
pub fn compiled(source: &TemplateSource) -> CompiledTemplate {
    compile(source).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The codes of all problems.
pub fn codes(source: &TemplateSource) -> Vec<&'static str> {
    compile(source).err().unwrap_or_default().iter().map(|problem| problem.code).collect()
}

/// Properties from JSON.
pub fn properties(json: serde_json::Value) -> Properties {
    match Value::from_json(json) {
        Value::Map(map) => map,
        other => panic!("{other:?}"),
    }
}

/// Rules from pairs.
pub fn rules<const N: usize>(rules: [(&str, FieldRule); N]) -> BTreeMap<String, FieldRule> {
    rules.into_iter().map(|(path, rule)| (path.to_owned(), rule)).collect()
}

/// URLs that can be told apart.
pub struct Urls;
impl LinkUrls for Urls {
    fn unsubscribe(&self) -> String {
        "https://track.example/u/TOKEN?a=1&b=2".into()
    }
    fn click(&self, link: u16, _target: &str) -> String {
        format!("https://track.example/c/{link}")
    }
}

/// URLs of a brand that does not count clicks.
pub struct PlainUrls;
impl LinkUrls for PlainUrls {
    fn unsubscribe(&self) -> String {
        "https://track.example/u/TOKEN".into()
    }
    fn click(&self, _link: u16, target: &str) -> String {
        target.to_owned()
    }
}

/// Renders with values for contact and run.
pub fn rendered(
    source: &TemplateSource,
    contact: serde_json::Value,
    run: serde_json::Value,
) -> Result<Rendered, RenderError> {
    let brand = properties(serde_json::json!({"name": "Shop", "postal_address": "1 rue X"}));
    let data = RenderData {
        contact: &properties(contact),
        run: &properties(run),
        brand: &brand,
        message: &Properties::new(),
    };
    render(&compiled(source), &data, &Urls)
}
