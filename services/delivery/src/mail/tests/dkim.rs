//! Signatures hold as long as nobody touches what a reader sees, and break when somebody does.
//!
//! The verifier here is written for the tests, from the RFC, over ring alone: it shares no code with
//! the signer.

use data_encoding::BASE64;
use ring::{digest, signature};

use super::{anna, parts};
use crate::mail::{
    dkim::{DkimAlgorithm, DkimError, DkimKey, generate_ed25519, public_record, sign},
    mime::{MailParts, build},
};

const RSA: &str = include_str!("rsa2048.pem");
const SHORT_RSA: &str = include_str!("rsa1024.pem");

fn keys() -> Vec<DkimKey> {
    let seed = BASE64.encode(&[9; 32]);
    vec![
        DkimKey::parse(DkimAlgorithm::Rsa, "r1", "shop.example", RSA).unwrap(),
        DkimKey::parse(DkimAlgorithm::Ed25519, "e1", "shop.example", &seed).unwrap(),
    ]
}

fn signed() -> Vec<u8> {
    let to = anna();
    let url = format!("https://mail.shop.example/u/{}", "a".repeat(900));
    let mail = MailParts { list_unsubscribe_url: Some(&url), ..parts(&to) };
    sign(build(&mail).unwrap(), &keys()).unwrap()
}

/// Which of the message's signatures hold, in order.
fn verified(message: &[u8], keys: &[DkimKey]) -> Vec<bool> {
    let text = std::str::from_utf8(message).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut fields: Vec<String> = Vec::new();
    for line in head.split("\r\n") {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => {
                field.push_str("\r\n");
                field.push_str(line);
            }
            _ => fields.push(line.to_owned()),
        }
    }
    let signatures = fields.iter().filter(|field| field.starts_with("DKIM-Signature:"));
    signatures
        .map(|field| {
            let tag = |name: &str| tag_of(field, name);
            let key = keys
                .iter()
                .find(|key| key.record_name() == format!("{}._domainkey.{}", tag("s"), tag("d")));
            let body_hash = digest::digest(&digest::SHA256, relaxed_body(body).as_bytes());
            BASE64.encode(body_hash.as_ref()) == tag("bh")
                && holds(
                    &signed_data(field, &fields, &tag("h")),
                    &tag("b"),
                    &public_record(key.unwrap()),
                )
        })
        .collect()
}

fn tag_of(field: &str, name: &str) -> String {
    let value = field.split_once(':').unwrap().1;
    let found = value.split(';').find_map(|tag| {
        let (tag, value) = tag.split_once('=')?;
        (tag.trim() == name).then(|| value.split_whitespace().collect::<String>())
    });
    found.unwrap_or_default()
}

fn relaxed_body(body: &str) -> String {
    let lines: Vec<String> = body
        .split("\r\n")
        .map(|line| {
            let mut out = String::new();
            for c in line.trim_end_matches([' ', '\t']).chars() {
                let space = c == ' ' || c == '\t';
                if !(space && out.ends_with(' ')) {
                    out.push(if space { ' ' } else { c });
                }
            }
            out
        })
        .collect();
    let text = lines.join("\r\n");
    let text = text.trim_end_matches("\r\n");
    if text.is_empty() { String::new() } else { format!("{text}\r\n") }
}

fn relaxed_header(field: &str) -> String {
    let (name, value) = field.split_once(':').unwrap();
    let value: Vec<&str> = value.split_whitespace().collect();
    format!("{}:{}", name.to_ascii_lowercase().trim_end(), value.join(" "))
}

fn signed_data(signature: &str, fields: &[String], h: &str) -> String {
    let mut left: Vec<&String> = fields.iter().collect();
    let mut data = String::new();
    for name in h.split(':') {
        let is = |field: &&String| {
            field.split_once(':').unwrap().0.trim_end().eq_ignore_ascii_case(name)
        };
        if let Some(at) = left.iter().rposition(is) {
            data.push_str(&relaxed_header(left.remove(at)));
            data.push_str("\r\n");
        }
    }
    let from = signature.find("; b=").unwrap() + 4;
    let end = signature[from..].find(';').map_or(signature.len(), |end| from + end);
    data.push_str(&relaxed_header(&format!("{}{}", &signature[..from], &signature[end..])));
    data
}

fn holds(data: &str, b: &str, record: &str) -> bool {
    let b = BASE64.decode(b.as_bytes()).unwrap();
    let p = BASE64.decode(record.rsplit_once("p=").unwrap().1.as_bytes()).unwrap();
    if record.contains("k=ed25519") {
        let hash = digest::digest(&digest::SHA256, data.as_bytes());
        let key = signature::UnparsedPublicKey::new(&signature::ED25519, p);
        return key.verify(hash.as_ref(), &b).is_ok();
    }
    // The record holds SubjectPublicKeyInfo; 24 bytes precede a 2048-bit key's own structure.
    let algorithm = &signature::RSA_PKCS1_2048_8192_SHA256;
    signature::UnparsedPublicKey::new(algorithm, &p[24..]).verify(data.as_bytes(), &b).is_ok()
}

#[test]
fn both_signatures_of_a_message_hold() {
    assert_eq!(verified(&signed(), &keys()), [true, true]);
}

#[test]
fn whatever_a_reader_sees_or_a_client_acts_on_is_covered() {
    let message = String::from_utf8(signed()).unwrap();
    let line = |name: &str| {
        let from = message.find(&format!("\r\n{name}: ")).unwrap() + 2;
        let to = from + message[from..].find("\r\n").unwrap() + 2;
        message[from..to].to_owned()
    };
    for name in
        ["List-Unsubscribe", "List-Unsubscribe-Post", "To", "Date", "Message-ID", "Reply-To"]
    {
        let stripped = message.replacen(&line(name), "", 1);
        assert_ne!(stripped, message);
        assert_eq!(verified(stripped.as_bytes(), &keys()), [false, false], "{name} stripped");
    }
    for added in [
        "From: evil@evil.example",
        "Subject: Won",
        "To: b@example.org",
        "Cc: c@example.org",
        "Reply-To: evil@evil.example",
        "List-Unsubscribe: <https://evil.example>",
        "List-Unsubscribe-Post: x",
        "Date: x",
        "Message-ID: <x@y>",
        "MIME-Version: 2.0",
        "Content-Type: text/html",
        "Content-Transfer-Encoding: base64",
    ] {
        for more in [
            format!("{added}\r\n{message}"),
            message.replacen("\r\n\r\n", &format!("\r\n{added}\r\n\r\n"), 1),
        ] {
            assert_eq!(verified(more.as_bytes(), &keys()), [false, false], "{added}");
        }
    }
    let other = message.replacen("Bonjour", "Bonsoir", 1);
    assert_eq!(verified(other.as_bytes(), &keys()), [false, false]);
}

#[test]
fn relays_may_refold_and_add_trace_headers() {
    let message = String::from_utf8(signed()).unwrap();
    let relayed =
        format!("Received: by relay.example\r\n{}", message.replace("Subject: ", "Subject:\r\n  "));
    assert_eq!(verified(relayed.as_bytes(), &keys()), [true, true]);
}

#[test]
fn a_transactional_message_cannot_be_given_an_unsubscribe_link_under_way() {
    let to = anna();
    let mail = MailParts { list_unsubscribe_url: None, ..parts(&to) };
    let message = String::from_utf8(sign(build(&mail).unwrap(), &keys()).unwrap()).unwrap();
    assert_eq!(verified(message.as_bytes(), &keys()), [true, true]);
    let more = format!("List-Unsubscribe: <https://evil.example>\r\n{message}");
    assert_eq!(verified(more.as_bytes(), &keys()), [false, false]);
}

#[test]
fn keys_are_read_in_their_usual_forms_and_nothing_else() {
    let ed = |secret: &str| DkimKey::ed25519("s", "shop.example", secret);
    let generated = generate_ed25519().unwrap();
    assert!(public_record(&ed(&generated).unwrap()).starts_with("v=DKIM1; k=ed25519; p="));
    let pkcs8 = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ\n-----END PRIVATE KEY-----\n";
    assert_eq!(
        public_record(&ed(pkcs8).unwrap()),
        public_record(&ed(&BASE64.encode(&[9; 32])).unwrap())
    );
    for bad in ["", "x", "AAAA", RSA] {
        assert_eq!(ed(bad).unwrap_err(), DkimError::Key, "{bad:.20}");
    }
    let rsa = |secret: &str| DkimKey::rsa("s", "shop.example", secret).unwrap_err();
    assert_eq!(rsa(SHORT_RSA), DkimError::KeyTooShort);
    assert_eq!(rsa(pkcs8), DkimError::Key);
    for (selector, domain) in
        [("", "a.example"), ("a b", "a.example"), ("a", "a"), ("a;", "b.c"), ("a", "b\r\n.c")]
    {
        let key = DkimKey::ed25519(selector, domain, &generated).unwrap_err();
        assert_eq!(key, DkimError::Name, "{selector} {domain}");
    }
    let printed = format!("{:?}", ed(&generated).unwrap());
    assert!(!printed.contains(&generated), "{printed}");
}

#[test]
fn bytes_that_are_not_canonical_are_not_signed() {
    assert_eq!(
        sign(b"From: a\nTo: b\r\n\r\nx\r\n".to_vec(), &keys()),
        Err(DkimError::NotCanonical)
    );
    let plain = b"From: a\r\n\r\nx\r\n".to_vec();
    let none: [DkimKey; 0] = [];
    assert_eq!(sign(plain.clone(), &none), Ok(plain));
}
