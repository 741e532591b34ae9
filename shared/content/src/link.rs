//! Which link targets are safe, decided on the text of the URL and on what it parses to.
//!
//! Accepted are absolute `http` and `https` URLs with a host and without credentials, `mailto:` and
//! `tel:`. Refused is what mail clients and browsers read in different ways: targets without a
//! scheme, `//host`, `https:host`, backslashes, white space and control characters, and every other
//! scheme, `javascript:` before all.

use url::Url;

const TARGET_MAX_BYTES: usize = 2_048;

/// What a safe target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A web page: clicks can be counted.
    Web,
    /// A mail or telephone link: stays as it is.
    Direct,
}

/// The kind of a safe target; none when it is not safe.
pub(crate) fn classify(target: &str) -> Option<Target> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    if target.len() > TARGET_MAX_BYTES || target.chars().any(odd) {
        return None;
    }
    let lower = target.to_ascii_lowercase();
    if lower.starts_with("mailto:") || lower.starts_with("tel:") {
        return (!lower.contains("%0d") && !lower.contains("%0a")).then_some(Target::Direct);
    }
    if !has_web_scheme(&lower) {
        return None;
    }
    let url = Url::parse(target).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    let written = host_of(&lower)?;
    let agrees = url.host_str().is_some_and(|host| !host.is_empty()) && !written.is_empty();
    (plain && agrees).then_some(Target::Web)
}

/// Whether a literal beginning, before the first expression, fixes scheme and host.
pub(crate) fn fixes_host(beginning: &str) -> bool {
    let lower = beginning.to_ascii_lowercase();
    let ended = |rest: &str| rest.find(['/', '?', '#']).is_some_and(|end| end > 0);
    ["https://", "http://"].iter().any(|scheme| lower.strip_prefix(scheme).is_some_and(ended))
}

/// Whether a URL in another attribute (an image, a background) can run code.
pub(crate) fn runs_code(value: &str) -> bool {
    let compact: String = value
        .chars()
        .filter(|c| !c.is_control() && !c.is_whitespace())
        .flat_map(char::to_lowercase)
        .collect();
    ["javascript:", "vbscript:", "data:text", "data:application", "data:image/svg", "file:"]
        .iter()
        .any(|scheme| compact.starts_with(scheme))
}

fn has_web_scheme(lower: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| lower.starts_with(scheme))
}

fn host_of(lower: &str) -> Option<&str> {
    let (_, rest) = lower.split_once("://")?;
    rest.split(['/', '?', '#']).next()
}

/// Resolves the character references that occur in attribute values.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(rest.get(..at).unwrap_or(""));
        rest = rest.get(at..).unwrap_or("");
        let end = rest.char_indices().take(12).find(|(_, c)| *c == ';').map(|(end, _)| end);
        let resolved = end.and_then(|end| {
            let name = rest.get(1..end)?;
            Some((reference(name)?, end + 1))
        });
        let (c, len) = resolved.unwrap_or(('&', 1));
        out.push(c);
        rest = rest.get(len..).unwrap_or("");
    }
    out.push_str(rest);
    out
}

fn reference(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "colon" => Some(':'),
        "Tab" => Some('\t'),
        "NewLine" => Some('\n'),
        "sol" => Some('/'),
        "bsol" => Some('\\'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

/// Writes text as it stands between quotes in HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_targets_are_links() {
        for web in ["https://a.example/x?y=1#z", "http://a.example", "HTTPS://A.example/"] {
            assert_eq!(classify(web), Some(Target::Web), "{web}");
        }
        for direct in ["mailto:a@b.example?subject=x", "tel:+33123456789"] {
            assert_eq!(classify(direct), Some(Target::Direct), "{direct}");
        }
        for bad in [
            "",
            "/path",
            "//evil.example",
            "https:evil.example",
            "https:/evil.example",
            "https://",
            "https:///evil.example",
            "javascript:alert(1)",
            "JaVaScRiPt:x",
            "data:text/html,x",
            "vbscript:x",
            "https://a\\@evil.example",
            "https://a.example\r\nX: y",
            "https://bank.example@evil.example/",
            "java\tscript:x",
            "ftp://a.example",
            "https://a b.example",
            "mailto:a@b.example?cc=%0D%0Ax",
        ] {
            assert_eq!(classify(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_host_must_be_written_out_before_the_first_expression() {
        assert!(fixes_host("https://shop.example/"));
        assert!(fixes_host("https://shop.example?x="));
        for bad in ["https://", "https://shop.", "https:///", "", "mailto:", "//x/"] {
            assert!(!fixes_host(bad), "{bad}");
        }
    }

    #[test]
    fn references_are_resolved_before_a_target_is_judged() {
        assert_eq!(unescape("a&amp;b&#58;c&#x2f;&nope;&"), "a&b:c/&nope;&");
        assert_eq!(classify(&unescape("javascript&colon;alert(1)")), None);
        assert!(runs_code(" java\nscript:x"));
        assert!(!runs_code("https://a.example/x.png"));
    }
}
