//! Link tokens and envelope senders: only what was signed under this key is believed.

use parcours_content::token::{
    LINK_TOKEN_CHARS, LinkKind, LinkToken, verp_local_part, verp_message, verp_verify,
};
use parcours_domain::{Handle, MessageId, TenantId, hash::MacKey};
use proptest::prelude::*;
use uuid::Uuid;

const KEY: MacKey = MacKey([7; 32]);

fn token() -> LinkToken {
    LinkToken {
        kind: LinkKind::Unsubscribe,
        key_version: 1,
        tenant: TenantId(Uuid::from_u128(1)),
        message: MessageId(Uuid::from_u128(2)),
        handle: Handle([3; 16]),
        link: 0,
    }
}

fn verified(text: &str) -> Option<LinkToken> {
    LinkToken::parse(text)?.verify(&KEY)
}

/// Golden: links in mails that left long ago must go on working.
#[test]
fn the_form_of_a_token_never_changes() {
    assert_eq!(token().sign(&KEY), GOLDEN_LINK);
    assert_eq!(verp_local_part(MessageId(Uuid::from_u128(2)), &KEY), GOLDEN_VERP);
}

#[test]
fn every_single_bit_counts() {
    let text = token().sign(&KEY);
    assert_eq!(text.len(), LINK_TOKEN_CHARS);
    assert_eq!(verified(&text), Some(token()));
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(bent) = String::from_utf8(bytes) {
                assert_eq!(verified(&bent), None, "{bent}");
            }
        }
    }
}

#[test]
fn truncated_padded_foreign_and_converted_tokens_are_refused() {
    let text = token().sign(&KEY);
    for len in 0..text.len() {
        assert_eq!(verified(&text[..len]), None);
    }
    for bad in [format!("{text}="), format!("{text}A"), format!(" {}", &text[1..])] {
        assert_eq!(verified(&bad), None, "{bad}");
    }
    assert_eq!(LinkToken::parse(&text).unwrap().verify(&MacKey([8; 32])), None);
    let click = LinkToken { kind: LinkKind::Click, ..token() };
    assert_ne!(click.sign(&KEY), text);
    let other = LinkToken { tenant: TenantId(Uuid::from_u128(9)), ..token() };
    assert_eq!(LinkToken::parse(&other.sign(&KEY)).unwrap().tenant(), other.tenant);
}

#[test]
fn an_envelope_sender_survives_letter_case_and_nothing_else() {
    let message = MessageId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001));
    let local = verp_local_part(message, &KEY);
    assert!(local.len() <= 64);
    assert_eq!(verp_message(&local), Some(message));
    assert_eq!(verp_verify(&local, &KEY), Some(message));
    assert_eq!(verp_verify(&local.to_ascii_uppercase(), &KEY), Some(message));
    assert_eq!(verp_verify(&local, &MacKey([8; 32])), None);
    for at in 0..local.len() {
        let mut bytes = local.clone().into_bytes();
        bytes[at] = if bytes[at] == b'a' { b'c' } else { b'a' };
        assert_eq!(verp_verify(&String::from_utf8(bytes).unwrap(), &KEY), None, "{at}");
        assert_eq!(verp_verify(&local[..at], &KEY), None);
    }
}

proptest! {
    #[test]
    fn any_token_round_trips(
        click: bool, key_version: u8, tenant: u128, message: u128, handle: [u8; 16], link: u16,
    ) {
        let token = LinkToken {
            kind: if click { LinkKind::Click } else { LinkKind::Unsubscribe },
            key_version,
            tenant: TenantId(Uuid::from_u128(tenant)),
            message: MessageId(Uuid::from_u128(message)),
            handle: Handle(handle),
            link,
        };
        prop_assert_eq!(verified(&token.sign(&KEY)), Some(token));
    }

    #[test]
    fn no_text_makes_a_token(text in "[A-Za-z0-9_-]{92}", other in "\\PC{0,120}") {
        prop_assert_eq!(verified(&text), None);
        prop_assert_eq!(verified(&other), None);
        prop_assert_eq!(verp_verify(&other, &KEY), None);
    }
}
const GOLDEN_LINK: &str =
    "AQEBAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAIDAwMDAwMDAwMDAwMDAwMDAACHnuISfpKXLYhSMriaX4Fz";
const GOLDEN_VERP: &str = "b-aaaaaaaaaaaaaaaaaaaaaaaaajvy62isilk4w2fnjdite";
