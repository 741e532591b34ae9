//! Rows that pass through the queues while somebody holds an old snapshot open, as a forgotten
//! session or a long report does: nothing that has left can be cleaned away meanwhile.
//!
//! Each event begins a run that waits (a row of `timer`), sends (one of `send_queue`) and hears what
//! became of its message (one of `inbox`). The snapshot is closed when it is old enough and as many
//! rows as asked for have passed. Then the tables must come to rest, and a tenth as many passes more
//! must not make them larger than they were.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::{
    args::Args,
    brands::{self, Brand},
    plot::{self, Panel},
    report::{Table, ms},
    server::Server,
    sql::{Size, Sql},
    traffic,
};

/// The tables that rows pass through.
const QUEUES: [&str; 3] = ["timer", "send_queue", "inbox"];
/// How often sizes are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many looks are one line of progress.
const PROGRESS: usize = 30;
/// How long the database may take to clean up, once it may.
const CLEAN: Duration = Duration::from_secs(300);
/// Fewer dead rows than this are none.
const FEW: u64 = 5_000;
/// A table that is used anew may be larger by so much, in percent.
const SLACK: u64 = 10;

/// Sizes at a moment.
struct Look {
    at: Duration,
    passed: u64,
    sizes: [Size; 3],
}

/// Whoever looks.
struct Watch {
    sql: Sql,
    began: Instant,
    looks: Vec<Look>,
}

/// What the phases ended with: looks by their places.
struct Phases {
    opened: Duration,
    closed: usize,
    clean: usize,
}

/// Runs the scenario.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let rounds = args.rows / args.contacts().max(1);
    if args.brands == 0 || rounds == 0 {
        bail!("each contact passes at least once: --rows >= --contacts, and a brand");
    }
    let sql = Sql::connect(args).await?;
    let snapshot = Sql::connect(args).await?;
    let server = Server::start(args).await?;
    let brands = brands::make(&server, args.brands).await?;
    let people = brands::spread(&brands, 0..args.contacts());
    brands::identify(args, &brands, &people).await?;
    let mut watch = Watch { sql, began: Instant::now(), looks: Vec::new() };
    watch.look().await?;

    snapshot.open_snapshot().await?;
    let opened = watch.began.elapsed();
    watch.while_passing(args, &brands, rounds).await?;
    while watch.began.elapsed() < opened + args.measured() {
        watch.look().await?;
    }
    snapshot.close_snapshot().await?;
    let closed = watch.look().await?;
    let clean = watch.until_clean().await?;
    watch.while_passing(args, &brands, rounds.div_ceil(10)).await?;
    watch.until_clean().await?;
    report(args, &watch, &Phases { opened, closed, clean })?;
    server.stop().await
}

impl Watch {
    /// Looks once, a period after the look before; its place.
    async fn look(&mut self) -> anyhow::Result<usize> {
        if let Some(last) = self.looks.last() {
            let next = self.began + last.at + LOOK;
            tokio::time::sleep_until(next.into()).await;
        }
        let mut sizes = [Size::default(); 3];
        for (size, queue) in sizes.iter_mut().zip(QUEUES) {
            *size = self.sql.size(queue).await?;
        }
        let passed = sizes.iter().map(|size| size.gone).min().unwrap_or(0);
        self.looks.push(Look { at: self.began.elapsed(), passed, sizes });
        if self.looks.len().is_multiple_of(PROGRESS) {
            let [timer, queue, inbox] = sizes.map(|size| (size.table + size.indexes) >> 20);
            eprintln!(
                "{passed} rows passed; MiB: timer {timer}, send_queue {queue}, inbox {inbox}"
            );
        }
        Ok(self.looks.len() - 1)
    }

    /// Each contact gets so many events, and all that follows from them comes to its end.
    async fn while_passing(
        &mut self,
        args: &Args,
        brands: &[Brand],
        rounds: usize,
    ) -> anyhow::Result<()> {
        let people = brands::spread(brands, 0..args.contacts());
        let sending = async {
            for _ in 0..rounds {
                brands::send(args, brands, &people, traffic::parcel).await?;
            }
            anyhow::Ok(())
        };
        tokio::pin!(sending);
        let mut sent = false;
        let left = "SELECT (SELECT count(*) FROM run WHERE live = 1) \
                    + (SELECT count(*) FROM send_queue) + (SELECT count(*) FROM inbox)";
        loop {
            tokio::select! {
                done = &mut sending, if !sent => { done?; sent = true; }
                looked = self.look() => { looked?; }
            }
            if sent && self.sql.number(left).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Until autovacuum has taken away what is dead; the last look's place.
    async fn until_clean(&mut self) -> anyhow::Result<usize> {
        let begun = Instant::now();
        loop {
            let place = self.look().await?;
            if self.looks[place].sizes.iter().all(|size| size.dead < FEW) {
                return Ok(place);
            }
            if begun.elapsed() > CLEAN {
                bail!("dead rows are still there after {CLEAN:?}: {:?}", self.looks[place].sizes);
            }
        }
    }
}

/// A size for people.
fn size(size: Size) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!("{:.1} + {:.1} MiB", mib(size.table), mib(size.indexes))
}

fn report(args: &Args, watch: &Watch, phases: &Phases) -> anyhow::Result<()> {
    let looks = &watch.looks;
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { bail!("nothing seen") };
    let (closed, clean) = (&looks[phases.closed], &looks[phases.clean]);
    let mut table = Table::default();
    table.place(args);
    table.row("passes through each queue", format!("{}", closed.passed));
    let age = closed.at.saturating_sub(phases.opened);
    table.row("age of the snapshot", format!("{:.0} s", age.as_secs_f64()));
    let rate = |from: &Look, to: &Look| {
        let seconds = to.at.saturating_sub(from.at).as_secs_f64().max(0.001);
        (to.passed - from.passed) as f64 / seconds
    };
    // What passes at first, and what passes when the most is dead.
    let passing: Vec<&Look> = looks[..=phases.closed].iter().collect();
    let busy: Vec<&&Look> = passing.iter().filter(|look| look.passed < closed.passed).collect();
    if let [begin, .., end] = &busy[..] {
        let (early, late) = (busy[busy.len() / 10], busy[busy.len() * 9 / 10]);
        table.row("passes/s: first tenth of it", format!("{:.0}", rate(begin, early)));
        table.row("  last tenth", format!("{:.0}", rate(late, end)));
    }
    table.row("  without the snapshot", format!("{:.0}", rate(clean, last)));
    table.row("cleaned after it was closed, ms", ms(clean.at.saturating_sub(closed.at)));
    for (place, queue) in QUEUES.into_iter().enumerate() {
        table.row(&format!("{queue}: rows + indexes, before"), size(first.sizes[place]));
        table.row("  when the snapshot was closed", size(closed.sizes[place]));
        table.row("  once cleaned", size(clean.sizes[place]));
        table.row("  after a tenth more", size(last.sizes[place]));
    }
    table.print();
    draw(args, watch, phases)?;
    for (place, queue) in QUEUES.into_iter().enumerate() {
        let whole = |look: &Look| look.sizes[place].table + look.sizes[place].indexes;
        let most = whole(closed).max(1 << 20) * (100 + SLACK) / 100;
        if whole(last) > most {
            bail!("{queue} grew on: {} and {} bytes", whole(closed), whole(last));
        }
    }
    Ok(())
}

fn draw(args: &Args, watch: &Watch, phases: &Phases) -> anyhow::Result<()> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let line = |place: usize| -> Vec<f64> {
        let sizes = watch.looks.iter().map(|look| look.sizes[place]);
        sizes.map(|size| mib(size.table + size.indexes)).collect()
    };
    let lines = QUEUES.into_iter().enumerate().map(|(place, queue)| (queue, line(place)));
    let sizes = Panel { title: "rows and indexes, MiB".to_owned(), lines: lines.collect() };
    let passed = watch.looks.windows(2).map(|pair| (pair[1].passed - pair[0].passed) as f64);
    let passed =
        Panel { title: "passes/s".to_owned(), lines: vec![("passes/s", passed.collect())] };
    let closed = watch.looks[phases.closed].at.as_secs_f64();
    let marks = [phases.opened.as_secs_f64(), closed];
    let heading = format!("Queues beside an old snapshot, {}", args.database());
    plot::write(&args.plot, &heading, &[sizes, passed], &marks)?;
    println!("plot: {}", args.plot.display());
    Ok(())
}
