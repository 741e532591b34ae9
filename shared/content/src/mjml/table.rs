//! What MJML knows: elements, what may stand in them, and their attributes.
//!
//! Facts about the language as its reference (mjml 5.4.1) has them, less what a mail from here does
//! not carry: includes, web fonts, and `mj-html-attributes`.

/// One element.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: &'static str,
    /// Whether it holds text and HTML; otherwise it holds other elements.
    pub(super) holds_content: bool,
    /// The elements that may stand in it, with spaces between them.
    children: &'static str,
    /// Its attributes, with spaces between them.
    attributes: &'static str,
}

/// Attributes of every element of the body.
const OF_ALL: [&str; 2] = ["css-class", "mj-class"];

/// What is MJML elsewhere, and why it is refused here: code, message, help.
pub(super) fn refused(name: &str) -> Option<(&'static str, &'static str, &'static str)> {
    match name {
        "mj-include" => Some((
            "mjml_include",
            "mj-include reads other files, and a template stands on its own",
            "write what it includes in its place",
        )),
        "mj-font" => Some((
            "remote_font",
            "mj-font makes each reader's mail client tell the font's host that the mail was opened",
            "use fonts that readers have, such as font-family=\"Helvetica, Arial, sans-serif\"",
        )),
        "mj-html-attributes" | "mj-selector" | "mj-html-attribute" => Some((
            "mjml_unavailable",
            "mj-html-attributes is not available here",
            "write the attributes on the HTML inside mj-text or mj-raw",
        )),
        _ => None,
    }
}

/// The element of this name.
pub(super) fn element(name: &str) -> Option<&'static Element> {
    ELEMENTS.iter().find(|element| element.name == name)
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ELEMENTS.iter().map(|element| element.name)
}

/// The attributes of any element.
pub(super) fn all_attributes() -> impl Iterator<Item = &'static str> {
    ELEMENTS.iter().flat_map(Element::attributes)
}

impl Element {
    pub(super) fn children(&self) -> impl Iterator<Item = &'static str> {
        self.children.split_whitespace()
    }
    pub(super) fn attributes(&self) -> impl Iterator<Item = &'static str> {
        let of_all = if self.is_of_body() { OF_ALL.as_slice() } else { &[] };
        self.attributes.split_whitespace().chain(of_all.iter().copied())
    }
    /// The elements that it may stand in.
    pub(super) fn parents(&self) -> impl Iterator<Item = &'static str> + '_ {
        let holds = |parent: &&Element| parent.children().any(|child| child == self.name);
        ELEMENTS.iter().filter(holds).map(|parent| parent.name)
    }
    fn is_of_body(&self) -> bool {
        const OF_HEAD: [&str; 9] = [
            "mj-all",
            "mj-attributes",
            "mj-breakpoint",
            "mj-class",
            "mj-head",
            "mj-preview",
            "mj-style",
            "mj-title",
            "mjml",
        ];
        !OF_HEAD.contains(&self.name)
    }
}

/// Whether conditions and loops may stand between the elements inside this one: where each of them
/// is rendered on its own. Columns are not: they share out the width of their section.
pub(super) fn takes_code(name: &str) -> bool {
    ["mj-body", "mj-wrapper", "mj-column", "mj-hero"].contains(&name)
}

/// Attributes whose values MJML hands on as they are, so that merge fields may stand in them. It
/// computes with the others, or decides by them.
pub(super) fn is_handed_on(element: &str, attribute: &str) -> bool {
    const HANDED_ON: [&str; 16] = [
        "alt",
        "background-color",
        "background-url",
        "border-color",
        "color",
        "container-background-color",
        "css-class",
        "font-family",
        "href",
        "inner-background-color",
        "rel",
        "src",
        "srcset",
        "target",
        "thumbnails-src",
        "title",
    ];
    element != "mj-body" && HANDED_ON.contains(&attribute)
}

/// Images that MJML takes from strangers' servers when the author names none: a sign of them in
/// the output, the element, and the attribute that is missing.
pub(super) const STRANGERS: [(&str, &str, &str); 3] = [
    ("www.mailjet.com/images", "mj-social-element", "src"),
    ("i.imgur.com", "mj-accordion", "icon-wrapped-url and icon-unwrapped-url"),
    ("i.imgur.com", "mj-carousel", "left-icon and right-icon"),
];

const fn row(
    name: &'static str,
    holds_content: bool,
    children: &'static str,
    attributes: &'static str,
) -> Element {
    Element { name, holds_content, children, attributes }
}

const LEAVES: &str = "mj-accordion mj-button mj-carousel mj-divider mj-image mj-navbar mj-raw \
    mj-social mj-spacer mj-table mj-text";
const SECTION: &str = "background-color background-position background-position-x \
    background-position-y background-repeat background-size background-url border border-bottom \
    border-left border-radius border-right border-top direction full-width gutter padding \
    padding-bottom padding-left padding-right padding-top text-align text-padding";
const WRAPPER: &str = "background-color background-position background-position-x \
    background-position-y background-repeat background-size background-url border border-bottom \
    border-left border-radius border-right border-top direction full-width gap gutter padding \
    padding-bottom padding-left padding-right padding-top text-align text-padding";

const ELEMENTS: [Element; 32] = [
    row("mjml", false, "mj-body mj-head", "dir lang owa"),
    row("mj-head", false, "mj-attributes mj-breakpoint mj-preview mj-style mj-title", ""),
    row("mj-attributes", false, "", ""),
    row("mj-breakpoint", true, "", "width"),
    row("mj-preview", true, "", ""),
    row("mj-style", true, "", "inline"),
    row("mj-title", true, "", ""),
    row("mj-body", false, "mj-hero mj-raw mj-section mj-wrapper", "background-color id width"),
    row("mj-wrapper", false, "mj-hero mj-raw mj-section", WRAPPER),
    row("mj-section", false, "mj-column mj-group mj-raw", SECTION),
    row("mj-group", false, "mj-column mj-raw", "background-color direction vertical-align width"),
    row(
        "mj-column",
        false,
        LEAVES,
        "background-color border border-bottom border-left border-radius border-right border-top \
         direction inner-background-color inner-border inner-border-bottom inner-border-left \
         inner-border-radius inner-border-right inner-border-top padding padding-bottom \
         padding-left padding-right padding-top vertical-align width",
    ),
    row(
        "mj-hero",
        false,
        LEAVES,
        "background-color background-height background-position background-url background-width \
         border-radius height inner-background-color inner-padding inner-padding-bottom \
         inner-padding-left inner-padding-right inner-padding-top mode padding padding-bottom \
         padding-left padding-right padding-top vertical-align",
    ),
    row(
        "mj-text",
        true,
        "",
        "align background-color color container-background-color font-family font-size font-style \
         font-weight height letter-spacing line-height padding padding-bottom padding-left \
         padding-right padding-top text-decoration text-transform vertical-align",
    ),
    row(
        "mj-button",
        true,
        "",
        "align background-color border border-bottom border-left border-radius border-right \
         border-top color container-background-color font-family font-size font-style font-weight \
         height href inner-padding letter-spacing line-height name padding padding-bottom \
         padding-left padding-right padding-top rel target text-align text-decoration \
         text-transform title vertical-align width",
    ),
    row(
        "mj-image",
        false,
        "",
        "align alt border border-bottom border-left border-radius border-right border-top \
         container-background-color fluid-on-mobile font-size height href max-height name padding \
         padding-bottom padding-left padding-right padding-top rel sizes src srcset target title \
         usemap width",
    ),
    row(
        "mj-divider",
        false,
        "",
        "align border-color border-style border-width container-background-color padding \
         padding-bottom padding-left padding-right padding-top width",
    ),
    row(
        "mj-spacer",
        false,
        "",
        "border border-bottom border-left border-right border-top container-background-color \
         height padding padding-bottom padding-left padding-right padding-top",
    ),
    row(
        "mj-table",
        true,
        "",
        "align border cellpadding cellspacing color container-background-color font-family \
         font-size font-weight line-height padding padding-bottom padding-left padding-right \
         padding-top role table-layout vertical-align width",
    ),
    row("mj-raw", true, "", ""),
    row(
        "mj-social",
        false,
        "mj-social-element",
        "align border border-radius color container-background-color font-family font-size \
         font-style font-weight icon-height icon-padding icon-size inner-padding line-height mode \
         padding padding-bottom padding-left padding-right padding-top table-layout \
         text-decoration text-padding vertical-align",
    ),
    row(
        "mj-social-element",
        true,
        "",
        "align alt background-color border border-radius color font-family font-size font-style \
         font-weight href icon-height icon-padding icon-position icon-size line-height name \
         padding padding-bottom padding-left padding-right padding-top rel sizes src srcset \
         target text-decoration text-padding title vertical-align",
    ),
    row(
        "mj-navbar",
        false,
        "mj-navbar-link",
        "align base-url hamburger ico-align ico-close ico-color ico-font-family ico-font-size \
         ico-line-height ico-open ico-padding ico-padding-bottom ico-padding-left \
         ico-padding-right ico-padding-top ico-text-decoration ico-text-transform padding \
         padding-bottom padding-left padding-right padding-top",
    ),
    row(
        "mj-navbar-link",
        true,
        "",
        "color font-family font-size font-style font-weight href letter-spacing line-height name \
         padding padding-bottom padding-left padding-right padding-top rel target \
         text-decoration text-transform",
    ),
    row(
        "mj-accordion",
        false,
        "mj-accordion-element",
        "border container-background-color font-family icon-align icon-height icon-position \
         icon-unwrapped-alt icon-unwrapped-url icon-width icon-wrapped-alt icon-wrapped-url \
         padding padding-bottom padding-left padding-right padding-top",
    ),
    row(
        "mj-accordion-element",
        false,
        "mj-accordion-text mj-accordion-title",
        "background-color border font-family icon-align icon-height icon-position \
         icon-unwrapped-alt icon-unwrapped-url icon-width icon-wrapped-alt icon-wrapped-url",
    ),
    row(
        "mj-accordion-title",
        true,
        "",
        "background-color color font-family font-size font-weight padding padding-bottom \
         padding-left padding-right padding-top",
    ),
    row(
        "mj-accordion-text",
        true,
        "",
        "background-color color font-family font-size font-weight letter-spacing line-height \
         padding padding-bottom padding-left padding-right padding-top",
    ),
    row(
        "mj-carousel",
        false,
        "mj-carousel-image",
        "align border-radius container-background-color icon-width left-icon padding \
         padding-bottom padding-left padding-right padding-top right-icon tb-border \
         tb-border-radius tb-hover-border-color tb-selected-border-color tb-width thumbnails",
    ),
    row(
        "mj-carousel-image",
        true,
        "",
        "alt border-radius href rel src target tb-border tb-border-radius thumbnails-src title",
    ),
    row("mj-all", false, "", ""),
    row("mj-class", false, "", "name"),
];
