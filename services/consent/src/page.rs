//! The pages behind an unsubscribe link: what to confirm, what was done, and "not found".
//!
//! They work without scripts and cookies, load nothing, and hold no address and no name of a
//! person: whoever sees the page learns the brand and the topic. French for a French brand, English
//! for all others.

use std::sync::LazyLock;

use data_encoding::BASE64;
use parcours_wire::Unsubscribed;
use sha2::{Digest as _, Sha256};

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;margin:3rem auto;max-width:34rem;\
padding:0 1rem;color:#222;background:#fff}h1{font-size:1.4rem}button{font:inherit;padding:.6rem 1rem;\
margin:.3rem 0;border:1px solid #222;border-radius:.3rem;background:#fff;cursor:pointer}\
button.first{background:#222;color:#fff}";

/// Nothing may be loaded or run; forms may only come back here.
pub(crate) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = BASE64.encode(&Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'"
    )
});

/// The one body of every "not found", whatever the cause.
pub(crate) static NOT_FOUND: LazyLock<String> = LazyLock::new(|| {
    frame(
        "en",
        "Not found",
        "<h1>Not found</h1><p>This link is not known here. It may have been cut off: please use \
         the link in the message itself.</p><p lang=\"fr\">Ce lien est inconnu. Il a \
         peut-\u{ea}tre \u{e9}t\u{e9} tronqu\u{e9} : veuillez utiliser celui du message.</p>",
    )
});

/// The words of one language.
struct Words {
    lang: &'static str,
    title: &'static str,
    ask: &'static str,
    topic_button: &'static str,
    all_button: &'static str,
    topic_done: &'static str,
    all_done: &'static str,
    unavailable: &'static str,
    test: &'static str,
}

const ENGLISH: Words = Words {
    lang: "en",
    title: "Unsubscribe",
    ask: "Do you no longer want to receive \u{201c}{topic}\u{201d} from {brand}?",
    topic_button: "Unsubscribe from \u{201c}{topic}\u{201d}",
    all_button: "Unsubscribe from all marketing by {brand}",
    topic_done: "You will receive no more \u{201c}{topic}\u{201d} from {brand}.",
    all_done: "You will receive no more marketing from {brand}.",
    unavailable: "We could not record this just now. Please try again in a minute.",
    test: "This was the link of a test message: nothing was changed.",
};

const FRENCH: Words = Words {
    lang: "fr",
    title: "D\u{e9}sabonnement",
    ask: "Vous ne souhaitez plus recevoir \u{ab}\u{a0}{topic}\u{a0}\u{bb} de {brand}\u{a0}?",
    topic_button: "Me d\u{e9}sabonner de \u{ab}\u{a0}{topic}\u{a0}\u{bb}",
    all_button: "Me d\u{e9}sabonner de tout le marketing de {brand}",
    topic_done: "Vous ne recevrez plus \u{ab}\u{a0}{topic}\u{a0}\u{bb} de {brand}.",
    all_done: "Vous ne recevrez plus aucun message marketing de {brand}.",
    unavailable: "L\u{2019}enregistrement n\u{2019}a pas abouti. R\u{e9}essayez dans une minute.",
    test: "Ce lien vient d\u{2019}un message de test : rien n\u{2019}a \u{e9}t\u{e9} modifi\u{e9}.",
};

fn words(locale: &str) -> &'static Words {
    let language = locale.split(['-', '_']).next().unwrap_or("");
    if language.eq_ignore_ascii_case("fr") { &FRENCH } else { &ENGLISH }
}

fn fill(words: &str, about: &Unsubscribed) -> String {
    words.replace("{topic}", &escape(&about.topic_title)).replace("{brand}", &escape(&about.brand))
}

/// The page on GET: asks, and changes nothing.
pub(crate) fn ask(about: &Unsubscribed) -> String {
    let words = words(&about.locale);
    let fill = |text| fill(text, about);
    let mut body = if about.withdrawn {
        format!("<h1>{}</h1>", fill(words.topic_done))
    } else {
        format!(
            "<h1>{}</h1><form method=\"post\"><input type=\"hidden\" name=\"scope\" \
             value=\"topic\"><button class=\"first\">{}</button></form>",
            fill(words.ask),
            fill(words.topic_button)
        )
    };
    body.push_str(&all_form(words, about));
    frame(words.lang, words.title, &body)
}

/// The page after POST: says what holds from now on.
pub(crate) fn done(about: &Unsubscribed, all: bool) -> String {
    let words = words(&about.locale);
    if about.is_test {
        return frame(words.lang, words.title, &format!("<h1>{}</h1>", words.test));
    }
    let said = fill(if all { words.all_done } else { words.topic_done }, about);
    let more = if all { String::new() } else { all_form(words, about) };
    frame(words.lang, words.title, &format!("<h1>{said}</h1>{more}"))
}

/// The page when nothing could be recorded.
pub(crate) fn unavailable() -> String {
    let body = format!("<h1>{}</h1><p lang=\"fr\">{}</p>", ENGLISH.unavailable, FRENCH.unavailable);
    frame("en", ENGLISH.title, &body)
}

fn all_form(words: &Words, about: &Unsubscribed) -> String {
    format!(
        "<form method=\"post\"><input type=\"hidden\" name=\"scope\" value=\"all\">\
         <button>{}</button></form>",
        fill(words.all_button, about)
    )
}

fn frame(lang: &str, title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"{lang}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>"
    )
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // A brace could be taken for a place to fill.
            '{' => safe.push_str("&#123;"),
            '}' => safe.push_str("&#125;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcours_domain::{MessageId, TenantId, Timestamp};

    fn about(locale: &str, title: &str, withdrawn: bool) -> Unsubscribed {
        Unsubscribed {
            tenant: TenantId::v7(Timestamp::EPOCH, [1; 10]),
            brand: "Disques & Co".into(),
            message: MessageId::v7(Timestamp::EPOCH, [2; 10]),
            topic: "news".parse().unwrap(),
            topic_title: title.into(),
            locale: locale.into(),
            withdrawn,
            is_test: false,
        }
    }

    #[test]
    fn the_page_speaks_the_brands_language() {
        assert!(ask(&about("fr-FR", "Nouveautés", false)).contains("lang=\"fr\""));
        assert!(ask(&about("de-DE", "News", false)).contains("lang=\"en\""));
        assert!(done(&about("fr", "Nouveautés", true), true).contains("plus aucun message"));
    }

    #[test]
    fn author_text_cannot_become_markup_and_nothing_runs() {
        let page = ask(&about("en", "<script>x</script>{brand}", false));
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&#123;brand&#125;"), "{page}");
        assert!(page.contains("Disques &amp; Co"));
        assert!(!POLICY.contains("unsafe"));
    }

    #[test]
    fn one_who_is_unsubscribed_is_not_asked_again() {
        let page = ask(&about("en", "News", true));
        assert!(!page.contains("value=\"topic\"") && page.contains("value=\"all\""));
    }

    #[test]
    fn the_link_of_a_test_does_not_claim_to_have_changed_anything() {
        let about = Unsubscribed { is_test: true, ..about("en", "News", false) };
        assert!(done(&about, true).contains("nothing was changed"));
    }
}
