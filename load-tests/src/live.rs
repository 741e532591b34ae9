//! Live traffic beside what a scenario is about: batches of the mix at a stated rate, whoever is
//! slow.
//!
//! Each batch has its moment, and its time counts from there, so that what waits behind slow answers
//! counts as waiting.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::interval,
};

use crate::{
    api::Api,
    args::Args,
    brands::Brand,
    report::ms,
    samples::Samples,
    traffic::{Crowd, Person},
};

/// How many contacts the live traffic is about.
pub const PEOPLE: usize = 10_000;
/// Batches sent and not answered; one more waits, and its time runs.
const UNDER_WAY_MAX: usize = 1_000;

/// Traffic that goes on until it is stopped.
pub struct Live {
    samples: Arc<Samples>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Live {
    /// Begins to send as `args` say, the brands in turn; a sample's moment counts from `began`.
    pub fn start(args: &Args, brands: &[Brand], people: &[Person], began: Instant) -> Self {
        let samples = Arc::new(Samples::since(began));
        let (stop, stopped) = watch::channel(false);
        let crowd = |brand: &Brand| {
            let own = people.iter().filter(|one| one.brand == brand.number).copied();
            (brand.api.clone(), Crowd::of(own.collect(), brand.number))
        };
        let sender = Sender {
            crowds: brands.iter().map(crowd).collect(),
            items: args.live_batch,
            samples: Arc::clone(&samples),
        };
        let period = Duration::from_secs(1) / args.live_rate.max(1);
        let task = tokio::spawn(sender.send(period, stopped));
        Self { samples, stop, task }
    }

    /// Sends no more, and waits for every answer.
    pub async fn stop(self) -> anyhow::Result<Arc<Samples>> {
        self.stop.send_replace(true);
        self.task.await.context("the live traffic ended by a panic")?;
        Ok(self.samples)
    }
}

struct Sender {
    crowds: Vec<(Api, Crowd)>,
    items: usize,
    samples: Arc<Samples>,
}

impl Sender {
    async fn send(mut self, period: Duration, mut stopped: watch::Receiver<bool>) {
        let (mut tick, mut under_way, mut turn) = (interval(period), JoinSet::new(), 0);
        loop {
            let planned = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                planned = tick.tick() => planned.into_std(),
            };
            while under_way.try_join_next().is_some() {}
            while under_way.len() >= UNDER_WAY_MAX {
                under_way.join_next().await;
            }
            turn = (turn + 1) % self.crowds.len();
            let (api, crowd) = &mut self.crowds[turn];
            let (api, body, items) = (api.clone(), crowd.batch(self.items), self.items);
            let samples = Arc::clone(&self.samples);
            under_way.spawn(async move {
                let how = api.batch(body, items).await;
                samples.ended(planned.elapsed(), items, how);
            });
        }
        while under_way.join_next().await.is_some() {}
    }
}

/// A phase, for people: what was answered in it each second, and how long what was sent in it took,
/// whenever it was answered.
pub fn phase(samples: &Samples, (from, to): (Duration, Duration)) -> String {
    let [p50, _, p99, most] = samples.sent(from, to).times.map(ms);
    let seconds = to.saturating_sub(from).as_secs_f64().max(0.001);
    let rate = samples.window(from, to).items as f64 / seconds;
    format!("{rate:.0} events/s, ms: p50 {p50}  p99 {p99}  max {most}")
}
