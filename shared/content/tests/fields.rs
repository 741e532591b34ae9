//! Merge fields: what is missing never prints as nothing.

mod support;

use parcours_content::{FieldRule, RenderError, TemplateSource, compile};
use parcours_domain::Value;
use serde_json::json;
use support::{codes, html, rendered, rules};

fn missing(path: &str) -> Result<parcours_content::Rendered, RenderError> {
    Err(RenderError::Missing { path: path.into() })
}

#[test]
fn a_missing_field_names_itself() {
    let source = html("<p>Bonjour {{ contact.first_name }},</p>");
    for contact in [json!({}), json!({"first_name": null}), json!({"first_name": "  "})] {
        assert_eq!(rendered(&source, contact, json!({})), missing("contact.first_name"));
    }
    let html = rendered(&source, json!({"first_name": "Zoé"}), json!({})).unwrap().html;
    assert!(html.contains("Bonjour Zoé,"));
}

#[test]
fn a_missing_field_names_itself_through_filters_tests_and_loops() {
    for (template, path) in [
        ("{{ contact.a|upper }}", "contact.a"),
        ("{{ contact.a ~ 'x' }}", "contact.a"),
        ("{% if contact.a %}x{% endif %}", "contact.a"),
        ("{% if contact.a == 1 %}x{% endif %}", "contact.a"),
        ("{% for x in run.items %}{{ x }}{% endfor %}", "run.items"),
        ("{{ run.cart.total|money }}", "run.cart.total"),
        ("<a href=\"{{ run.url }}\">x</a>", "run.url"),
        ("<a href=\"https://a.example/{{ run.id }}\">x</a>", "run.id"),
    ] {
        assert_eq!(rendered(&html(template), json!({}), json!({})), missing(path), "{template}");
    }
    let source = html("{% for x in run.items %}{{ x.title }}{% endfor %}");
    assert_eq!(
        rendered(&source, json!({}), json!({"items": [{"title": "a"}, {}]})),
        missing("x.title")
    );
}

#[test]
fn a_default_stands_in_and_a_required_field_is_asked_for_up_front() {
    let mut source = html("<p>{{ contact.name }} {{ contact.address.city }}</p>");
    source.fields = rules([
        ("contact.name", FieldRule::Default(Value::from("friend"))),
        ("contact.address.city", FieldRule::Default(Value::from("Lyon"))),
    ]);
    for contact in [json!({}), json!({"name": null, "address": {}}), json!({"name": ""})] {
        let html = rendered(&source, contact, json!({})).unwrap().html;
        assert!(html.contains("friend Lyon"), "{html}");
    }
    let html_of = rendered(&source, json!({"name": "A", "address": {"city": "B"}}), json!({}));
    assert!(html_of.unwrap().html.contains("A B"));

    let mut guarded = html("{% if contact.vip is defined %}{{ contact.vip }}{% endif %}ok");
    assert!(rendered(&guarded, json!({}), json!({})).unwrap().html.contains("ok"));
    guarded.fields = rules([("contact.vip", FieldRule::Required)]);
    assert_eq!(rendered(&guarded, json!({}), json!({})), missing("contact.vip"));
}

#[test]
fn an_empty_subject_is_a_missing_one() {
    let source =
        TemplateSource { subject: "{% if run.a is defined %}x{% endif %}".into(), ..html("x") };
    assert_eq!(rendered(&source, json!({}), json!({})), missing("subject"));
}

#[test]
fn the_fields_of_a_template_are_listed_with_their_rules() {
    let mut source = html("{% for item in run.items %}{{ item.t }}{{ contact.a }}{% endfor %}");
    source.subject = "{{ brand.name }}".into();
    source.text = Some("{{ contact.b.c }}{{ unsubscribe_url }}".into());
    source.fields = rules([("contact.a", FieldRule::Default(Value::Int(1)))]);
    let template = compile(&source).unwrap();
    let fields: Vec<_> =
        template.fields_used().iter().map(|f| (f.path.as_str(), f.has_default())).collect();
    assert_eq!(
        fields,
        [("brand.name", false), ("contact.a", true), ("contact.b.c", false), ("run.items", false)]
    );
}

#[test]
fn a_variable_that_nothing_provides_is_a_problem() {
    assert_eq!(codes(&html("{{ event.x }}")), ["unknown_variable"]);
    assert_eq!(codes(&html("{{ first_name }}")), ["unknown_variable"]);
    let mut source = html("x");
    source.fields = rules([("name", FieldRule::Required)]);
    assert_eq!(codes(&source), ["unknown_variable"]);
}

#[test]
fn filters_and_arithmetic_do_what_a_shop_needs() {
    let source = html(
        "{% for i in run.items[:2] %}{{ loop.index }}:{{ i.n|upper }}={{ i.p|times(i.q)|money(',') }};{% endfor %}\
         {{ run.items|length }} {{ run.tags|join(', ') }} {{ 'x'|default('y') }} {{ run.q|urlencode }}",
    );
    let run = json!({
        "items": [{"n": "a", "p": 2.5, "q": 2}, {"n": "b", "p": 3, "q": 1}, {"n": "c", "p": 1, "q": 1}],
        "tags": ["u", "v"], "q": "a b",
    });
    let html = rendered(&source, json!({}), run).unwrap().html;
    assert!(html.contains("1:A=5,00;2:B=3,00;3 u, v x a%20b"), "{html}");
}

#[test]
fn a_list_or_record_is_not_printed_as_program_text() {
    let part = parcours_content::Part::Html;
    for run in [json!({"x": ["a", "b"]}), json!({"x": {"a": 1}})] {
        let outcome = rendered(&html("{{ run.x }}"), json!({}), run);
        assert_eq!(outcome, Err(RenderError::Template { part, line: Some(1) }));
    }
}
