//! A burst: one brand sends as fast as it is answered, while the others trickle.
//!
//! What the others notice is seen before, during and after. The burst comes from as many senders as
//! the steady load has, each with contacts of its own; an answer that is not a full 200 is an error
//! and is not sent again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use futures::future::join_all;

use crate::{
    args::Args,
    brands::{self, Brand},
    live::{self, Live},
    plot,
    report::{self, Table},
    samples::Samples,
    server::Server,
    traffic::{Crowd, Person},
    watch::{Reading, Watch},
};

/// The live traffic's first seconds, which count for no phase.
const WARM_UP: Duration = Duration::from_secs(5);

/// What was seen, and when the burst was.
struct Seen {
    trickle: Arc<Samples>,
    burst: Samples,
    during: (Duration, Duration),
    end: Duration,
    applied: u64,
}

/// Runs the scenario.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    if args.brands < 2 || args.users == 0 || args.contacts() < args.users {
        bail!("a burst needs two brands, and a contact for every sender");
    }
    let server = Server::start(args).await?;
    let brands = brands::make(&server, args.brands).await?;
    let (bursting, others) = brands.split_first().context("no brand")?;
    let crowd = brands::spread(std::slice::from_ref(bursting), 0..args.contacts());
    let few = brands::spread(others, 0..live::PEOPLE);
    brands::identify(args, &brands, &[&crowd[..], &few[..]].concat()).await?;

    let before = server.metric("parcours_events_applied_total").await?;
    let began = Instant::now();
    let watch = Watch::start(server.watched(args), began);
    let live = Live::start(args, others, &few, began);
    let burst = Samples::since(began);
    tokio::time::sleep(WARM_UP + args.measured()).await;
    let from = began.elapsed();
    let until = Instant::now() + args.measured();
    let senders = (0..args.users).map(|own| {
        let part: Vec<Person> = crowd.iter().skip(own).step_by(args.users).copied().collect();
        as_fast(bursting, Crowd::of(part, own), args.batch, (until, &burst))
    });
    join_all(senders).await;
    let during = (from, began.elapsed());
    tokio::time::sleep(args.measured()).await;
    let end = began.elapsed();
    let trickle = live.stop().await?;
    server.settled().await?;
    let applied = server.metric("parcours_events_applied_total").await? - before;
    let readings = watch.window(during.0, during.1);
    report(args, &Seen { trickle, burst, during, end, applied }, &readings)?;
    server.stop().await
}

/// One sender: the next batch when the one before is answered.
async fn as_fast(
    brand: &Brand,
    mut crowd: Crowd,
    items: usize,
    (until, samples): (Instant, &Samples),
) {
    while Instant::now() < until {
        let (body, began) = (crowd.batch(items), Instant::now());
        let how = brand.api.batch(body, items).await;
        samples.ended(began.elapsed(), items, how);
    }
}

fn report(args: &Args, seen: &Seen, readings: &[Reading]) -> anyhow::Result<()> {
    let (trickle, burst) = (seen.trickle.whole(), seen.burst.whole());
    report::agree(&[&trickle, &burst], seen.applied)?;
    let (from, to) = seen.during;
    let mut table = Table::default();
    table.place(args);
    let senders = format!("{} senders, batches of {}, as answered", args.users, args.batch);
    table.row("burst of one brand", senders);
    table.row("  during", live::phase(&seen.burst, seen.during));
    table.row("  acknowledged", burst.items.to_string());
    table.row("  errors", burst.errors.to_string());
    if let Some(error) = seen.burst.first_error() {
        table.row("  first error", error);
    }
    let live = format!("{} batches of {} a second", args.live_rate, args.live_batch);
    table.row(&format!("trickle of {} others, together", args.brands - 1), live);
    for (name, from, to) in
        [("before", WARM_UP, from), ("during", from, to), ("after", to, seen.end)]
    {
        table.row(&format!("  {name}"), live::phase(&seen.trickle, (from, to)));
    }
    table.row("  acknowledged", trickle.items.to_string());
    table.row("  errors", trickle.errors.to_string());
    if let Some(error) = seen.trickle.first_error() {
        table.row("  first error", error);
    }
    let both = trickle.items + burst.items;
    table.row("both: acknowledged, applied", format!("{both}, {}", seen.applied));
    if let (Some(first), Some(last)) = (readings.first(), readings.last()) {
        let trickled = seen.trickle.window(from, to).items;
        table.cost((first, last), burst.items + trickled, "event of the burst's time");
    }
    table.print();
    draw(args, seen)
}

fn draw(args: &Args, seen: &Seen) -> anyhow::Result<()> {
    let each = |samples: &Samples| samples.seconds(Duration::ZERO, seen.end);
    let [burst_rate, burst_times] =
        report::panels("the burst: events/s", "the burst: batch answered, ms", &each(&seen.burst));
    let [rate, times] = report::panels(
        "the others: events/s",
        "the others: batch answered, ms",
        &each(&seen.trickle),
    );
    let marks = [seen.during.0, seen.during.1].map(|at| at.as_secs_f64());
    let heading = format!("A burst of one of {} brands, {}", args.brands, args.database());
    plot::write(&args.plot, &heading, &[burst_rate, burst_times, rate, times], &marks)?;
    println!("plot: {}", args.plot.display());
    Ok(())
}
