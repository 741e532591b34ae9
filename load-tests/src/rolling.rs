//! A rolling restart: the workers are restarted one after another while clients send.
//!
//! Each is told to stop, ends with status 0, and a new one takes its place; the next has its turn
//! once all shards have owners and their numbers stand still. Clients speak to a process that stays. The events are
//! counted in the database, because a process that is new begins to count anew.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::{
    api::{self, Api},
    args::Args,
    brands,
    live::{self, Live},
    plot::{self, Panel},
    report::{self, Table, ms},
    samples::Samples,
    server::Server,
    sql::Sql,
    watch::{Reading, Watch},
};

/// The first seconds, which count for no phase.
const WARM_UP: Duration = Duration::from_secs(5);
/// How long the shards may take to find owners.
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long their numbers must stand still.
const STILL: Duration = Duration::from_secs(3);
/// Shards of an install.
const SHARDS: u64 = 256;

/// One restart, from the beginning of the run.
struct Restart {
    told: Duration,
    ended: Duration,
    listens: Duration,
    settled: Duration,
}

/// Runs the scenario.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    if args.workers() == 0 {
        bail!("a rolling restart needs workers: --workers");
    }
    let sql = Sql::connect(args).await?;
    let mut server = Server::start(args).await?;
    let brands = brands::make(&server, args.brands).await?;
    let people = brands::spread(&brands, 0..live::PEOPLE);
    brands::identify(args, &brands, &people).await?;
    owned(&server, args.workers()).await?;

    let before = sql.events().await?;
    let began = Instant::now();
    let watch = Watch::start(server.watched(args), began);
    let live = Live::start(args, &brands, &people, began);
    tokio::time::sleep(WARM_UP + args.measured()).await;
    let mut restarts = Vec::new();
    for turn in 0..args.workers() {
        let told = began.elapsed();
        server.stop_worker().await?;
        let ended = began.elapsed();
        server.start_worker(args).await?;
        let listens = began.elapsed();
        owned(&server, args.workers()).await?;
        restarts.push(Restart { told, ended, listens, settled: began.elapsed() });
        eprintln!("worker {} of {} is restarted", turn + 1, args.workers());
    }
    tokio::time::sleep(args.measured()).await;
    let end = began.elapsed();
    let samples = live.stop().await?;
    let set_aside = api::sum(&server.settled().await?, "parcours_inputs_set_aside_total");
    let committed = sql.events().await? - before;
    if set_aside > 0 {
        bail!("{set_aside} inputs were set aside");
    }
    let readings = watch.window(Duration::ZERO, end);
    report(args, (&samples, committed), &restarts, (&readings, end))?;
    server.stop().await
}

/// Waits until every shard has an owner, every worker has some, and nothing has moved for a while.
async fn owned(server: &Server, workers: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut seen, mut since) = (Vec::new(), Instant::now());
    loop {
        let held = held(server).await?;
        let whole = held.iter().sum::<u64>() == SHARDS && held.iter().all(|held| *held > 0);
        if held != seen || held.len() != workers || !whole {
            (seen, since) = (held, Instant::now());
        } else if since.elapsed() >= STILL {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("the shards found no owners in a minute; the workers hold {seen:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How many shards each worker holds.
async fn held(server: &Server) -> anyhow::Result<Vec<u64>> {
    let mut held = Vec::new();
    for url in server.workers() {
        held.push(Api::new(url, "").metric("parcours_shards_held").await?);
    }
    Ok(held)
}

fn report(
    args: &Args,
    (samples, committed): (&Samples, u64),
    restarts: &[Restart],
    (readings, end): (&[Reading], Duration),
) -> anyhow::Result<()> {
    let whole = samples.whole();
    report::agree(&[&whole], committed)?;
    let (Some(first), Some(last)) = (restarts.first(), restarts.last()) else {
        bail!("nothing was restarted");
    };
    let mut table = Table::default();
    table.place(args);
    let processes = args.processes();
    table.row("processes", processes);
    let live = format!("{} batches of {} a second", args.live_rate, args.live_batch);
    table.row("steady load", live);
    let phases = [
        ("before", WARM_UP, first.told),
        ("while they are restarted", first.told, last.settled),
        ("after", last.settled, end),
    ];
    for (name, from, to) in phases {
        table.row(&format!("  {name}"), live::phase(samples, (from, to)));
    }
    for (place, restart) in restarts.iter().enumerate() {
        let Restart { told, ended, listens, settled } = *restart;
        let [stopped, started, shared] =
            [ended - told, listens - ended, settled - listens - STILL].map(ms);
        table.row(
            &format!("worker {}, ms", place + 1),
            format!(
                "stopped in {stopped}, listened after {started}, shards at rest after {shared}"
            ),
        );
        table.row("  meanwhile", live::phase(samples, (told, settled)));
    }
    table.row("longest wait, ms", ms(whole.times[3]));
    table.live(samples, committed);
    if let (Some(first), Some(last)) = (readings.first(), readings.last()) {
        table.cost((first, last), whole.items, "event");
    }
    table.print();
    draw(args, samples, restarts, end)
}

fn draw(args: &Args, samples: &Samples, restarts: &[Restart], end: Duration) -> anyhow::Result<()> {
    let each = samples.seconds(Duration::ZERO, end);
    let [rate, times] = report::panels("durable events/s", "batch answered, ms", &each);
    let longest = each.iter().map(|one| one.times[3].as_secs_f64() * 1e3).collect();
    let longest = Panel { title: "longest wait, ms".to_owned(), lines: vec![("max", longest)] };
    let marks: Vec<f64> = restarts
        .iter()
        .flat_map(|one| [one.told, one.settled])
        .map(|at| at.as_secs_f64())
        .collect();
    let heading = format!("{} workers restarted one after another", args.workers());
    plot::write(&args.plot, &heading, &[rate, times, longest], &marks)?;
    println!("plot: {}", args.plot.display());
    Ok(())
}
