//! Inlines the CSS of an HTML template, once, and puts its code back.
//!
//! A page made from MJML keeps its style sheets, which were made for mail clients as they are; only
//! what its author marked is inlined.
//!
//! After inlining every placeholder must still be there, and those of conditions and loops in
//! their old order: what the HTML parser moved or dropped is a problem at publish, never a broken
//! mail.

use css_inline::CSSInliner;

use crate::{
    markup::{MARKER, MARKER_END, Markup},
    problem::Problems,
};

/// Which style sheets are inlined.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Styles<'a> {
    /// Those of the page, which then go.
    OfPage,
    /// Only these; those of the page stay.
    Only(&'a str),
}

/// The HTML with its styles inlined and its code in place.
pub(crate) fn inline(markup: &Markup, styles: Styles<'_>, problems: &mut Problems<'_>) -> String {
    let options = CSSInliner::options().load_remote_stylesheets(false).keep_link_tags(false);
    let inliner = match styles {
        Styles::OfPage => options.keep_at_rules(true).build(),
        Styles::Only(css) => options
            .inline_style_tags(false)
            .keep_style_tags(true)
            .extra_css((!css.trim().is_empty()).then(|| css.into()))
            .build(),
    };
    match inliner.inline(&markup.html) {
        Ok(html) => {
            check_slots(&html, markup, problems);
            restore(&html, markup)
        }
        Err(_) => {
            problems.whole(
                "unreadable_html",
                "the HTML or its style sheet cannot be read",
                "check the style sheet's syntax",
            );
            String::new()
        }
    }
}

/// The slots in the order in which their placeholders stand.
pub(crate) fn slots_in(html: &str) -> Vec<usize> {
    html.split(MARKER)
        .skip(1)
        .filter_map(|rest| rest.split_once(MARKER_END)?.0.parse().ok())
        .collect()
}

fn check_slots(html: &str, markup: &Markup, problems: &mut Problems<'_>) {
    let found = slots_in(html);
    let mut counts = vec![0_usize; markup.slots.len()];
    for slot in &found {
        if let Some(count) = counts.get_mut(*slot) {
            *count += 1;
        }
    }
    let mut expected = slots_in(&markup.html);
    expected.dedup();
    for slot in &expected {
        let Some(held) = markup.slots.get(*slot).filter(|slot| !slot.loose) else { continue };
        if counts.get(*slot) != Some(&1) {
            problems.at(
                held.offset,
                "code_lost",
                "an expression stands where HTML does not keep it",
                "check that elements around it are closed and attributes are not repeated",
            );
        }
    }
    let is_tag = |slot: &&usize| markup.slots.get(**slot).is_some_and(|slot| slot.is_tag);
    let tags = |list: &[usize]| list.iter().filter(is_tag).copied().collect::<Vec<_>>();
    if let Some((moved, _)) =
        tags(&expected).iter().zip(&tags(&found)).find(|(before, after)| before != after)
        && let Some(held) = markup.slots.get(*moved)
    {
        problems.at(
            held.offset,
            "code_moved",
            "a condition or loop stands where HTML moves it",
            "put it between whole elements, for example around a table row",
        );
    }
}

/// Exchanges placeholders for their code.
pub(crate) fn restore(html: &str, markup: &Markup) -> String {
    let opened = format!("<!--{MARKER}");
    let closed = format!("{MARKER_END}-->");
    let html = html.replace(&opened, MARKER).replace(&closed, MARKER_END);
    let mut out = String::with_capacity(html.len() * 2);
    let mut pieces = html.split(MARKER);
    out.push_str(pieces.next().unwrap_or(""));
    for piece in pieces {
        let (number, rest) = piece.split_once(MARKER_END).unwrap_or(("", piece));
        let slot = number.parse().ok().and_then(|slot: usize| markup.slots.get(slot));
        out.push_str(slot.map_or("", |slot| slot.code.as_str()));
        out.push_str(rest);
    }
    out
}
