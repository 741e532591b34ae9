//! `rollup`: what happened in each brand, as a table.

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use parcours_wire::http::rollup::{Counts, RollupAnswer};

use super::Session;
use crate::cli::{NodeArgs, RollupArgs};

/// Heads of the table's columns, and what is added up under each.
const COLUMNS: [(&str, &[&str]); 8] = [
    ("events", &["events"]),
    ("set aside", &["set_aside"]),
    ("runs", &["runs_entered"]),
    ("messages", &["messages"]),
    ("sent", &["messages_sent"]),
    ("refused", &["messages_refused"]),
    ("failed", &["messages_failed", "messages_bounced", "messages_expired", "messages_skipped"]),
    ("unknown", &["messages_unknown"]),
];

/// Prints it.
///
/// # Errors
/// What the server says.
pub async fn rollup(node: &NodeArgs, args: &RollupArgs) -> anyhow::Result<()> {
    let mut session = Session::open(node, &args.remote).await?;
    if let Some(brand) = &args.brand {
        session.client.choose_brand(brand);
    }
    let answer = session.client.get(&format!("/v1/rollup?days={}", args.days)).await;
    session.close().await?;
    let answer: RollupAnswer = answer?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        println!("{}", text(&answer));
    }
    Ok(())
}

fn text(answer: &RollupAnswer) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let heads = COLUMNS.iter().map(|(head, _)| *head);
    table.set_header(["brand"].into_iter().chain(heads).chain(["waiting"]));
    for brand in &answer.brands {
        let name = format!("{}/{}", brand.organisation, brand.name);
        table.add_row(row(name, &brand.counts, brand.waiting));
    }
    if answer.brands.len() != 1 {
        let waiting = answer.brands.iter().map(|brand| brand.waiting).sum();
        table.add_row(row("all".to_owned(), &answer.total, waiting));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("from {} to {}, by days of UTC\n{table}", answer.from, answer.at)
}

fn row(name: String, counts: &Counts, waiting: u64) -> Vec<String> {
    let sum = |names: &[&str]| names.iter().filter_map(|name| counts.get(*name)).sum::<i64>();
    let numbers = COLUMNS.iter().map(|(_, names)| sum(names).to_string());
    [name].into_iter().chain(numbers).chain([waiting.to_string()]).collect()
}
