//! A stampede: very many delays that end in the same second, beside live events.
//!
//! Each contact's run waits for the opening of the same sale, and has left memory by then. Other
//! contacts of the same brands go on: what they notice is seen before, during and after. Nothing is
//! printed unless the server's runs say that each delay ended, none of them early, and its count of
//! timers that fired is theirs: then each fired once.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{
    api,
    args::Args,
    brands::{self, Brand},
    live::{self, Live},
    plot::{self, Panel},
    report::{self, Table, ms},
    samples::Samples,
    server::Server,
    timers::{self, LOOK},
    watch::Watch,
};

/// The live traffic's first seconds, which count for no phase.
const WARM_UP: Duration = Duration::from_secs(5);

/// What was seen.
struct Seen {
    samples: std::sync::Arc<Samples>,
    watch: Watch,
    /// Moment and count, from the beginning of the live traffic.
    fired: Vec<(Duration, u64)>,
    /// When the timers were due, likewise.
    due: Duration,
    applied: u64,
}

/// Runs the scenario.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let server = Server::start(args).await?;
    let brands = brands::make(&server, args.brands).await?;
    let all = brands::spread(&brands, 0..args.contacts() + live::PEOPLE);
    let (waiting, moving) = all.split_at(args.contacts());
    brands::identify(args, &brands, moving).await?;
    let ahead = WARM_UP + args.measured();
    let starts_at = timers::entered(args, (&server, &brands), waiting, ahead).await?;

    let began = Instant::now();
    let due = Duration::try_from(starts_at.duration_since(jiff::Timestamp::now()))
        .context("the timers were due before the live traffic began")?;
    let before = api::sum(&server.metrics().await?, "parcours_events_applied_total");
    let watch = Watch::start(server.watched(args), began);
    let live = Live::start(args, &brands, moving, began);
    let fired = timers::fired(&server, args.contacts(), began).await?;
    tokio::time::sleep(args.measured()).await;
    let samples = live.stop().await?;
    let ended = server.settled().await?;
    let applied = api::sum(&ended, "parcours_events_applied_total") - before;
    let again = api::sum(&ended, "parcours_timers_fired_total");
    if again != args.contacts() as u64 {
        bail!("{} timers were due and {again} have fired in the end", args.contacts());
    }
    ended_in_time(&brands, args.contacts(), starts_at).await?;
    report(args, &Seen { samples, watch, fired, due, applied })?;
    server.stop().await
}

/// Every run has ended, at `starts_at` or later.
pub async fn ended_in_time(
    brands: &[Brand],
    all: usize,
    starts_at: jiff::Timestamp,
) -> anyhow::Result<()> {
    let mut contacts = HashSet::new();
    for brand in brands {
        for run in brand.admin.runs(&brand.name, "sale").await? {
            let ended = run.ended_at.map(|at| at.to_string().parse::<jiff::Timestamp>());
            let in_time = matches!(ended, Some(Ok(at)) if at >= starts_at);
            if run.status != "finished" || !in_time || !contacts.insert(run.contact) {
                bail!("a run did not end once and in time ({starts_at}): {run:?}");
            }
        }
    }
    if contacts.len() != all {
        bail!("{all} contacts waited and {} runs have ended", contacts.len());
    }
    Ok(())
}

fn report(args: &Args, seen: &Seen) -> anyhow::Result<()> {
    let Some((last, count)) = seen.fired.last().copied() else { bail!("nothing was seen") };
    if let Some((at, count)) = seen.fired.iter().find(|(at, count)| *at < seen.due && *count > 0) {
        bail!("{count} timers had fired {:?} before they were due", seen.due.saturating_sub(*at));
    }
    let whole = seen.samples.whole();
    report::agree(&[&whole], seen.applied)?;
    let took = last.saturating_sub(seen.due);
    let end = last + args.measured();
    let mut table = Table::default();
    table.place(args);
    table.row("timers due in the same second", args.contacts().to_string());
    table.row("fired; early; not ended or ended twice", format!("{count}; 0; 0"));
    table.row("fired/s", format!("{:.0}", count as f64 / took.as_secs_f64().max(0.001)));
    let looked = ms(LOOK);
    table.row(&format!("worst lateness, ms (looked at each {looked})"), ms(took));
    let live = format!("{} batches of {} a second", args.live_rate, args.live_batch);
    table.row("live traffic beside", live);
    let phases = [("before", WARM_UP, seen.due), ("during", seen.due, last), ("after", last, end)];
    for (name, from, to) in phases {
        table.row(&format!("  {name}"), live::phase(&seen.samples, (from, to)));
    }
    table.live(&seen.samples, seen.applied);
    let second = Duration::from_secs(1);
    let readings = seen.watch.window(seen.due.saturating_sub(second), last + second);
    if let (Some(first), Some(last)) = (readings.first(), readings.last()) {
        table.cost((first, last), args.contacts(), "timer (with the live traffic)");
    }
    table.print();
    let [rate, times] = report::panels(
        "live events/s",
        "live batch answered, ms",
        &seen.samples.seconds(Duration::ZERO, end),
    );
    let fired =
        Panel { title: "timers fired, in all".to_owned(), lines: vec![timers::line(&seen.fired)] };
    let marks = [seen.due, last].map(|at| at.as_secs_f64());
    let heading = format!("{} timers due in one second, {}", args.contacts(), args.database());
    plot::write(&args.plot, &heading, &[rate, times, fired], &marks)?;
    println!("plot: {}", args.plot.display());
    Ok(())
}
