//! Very many delays that wait: what they hold in memory, and what live events notice of them.
//!
//! The server is started anew before each of the two readings, so that what is resident is what a
//! process needs that has found the delays in its store, not what making them left behind. The same
//! live traffic is measured beside none and beside all of them. In the end some others end: each
//! once, not early, and none of those that wait with them.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::{
    actors::all_left,
    args::Args,
    brands::{self, Brand},
    live::{self, Live},
    plot,
    report::{self, Table, ms},
    samples::{Figures, Samples},
    server::Server,
    stampede::ended_in_time,
    timers,
    traffic::{self, Person},
    watch::Watch,
};

/// The live traffic's first seconds, which do not count.
const WARM_UP: Duration = Duration::from_secs(5);
/// How many delays end in the end.
const SAMPLE: usize = 1_000;
/// How far ahead these are due.
const AHEAD: Duration = Duration::from_secs(15);
/// For how long what is resident must stand still, and how long that may take.
const STILL: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);

/// The live traffic beside so many delays.
struct Beside {
    resident: u64,
    samples: std::sync::Arc<Samples>,
    applied: u64,
}

/// Runs the scenario.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let count = args.contacts();
    let server = Server::start(args).await?;
    let mut brands = brands::make(&server, args.brands).await?;
    let all = brands::spread(&brands, 0..count + live::PEOPLE + SAMPLE);
    let (waiting, others) = all.split_at(count);
    let (moving, sample) = others.split_at(live::PEOPLE);
    brands::identify(args, &brands, moving).await?;
    server.stop().await?;

    let server = again(args, &mut brands).await?;
    let none = beside(args, (&server, &brands), moving).await?;
    let began = Instant::now();
    brands::send(args, &brands, waiting, traffic::cart).await?;
    let built = began.elapsed();
    eprintln!("{count} delays wait");
    all_left(&brands).await?;
    let after_build = server.resident()?;
    server.stop().await?;

    let server = again(args, &mut brands).await?;
    let watch = Watch::start(server.watched(args), Instant::now());
    let with = beside(args, (&server, &brands), moving).await?;
    if server.metric("parcours_timers_fired_total").await? > 0 {
        bail!("a delay of three days has ended already");
    }
    let took = sampled(args, (&server, &brands), sample).await?;
    let mut table = Table::default();
    table.place(args);
    table.row("pending delays", count.to_string());
    table.row("made in, s", format!("{:.1}", built.as_secs_f64()));
    table.row("made/s", format!("{:.0}", count as f64 / built.as_secs_f64()));
    memory(&mut table, count, [none.resident, after_build, with.resident]);
    let live = format!("{} batches of {} a second", args.live_rate, args.live_batch);
    table.row("live traffic", live);
    for (name, beside) in [("beside 0 pending", &none), ("beside all of them", &with)] {
        let window = (WARM_UP, WARM_UP + args.measured());
        table.row(&format!("  {name}"), live::phase(&beside.samples, window));
        table.live(&beside.samples, beside.applied);
    }
    table.row(
        "others that ended; early; twice; pending ones with them",
        format!("{SAMPLE}; 0; 0; 0"),
    );
    table.row("  the last of them late by, ms", ms(took));
    let readings = watch.window(WARM_UP, WARM_UP + args.measured());
    if let (Some(first), Some(last)) = (readings.first(), readings.last()) {
        table.cost((first, last), measured(args, &with).items, "live event");
    }
    table.print();
    draw(args, &none, &with)?;
    server.stop().await
}

/// A server over the same store.
async fn again(args: &Args, brands: &mut [Brand]) -> anyhow::Result<Server> {
    let server = Server::start(args).await?;
    brands::follow(brands, &server.url);
    Ok(server)
}

/// Reads what is resident once it stands still, then lets the live traffic run.
async fn beside(
    args: &Args,
    (server, brands): (&Server, &[Brand]),
    moving: &[Person],
) -> anyhow::Result<Beside> {
    let resident = still(server).await?;
    let before = server.metric("parcours_events_applied_total").await?;
    let live = Live::start(args, brands, moving, Instant::now());
    tokio::time::sleep(WARM_UP + args.measured()).await;
    let samples = live.stop().await?;
    server.settled().await?;
    let applied = server.metric("parcours_events_applied_total").await? - before;
    report::agree(&[&samples.whole()], applied)?;
    Ok(Beside { resident, samples, applied })
}

/// What is resident once it has changed by less than a MiB for a while.
async fn still(server: &Server) -> anyhow::Result<u64> {
    let began = Instant::now();
    let (mut seen, mut since) = (server.resident()?, Instant::now());
    while since.elapsed() < STILL {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let resident = server.resident()?;
        if resident.abs_diff(seen) > 1_048_576 {
            (seen, since) = (resident, Instant::now());
        }
        if began.elapsed() > PATIENCE {
            bail!("what is resident does not stand still");
        }
    }
    server.resident()
}

/// Some others wait for a moment that comes soon; how late the last of them was.
async fn sampled(
    args: &Args,
    (server, brands): (&Server, &[Brand]),
    sample: &[Person],
) -> anyhow::Result<Duration> {
    let starts_at = timers::later(AHEAD)?;
    let text = starts_at.to_string();
    let sale = |body: &mut String, who, now: &str| traffic::sale(body, who, now, &text);
    brands::send(args, brands, sample, sale).await?;
    let due = Duration::try_from(starts_at.duration_since(jiff::Timestamp::now()))?;
    let seen = timers::fired(server, sample.len(), Instant::now()).await?;
    let last = seen.last().map_or(due, |(at, _)| *at);
    tokio::time::sleep(STILL).await;
    let fired = server.metric("parcours_timers_fired_total").await?;
    if fired != sample.len() as u64 {
        bail!("{} delays were due and {fired} have ended", sample.len());
    }
    ended_in_time(brands, sample.len(), starts_at).await?;
    Ok(last.saturating_sub(due))
}

fn memory(table: &mut Table, count: usize, [none, after_build, all]: [u64; 3]) {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
    table.row("resident, started anew over 0 of them, MiB", mib(none));
    table.row("resident after making them, MiB", mib(after_build));
    table.row("resident, started anew over all of them, MiB", mib(all));
    let each = all.saturating_sub(none) / count.max(1) as u64;
    table.row("bytes for each pending delay", each.to_string());
}

fn measured(args: &Args, beside: &Beside) -> Figures {
    beside.samples.window(WARM_UP, WARM_UP + args.measured())
}

fn draw(args: &Args, none: &Beside, with: &Beside) -> anyhow::Result<()> {
    let each = |one: &Beside| one.samples.seconds(Duration::ZERO, WARM_UP + args.measured());
    let [rate, times] = report::panels(
        "beside 0 pending: events/s",
        "beside 0 pending: batch answered, ms",
        &each(none),
    );
    let [full_rate, full_times] =
        report::panels("beside all: events/s", "beside all: batch answered, ms", &each(with));
    let heading = format!("{} pending delays, {}", args.contacts(), args.database());
    plot::write(&args.plot, &heading, &[rate, times, full_rate, full_times], &[])?;
    println!("plot: {}", args.plot.display());
    Ok(())
}
