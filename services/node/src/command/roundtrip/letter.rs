//! What a mailbox provider reads of a message to unsubscribe from it (RFC 2369, RFC 8058).

use anyhow::{Context as _, bail};
use mail_parser::MessageParser;

/// The path of a message's one-click link; it must offer one.
pub(super) fn one_click(raw: &str) -> anyhow::Result<String> {
    let mail = MessageParser::default().parse_headers(raw).context("the mail cannot be read")?;
    let header =
        |name| mail.header_raw(name).map(|text| text.split_whitespace().collect::<String>());
    let post = header("List-Unsubscribe-Post").unwrap_or_default();
    if post != "List-Unsubscribe=One-Click" {
        bail!("the mail has no List-Unsubscribe-Post header (RFC 8058)");
    }
    let links = header("List-Unsubscribe").context("the mail has no List-Unsubscribe header")?;
    let link = links.split(['<', '>']).find(|part| part.starts_with("https://"));
    let link = link.context("the mail has no https link to unsubscribe by")?;
    Ok(url::Url::parse(link)?.path().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_taken_from_a_mail_that_offers_one_click() {
        let mail = |post: &str| {
            format!(
                "Subject: x\r\nList-Unsubscribe: <https://roundtrip.invalid\r\n /u/abc>\r\n{post}\r\nbody"
            )
        };
        let post = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
        assert_eq!(one_click(&mail(post)).unwrap(), "/u/abc");
        assert!(one_click(&mail("")).is_err());
        assert!(one_click(post).is_err());
    }
}
