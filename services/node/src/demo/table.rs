//! The table at the end of the demo: as text for people and as JSON for programs.

use std::collections::BTreeMap;

use comfy_table::{Table as Grid, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

/// What eighteen months came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Client events applied.
    pub events: u64,
    /// Contacts known.
    pub contacts: u64,
    /// Journey -> `entered` and each way in which runs ended -> how many.
    pub journeys: BTreeMap<String, BTreeMap<String, u64>>,
    /// Template -> outcome -> how many messages.
    pub messages: BTreeMap<String, BTreeMap<String, u64>>,
    /// Reason -> how many messages were refused for it.
    pub refusals: BTreeMap<String, u64>,
    /// Links followed, each link of each message once.
    pub clicks: u64,
    /// People who withdrew by a link.
    pub withdrawals: u64,
    /// Messages whose outcome nobody knows: the process was killed while they left.
    pub unknown: Vec<UnknownMessage>,
    /// Days of product time.
    pub days: i64,
    /// Seconds of real time, of this process.
    pub seconds: u64,
}

/// A message whose outcome nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownMessage {
    /// The customer's number.
    pub customer: u32,
    /// The template.
    pub template: String,
}

fn grid(header: [&str; 3], rows: impl IntoIterator<Item = [String; 3]>) -> String {
    let mut grid = Grid::new();
    grid.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for row in rows {
        grid.add_row(row);
    }
    grid.to_string()
}

fn flatten(
    nested: &BTreeMap<String, BTreeMap<String, u64>>,
) -> impl Iterator<Item = [String; 3]> + '_ {
    nested.iter().flat_map(|(outer, inner)| {
        inner.iter().map(|(word, count)| [outer.clone(), word.clone(), count.to_string()])
    })
}

impl Table {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let refusals =
            self.refusals.iter().map(|(why, n)| ["refused".into(), why.clone(), n.to_string()]);
        let totals = [
            ["events applied", "", &self.events.to_string()],
            ["contacts", "", &self.contacts.to_string()],
            ["links followed", "synthesised", &self.clicks.to_string()],
            ["withdrawals by one click", "synthesised", &self.withdrawals.to_string()],
            ["messages of unknown outcome", "", &self.unknown.len().to_string()],
            ["days simulated", "", &self.days.to_string()],
            ["seconds taken", "", &self.seconds.to_string()],
        ]
        .map(|row| row.map(str::to_owned));
        [
            grid(["journey", "runs", "count"], flatten(&self.journeys)),
            grid(["template", "messages", "count"], flatten(&self.messages)),
            grid(["the gate", "reason", "count"], refusals),
            grid(["total", "", "count"], totals),
        ]
        .join("\n")
    }
}
