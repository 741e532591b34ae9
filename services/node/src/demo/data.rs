//! The demo's real data: purchases of an online music shop, one row each.
//!
//! A date has no time of day, so each customer gets one of three hours; rows of one customer on
//! one day keep the file's order. Nothing else is added to the data here.

use parcours_domain::Timestamp;

/// The file, embedded so that the demo needs nothing but the binary.
pub const PURCHASES: &str = include_str!("../../demo/data/cdnow_sample.txt");

/// The hours (UTC) at which a day's purchases take place.
pub const HOURS: [i64; 3] = [9, 13, 18];

/// One purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// Line number in the file, from 1: the event's messageId.
    pub row: u32,
    /// Customer number in the sample.
    pub customer: u32,
    /// When.
    pub at: Timestamp,
    /// Number of CDs.
    pub quantity: u32,
    /// Cents of a dollar.
    pub cents: u32,
}

/// A line that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {row} of the purchases is not `number number YYYYMMDD number dollars`")]
pub struct Unreadable {
    row: u32,
}

/// Reads the whole file and sorts it by time, then by row.
///
/// # Errors
/// The first line that cannot be read.
pub fn parse(text: &str) -> Result<Vec<Purchase>, Unreadable> {
    let mut purchases = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let row = u32::try_from(index + 1).unwrap_or(u32::MAX);
        purchases.push(parse_line(row, line).ok_or(Unreadable { row })?);
    }
    purchases.sort_by_key(|purchase| (purchase.at, purchase.row));
    Ok(purchases)
}

fn parse_line(row: u32, line: &str) -> Option<Purchase> {
    let mut words = line.split_whitespace();
    let _full_cohort = words.next()?;
    let customer: u32 = words.next()?.parse().ok()?;
    let date = words.next()?;
    let quantity = words.next()?.parse().ok()?;
    let (dollars, cents) = words.next()?.split_once('.')?;
    let cents = dollars.parse::<u32>().ok()? * 100 + cents.parse::<u32>().ok()?;
    let day = format!("{}-{}-{}", date.get(..4)?, date.get(4..6)?, date.get(6..8)?);
    let hour = HOURS[customer as usize % HOURS.len()];
    let at = format!("{day}T{hour:02}:00:00Z").parse().ok()?;
    Some(Purchase { row, customer, at, quantity, cents })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_real_file_is_read() {
        let purchases = parse(PURCHASES).unwrap();
        assert_eq!(purchases.len(), 6_919);
        let customers: std::collections::BTreeSet<_> =
            purchases.iter().map(|p| p.customer).collect();
        assert_eq!(customers.len(), 2_357);
        assert!(purchases.iter().any(|p| p.cents == 0));
        assert!(purchases.windows(2).all(|w| w[0].at <= w[1].at));
    }

    #[test]
    fn a_damaged_line_is_named() {
        let fault = parse(" 00004 0001 19970101  2   29.33\n 00004 0001 1997\n").unwrap_err();
        assert!(fault.to_string().starts_with("line 2 "));
    }
}
