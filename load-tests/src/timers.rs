//! A backlog of timers that are due at once: how fast they fire.
//!
//! Every contact enters a journey that waits for the opening of a sale, all for the same moment,
//! and has left memory by then. Then the clock does the rest.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::{
    args::Args,
    brands::{self, Brand},
    plot::{self, Line, Panel},
    report::{Table, ms},
    server::Server,
    traffic::{self, Person},
    watch::Watch,
};

/// How often the count is read.
pub const LOOK: Duration = Duration::from_millis(100);
/// How long the backlog may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// After how long all contacts have left memory.
const IDLE: Duration = Duration::from_secs(35);

/// Runs the scenario.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let server = Server::start(args).await?;
    let brands = brands::make(&server, args.brands).await?;
    let people = brands::spread(&brands, 0..args.contacts());
    entered(args, (&server, &brands), &people, Duration::from_secs(2)).await?;
    let begin = Instant::now();
    let watch = Watch::start(server.watched(args), begin);
    let seen = fired(&server, args.contacts(), begin).await?;
    // The last reading of CPU times is a second old at most.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    report(args, &seen, &watch)?;
    server.stop().await
}

/// Makes these contacts and lets all of them wait for the same moment; returns so long before it,
/// with that moment.
pub async fn entered(
    args: &Args,
    (server, brands): (&Server, &[Brand]),
    people: &[Person],
    ahead: Duration,
) -> anyhow::Result<jiff::Timestamp> {
    let began = Instant::now();
    brands::identify(args, brands, people).await?;
    let lead = began.elapsed() * 2 + IDLE + ahead;
    let starts_at = later(lead)?;
    let deadline = Instant::now() + lead;
    let text = starts_at.to_string();
    let sale = |body: &mut String, who, now: &str| traffic::sale(body, who, now, &text);
    brands::send(args, brands, people, sale).await?;
    if Instant::now() + IDLE + ahead > deadline {
        bail!("the machine was too busy to enter all contacts before the timers are due");
    }
    eprintln!("{} runs wait until {text}", people.len());
    while server.metric("parcours_actors_live").await? > 0 && Instant::now() + ahead < deadline {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tokio::time::sleep_until((deadline - ahead).into()).await;
    Ok(starts_at)
}

/// A moment so far ahead, on a whole second.
pub fn later(ahead: Duration) -> anyhow::Result<jiff::Timestamp> {
    let at = jiff::Timestamp::now().checked_add(jiff::SignedDuration::try_from(ahead)?)?;
    Ok(jiff::Timestamp::from_second(at.as_second())?)
}

/// How many have fired at which moment, until all have.
pub async fn fired(
    server: &Server,
    all: usize,
    begin: Instant,
) -> anyhow::Result<Vec<(Duration, u64)>> {
    let mut seen = Vec::new();
    let before = server.metric("parcours_timers_fired_total").await?;
    let started = Instant::now();
    loop {
        let count = server.metric("parcours_timers_fired_total").await? - before;
        seen.push((begin.elapsed(), count));
        if count >= all as u64 {
            return Ok(seen);
        }
        if started.elapsed() > PATIENCE {
            bail!("only {count} of {all} timers fired in five minutes");
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn report(args: &Args, seen: &[(Duration, u64)], watch: &Watch) -> anyhow::Result<()> {
    let first = seen.iter().take_while(|(_, count)| *count == 0).last();
    let (Some((start, _)), Some((end, count))) = (first, seen.last()) else {
        bail!("the first timers had fired before anybody looked");
    };
    let took = *end - *start;
    let mut table = Table::default();
    table.place(args);
    table.row("timers due at once", args.contacts().to_string());
    table.row("fired", count.to_string());
    table.row("all fired after, ms", ms(took));
    table.row("fired/s", format!("{:.0}", *count as f64 / took.as_secs_f64()));
    let readings = watch.window(Duration::ZERO, Duration::MAX);
    if let (Some(first), Some(last)) = (readings.first(), readings.last()) {
        table.cost((first, last), args.contacts(), "timer");
    }
    table.print();
    let panels = [Panel { title: "timers fired, in all".to_owned(), lines: vec![line(seen)] }];
    let heading = format!("{} timers due at once, {}", args.contacts(), args.database());
    plot::write(&args.plot, &heading, &panels, &[])?;
    println!("plot: {}", args.plot.display());
    Ok(())
}

/// The count at the end of each second.
pub fn line(seen: &[(Duration, u64)]) -> Line {
    let seconds = seen.last().map_or(0, |(at, _)| at.as_secs() + 1);
    let by = |second: u64| seen.iter().take_while(|(at, _)| at.as_secs() < second).last();
    let counts = (0..=seconds).map(|second| by(second).map_or(0.0, |(_, count)| *count as f64));
    ("fired", counts.collect())
}
