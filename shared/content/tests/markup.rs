//! CSS inlining, links and the text part: what the author wrote survives, code included.

mod support;

use parcours_content::{
    CompiledTemplate, LinkTarget, RenderData, TemplateSource, check_marketing, render,
};
use serde_json::json;
use support::{PlainUrls, Urls, codes, compiled, html, properties, rendered};

const PAGE: &str = r#"<!DOCTYPE html>
<html><head><title>{{ brand.name }}</title>
<style>
  p { color: #333333; margin: 0 }
  a.button { background: {{ brand.colour }} }
  @media (max-width: 600px) { p { margin: 1em } }
</style></head>
<body>
<!--[if mso]><table><tr><td>{{ brand.name }}</td></tr></table><![endif]-->
<p class="{% if contact.vip is defined %}vip{% else %}reader{% endif %}">Bonjour {{ contact.name|default("vous & co") }}</p>
<table>
{% for item in run.items %}
  <tr><td>{{ item.title }}</td><td>{{ item.price|money }}</td></tr>
{% endfor %}
</table>
<a class="button" href="https://shop.example/?a=1&amp;b=2">Boutique</a>
<p><a href="{{ unsubscribe_url }}">Se désabonner</a></p>
</body></html>"#;

fn page() -> TemplateSource {
    html(PAGE)
}

fn data() -> (serde_json::Value, serde_json::Value) {
    (
        json!({"name": "Zoé"}),
        json!({"items": [{"title": "Kind of Blue", "price": 12.5}, {"title": "Bitches Brew", "price": 20}]}),
    )
}

fn message(
    source: &TemplateSource,
    urls: &dyn parcours_content::LinkUrls,
) -> parcours_content::Rendered {
    let (contact, run) = data();
    let brand = properties(json!({"name": "Disques", "colour": "#ff0000"}));
    let (contact, run) = (properties(contact), properties(run));
    let empty = properties(json!({}));
    let data = RenderData { contact: &contact, run: &run, brand: &brand, message: &empty };
    render(&compiled(source), &data, urls).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn css_is_inlined_and_code_survives_in_tables_attributes_and_comments() {
    let golden = r##"<!DOCTYPE html><html><head><style>@media (max-width: 600px) { p { margin: 1em } } </style><title>Disques</title>
</head>
<body>
<!--[if mso]><table><tr><td>Disques</td></tr></table><![endif]-->
<p class="reader" style="color: #333333;margin: 0;">Bonjour Zoé</p>
<table><tbody>

  <tr><td>Kind of Blue</td><td>12.50</td></tr>

  <tr><td>Bitches Brew</td><td>20.00</td></tr>

</tbody></table>
<a class="button" href="https://track.example/c/0" style="background: #ff0000;">Boutique</a>
<p style="color: #333333;margin: 0;"><a href="https://track.example/u/TOKEN?a=1&amp;b=2">Se désabonner</a></p>
</body></html>"##;
    assert_eq!(message(&page(), &Urls).html, golden);
}

#[test]
fn the_text_part_is_made_from_the_html() {
    let golden = "Bonjour Zoé\n\nKind of Blue 12.50\nBitches Brew 20.00\n\
        Boutique (https://track.example/c/0)\n\n\
        Se désabonner (https://track.example/u/TOKEN?a=1&b=2)\n";
    assert_eq!(message(&page(), &Urls).text, golden);
}

#[test]
fn without_click_counting_links_lead_where_they_say() {
    let message = message(&page(), &PlainUrls);
    assert!(
        message.html.contains("href=\"https://shop.example/?a=1&amp;b=2\""),
        "{}",
        message.html
    );
    assert!(message.text.contains("(https://shop.example/?a=1&b=2)"));
    assert_eq!(message.links, [(0, "https://shop.example/?a=1&b=2".to_owned())]);
}

#[test]
fn links_are_listed_and_dynamic_ones_get_a_number_for_each_target() {
    let source = html(
        "<a href=\"https://a.example/\">1</a>\
         {% for x in run.items %}<a href=\"https://a.example/{{ x.id|urlencode }}?u=1&amp;v=2\">{{ x.id }}</a>{% endfor %}\
         <a href=\"mailto:help@a.example\">2</a><a href=\"#top\">3</a><a href=\"tel:+331\">4</a>\
         <a href=\"https://b.example/\">5</a>",
    );
    let template = compiled(&source);
    let targets: Vec<_> = template.links().iter().map(|link| &link.target).collect();
    assert_eq!(targets[0], &LinkTarget::Static("https://a.example/".into()));
    assert!(matches!(targets[1], LinkTarget::Dynamic(_)));
    assert_eq!(targets[2], &LinkTarget::Static("https://b.example/".into()));
    let run = json!({"items": [{"id": "x y"}, {"id": "z"}, {"id": "x y"}]});
    let message = rendered(&source, json!({}), run).unwrap();
    let expected = [
        (0, "https://a.example/"),
        (1, "https://a.example/x%20y?u=1&v=2"),
        (2, "https://b.example/"),
        (3, "https://a.example/z?u=1&v=2"),
    ];
    let mut links: Vec<_> = message.links.iter().map(|(n, url)| (*n, url.as_str())).collect();
    links.sort_unstable();
    assert_eq!(links, expected);
    assert_eq!(message.html.matches("track.example/c/1").count(), 2);
    assert!(message.html.contains("mailto:help@a.example") && message.html.contains("\"#top\""));
}

#[test]
fn code_that_html_would_move_or_lose_is_a_problem() {
    for (markup, code) in [
        ("<p class=\"a\" class=\"{{ run.a }}\">x</p>", "code_lost"),
        ("<style>{% if run.a %}p { color: red }{% endif %}</style>", "tag_in_style"),
    ] {
        let found = codes(&html(markup));
        assert!(found.contains(&code), "{markup}: {found:?}");
    }
}

#[test]
fn loops_around_rows_and_cells_keep_their_place() {
    let source = html(
        "<table><tbody>{% for r in run.rows %}<tr>{% for c in r.cells %}<td>{{ c }}</td>{% endfor %}</tr>{% endfor %}</tbody></table>",
    );
    let run = json!({"rows": [{"cells": [1, 2]}, {"cells": [3]}]});
    let message = rendered(&source, json!({}), run).unwrap();
    assert!(
        message.html.contains("<tr><td>1</td><td>2</td></tr><tr><td>3</td></tr>"),
        "{}",
        message.html
    );
    assert_eq!(message.text, "1 2\n3\n");
}

#[test]
fn a_marketing_template_needs_an_unsubscribe_link() {
    assert!(check_marketing(&compiled(&page())).is_empty());
    for without in
        ["<p>x</p>", "<p>{{ unsubscribe_url }}</p>", "<!-- <a href=\"{{ unsubscribe_url }}\"> -->"]
    {
        let problems = check_marketing(&compiled(&html(without)));
        assert_eq!(problems.first().map(|p| p.code), Some("no_unsubscribe_link"), "{without}");
    }
}

#[test]
fn a_stored_template_reads_back_and_a_newer_format_is_refused() {
    let template = compiled(&page());
    let bytes = template.encode();
    assert_eq!(CompiledTemplate::decode(&bytes).unwrap(), template);
    let newer = String::from_utf8(bytes).unwrap().replace("\"format\":1", "\"format\":2");
    assert!(CompiledTemplate::decode(newer.as_bytes()).is_err());
    assert!(CompiledTemplate::decode(b"{}").is_err());
}
