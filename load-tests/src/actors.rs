//! What an active contact holds in memory, and that one that has left memory holds nothing.
//!
//! The server is started anew over contacts that are there already, each with traits, an address
//! and a run that waits; some others bring pools and caches to their size. Then one event each
//! makes so many contacts active: what the process grew by, for each, is an upper bound, because
//! the buffers of that traffic are in it (the allocator is told to give back what is freed, so little
//! of them stays). When all have left, as many others become active: what the process has grown by
//! since is what those that left still hold; what the gateway remembers of identities is in it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::{
    args::Args,
    brands::{self, Brand},
    report::Table,
    server::Server,
    traffic::{self, Person},
};

/// Contacts that only warm up.
const WARM: usize = 2_000;
/// How long contacts may take to leave memory.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs the scenario.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let server = Server::start(args).await?;
    let mut brands = brands::make(&server, args.brands).await?;
    let all = brands::spread(&brands, 0..2 * args.contacts() + WARM);
    let (one, others) = all.split_at(args.contacts());
    let (two, warm) = others.split_at(args.contacts());
    brands::identify(args, &brands, &all).await?;
    brands::send(args, &brands, &all, traffic::cart).await?;
    server.stop().await?;

    let server = Server::start(args).await?;
    brands::follow(&mut brands, &server.url);
    brands::send(args, &brands, warm, traffic::viewed).await?;
    all_left(&brands).await?;
    let empty = server.resident()?;
    let first = active(args, &brands, one, &server).await?;
    all_left(&brands).await?;
    let left = server.resident()?;
    let second = active(args, &brands, two, &server).await?;

    let mut table = Table::default();
    table.place(args);
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
    table.row("resident, no contact active, MiB", mib(empty));
    table.row("contacts active", first.live.to_string());
    table.row("resident with these, MiB", mib(first.resident));
    let each = (first.resident.saturating_sub(empty)) / first.live.max(1);
    table.row("bytes per active contact", each.to_string());
    table.row("resident after they left, MiB (kept by the allocator)", mib(left));
    table.row("other contacts active", second.live.to_string());
    table.row("resident with these, MiB", mib(second.resident));
    let kept = second.resident as f64 - first.resident as f64;
    let kept = kept / args.contacts() as f64;
    table.row("bytes per contact that has left", format!("{kept:.0}"));
    table.print();
    server.stop().await
}

/// What was seen when these were active.
struct Active {
    live: u64,
    resident: u64,
}

/// Sends an event to each of `people` and waits until nothing is under way.
async fn active(
    args: &Args,
    brands: &[Brand],
    people: &[Person],
    server: &Server,
) -> anyhow::Result<Active> {
    let (wanted, began) = (people.len() as u64, Instant::now());
    brands::send(args, brands, people, traffic::viewed).await?;
    let live = live(brands).await?;
    let resident = server.resident()?;
    if live < wanted * 9 / 10 {
        bail!(
            "only {live} of {wanted} contacts are active: activating them took {:?}, and the first \
             had left; take fewer with --contacts",
            began.elapsed()
        );
    }
    Ok(Active { live, resident })
}

async fn live(brands: &[Brand]) -> anyhow::Result<u64> {
    brands.first().context("no brand")?.api.metric("parcours_actors_live").await
}

/// Waits until nobody is active.
pub async fn all_left(brands: &[Brand]) -> anyhow::Result<()> {
    let began = Instant::now();
    while live(brands).await? > 0 {
        if began.elapsed() > PATIENCE {
            bail!("contacts stay in memory although nothing happens to them");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
