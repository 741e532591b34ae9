//! Mass work in the inbox, beside live events of another brand.
//!
//! Nothing that a client can ask for makes mass work in such number, so the rows are written into
//! the run's own database, as the product writes an outcome that comes after its run has ended, but
//! into the lane `bulk`. How fast they go is counted there too; the run ends when they are gone or
//! the time is over, whichever comes first.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{
    args::Args,
    brands,
    live::{self, Live},
    plot::{self, Panel},
    report::{self, Table},
    samples::Samples,
    server::Server,
    sql::Sql,
    watch::Watch,
};

/// The live traffic's first seconds, which count for no phase.
const WARM_UP: Duration = Duration::from_secs(5);
/// How often the rows that are left are counted.
const LOOK: Duration = Duration::from_secs(2);

/// What was seen.
struct Seen {
    samples: Arc<Samples>,
    watch: Watch,
    /// Rows left at each moment: beside the live traffic just after they were written, beside it
    /// once the database has statistics of them, and alone.
    fresh: Vec<(Duration, u64)>,
    known: Vec<(Duration, u64)>,
    alone: Vec<(Duration, u64)>,
    applied: u64,
}

/// Runs the scenario.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    if args.brands < 2 || args.contacts() == 0 || args.rows < args.contacts() {
        bail!("mass work needs two brands, and a row for each contact: --rows >= --contacts");
    }
    let sql = Sql::connect(args).await?;
    let server = Server::start(args).await?;
    let brands = brands::make(&server, args.brands).await?;
    let (massed, others) = brands.split_first().context("no brand")?;
    let crowd = brands::spread(std::slice::from_ref(massed), 0..args.contacts());
    let moving = brands::spread(others, 0..live::PEOPLE);
    brands::identify(args, &brands, &[&crowd[..], &moving[..]].concat()).await?;

    let before = server.metric("parcours_events_applied_total").await?;
    let began = Instant::now();
    let watch = Watch::start(server.watched(args), began);
    let live = Live::start(args, others, &moving, began);
    tokio::time::sleep(WARM_UP + args.measured()).await;
    let written = sql.mass_work(&massed.name, args.rows / args.contacts()).await?;
    if written != (args.rows / args.contacts() * args.contacts()) as u64 {
        bail!("{written} rows were written");
    }
    eprintln!("{written} rows of mass work are in the inbox");
    let fresh = drained(args, &sql, (began, written)).await?;
    sql.look_at_inbox().await?;
    let left = fresh.last().map_or(written, |(_, left)| *left);
    let known = drained(args, &sql, (began, left)).await?;
    let samples = live.stop().await?;
    server.settled().await?;
    let applied = server.metric("parcours_events_applied_total").await? - before;
    let left = sql.mass_work_left().await?;
    let alone = drained(args, &sql, (began, left)).await?;
    let set_aside = server.metric("parcours_inputs_set_aside_total").await?;
    if set_aside > 0 {
        bail!("{set_aside} inputs were set aside");
    }
    report(args, written, &Seen { samples, watch, fresh, known, alone, applied })?;
    server.stop().await
}

/// How many rows are left, from so many, until the phase is over or none is.
async fn drained(
    args: &Args,
    sql: &Sql,
    (began, mut left): (Instant, u64),
) -> anyhow::Result<Vec<(Duration, u64)>> {
    let (mut seen, started) = (vec![(began.elapsed(), left)], Instant::now());
    let (at_first, before) = (left, sql.left_inbox().await?);
    while left > 0 && started.elapsed() < args.measured() {
        tokio::time::sleep(LOOK).await;
        left = at_first.saturating_sub(sql.left_inbox().await? - before);
        seen.push((began.elapsed(), left));
    }
    Ok(seen)
}

/// How many went, and how many a second.
fn rate(seen: &[(Duration, u64)]) -> String {
    let (Some((from, most)), Some((to, least))) = (seen.first(), seen.last()) else {
        return "none were left".to_owned();
    };
    if *most == 0 {
        return "none were left".to_owned();
    }
    let (gone, took) = (most.saturating_sub(*least), to.saturating_sub(*from).as_secs_f64());
    if gone == 0 {
        return format!("none of {most} in {took:.1} s");
    }
    format!("{:.0} rows/s ({gone} of {most} in {took:.1} s)", gone as f64 / took)
}

/// From the first look to the last.
fn span(seen: &[(Duration, u64)]) -> (Duration, Duration) {
    let at = |one: Option<&(Duration, u64)>| one.map_or(Duration::ZERO, |(at, _)| *at);
    (at(seen.first()), at(seen.last()))
}

fn report(args: &Args, written: u64, seen: &Seen) -> anyhow::Result<()> {
    report::agree(&[&seen.samples.whole()], seen.applied)?;
    let mut table = Table::default();
    table.place(args);
    let rows = format!("{written}, over {} contacts of one brand", args.contacts());
    table.row("inbox rows of mass work", rows);
    let live = format!("{} batches of {} a second", args.live_rate, args.live_batch);
    table.row(&format!("live traffic of {} other brands", args.brands - 1), live);
    let without = (WARM_UP, WARM_UP + args.measured());
    table.row("without mass work: live", live::phase(&seen.samples, without));
    let writing = (without.1, span(&seen.fresh).0);
    let took = format!("{:.1} s in one transaction", (writing.1 - writing.0).as_secs_f64());
    table.row("while it is written", took);
    table.row("  live", live::phase(&seen.samples, writing));
    let phases = [
        ("just after it was written", &seen.fresh),
        ("once the database has statistics of it", &seen.known),
    ];
    for (name, looks) in phases {
        table.row(&format!("{name}: mass work"), rate(looks));
        table.row("  live", live::phase(&seen.samples, span(looks)));
    }
    table.row("alone: mass work", rate(&seen.alone));
    table.row("live traffic", "");
    table.live(&seen.samples, seen.applied);
    let (from, to) = (span(&seen.fresh).0, span(&seen.known).1);
    let readings = seen.watch.window(from, to);
    if let (Some(first), Some(last)) = (readings.first(), readings.last()) {
        let beside = seen.samples.window(from, to).items;
        table.cost((first, last), beside, "live event, with the mass work");
    }
    table.print();
    draw(args, seen)
}

fn draw(args: &Args, seen: &Seen) -> anyhow::Result<()> {
    let looks: Vec<_> = [&seen.fresh, &seen.known, &seen.alone].into_iter().flatten().collect();
    let (_, end) = span(&seen.alone);
    let each = seen.samples.seconds(Duration::ZERO, end);
    let [rate, times] = report::panels("live events/s", "live batch answered, ms", &each);
    let by = |second: u64| {
        let looked = looks.iter().take_while(|(at, _)| at.as_secs() <= second).last();
        looked.map_or(0.0, |(_, left)| *left as f64)
    };
    let left = (0..=end.as_secs()).map(by).collect();
    let left = Panel { title: "rows of mass work left".to_owned(), lines: vec![("rows", left)] };
    let marks = [&seen.fresh, &seen.known, &seen.alone].map(|looks| span(looks).0.as_secs_f64());
    let heading = format!("Mass work beside live events, {}", args.database());
    plot::write(&args.plot, &heading, &[rate, times, left], &marks)?;
    println!("plot: {}", args.plot.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_says_how_many_went_of_how_many() {
        let at = Duration::from_secs;
        assert_eq!(rate(&[(at(10), 900), (at(12), 700)]), "100 rows/s (200 of 900 in 2.0 s)");
        assert_eq!(rate(&[(at(10), 900), (at(12), 900)]), "none of 900 in 2.0 s");
        assert_eq!(rate(&[(at(10), 0)]), "none were left");
        assert_eq!(rate(&[]), "none were left");
    }
}
