//! MJML: faults are named with their place, merge fields come through, nothing foreign gets in, and
//! what is rendered stays as it is.

mod support;

use std::{fs, path::Path};

use parcours_content::{
    FieldRule, LinkTarget, Part, RenderData, TemplateProblem, TemplateSource, check_marketing,
    compile, render,
};
use parcours_domain::value::Properties;
use serde_json::json;
use support::{PlainUrls, compiled, rendered, rules};

fn mjml(text: &str) -> TemplateSource {
    TemplateSource { subject: "Hello".into(), mjml: Some(text.into()), ..TemplateSource::default() }
}

/// A template whose only column holds this.
fn column(inside: &str) -> TemplateSource {
    mjml(&format!(
        "<mjml><mj-body><mj-section><mj-column>{inside}</mj-column></mj-section></mj-body></mjml>"
    ))
}

fn problems(source: &TemplateSource) -> Vec<TemplateProblem> {
    compile(source).err().unwrap_or_default()
}

fn codes(source: &TemplateSource) -> Vec<&'static str> {
    problems(source).iter().map(|problem| problem.code).collect()
}

#[test]
fn a_bomb_of_faults_is_answered_in_bounds() {
    let many: String = (0..50).map(|number| format!(" x{number}=\"1\"")).collect();
    let classes = format!("<mj-class name=\"a\"{many}/>").repeat(300);
    let found = problems(&mjml(&format!(
        "<mjml><mj-head><mj-attributes>{classes}</mj-attributes></mj-head><mj-body></mj-body></mjml>"
    )));
    assert_eq!(found.len(), 100, "15,000 faults are there");
    assert!(found.iter().all(|problem| problem.help.len() < 200), "{:?}", found.first());
}

#[test]
fn a_fault_says_where_it_is_and_how_to_mend_it() {
    let source = mjml(
        "<mjml>\n  <mj-body>\n    <mj-section>\n      <mj-column>\n        <mj-txt>x</mj-txt>\n\
         \x20       <mj-text colour=\"red\">é<b>y</b></mj-text>\n      </mj-column>\n    </mj-section>\n\
         \x20   <mj-column><mj-text>z</mj-text></mj-column>\n  </mj-body>\n</mjml>",
    );
    let found = problems(&source);
    let told: Vec<_> = found
        .iter()
        .map(|p| (p.part, p.code, p.line, p.column, p.message.as_str(), p.help.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                Part::Mjml,
                "mjml_element",
                Some(5),
                Some(9),
                "<mj-txt> is not an MJML element",
                "did you mean mj-text?"
            ),
            (
                Part::Mjml,
                "mjml_attribute",
                Some(6),
                Some(18),
                "<mj-text> has no attribute colour",
                "did you mean color?"
            ),
            (
                Part::Mjml,
                "mjml_misplaced",
                Some(9),
                Some(5),
                "<mj-column> does not belong directly into <mj-body>",
                "it belongs into mj-section or mj-group"
            ),
        ]
    );
}

#[test]
fn what_the_renderer_would_pass_over_in_silence_is_a_problem() {
    let head = |inside: &str| {
        mjml(&format!("<mjml><mj-head>{inside}</mj-head><mj-body></mj-body></mjml>"))
    };
    for (source, code) in [
        (mjml(""), "not_mjml"),
        (mjml("<p>HTML</p>"), "not_mjml"),
        (mjml("<mjml></mjml>"), "not_mjml"),
        (mjml("<mjml><mj-body/><mj-body/></mjml>"), "not_mjml"),
        (mjml("<mjml><mj-body>"), "mjml_unclosed"),
        (mjml("<mjml><mj-body></mjml>"), "mjml_unclosed"),
        (column("<mj-text>x"), "mjml_unclosed"),
        (column("<mj-text>x</mj-button>"), "mjml_unclosed"),
        (column("< mj-text>x</mj-text>"), "mjml_unclosed"),
        (column("<div>x</div>"), "mjml_element"),
        (column("<mj-section/>"), "mjml_misplaced"),
        (column("<mj-social-element>x</mj-social-element>"), "mjml_misplaced"),
        (column("<mj-all/>"), "mjml_misplaced"),
        (column("stray"), "misplaced_text"),
        (column("{{ contact.a }}"), "misplaced_text"),
        (column("<mj-text color=red>x</mj-text>"), "mjml_attribute"),
        (column("<mj-text color>x</mj-text>"), "mjml_attribute"),
        (column("<mj-text color='red' color='blue'>x</mj-text>"), "mjml_attribute"),
        (column("<mj-image alt='x' />"), "mjml_attribute"),
        (column("<mj-include path='./x.mjml' />"), "mjml_include"),
        (head("<mj-font name='X' href='https://fonts.example/x.css' />"), "remote_font"),
        (head("<mj-html-attributes></mj-html-attributes>"), "mjml_unavailable"),
        (head("<mj-text>x</mj-text>"), "mjml_misplaced"),
        (head("<mj-title><b>x</b></mj-title>"), "misplaced_text"),
        (head("<mj-attributes><mj-text colr='x' /></mj-attributes>"), "mjml_attribute"),
        (head("<mj-attributes><mj-text>x</mj-text></mj-attributes>"), "misplaced_text"),
        (column("<mj-button href='javascript:x'>x</mj-button>"), "unsafe_link"),
        (column("<mj-button href='/relative'>x</mj-button>"), "unsafe_link"),
        (column("<mj-button href='https://{{ run.host }}/'>x</mj-button>"), "unsafe_link"),
        (column("<mj-image src='javascript:x' />"), "unsafe_link"),
        (column("<mj-text><a href='javascript:x'>x</a></mj-text>"), "unsafe_link"),
        (column("<mj-raw><script>x</script></mj-raw>"), "unsafe_element"),
        (column("<mj-text><p onclick='x'>x</p></mj-text>"), "unsafe_attribute"),
        (column("<mj-text>{{ run.x|nope }}</mj-text>"), "unknown_filter"),
        (column("<mj-text>{{ event.x }}</mj-text>"), "unknown_variable"),
    ] {
        let found = codes(&source);
        assert_eq!(found.first(), Some(&code), "{:?}: {found:?}", source.mjml);
    }
    let both = TemplateSource { html: "<p>x</p>".into(), ..column("<mj-text>x</mj-text>") };
    assert_eq!(codes(&both), ["two_bodies"]);
}

#[test]
fn images_of_strangers_are_never_shown() {
    for (inside, names) in [
        (
            "<mj-social><mj-social-element name='facebook' href='https://a.example/'>x</mj-social-element></mj-social>",
            "src",
        ),
        (
            "<mj-accordion><mj-accordion-element><mj-accordion-title>x</mj-accordion-title></mj-accordion-element></mj-accordion>",
            "icon-wrapped-url",
        ),
        (
            "<mj-carousel><mj-carousel-image src='https://a.example/1.png' /></mj-carousel>",
            "left-icon",
        ),
    ] {
        let found = problems(&column(inside));
        let told: Vec<_> = found.iter().map(|p| (p.code, p.line, p.help.contains(names))).collect();
        assert_eq!(told, [("third_party_image", Some(1), true)], "{inside}");
    }
    let html = rendered(&column("<mj-text font-family='Roboto'>x</mj-text>"), json!({}), json!({}));
    let html = html.unwrap().html;
    assert!(!html.contains("fonts.googleapis") && !html.contains("<link"), "{html}");
}

#[test]
fn merge_fields_come_through_in_texts_and_in_what_mjml_hands_on() {
    let mut source = mjml(
        "<mjml><mj-head><mj-title>{{ brand.name }} \"2\"</mj-title>\
         <mj-preview>For {{ contact.name }}</mj-preview></mj-head>\
         <mj-body><mj-section background-color=\"{{ run.colour }}\"><mj-column>\
         <mj-image src=\"https://a.example/{{ run.picture }}.png\" alt=\"{{ contact.name }}\" />\
         <mj-text css-class=\"x {% if run.vip %}vip{% endif %}\">{% if run.n > 1 %}many{% else %}<b>one</b>{% endif %} {{ contact.name|upper }}</mj-text>\
         <mj-button href=\"https://a.example/o/{{ run.id|urlencode }}?a=1&amp;b=2\">Go</mj-button>\
         <mj-button href=\"{{ run.url|default(\"https://b.example/\") }}\">There</mj-button>\
         <mj-text><a href=\"{{ unsubscribe_url }}\">Leave</a></mj-text>\
         </mj-column></mj-section></mj-body></mjml>",
    );
    source.fields = rules([("run.url", FieldRule::Default("https://c.example/".into()))]);
    let template = compiled(&source);
    assert!(check_marketing(&template).is_empty());
    let fields: Vec<_> = template.fields_used().iter().map(|field| field.path.as_str()).collect();
    assert_eq!(
        fields,
        [
            "brand.name",
            "contact.name",
            "run.colour",
            "run.id",
            "run.n",
            "run.picture",
            "run.url",
            "run.vip"
        ]
    );
    assert!(matches!(template.links()[0].target, LinkTarget::Dynamic(_)));
    let run = json!({"colour": "#fff\"x", "picture": "p", "n": 2, "id": "a b", "vip": true});
    let message = rendered(&source, json!({"name": "Zoé <3"}), run).unwrap();
    for part in [
        "<title>Shop \"2\"</title>",
        "alt=\"Zoé &lt;3\"",
        "class=\"x vip\"",
        "many ZOÉ &lt;3",
        "background-color:#fff&quot;x",
        "src=\"https://a.example/p.png\"",
    ] {
        assert!(message.html.contains(part), "{part} in {}", message.html);
    }
    assert!(message.html.contains("For Zoé &lt;3") && !message.text.contains("For Zoé"));
    assert!(!message.html.contains("zq9pj") && !message.html.contains("{%"), "{}", message.html);
    let targets: Vec<_> = message.links.iter().map(|(_, target)| target.as_str()).collect();
    assert_eq!(targets, ["https://a.example/o/a%20b?a=1&b=2", "https://c.example/"]);
}

#[test]
fn conditions_and_loops_stand_around_whole_elements() {
    let source = mjml(
        "<mjml><mj-body>{% for order in run.orders %}<mj-section><mj-column>\
         <mj-text>Order {{ order.id }}</mj-text>{% for line in order.lines %}<mj-text>- {{ line }}</mj-text>{% endfor %}\
         {% if order.paid %}<mj-button href=\"https://a.example/{{ order.id }}\">Paid</mj-button>{% endif %}\
         <mj-table>{% for line in order.lines %}<tr><td>{{ loop.index }}</td><td>{{ line }}</td></tr>{% endfor %}</mj-table>\
         </mj-column></mj-section>{% endfor %}\
         <mj-wrapper>{% if run.more %}<mj-section><mj-column><mj-text>More</mj-text></mj-column></mj-section>{% endif %}</mj-wrapper>\
         <mj-hero>{% if run.more %}<mj-text>Hero</mj-text>{% endif %}</mj-hero>\
         </mj-body></mjml>",
    );
    let run = json!({"more": false, "orders": [
        {"id": "A1", "paid": true, "lines": ["x", "y"]}, {"id": "B2", "paid": false, "lines": ["z"]},
    ]});
    let message = rendered(&source, json!({}), run).unwrap();
    let words = message.text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words, "Order A1 - x - y Paid (https://track.example/c/0) 1 x 2 y Order B2 - z 1 z");
    let (rows, ends) = (message.html.matches("<tr").count(), message.html.matches("</tr>").count());
    assert_eq!(rows, ends, "{}", message.html);
    let divs = message.html.matches("<div").count();
    assert_eq!(divs, message.html.matches("</div>").count());
}

#[test]
fn code_that_would_tear_a_page_apart_is_a_problem() {
    let section = |inside: &str| {
        mjml(&format!("<mjml><mj-body><mj-section>{inside}</mj-section></mj-body></mjml>"))
    };
    let one = "<mj-column><mj-text>x</mj-text></mj-column>";
    for (source, code) in [
        (section(&format!("{{% if run.a %}}{one}{{% endif %}}{one}")), "code_between"),
        (section(&format!("{{% for a in run.b %}}{one}{{% endfor %}}")), "code_between"),
        (column("{% if run.a %}<mj-text>x{% endif %}</mj-text>"), "code_crosses"),
        (column("<mj-text>{% if run.a %}x</mj-text>{% endif %}"), "code_crosses"),
        (column("<mj-text css-class='{% if run.a %}'>x</mj-text>{% endif %}"), "code_crosses"),
        (column("<mj-text {{ run.a }}>x</mj-text>"), "code_in_tag"),
        (column("<mj-{{ run.a }}>x</mj-text>"), "code_in_tag"),
        (column("<mj-text padding='{{ run.a }}'>x</mj-text>"), "code_in_attribute"),
        (
            column("<mj-image width='{{ run.a }}' src='https://a.example/x.png' />"),
            "code_in_attribute",
        ),
        (
            mjml(
                "<mjml><mj-head><mj-attributes><mj-all color='{{ run.a }}' /></mj-attributes></mj-head><mj-body></mj-body></mjml>",
            ),
            "code_in_attribute",
        ),
        (
            mjml(
                "<mjml><mj-head><mj-style>{% if run.a %}p{}{% endif %}</mj-style></mj-head><mj-body></mj-body></mjml>",
            ),
            "tag_in_style",
        ),
        (
            mjml(
                "<mjml><mj-head><mj-style inline='inline'>p { color: {{ run.a }} }</mj-style></mj-head><mj-body></mj-body></mjml>",
            ),
            "tag_in_style",
        ),
    ] {
        let found = codes(&source);
        assert!(found.contains(&code), "{:?}: {found:?}", source.mjml);
    }
}

#[test]
fn bombs_end_in_a_problem() {
    let deep = "<mj-wrapper>".repeat(100_000);
    let wide = "<mj-text>x</mj-text>".repeat(5_000);
    let attributes: String = (0..1_000).map(|n| format!(" a{n}='x'")).collect();
    let images = "<mj-carousel-image src='https://a.example/x.png' />".repeat(200);
    let nested = format!("<mj-text>{}</mj-text>", "<b>".repeat(50_000));
    let defaults = format!(
        "<mjml><mj-head><mj-attributes>{}</mj-attributes></mj-head><mj-body></mj-body></mjml>",
        format!("<mj-all css-class='{}' />", "x".repeat(2_000)).repeat(20)
    );
    for (source, code) in [
        (mjml(&format!("<mjml><mj-body>{}", deep.get(..200_000).unwrap())), "too_complex"),
        (column(&wide), "too_complex"),
        (column(&format!("<mj-text{attributes}>x</mj-text>")), "too_complex"),
        (column(&format!("<mj-carousel>{images}</mj-carousel>")), "too_complex"),
        (column(&nested), "too_complex"),
        (mjml(&defaults), "too_complex"),
        (mjml(&"x".repeat(300_000)), "too_large"),
        (column(&format!("<mj-text color='{}'>x</mj-text>", "x".repeat(5_000))), "mjml_attribute"),
        (mjml(&"<".repeat(100_000)), "mjml_unclosed"),
        (mjml(&"<!--".repeat(50_000)), "mjml_unclosed"),
        (mjml("<mjml zq9pj0zq='x'><mj-body/></mjml>"), "reserved_text"),
    ] {
        let found = codes(&source);
        assert!(found.contains(&code), "{found:?}");
    }
}

/// `PARCOURS_BLESS=1` writes them anew; then read the difference, and have the reference judge it
/// (`tests/scenarios/mjml_looks_as_the_reference_says.rs`).
#[test]
fn what_is_rendered_stays_as_it_is() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign/mjml");
    let none = Properties::new();
    let data = RenderData { contact: &none, run: &none, brand: &none, message: &none };
    let mut seen = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "mjml") {
            continue;
        }
        seen += 1;
        let source = mjml(&fs::read_to_string(&path).unwrap());
        let html = render(&compiled(&source), &data, &PlainUrls).unwrap().html;
        let golden = path.with_extension("html");
        if std::env::var_os("PARCOURS_BLESS").is_some() {
            fs::write(&golden, &html).unwrap();
        }
        let kept = fs::read_to_string(&golden).unwrap();
        assert!(kept == html, "{} differs from what was kept", golden.display());
    }
    assert!(seen >= 12, "{seen} templates");
}
