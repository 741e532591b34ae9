//! A backlog of timers that are due at once: how fast they fire.
//!
//! Every contact enters a journey that waits for the opening of a sale, all for the same moment,
//! and has left memory by then. Then the clock does the rest.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::{
    api::Api,
    args::Args,
    brands,
    plot::{self, Panel},
    report::{Table, ms},
    server::Server,
    traffic,
    watch::{Watch, Watched, database_of},
};

/// How often the count is read.
const LOOK: Duration = Duration::from_millis(100);
/// How long the backlog may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// After how long all contacts have left memory.
const IDLE: Duration = Duration::from_secs(35);

/// Runs the scenario.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let server = Server::start(args).await?;
    let brands = brands::make(&server, args.brands).await?;
    let began = Instant::now();
    brands::identify(args, &brands, 0..args.contacts).await?;
    let lead = began.elapsed() * 2 + IDLE;
    let starts_at = later(lead)?;
    let deadline = Instant::now() + lead;
    let text = starts_at.to_string();
    let sale = |body: &mut String, who, now: &str| traffic::sale(body, who, now, &text);
    brands::send(args, &brands, 0..args.contacts, sale).await?;
    if Instant::now() + IDLE > deadline {
        bail!("the machine was too busy to enter all contacts before the timers are due");
    }
    eprintln!("{} runs wait until {text}", args.contacts);
    let api = brands[0].api.clone();
    while api.metric("parcours_actors_live").await? > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tokio::time::sleep_until((deadline - Duration::from_secs(2)).into()).await;
    let begin = Instant::now();
    let watched = Watched {
        server: server.pids.clone(),
        database: args.postgres.as_deref().and_then(database_of),
        log: server.data.join("parcours.sqlite-wal"),
    };
    let watch = Watch::start(watched, begin);
    let seen = fired(&api, args.contacts, begin).await?;
    // The last reading of CPU times is a second old at most.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    report(args, &seen, &watch)?;
    server.stop().await
}

/// A moment so far ahead, on a whole second.
fn later(ahead: Duration) -> anyhow::Result<jiff::Timestamp> {
    let at = jiff::Timestamp::now().checked_add(jiff::SignedDuration::try_from(ahead)?)?;
    Ok(jiff::Timestamp::from_second(at.as_second())?)
}

/// How many have fired at which moment, until all have.
async fn fired(api: &Api, all: usize, begin: Instant) -> anyhow::Result<Vec<(Duration, u64)>> {
    let mut seen = Vec::new();
    let before = api.metric("parcours_timers_fired_total").await?;
    loop {
        let count = api.metric("parcours_timers_fired_total").await? - before;
        seen.push((begin.elapsed(), count));
        if count >= all as u64 {
            return Ok(seen);
        }
        if begin.elapsed() > PATIENCE {
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
    table.row("timers due at once", args.contacts.to_string());
    table.row("fired", count.to_string());
    table.row("all fired after, ms", ms(took));
    table.row("fired/s", format!("{:.0}", *count as f64 / took.as_secs_f64()));
    let readings = watch.window(Duration::ZERO, Duration::MAX);
    if let (Some(first), Some(last)) = (readings.first(), readings.last()) {
        table.cost((first, last), args.contacts, "timer");
    }
    table.print();
    let lines = vec![("fired", cumulated(seen))];
    let panels = [Panel { title: "timers fired, in all".to_owned(), lines }];
    let heading = format!("{} timers due at once, {}", args.contacts, args.database());
    plot::write(&args.plot, &heading, &panels, &[])?;
    println!("plot: {}", args.plot.display());
    Ok(())
}

/// The count at the end of each second.
fn cumulated(seen: &[(Duration, u64)]) -> Vec<f64> {
    let seconds = seen.last().map_or(0, |(at, _)| at.as_secs() + 1);
    let by = |second: u64| seen.iter().take_while(|(at, _)| at.as_secs() < second).last();
    (0..=seconds).map(|second| by(second).map_or(0.0, |(_, count)| *count as f64)).collect()
}
