//! What leaves is one message, in lines that every relay carries, with the headers that were meant.

use mail_parser::MessageParser;
use proptest::prelude::*;

use super::{anna, headers, parts};
use crate::mail::mime::{MailParts, MimeError, build, canonicalise_crlf, is_canonical};

#[test]
fn a_marketing_message_has_exactly_the_expected_headers() {
    let to = anna();
    let message = build(&parts(&to)).unwrap();
    let found = headers(&message);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "MIME-Version",
            "Reply-To",
            "List-Unsubscribe",
            "List-Unsubscribe-Post",
            "List-Id",
            "Feedback-ID",
            "Content-Type",
        ]
    );
    let value = |wanted: &str| found.iter().find(|(name, _)| name == wanted).unwrap().1.clone();
    assert_eq!(value("List-Unsubscribe"), "<https://mail.shop.example/u/TOKEN>");
    assert_eq!(value("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert_eq!(value("Message-ID"), "<0192-7@shop.example>");
    assert_eq!(value("List-Id"), "<news.shop.example>");
    assert_eq!(value("Date"), "Wed, 18 Nov 2026 11:06:40 +0000");
}

#[test]
fn a_reader_sees_what_was_written() {
    let to = anna();
    let text = "Été\n.\n.hidden\nlong ".to_owned() + &"x".repeat(3_000);
    let mail = MailParts { text: &text, ..parts(&to) };
    let message = build(&mail).unwrap();
    let read = MessageParser::default().parse(&message).unwrap();
    assert_eq!(read.subject(), Some("Merci pour votre première commande"));
    assert_eq!(read.from().unwrap().first().unwrap().name(), Some("Disques Élan"));
    assert_eq!(read.body_text(0).unwrap().replace("\r\n", "\n"), text);
    assert_eq!(read.body_html(0).unwrap().trim(), "<p>Bonjour Zoé</p>");
}

#[test]
fn a_message_that_nobody_unsubscribes_from_has_no_list_headers() {
    let to = anna();
    let mail = MailParts {
        list_unsubscribe_url: None,
        list_id: None,
        feedback_id: None,
        reply_to: None,
        from_name: "",
        ..parts(&to)
    };
    let found = headers(&build(&mail).unwrap());
    assert!(found.iter().all(|(name, _)| !name.starts_with("List-") && name != "Reply-To"));
    assert!(found.contains(&("From".into(), "bonjour@shop.example".into())));
}

#[test]
fn a_long_unsubscribe_url_stays_in_one_piece() {
    let to = anna();
    let url = format!("https://mail.shop.example/u/{}", "a".repeat(900));
    let message = build(&MailParts { list_unsubscribe_url: Some(&url), ..parts(&to) }).unwrap();
    let text = String::from_utf8(message).unwrap();
    assert!(text.contains(&format!("\r\nList-Unsubscribe: <{url}>\r\n")));
    let url = format!("https://mail.shop.example/u/{}", "a".repeat(1_000));
    let outcome = build(&MailParts { list_unsubscribe_url: Some(&url), ..parts(&to) });
    assert_eq!(outcome, Err(MimeError::LineTooLong));
}

#[test]
fn the_same_parts_give_the_same_bytes() {
    let to = anna();
    assert_eq!(build(&parts(&to)), build(&parts(&to)));
}

#[test]
fn no_header_takes_a_control_character() {
    let to = anna();
    let good = parts(&to);
    for evil in ["x\r\nBcc: e@evil.example", "x\ny", "x\ry", "x\0y", "x\u{2028}y", "x\u{85}y"] {
        let cases = [
            MailParts { from_name: evil, ..good },
            MailParts { from_address: evil, ..good },
            MailParts { reply_to: Some(evil), ..good },
            MailParts { subject: evil, ..good },
            MailParts { message_id: evil, ..good },
            MailParts { list_unsubscribe_url: Some(evil), ..good },
            MailParts { list_id: Some(evil), ..good },
            MailParts { feedback_id: Some(evil), ..good },
        ];
        for (at, case) in cases.iter().enumerate() {
            assert!(build(case).is_err(), "{at} {evil:?}");
        }
    }
}

#[test]
fn headers_of_the_wrong_form_are_refused() {
    let to = anna();
    let good = parts(&to);
    for (case, header) in [
        (
            MailParts { list_unsubscribe_url: Some("mailto:x@y.example"), ..good },
            "List-Unsubscribe",
        ),
        (
            MailParts { list_unsubscribe_url: Some("https://a>,<https://b"), ..good },
            "List-Unsubscribe",
        ),
        (MailParts { feedback_id: Some("a:b:c:d:e"), ..good }, "Feedback-ID"),
        (MailParts { message_id: "no-brackets@x", ..good }, "Message-ID"),
        (MailParts { list_id: Some("<a> <b>"), ..good }, "List-Id"),
        (MailParts { from_address: "not an address", ..good }, "From"),
    ] {
        assert_eq!(build(&case), Err(MimeError::Malformed(header)));
    }
}

proptest! {
    #[test]
    fn every_message_is_canonical_and_narrow(
        subject in "[^\\p{C}\u{2028}\u{2029}]{1,200}",
        name in "[^\\p{C}\u{2028}\u{2029}]{0,80}",
        text in "(\\PC|\r|\n|\\.){0,400}",
    ) {
        let to = anna();
        let mail = MailParts { subject: &subject, from_name: &name, text: &text, html: &text, ..parts(&to) };
        let message = build(&mail).unwrap();
        prop_assert!(is_canonical(&message));
        prop_assert!(message.split(|b| *b == b'\n').all(|line| line.len() <= 999));
        prop_assert!(message.is_ascii());
        prop_assert_eq!(headers(&message).len(), 12);
        let read = MessageParser::default().parse(&message).unwrap();
        let body = read.body_text(0).unwrap();
        let wanted = String::from_utf8(canonicalise_crlf(text.as_bytes())).unwrap();
        prop_assert_eq!(body.trim_end_matches("\r\n"), wanted.trim_end_matches("\r\n"));
    }

    #[test]
    fn canonicalising_is_idempotent_and_keeps_everything_else(bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..200)) {
        let once = canonicalise_crlf(&bytes);
        prop_assert!(is_canonical(&once));
        prop_assert_eq!(canonicalise_crlf(&once), once.clone());
        let plain = |b: &&u8| !matches!(b, b'\r' | b'\n');
        prop_assert_eq!(bytes.iter().filter(plain).collect::<Vec<_>>(), once.iter().filter(plain).collect::<Vec<_>>());
    }
}
