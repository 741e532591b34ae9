//! Batches as a client library would send them: random UUIDs as messageIds, a timestamp, a little
//! context.

use std::fmt::Write as _;

use uuid::Uuid;

/// Somebody whom events are about.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// Their brand.
    pub brand: usize,
    /// Their number, of all.
    pub number: usize,
}

/// The body of a batch: one item for each, as `write` writes it.
pub fn body<T>(items: impl Iterator<Item = T>, mut write: impl FnMut(&mut String, T)) -> String {
    let mut text = String::with_capacity(48 * 1024);
    text.push_str("{\"batch\":[");
    for (place, item) in items.enumerate() {
        if place > 0 {
            text.push(',');
        }
        write(&mut text, item);
    }
    text.push_str("]}");
    text
}

/// Traits of a person, with an address.
pub fn identify(text: &mut String, who: Person, now: &str) {
    let number = who.number;
    item(text, who, now, "identify", "");
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        text,
        "\"traits\":{{\"email\":\"u{number}@mail{}.example\",\"first_name\":\"Camille\",\
         \"plan\":\"free\",\"country\":\"FR\"}}}}",
        number % 50
    );
}

/// A page view of the shop: no journey begins or ends with it.
pub fn viewed(text: &mut String, who: Person, now: &str) {
    item(text, who, now, "track", "Product Viewed");
    let product = who.number % 997;
    let _ = write!(
        text,
        "\"properties\":{{\"product_id\":\"p{product}\",\"category\":\"records\",\"price\":18.5,\
         \"path\":\"/records/{product}\"}}}}"
    );
}

/// A cart: a run begins and waits.
pub fn cart(text: &mut String, who: Person, now: &str) {
    item(text, who, now, "track", "Cart Updated");
    text.push_str("\"properties\":{\"cart_id\":\"c1\",\"total\":41.0,\"items\":2}}");
}

/// An order: the run that waits ends.
pub fn order(text: &mut String, who: Person, now: &str) {
    item(text, who, now, "track", "Order Completed");
    text.push_str("\"properties\":{\"order_id\":\"o1\",\"total\":41.0,\"quantity\":2}}");
}

/// A receipt is asked for: a message leaves.
pub fn receipt(text: &mut String, who: Person, now: &str) {
    item(text, who, now, "track", "Receipt Requested");
    text.push_str("\"properties\":{\"receipt\":\"R-2041\"}}");
}

/// A parcel is on its way: a run waits a little, sends, and hears what became of the message.
pub fn parcel(text: &mut String, who: Person, now: &str) {
    item(text, who, now, "track", "Parcel Shipped");
    // Several of one person may be on their way.
    let _ = write!(text, "\"properties\":{{\"receipt\":\"{}\"}}}}", Uuid::new_v4());
}

/// A sale: a run waits until this moment.
pub fn sale(text: &mut String, who: Person, now: &str, starts_at: &str) {
    item(text, who, now, "track", "Sale Announced");
    let _ = write!(text, "\"properties\":{{\"starts_at\":\"{starts_at}\"}}}}");
}

/// What all items begin with; one member more and the closing brace are to follow.
fn item(text: &mut String, who: Person, now: &str, kind: &str, event: &str) {
    let (Person { brand, number }, id) = (who, Uuid::new_v4());
    let _ = write!(
        text,
        "{{\"type\":\"{kind}\",\"userId\":\"b{brand}-u{number}\",\"messageId\":\"{id}\",\
         \"timestamp\":\"{now}\",\"context\":{{\"library\":{{\"name\":\"load\",\
         \"version\":\"1.0\"}},\"locale\":\"fr-FR\"}},"
    );
    if !event.is_empty() {
        let _ = write!(text, "\"event\":\"{event}\",");
    }
}

/// One sender's part of the contacts, so that what one of them does stays in order.
#[derive(Clone, Debug)]
pub struct Crowd {
    people: Vec<Person>,
    in_cart: Vec<bool>,
    next: usize,
    dice: Dice,
}

impl Crowd {
    /// Of `contacts` people in all, those of this brand that belong to sender `own` of `users`.
    pub fn new(
        (brand, brands): (usize, usize),
        (own, users): (usize, usize),
        contacts: usize,
    ) -> Self {
        let people = (brand..contacts)
            .step_by(brands)
            .enumerate()
            .filter(|(place, _)| place % users == own)
            .map(|(_, number)| Person { brand, number })
            .collect();
        Self::of(people, brand * users + own)
    }

    /// These people, of one brand; `turn` tells senders apart.
    pub fn of(people: Vec<Person>, turn: usize) -> Self {
        let seed = turn as u64;
        Self { in_cart: vec![false; people.len()], people, next: 0, dice: Dice::new(seed) }
    }

    /// A batch of the mix: of a hundred items 90 match no journey, 9 change a run, 1 sends. People come
    /// in turn, so a batch is about as many of them as it has items, however many there are in all.
    pub fn batch(&mut self, items: usize) -> String {
        let now = jiff::Timestamp::now().to_string();
        body(0..items, |text, _| {
            let place = self.next % self.people.len();
            self.next = place + 1;
            let who = self.people[place];
            match self.dice.below(100) {
                0 => receipt(text, who, &now),
                1..=9 => {
                    self.in_cart[place] = !self.in_cart[place];
                    if self.in_cart[place] { cart(text, who, &now) } else { order(text, who, &now) }
                }
                _ => viewed(text, who, &now),
            }
        })
    }
}

/// Repeatable numbers (splitmix64, Steele et al. 2014): the same load each time.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound.max(1) as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_mix_is_the_one_that_is_stated_and_carts_take_turns() {
        let mut crowd = Crowd::new((3, 20), (1, 16), 10_000);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut carts: BTreeMap<String, i32> = BTreeMap::new();
        for _ in 0..200 {
            let body: Value = serde_json::from_str(&crowd.batch(100)).unwrap();
            for item in body["batch"].as_array().unwrap() {
                let (event, user) = (item["event"].as_str().unwrap(), item["userId"].to_string());
                *counts.entry(event.to_owned()).or_default() += 1;
                let cart = carts.entry(user).or_default();
                match event {
                    "Cart Updated" => *cart += 1,
                    "Order Completed" => *cart -= 1,
                    _ => {}
                }
                assert!((0..=1).contains(cart));
            }
        }
        let share = |name: &str| counts[name] as f64 / 20_000.0;
        assert!((share("Product Viewed") - 0.90).abs() < 0.01);
        assert!((share("Cart Updated") + share("Order Completed") - 0.09).abs() < 0.01);
        assert!((share("Receipt Requested") - 0.01).abs() < 0.005);
    }

    #[test]
    fn senders_share_out_everybody_once() {
        let mut seen: Vec<usize> = (0..4)
            .flat_map(|brand| (0..3).map(move |own| Crowd::new((brand, 4), (own, 3), 1_000)))
            .flat_map(|crowd| crowd.people.into_iter().map(|person| person.number))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
    }
}
