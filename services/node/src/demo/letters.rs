//! Reading the demo's letters as a recipient's mail program would: the links and the headers.

use mail_parser::MessageParser;

/// What a customer does with a letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// Path of the one-click link in `List-Unsubscribe`.
    pub unsubscribe: Option<String>,
    /// Path of the first tracked link in the HTML part.
    pub click: Option<String>,
}

/// Reads a raw message.
#[must_use]
pub fn read(raw: &[u8]) -> Letter {
    let Some(message) = MessageParser::default().parse(raw) else { return Letter::default() };
    let unsubscribe = message
        .header_raw("List-Unsubscribe")
        .and_then(|header| header.split_once('<')?.1.split_once('>'))
        .and_then(|(url, _)| path_of(&url.split_whitespace().collect::<String>(), "/u/"));
    let html = message.body_html(0).unwrap_or_default();
    let click = html
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .find_map(|(url, _)| path_of(url, "/c/"));
    Letter { unsubscribe, click }
}

/// The path of `url` when it begins with `start`.
fn path_of(url: &str, start: &str) -> Option<String> {
    let at = url.find(start)?;
    url.get(at..).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_in_header_and_body() {
        let raw = b"From: a@b.example\r\nSubject: x\r\n\
            List-Unsubscribe: <http://localhost:8080/u/abc>\r\n\
            Content-Type: text/html; charset=utf-8\r\n\r\n\
            <a href=\"http://x.example/\">no</a> <a href=\"http://localhost:8080/c/def\">yes</a>\r\n";
        let letter = read(raw);
        assert_eq!(letter.unsubscribe.as_deref(), Some("/u/abc"));
        assert_eq!(letter.click.as_deref(), Some("/c/def"));
        assert_eq!(read(b"not a message"), Letter::default());
    }
}
