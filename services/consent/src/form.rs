//! What a POST body says, if it says anything.
//!
//! Everything that is needed stands in the URL (RFC 8058), so a body that is empty, broken or of an
//! unknown type is as good as any. Only one field matters: `scope=all` from our own page's second
//! button. It is understood in both encodings that browsers and mail providers use.

use parcours_wire::UnsubscribeScope;

/// The most bytes of a body that are looked at.
pub(crate) const BODY_BYTES_MAX: usize = 16 * 1024;

/// The scope that the body asks for: the message's topic unless it clearly says otherwise.
pub(crate) fn scope_of(content_type: &str, body: &[u8]) -> UnsubscribeScope {
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let all = match essence.trim().to_ascii_lowercase().as_str() {
        "multipart/form-data" => boundary_of(parameters)
            .is_some_and(|boundary| says_all_in_parts(&String::from_utf8_lossy(body), &boundary)),
        "application/x-www-form-urlencoded" => {
            body.split(|b| *b == b'&').any(|b| b == b"scope=all")
        }
        _ => false,
    };
    if all { UnsubscribeScope::AllMarketing } else { UnsubscribeScope::Topic }
}

/// The `boundary` parameter of a multipart type (RFC 2046, section 5.1.1).
fn boundary_of(parameters: &str) -> Option<String> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let named = name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty();
        named.then(|| value.to_owned())
    })
}

fn says_all_in_parts(body: &str, boundary: &str) -> bool {
    body.split(&format!("--{boundary}")).any(|part| {
        let Some((head, value)) = part.split_once("\r\n\r\n").or_else(|| part.split_once("\n\n"))
        else {
            return false;
        };
        let head = head.to_ascii_lowercase();
        head.contains("name=\"scope\"") && value.trim() == "all"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says_all(content_type: &str, body: &str) -> bool {
        scope_of(content_type, body.as_bytes()) == UnsubscribeScope::AllMarketing
    }

    #[test]
    fn only_the_second_button_means_all_marketing() {
        let form = "application/x-www-form-urlencoded";
        let parts = "multipart/form-data; boundary=\"x1\"";
        let part = |name: &str, value: &str| {
            format!(
                "--x1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--x1--\r\n"
            )
        };
        assert!(says_all(form, "scope=all"));
        assert!(says_all("Application/X-WWW-Form-Urlencoded; charset=utf-8", "a=b&scope=all"));
        assert!(says_all(parts, &part("scope", "all")));
        for (content_type, body) in [
            (form, "List-Unsubscribe=One-Click".to_owned()),
            (form, "scope=allx".to_owned()),
            (form, String::new()),
            ("", "scope=all".to_owned()),
            ("application/json", "{\"scope\":\"all\"}".to_owned()),
            (parts, part("List-Unsubscribe", "One-Click")),
            (parts, part("scope", "topic")),
            ("multipart/form-data", part("scope", "all")),
            (parts, "--x1--x1--x1\u{0}".to_owned()),
        ] {
            assert!(!says_all(content_type, &body), "{content_type}: {body}");
        }
    }
}
