//! Steady traffic of many brands: durable events a second, and what each costs.
//!
//! Clients send batches as fast as they are answered (or at a stated rate). An event counts once
//! its batch is answered, which is after its commit; at the end the server's own count of applied
//! events must be the clients'.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::bail;
use goose::{
    GooseAttack,
    config::GooseConfiguration,
    goose::{GooseMethod, GooseRequest, GooseUser, Scenario, Transaction, TransactionResult},
};
use parcours_wire::http::ingest::IngestAnswer;

use crate::{
    api,
    args::Args,
    brands::{self, Brand},
    plot,
    report::{self, Table},
    samples::Samples,
    server::{Memory, Server},
    sql::Sql,
    traffic::Crowd,
    watch::{Reading, Watch},
};

/// What all senders share.
struct Load {
    brands: Vec<Brand>,
    samples: Samples,
    users: usize,
    contacts: usize,
    batch: usize,
    tickets: AtomicUsize,
}

/// One sender: its part of the contacts of its brands, which take turns.
#[derive(Clone)]
struct Sender {
    crowds: Vec<(usize, Crowd)>,
    turn: usize,
}

impl Sender {
    fn new(own: usize, load: &Load) -> Self {
        let count = load.brands.len();
        let crowd = |(brand, part)| (brand, Crowd::new((brand, count), part, load.contacts));
        Self { crowds: parts(own, load.users, count).map(crowd).collect(), turn: 0 }
    }
}

/// The brands that sender `own` of `users` sends for, and which part of the contacts of each. A brand has
/// senders of its own; when there are fewer senders than brands, each has several.
fn parts(own: usize, users: usize, brands: usize) -> impl Iterator<Item = (usize, (usize, usize))> {
    let of = move |brand| (own / brands, users.saturating_sub(brand).div_ceil(brands).max(1));
    (own % brands..brands).step_by(users).map(move |brand| (brand, of(brand)))
}

/// What the server said of itself, and the system of it.
struct Seen {
    /// Its metrics before and after.
    pages: [String; 2],
    /// What its processes held before and after.
    memory: [Vec<Memory>; 2],
    /// Bytes of PostgreSQL's log, and deadlocks.
    written: Option<(u64, u64)>,
}

/// Runs the scenario.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    if args.users == 0 || args.brands == 0 {
        bail!("somebody must send, for some brand: --users and --brands are at least 1");
    }
    let apart = args.brands * args.users.div_ceil(args.brands) * args.batch;
    if args.contacts() < apart {
        bail!("a batch is about as many contacts as it has events: --contacts is at least {apart}");
    }
    let server = Server::start(args).await?;
    let idle = server.at_rest().await?;
    let brands = brands::make(&server, args.brands).await?;
    brands::identify(args, &brands, &brands::spread(&brands, 0..args.contacts())).await?;
    let load = Arc::new(Load {
        brands,
        samples: Samples::new(),
        users: args.users,
        contacts: args.contacts(),
        batch: args.batch,
        tickets: AtomicUsize::new(0),
    });
    let sql = match args.postgres {
        Some(_) => Some(Sql::connect(args).await?),
        None => None,
    };
    if let Some(sql) = &sql
        && args.event_keys > 0
    {
        sql.event_keys(args.event_keys).await?;
    }
    let watch = Watch::start(server.watched(args), load.samples.began());
    let log_before = logged(sql.as_ref()).await?;
    let started = server.metrics().await?;
    attack(args, &server.url, &load).await?;
    let from = Duration::from_secs(args.warm_up);
    let readings = watch.window(from, from + args.measured());
    let ended = server.settled().await?;
    let written = logged(sql.as_ref()).await?.zip(log_before);
    let written = written.map(|((now, deadlocks), (before, _))| (now - before, deadlocks));
    let seen = Seen { pages: [started, ended], memory: [idle, server.memory()?], written };
    report(args, &load, &readings, &seen)?;
    server.stop().await
}

/// Bytes of PostgreSQL's log until now, and deadlocks.
async fn logged(sql: Option<&Sql>) -> anyhow::Result<Option<(u64, u64)>> {
    Ok(match sql {
        Some(sql) => Some((sql.log_bytes().await?, sql.deadlocks().await?)),
        None => None,
    })
}

/// Lets goose send.
async fn attack(args: &Args, url: &str, load: &Arc<Load>) -> anyhow::Result<()> {
    let run_time = format!("{}s", args.warm_up + args.seconds() + 1);
    let users = args.users.to_string();
    let mut options = vec!["--host", url, "--users", &users, "--increase-rate", &users];
    options.extend([
        "--run-time",
        &run_time,
        "--no-telnet",
        "--no-websocket",
        "--no-print-metrics",
    ]);
    let throttle = args.batches_per_second.map(|rate| rate.to_string());
    if let Some(rate) = &throttle {
        options.extend(["--throttle-requests", rate]);
    }
    let (enrol, send) = (Arc::clone(load), Arc::clone(load));
    let enrol =
        Transaction::new(Arc::new(move |user| Box::pin(enrolled(user, Arc::clone(&enrol)))));
    let send = Transaction::new(Arc::new(move |user| Box::pin(sent(user, Arc::clone(&send)))));
    let scenario = Scenario::new("steady")
        .register_transaction(enrol.set_on_start())
        .register_transaction(send.set_name("batch"));
    GooseAttack::initialize_with_config(GooseConfiguration::parse_args_default(&options)?)?
        .register_scenario(scenario)
        .execute()
        .await?;
    Ok(())
}

/// A sender takes its part of the contacts.
async fn enrolled(user: &mut GooseUser, load: Arc<Load>) -> TransactionResult {
    let own = load.tickets.fetch_add(1, Ordering::Relaxed) % load.users;
    user.set_session_data(Sender::new(own, &load));
    Ok(())
}

/// A sender sends one batch.
async fn sent(user: &mut GooseUser, load: Arc<Load>) -> TransactionResult {
    let Some(sender) = user.get_session_data_mut::<Sender>() else { return Ok(()) };
    sender.turn = (sender.turn + 1) % sender.crowds.len();
    let (brand, crowd) = &mut sender.crowds[sender.turn];
    let body = crowd.batch(load.batch);
    let key = &load.brands[*brand].key;
    let request = user
        .get_request_builder(&GooseMethod::Post, "/v1/batch")?
        .bearer_auth(key)
        .header("content-type", "application/json")
        .body(body);
    let request = GooseRequest::builder()
        .method(GooseMethod::Post)
        .path("/v1/batch")
        .set_request_builder(request)
        .build();
    let began = Instant::now();
    let answer = user.request(request).await?;
    let accepted = match answer.response {
        Ok(response) if response.status().as_u16() == 200 => response.json::<IngestAnswer>().await,
        Ok(_) | Err(_) => {
            load.samples.add(began.elapsed(), 0);
            return Ok(());
        }
    };
    let whole = accepted.is_ok_and(|answer| api::check(&answer, load.batch).is_ok());
    load.samples.add(began.elapsed(), if whole { load.batch } else { 0 });
    Ok(())
}

fn report(args: &Args, load: &Load, readings: &[Reading], seen: &Seen) -> anyhow::Result<()> {
    let Seen { pages: [started, ended], memory: [idle, loaded], written } = seen;
    let (Some(first), Some(last)) = (readings.first(), readings.last()) else {
        bail!("nothing was measured: --seconds is too short");
    };
    let counted = |name| api::sum(ended, name) - api::sum(started, name);
    let whole = load.samples.whole();
    let applied = counted("parcours_events_applied_total");
    report::agree(&[&whole], applied)?;
    let found = load.samples.window(first.at, last.at);
    let seconds = (last.at - first.at).as_secs_f64();
    let mut table = Table::default();
    table.place(args);
    table.row(
        "load",
        format!(
            "{} brands, {} contacts, {} senders, batches of {}",
            args.brands,
            args.contacts(),
            args.users,
            args.batch
        ),
    );
    if args.workers() > 0 {
        table.row("processes", args.processes());
    }
    table.row("measured", format!("{seconds:.1} s after {} s of warm-up", args.warm_up));
    table.row("durable events/s", format!("{:.0}", found.items as f64 / seconds));
    table.row("events acknowledged", found.items.to_string());
    table.row("  whole run: acknowledged, applied", format!("{}, {applied}", whole.items));
    table.row("errors", found.errors.to_string());
    table.row("batch answered, ms", report::times(&found));
    table.cost((first, last), found.items, "event");
    table.row("contacts activated", counted("parcours_actors_started_total").to_string());
    table.row(
        "messages asked for, ended",
        format!(
            "{}, {}",
            counted("parcours_messages_requested_total"),
            counted("parcours_messages_ended_total")
        ),
    );
    table.memory(idle, loaded);
    if args.event_keys > 0 {
        table.row("event keys there before", args.event_keys.to_string());
    }
    if let Some((bytes, deadlocks)) = *written {
        let each = bytes / (whole.items.max(1) as u64);
        table.row("PostgreSQL's log, bytes an event", each.to_string());
        table.row("deadlocks", deadlocks.to_string());
    }
    if args.postgres.is_none() {
        let restarts = last.log_restarts.saturating_sub(first.log_restarts);
        table.row("checkpoints after which the log began anew", restarts.to_string());
    }
    table.print();
    draw(args, load, readings)
}

fn draw(args: &Args, load: &Load, readings: &[Reading]) -> anyhow::Result<()> {
    let from = Duration::from_secs(args.warm_up);
    let each = load.samples.seconds(from, from + args.measured());
    let panels = report::panels("durable events/s", "batch answered, ms", &each);
    let marks: Vec<f64> = readings
        .windows(2)
        .filter(|pair| pair[1].log_restarts != pair[0].log_restarts)
        .map(|pair| pair[1].at.saturating_sub(from).as_secs_f64())
        .collect();
    let heading = format!("Steady load, {}, batches of {}", args.database(), args.batch);
    plot::write(&args.plot, &heading, &panels, &marks)?;
    println!("plot: {}", args.plot.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_each_brand_has_one_sender() {
        for (users, brands) in [(32, 20), (20, 20), (3, 20), (40, 20), (7, 1), (1, 1)] {
            let mut whole = vec![Vec::new(); brands];
            for (brand, (part, of)) in (0..users).flat_map(|own| parts(own, users, brands)) {
                whole[brand].push((part, of));
            }
            for mut seen in whole {
                seen.sort_unstable();
                let expected: Vec<_> = (0..seen.len()).map(|part| (part, seen.len())).collect();
                assert!(!seen.is_empty());
                assert_eq!(seen, expected, "{users} senders, {brands} brands");
            }
        }
    }
}
