//! The key within a request's headers.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use data_encoding::BASE64;

/// The most bytes of an Authorization header that is read.
const HEADER_BYTES_MAX: usize = 512;

/// The text of the key: a Bearer token (RFC 6750), or the user name of Basic credentials
/// (RFC 7617), whose password is ignored.
#[must_use]
pub fn key_text(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    if value.len() > HEADER_BYTES_MAX {
        return None;
    }
    let (scheme, rest) = value.trim().split_once(' ')?;
    let rest = rest.trim();
    let text = if scheme.eq_ignore_ascii_case("bearer") {
        rest.to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(BASE64.decode(rest.as_bytes()).ok()?).ok()?;
        decoded.split(':').next().unwrap_or("").to_owned()
    } else {
        return None;
    };
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        key_text(&headers)
    }

    #[test]
    fn both_ways_of_sending_a_key_are_read() {
        assert_eq!(of("Bearer sk_abc"), Some("sk_abc".into()));
        assert_eq!(of("bearer  sk_abc "), Some("sk_abc".into()));
        assert_eq!(of("Basic c2tfYWJjOg=="), Some("sk_abc".into()));
        assert_eq!(of("Basic c2tfYWJj"), Some("sk_abc".into()));
        for none in ["", "Bearer", "Bearer ", "Basic !", "Basic Og==", "Digest sk_abc", "sk_abc"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(of(&format!("Bearer {}", "x".repeat(600))), None);
    }
}
