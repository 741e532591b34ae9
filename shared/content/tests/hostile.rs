//! Templates and values that mean harm: nothing is reached, nothing takes long.

mod support;

use parcours_content::{RenderError, TemplateSource};
use serde_json::json;
use support::{codes, html, rendered};

/// Payloads that escape from other engines' sandboxes, and what is said of them here.
#[test]
fn what_reaches_beyond_the_values_is_refused_at_publish() {
    for (payload, code) in [
        ("{{ env }}", "unknown_variable"),
        ("{{ env('PATH') }}", "unknown_function"),
        ("{{ self }}", "unknown_variable"),
        ("{{ config.items() }}", "unknown_function"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unknown_variable"),
        ("{{ contact.__class__ }}", "unknown_variable"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "unknown_variable"),
        ("{{ request|attr('application') }}", "unknown_filter"),
        ("{{ contact|attr('x') }}", "unknown_filter"),
        ("{{ contact.x|safe }}", "unknown_filter"),
        ("{{ contact.x|map('upper') }}", "unknown_filter"),
        ("{{ contact.x|tojson }}", "unknown_filter"),
        ("{{ debug() }}", "unknown_function"),
        ("{{ range(100000000) }}", "unknown_function"),
        ("{{ namespace(a=1) }}", "unknown_function"),
        ("{{ [1,2,3] }}", "unknown_operator"),
        ("{{ {'a': 1} }}", "unknown_operator"),
        ("{{ contact.tags * 100000000 }}", "unknown_operator"),
        ("{{ 9**9**9 }}", "unknown_operator"),
        ("{{ contact[run.x] }}", "unknown_operator"),
        ("{{ contact }}", "whole_record"),
        ("{{ __link(1, 'javascript:x') }}", "unknown_variable"),
        ("{% include 'html' %}", "unknown_tag"),
        ("{% import 'html' as x %}", "unknown_tag"),
        ("{% extends 'html' %}", "unknown_tag"),
        ("{% block x %}{% endblock %}", "unknown_tag"),
        ("{% set x = 'a' %}", "unknown_tag"),
        ("{% macro f() %}{{ f() }}{% endmacro %}", "unknown_tag"),
        ("{% autoescape false %}{{ contact.x }}{% endautoescape %}", "unknown_tag"),
        ("{% raw %}{{ contact.x }}{% endraw %}", "unknown_tag"),
        ("{% filter upper %}a{% endfilter %}", "unknown_tag"),
        ("{% with a = 1 %}{% endwith %}", "unknown_tag"),
        ("{% for a in [contact.x ~ contact.x] %}{% endfor %}", "loop_source"),
        ("{% for a in 'x' ~ contact.x %}{% endfor %}", "loop_source"),
        ("{% for a in run.tree recursive %}{{ loop(a) }}{% endfor %}", "loop_source"),
        ("{% for contact in run.items %}{{ contact.x }}{% endfor %}", "shadowed_name"),
        ("{% if contact.x %}", "syntax"),
        ("{{ contact.x", "syntax"),
        ("{{ }}", "syntax"),
        ("{{ contact.x is sameas(1) }}", "unknown_test"),
        ("\u{fdd0}0\u{fdd1}", "reserved_text"),
        ("zq9pj0zq", "reserved_text"),
    ] {
        let found = codes(&html(&format!("<p>{payload}</p>")));
        assert!(found.contains(&code), "{payload}: {found:?}");
    }
}

#[test]
fn all_faults_of_a_template_are_reported_with_their_lines() {
    let source = TemplateSource {
        subject: "{{ env }}".into(),
        html: "<p>\n{{ a|safe }}\n{% set x = 1 %}</p>".into(),
        text: Some("\n\n{{ f() }}".into()),
        ..TemplateSource::default()
    };
    let problems = parcours_content::compile(&source).unwrap_err();
    let places: Vec<_> = problems.iter().map(|p| (p.part.as_str(), p.line, p.code)).collect();
    assert_eq!(
        places,
        [
            ("subject", None, "unknown_variable"),
            ("html", Some(2), "unknown_filter"),
            ("html", Some(3), "unknown_tag"),
            ("text", Some(3), "unknown_function"),
        ]
    );
    assert!(problems.iter().all(|problem| !problem.help.is_empty()));
}

#[test]
fn loops_over_loops_run_out_of_fuel() {
    let list: Vec<i64> = (0..2_000).collect();
    let bomb = "{% for a in run.list %}{% for b in run.list %}{% for c in run.list %}{% if a == b %}\
                {% endif %}{% endfor %}{% endfor %}{% endfor %}";
    let source = TemplateSource { text: Some("t".into()), ..html(bomb) };
    let outcome = rendered(&source, json!({}), json!({"list": list}));
    assert_eq!(outcome, Err(RenderError::Fuel));
}

#[test]
fn output_and_values_have_a_limit() {
    let long = "x".repeat(16_000);
    let list: Vec<i64> = (0..200).collect();
    let source = TemplateSource {
        text: Some("t".into()),
        ..html("{% for a in run.list %}{{ run.long }}{% endfor %}")
    };
    let outcome = rendered(&source, json!({}), json!({"list": list, "long": long}));
    assert_eq!(outcome, Err(RenderError::TooLarge));

    let source = html("{{ run.long }}");
    assert_eq!(
        rendered(&source, json!({}), json!({"long": "x".repeat(20_000)})),
        Err(RenderError::TooLarge)
    );
    let source = html("{{ run.a|replace('a', run.a)|replace('a', run.a)|replace('a', run.a) }}");
    assert_eq!(
        rendered(&source, json!({}), json!({"a": "a".repeat(16_000)})),
        Err(RenderError::Fuel)
    );
}

#[test]
fn a_value_cannot_break_out_of_the_html() {
    let source = html("<p title=\"{{ contact.n }}\">{{ contact.n }}</p>");
    let evil = "\"><script>alert(1)</script>{{ contact.x }}{% set %}";
    let html = rendered(&source, json!({"n": evil}), json!({})).unwrap().html;
    assert!(!html.contains("<script>"), "{html}");
    assert!(html.contains("<p title=\"&quot;&gt;&lt;script"), "{html}");
    assert!(html.contains("{{ contact.x }}"), "values are not templates: {html}");
}

#[test]
fn a_value_cannot_pose_as_a_link() {
    let source = html("<a href=\"https://shop.example/\">x</a>{{ contact.n }}");
    let message = rendered(&source, json!({"n": "\u{fdd0}u\u{fdd1}\u{fdd0}0\u{fdd1}"}), json!({}));
    let html = message.unwrap().html;
    assert!(!html.contains("TOKEN"), "{html}");
    assert_eq!(html.matches("track.example/c/0").count(), 1, "{html}");
}

#[test]
fn a_line_break_in_the_subject_is_refused() {
    for evil in ["a\r\nBcc: x@y.example", "a\nb", "a\rb", "a\u{0}b", "a\u{85}b", "a\u{2028}b"] {
        let source = TemplateSource { subject: "Hi {{ contact.n }}".into(), ..html("x") };
        let outcome = rendered(&source, json!({"n": evil}), json!({}));
        assert_eq!(outcome, Err(RenderError::HeaderInjection), "{evil:?}");
        assert_eq!(outcome.unwrap_err().reason(), "header_injection");
    }
    let source = TemplateSource { subject: "a\nb".into(), ..html("x") };
    assert_eq!(codes(&source), ["control_character"]);
}

#[test]
fn markup_that_runs_code_or_loads_pages_is_refused() {
    for (markup, code) in [
        ("<script>x</script>", "unsafe_element"),
        ("<IFRAME src=\"https://a.example\"></IFRAME>", "unsafe_element"),
        ("<base href=\"https://evil.example\">", "unsafe_element"),
        ("<link rel=\"stylesheet\" href=\"https://a.example/x.css\">", "unsafe_element"),
        ("<form action=\"https://a.example\"></form>", "unsafe_element"),
        ("<p onclick=\"x()\">", "unsafe_attribute"),
        ("<img src=\"javascript:x\">", "unsafe_link"),
        ("<meta http-equiv=\"refresh\" content=\"0;url=x\">", "unsafe_element"),
        ("<a href=\"javascript:alert(1)\">x</a>", "unsafe_link"),
        ("<a href='java&#115;cript:alert(1)'>x</a>", "unsafe_link"),
        ("<a href=\"//evil.example\">x</a>", "unsafe_link"),
        ("<a href=\"https:evil.example\">x</a>", "unsafe_link"),
        ("<a href=\"https://a\\@evil.example\">x</a>", "unsafe_link"),
        ("<a href=\"https://a.example/&#13;&#10;x\">x</a>", "unsafe_link"),
        ("<a href=\"https://{{ run.host }}/\">x</a>", "unsafe_link"),
        ("<a href=\"https://a.example{{ run.x }}\">x</a>", "unsafe_link"),
        ("<a href=\"{{ run.a }}{{ run.b }}\">x</a>", "unsafe_link"),
        ("<a href={{ run.a }}>x</a>", "code_in_tag"),
        ("<a {{ run.a }}>x</a>", "code_in_tag"),
        ("<a href=\"https://a.example/{% if run.a %}b{% endif %}\">x</a>", "code_in_link"),
    ] {
        let found = codes(&html(markup));
        assert!(found.contains(&code), "{markup}: {found:?}");
    }
}

#[test]
fn a_link_from_data_is_judged_when_it_is_known() {
    let source = html("<a href=\"{{ run.url }}\">x</a>");
    for evil in ["javascript:alert(1)", "//evil.example", "https:evil", "https://a\\b", "x\r\ny"] {
        let outcome = rendered(&source, json!({}), json!({"url": evil}));
        assert_eq!(outcome, Err(RenderError::UnsafeLink { link: 0 }), "{evil}");
    }
    let good = rendered(&source, json!({}), json!({"url": "https://a.example/?x=1&y=2"})).unwrap();
    assert_eq!(good.links, [(0, "https://a.example/?x=1&y=2".to_owned())]);
}

/// A stack overflow would end the process and with it every brand's deliveries.
#[test]
fn deep_nesting_is_a_problem_and_not_the_end_of_the_process() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}x{}", open.repeat(depth), close.repeat(depth))
    };
    for (name, source) in [
        ("elements", nested("<b>", "</b>", 30_000)),
        ("elements at the limit", nested("<b>", "</b>", 100)),
        ("tables at the limit", nested("<table><tr><td>", "</td></tr></table>", 33)),
        ("open elements", "<div>".repeat(50_000)),
        ("misnested elements", "<b><div></b>".repeat(20_000)),
        ("misnested links", "<a href=\"#\"><div></a>".repeat(10_000)),
        ("conditions at the limit", nested("{% if run.a %}", "{% endif %}", 24)),
        ("tables", nested("<table><tr><td>", "</td></tr></table>", 6_000)),
        ("lists", nested("<ul><li>", "</li></ul>", 10_000)),
        ("conditions", nested("{% if run.a %}", "{% endif %}", 2_400)),
        ("parentheses", format!("{{{{ {} }}}}", nested("(", ")", 400))),
        ("signs", format!("{{{{ {}1 }}}}", "-".repeat(900))),
        ("negations", format!("{{{{ {}run.a }}}}", "not ".repeat(200))),
        ("sums", format!("{{{{ 1{} }}}}", "-1".repeat(400))),
        ("subscripts", format!("{{{{ run.a{} }}}}", "[0]".repeat(300))),
        ("paths", format!("{{{{ run{} }}}}", ".a".repeat(400))),
        ("styles", format!("<style>{}</style>", nested("@media print {", "}", 8_000))),
        ("selectors", format!("<style>{}{{color:red}}</style>", nested(":not(", ")", 10_000))),
    ] {
        let thread = std::thread::Builder::new().name(name.into()).stack_size(2 << 20);
        let run = thread.spawn(move || parcours_content::compile(&html(&source)).map(|_| ()));
        run.unwrap().join().unwrap().ok();
    }
}

#[test]
fn elements_left_open_are_not_opened_again_without_end() {
    let open: String = (0..90).map(|n| format!("<b id=\"{n}\">")).collect();
    let source = format!("<p>{open}</p>{}", "<p>x</p>".repeat(20_000));
    assert_eq!(codes(&html(&source)), ["too_complex"]);
    let page = format!("<table>{}</table>", "<tr><td><p>x</p></td></tr>".repeat(2_000));
    assert!(codes(&html(&page)).is_empty());
}

#[test]
fn nesting_has_a_limit_that_no_honest_mail_reaches() {
    let elements =
        |depth: usize| html(&format!("{}x{}", "<b>".repeat(depth), "</b>".repeat(depth)));
    let conditions = |depth: usize| {
        html(&format!("{}x{}", "{% if run.a %}".repeat(depth), "{% endif %}".repeat(depth)))
    };
    assert!(codes(&elements(100)).is_empty() && codes(&conditions(24)).is_empty());
    assert_eq!(codes(&elements(101)), ["too_complex"]);
    assert_eq!(codes(&conditions(25)), ["too_complex"]);
}
