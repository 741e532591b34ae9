//! What the demo synthesises around the real purchases: names, consent, clicks, withdrawals.
//!
//! Every choice is a hash of the customer number and a word, so that it is the same in each run
//! and on each machine. All of it is labelled as synthesised where it is recorded (sources and
//! event names end in "synthesised").

use parcours_domain::{Millis, Timestamp, hash::sha256_head};

/// Marks every synthesised consent fact.
pub const SOURCE: &str = "checkout, synthesised";

const FIRST_NAMES: [&str; 16] = [
    "Camille", "Louise", "Jules", "Inès", "Hugo", "Léa", "Nadia", "Théo", "Zoé", "Karim", "Anne",
    "Marc", "Élodie", "Paul", "Fatou", "Noé",
];

/// 0..100, the same for the same customer and word for ever.
fn percent(customer: u32, word: &str) -> u64 {
    let head: [u8; 8] = sha256_head(&[b"demo", word.as_bytes(), &customer.to_be_bytes()]);
    u64::from_be_bytes(head) % 100
}

/// The userId under which the shop knows the customer.
#[must_use]
pub fn user_id(customer: u32) -> String {
    format!("client-{customer:04}")
}

/// An address in a domain that is reserved for examples (RFC 2606).
#[must_use]
pub fn email(customer: u32) -> String {
    format!("client-{customer:04}@disques.example")
}

/// A first name for four customers in five; the others show the template's default.
#[must_use]
pub fn first_name(customer: u32) -> Option<&'static str> {
    let named = percent(customer, "named") < 80;
    let pick = percent(customer, "name") as usize % FIRST_NAMES.len();
    named.then(|| FIRST_NAMES[pick])
}

/// Whether the customer ticked the box at the first purchase.
#[must_use]
pub fn consents(customer: u32) -> bool {
    percent(customer, "consents") < 85
}

/// How long after the thank-you message the customer withdraws, if ever: by the link in it.
#[must_use]
pub fn withdraws_after(customer: u32) -> Option<Millis> {
    (percent(customer, "withdraws") < 6).then(|| Millis::days(14))
}

/// How long after a nudge the customer follows its link, if ever.
#[must_use]
pub fn clicks_after(customer: u32) -> Option<Millis> {
    (percent(customer, "clicks") < 35).then(|| Millis::days(2))
}

/// The moment the demo begins: the day before the first purchase.
#[must_use]
pub fn beginning() -> Timestamp {
    "1996-12-31T09:00:00Z".parse().unwrap_or(Timestamp::EPOCH)
}

/// The moment the data ends and the clock goes on at real speed.
#[must_use]
pub fn end() -> Timestamp {
    "1998-06-30T22:00:00Z".parse().unwrap_or(Timestamp::EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_stable_and_near_their_shares() {
        let share = |choice: fn(u32) -> bool| (1..=2_357).filter(|c| choice(*c)).count();
        let consenting = share(consents);
        assert_eq!(consenting, share(consents));
        assert!((1_900..2_100).contains(&consenting), "{consenting}");
        let withdrawing = share(|c| withdraws_after(c).is_some());
        assert!((90..200).contains(&withdrawing), "{withdrawing}");
        assert!(end() > beginning());
    }
}
