//! Mail as its receivers see it: bytes, signatures and conversations.

mod dkim;
mod mime;
mod smtp;

use parcours_domain::{EmailAddress, Timestamp};

use super::mime::MailParts;

/// The recipient of the tests' mail.
fn anna() -> EmailAddress {
    "anna@example.org".parse().unwrap()
}

/// A marketing message.
fn parts(to: &EmailAddress) -> MailParts<'_> {
    MailParts {
        from_name: "Disques Élan",
        from_address: "bonjour@shop.example",
        reply_to: Some("aide@shop.example"),
        to,
        subject: "Merci pour votre première commande",
        html: "<p>Bonjour Zoé</p>\n",
        text: "Bonjour Zoé\n",
        message_id: "<0192-7@shop.example>",
        date: Timestamp::from_millis(1_795_000_000_000),
        list_unsubscribe_url: Some("https://mail.shop.example/u/TOKEN"),
        list_id: Some("<news.shop.example>"),
        feedback_id: Some("welcome:thanks:news:shop"),
        is_test: false,
    }
}

/// The header lines of a message, unfolded, in order.
fn headers(message: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(message);
    let head = text.split("\r\n\r\n").next().unwrap_or("");
    head.replace("\r\n ", " ")
        .replace("\r\n\t", " ")
        .split("\r\n")
        .map(|line| line.split_once(':').unwrap_or((line, "")))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}
