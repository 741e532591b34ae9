//! The demo's table, computed from the data file alone (plus the synthesised choices, which are
//! hashes of the customer number) by code that shares nothing with the product.

use std::collections::{BTreeMap, BTreeSet};

use parcours_node::demo::story;
use serde_json::{Value, json};

const DAY_MS: i64 = 86_400_000;

/// Each customer's purchase times in milliseconds, in the file's order.
pub fn purchases() -> BTreeMap<u32, Vec<i64>> {
    let text = include_str!("../../services/node/demo/data/cdnow_sample.txt");
    let mut by_customer: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let customer: u32 = words[1].parse().unwrap();
        let (year, month, day): (i64, i64, i64) = (
            words[2][..4].parse().unwrap(),
            words[2][4..6].parse().unwrap(),
            words[2][6..].parse().unwrap(),
        );
        let hour = [9, 13, 18][customer as usize % 3];
        let at = days_since_epoch(year, month, day) * DAY_MS + hour * 3_600_000;
        by_customer.entry(customer).or_default().push(at);
    }
    for times in by_customer.values_mut() {
        times.sort_unstable();
    }
    by_customer
}

/// Days from 1970-01-01 in the Gregorian calendar, counted the plain way.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let leap = |y: i64| (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    let lengths = |y| [31, if leap(y) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: i64 = (1970..year).map(|y| if leap(y) { 366 } else { 365 }).sum();
    let months: i64 = lengths(year)[..usize::try_from(month).unwrap() - 1].iter().sum();
    years + months + day - 1
}

/// What the table must say.
#[derive(Default)]
pub struct Expected {
    /// Messages left, by template; both nudges count as `nudge`.
    sent: BTreeMap<&'static str, i64>,
    refused: BTreeMap<&'static str, i64>,
    unknown: i64,
    goals: i64,
    finished: i64,
    clicks: i64,
    withdrawals: i64,
    nudges_due: i64,
}

/// Messages whose outcome is not known after a crash: customer and template, nudges as `nudge`.
pub type Unknown = BTreeSet<(u32, String)>;

impl Expected {
    /// For every customer of the file.
    pub fn of(customers: &BTreeMap<u32, Vec<i64>>, unknown: &Unknown) -> Self {
        let mut expected = Self::default();
        for (customer, times) in customers {
            expected.walk(*customer, times, unknown);
        }
        expected
    }

    fn walk(&mut self, customer: u32, times: &[i64], unknown: &Unknown) {
        let lost = |template: &str| unknown.contains(&(customer, template.to_owned()));
        let first = times[0];
        let second = times.get(1).copied();
        let consents = story::consents(customer);
        let withdraws = consents && !lost("merci") && story::withdraws_after(customer).is_some();
        self.withdrawals += i64::from(withdraws);
        self.send("merci", consents.then_some(()).ok_or("no_consent"), lost("merci"));
        // Timers of a moment come before its purchases.
        if second.is_some_and(|at| at < first + 60 * DAY_MS) {
            self.goals += 1;
            return;
        }
        self.nudges_due += 1;
        let may = match (consents, withdraws) {
            (false, _) => Err("no_consent"),
            (true, true) => Err("withdrawn"),
            (true, false) => Ok(()),
        };
        self.send("nudge", may, lost("nudge"));
        let click = may
            .ok()
            .filter(|()| !lost("nudge"))
            .and(story::clicks_after(customer))
            .map(|after| after.0);
        let reminder_at = first + 60 * DAY_MS + click.unwrap_or(7 * DAY_MS);
        self.clicks += i64::from(click.is_some());
        // A purchase of the same moment comes after a timer but before a click.
        let bought = second
            .is_some_and(|at| if click.is_some() { at <= reminder_at } else { at < reminder_at });
        if bought {
            self.goals += 1;
            return;
        }
        self.finished += 1;
        let reminder = if click.is_some() { "rappel-interesse" } else { "rappel-discret" };
        self.send(reminder, may, lost(reminder));
    }

    fn send(&mut self, template: &'static str, may: Result<(), &'static str>, lost: bool) {
        match may {
            Ok(()) if lost => self.unknown += 1,
            Ok(()) => *self.sent.entry(template).or_default() += 1,
            Err(reason) => *self.refused.entry(reason).or_default() += 1,
        }
    }
}

fn sent(table: &Value, template: &str) -> i64 {
    table["messages"][template]["sent"].as_i64().unwrap_or(0)
}

/// Asserts that a demo's table says exactly this.
pub fn check(table: &Value, customers: &BTreeMap<u32, Vec<i64>>, expected: &Expected) {
    let rows: usize = customers.values().map(Vec::len).sum();
    assert_eq!(table["events"], json!(rows + customers.len()));
    assert_eq!(table["contacts"], json!(customers.len()));
    let journeys = &table["journeys"];
    assert_eq!(journeys["premier-achat"]["entered"], json!(customers.len()));
    assert_eq!(journeys["premier-achat"]["finished"], json!(customers.len()));
    assert_eq!(journeys["deuxieme-achat"]["entered"], json!(customers.len()));
    assert_eq!(journeys["deuxieme-achat"]["goal"], json!(expected.goals));
    assert_eq!(journeys["deuxieme-achat"]["finished"], json!(expected.finished));
    assert_eq!(sent(table, "merci"), expected.sent["merci"]);
    let nudges = ["relance-nouveautes", "relance-selection"].map(|t| sent(table, t));
    assert_eq!(nudges[0] + nudges[1], expected.sent["nudge"]);
    assert!(nudges[0].abs_diff(nudges[1]) * 5 < nudges[0].unsigned_abs(), "{nudges:?}");
    for template in ["rappel-interesse", "rappel-discret"] {
        assert_eq!(sent(table, template), expected.sent[template], "{template}");
    }
    let due: i64 = ["relance-nouveautes", "relance-selection"]
        .iter()
        .flat_map(|t| table["messages"][t].as_object().expect("a row").values())
        .filter_map(Value::as_i64)
        .sum();
    assert_eq!(due, expected.nudges_due, "nudges due, whether they left or not");
    assert_eq!(table["refusals"], json!(expected.refused));
    assert_eq!(table["clicks"], json!(expected.clicks));
    assert_eq!(table["withdrawals"], json!(expected.withdrawals));
    assert_eq!(table["unknown"].as_array().map_or(0, Vec::len) as i64, expected.unknown);
}

/// The messages that a table lists as unknown.
pub fn unknown(table: &Value) -> Unknown {
    let listed = table["unknown"].as_array().cloned().unwrap_or_default();
    listed
        .iter()
        .map(|message| {
            let customer = message["customer"].as_u64().expect("a customer");
            let template = message["template"].as_str().expect("a template");
            let template = if template.starts_with("relance-") { "nudge" } else { template };
            (u32::try_from(customer).expect("a small number"), template.to_owned())
        })
        .collect()
}
