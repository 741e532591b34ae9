//! `parcours status`: how things stand, for people and for scripts.
//!
//! Exit status: 0 when nothing needs a person, 1 when something does, 2 when nobody answered.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use parcours_wire::http::status::{BrandNumbers, Numbers, StatusAnswer};

use super::Session;
use crate::{
    ExitStatus,
    cli::{NodeArgs, StatusArgs},
};

/// Something needs a person.
const ATTENTION: u8 = 1;

/// Nobody answered.
const NO_ANSWER: u8 = 2;

/// Prints how things stand.
///
/// # Errors
/// [`ExitStatus`]: 1 when something needs a person (what was printed says what), 2 with the cause
/// when there is no answer.
pub async fn status(node: &NodeArgs, args: &StatusArgs) -> anyhow::Result<()> {
    let answer = match ask(node, args).await {
        Ok(answer) => answer,
        Err(error) => return Err(ExitStatus::new(NO_ANSWER, format!("{error:#}")).into()),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        print!("{}", text(&answer, args.all));
    }
    if answer.attention.is_empty() {
        return Ok(());
    }
    Err(ExitStatus::new(ATTENTION, String::new()).into())
}

async fn ask(node: &NodeArgs, args: &StatusArgs) -> anyhow::Result<StatusAnswer> {
    let mut session = Session::open(node, &args.remote).await?;
    if let Some(brand) = &args.brand {
        session.client.choose_brand(brand);
    }
    let answer = session.client.get("/v1/status").await;
    session.close().await?;
    answer
}

/// The whole picture as text: a table, then what a person should look at.
fn text(answer: &StatusAnswer, all: bool) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "brand",
        "due",
        "late",
        "held",
        "inbox",
        "ready",
        "waiting",
        "later",
        "leaving",
        "set aside",
        "unknown",
        "stuck",
    ]);
    let (busy, quiet): (Vec<_>, Vec<_>) =
        answer.brands.iter().partition(|one| all || !is_quiet(one));
    for brand in &busy {
        let halted = match (brand.halted_at, &brand.stopped) {
            (Some(_), _) => " (halted)",
            (None, Some(_)) => " (stopped)",
            (None, None) => "",
        };
        let name = format!("{}/{}{halted}", brand.organisation, brand.name);
        table.add_row(row(name, &brand.numbers));
    }
    if answer.brands.len() != 1 {
        table.add_row(row("all".to_owned(), &answer.total));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("at {}\n{table}\n", answer.at);
    if !quiet.is_empty() {
        let _ = writeln!(text, "{} brands have nothing waiting (--all shows them)", quiet.len());
    }
    if let Some(oldest) = &answer.oldest {
        let waits = span(oldest.seconds);
        let _ = writeln!(text, "oldest: a {} of {}, for {waits}", oldest.what, oldest.brand);
    }
    for one in &answer.attention {
        let whose = one.brand.as_deref().unwrap_or("the install");
        let _ = writeln!(text, "! {} {whose}: {}", one.code, one.detail);
    }
    if answer.attention.is_empty() {
        text.push_str("nothing needs a person\n");
    }
    text
}

fn is_quiet(brand: &BrandNumbers) -> bool {
    brand.halted_at.is_none() && brand.stopped.is_none() && brand.numbers == Numbers::default()
}

fn row(name: String, numbers: &Numbers) -> Vec<String> {
    vec![
        name,
        numbers.timers_due.to_string(),
        span(numbers.timers_late_seconds),
        numbers.timers_held.to_string(),
        (numbers.inbox_live + numbers.inbox_bulk).to_string(),
        numbers.queue_ready.to_string(),
        span(numbers.queue_late_seconds),
        numbers.queue_later.to_string(),
        (numbers.queue_claimed + numbers.queue_leaving).to_string(),
        numbers.quarantine_open.to_string(),
        numbers.messages_unknown.to_string(),
        numbers.runs_stuck.to_string(),
    ]
}

/// `0`, `42 s`, `17 min`, `5 h`, `3 d`.
fn span(seconds: u64) -> String {
    match seconds {
        0 => "0".to_owned(),
        1..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brand(name: &str, numbers: Numbers) -> BrandNumbers {
        BrandNumbers {
            id: Default::default(),
            organisation: "maison".into(),
            name: name.into(),
            halted_at: None,
            halt_reason: None,
            stopped: None,
            numbers,
        }
    }

    #[test]
    fn quiet_brands_are_counted_and_busy_ones_shown() {
        let busy = Numbers { timers_due: 7, timers_late_seconds: 300, ..Numbers::default() };
        let answer = StatusAnswer {
            at: parcours_domain::Timestamp::EPOCH,
            install_halted_at: None,
            install_halt_reason: None,
            attention: Vec::new(),
            oldest: None,
            total: busy.clone(),
            brands: vec![brand("sillon", busy), brand("face-b", Numbers::default())],
        };
        let shown = text(&answer, false);
        assert!(shown.contains("maison/sillon") && shown.contains("5 min"), "{shown}");
        assert!(!shown.contains("face-b") && shown.contains("1 brands have nothing"), "{shown}");
        assert!(text(&answer, true).contains("face-b"));
        assert!(shown.ends_with("nothing needs a person\n"));
    }
}
