//! The table: one line for each figure.

use std::time::Duration;

use anyhow::bail;

use crate::{
    args::Args,
    plot::Panel,
    samples::{Figures, Samples},
    server::Memory,
    watch::Reading,
};

/// Lines of name and value.
#[derive(Debug, Default)]
pub struct Table(Vec<(String, String)>);

impl Table {
    /// One figure.
    pub fn row(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// Where it was measured.
    pub fn place(&mut self, args: &Args) {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        self.row("database", args.database());
        self.row("machine", format!("{cores} cores"));
    }

    /// What became of the live traffic.
    pub fn live(&mut self, samples: &Samples, applied: u64) {
        let whole = samples.whole();
        self.row("  acknowledged, applied", format!("{}, {applied}", whole.items));
        self.row("  errors", whole.errors.to_string());
        if let Some(error) = samples.first_error() {
            self.row("  first error", error);
        }
    }

    /// What each process held when it had nothing to do, and at most since.
    pub fn memory(&mut self, idle: &[Memory], loaded: &[Memory]) {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        for (idle, loaded) in idle.iter().zip(loaded) {
            let held = format!("{:.0}, {:.0} MiB", mib(idle.now), mib(loaded.most));
            self.row(&format!("memory idle, at most: {}", idle.role), held);
        }
    }

    /// CPU of each process for each of `count` things, between two readings.
    pub fn cost(&mut self, (first, last): (&Reading, &Reading), count: usize, of: &str) {
        let each = |from: u64, to: u64| (to.saturating_sub(from)) as f64 / count.max(1) as f64;
        let server = each(first.server_us, last.server_us);
        let backends = each(first.backends_us, last.backends_us);
        let background = each(first.background_us, last.background_us);
        let own = each(first.own_us, last.own_us);
        self.row(&format!("CPU us/{of}: server"), format!("{server:.1}"));
        if last.backends_us > 0 {
            self.row(&format!("CPU us/{of}: PostgreSQL backends"), format!("{backends:.1}"));
            self.row(&format!("CPU us/{of}: PostgreSQL background"), format!("{background:.1}"));
        }
        self.row(
            &format!("CPU us/{of}: product in all"),
            format!("{:.1}", server + backends + background),
        );
        self.row(&format!("CPU us/{of}: load generator"), format!("{own:.1}"));
        let seconds = (last.at.saturating_sub(first.at)).as_secs_f64().max(0.001);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let busy = (last.machine_us - first.machine_us) as f64;
        let ours = (server + backends + background + own) * count.max(1) as f64;
        let share = |us: f64| us / (seconds * cores * 10_000.0);
        self.row(
            "machine busy, and by others",
            format!("{:.0} %, {:.0} %", share(busy), share((busy - ours).max(0.0))),
        );
    }

    /// Prints it.
    pub fn print(&self) {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        println!();
        for (name, value) in &self.0 {
            println!("{name:width$}  {value}");
        }
        println!();
    }
}

/// What was acknowledged must be what the server applied. A call that failed may have been applied
/// all the same, so that with errors the server may have more, and never less.
pub fn agree(acknowledged: &[&Figures], applied: u64) -> anyhow::Result<()> {
    let items = acknowledged.iter().map(|figures| figures.items as u64).sum::<u64>();
    let errors = acknowledged.iter().map(|figures| figures.errors).sum::<usize>();
    if applied < items || (errors == 0 && applied > items) {
        bail!("{items} events were acknowledged and the server applied {applied}");
    }
    Ok(())
}

/// Median, percentiles and the longest, for people.
pub fn times(figures: &Figures) -> String {
    let [p50, p95, p99, most] = figures.times.map(ms);
    format!("p50 {p50}  p95 {p95}  p99 {p99}  max {most}")
}

/// Rate and times over the seconds.
pub fn panels(rate: &str, took: &str, each: &[Figures]) -> [Panel; 2] {
    let times =
        |place: usize| each.iter().map(|one| one.times[place].as_secs_f64() * 1e3).collect();
    let rates = each.iter().map(|one| one.items as f64).collect();
    [
        Panel { title: rate.to_owned(), lines: vec![("events/s", rates)] },
        Panel {
            title: took.to_owned(),
            lines: vec![("p50", times(0)), ("p95", times(1)), ("p99", times(2))],
        },
    ]
}

/// Milliseconds for people.
pub fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_printed_unless_acknowledged_is_applied() {
        let seen = |items, errors| Figures { items, errors, ..Figures::default() };
        assert!(agree(&[&seen(90, 0), &seen(10, 0)], 100).is_ok());
        assert!(agree(&[&seen(100, 0)], 99).is_err());
        assert!(agree(&[&seen(100, 0)], 101).is_err());
        // A call that failed may have been applied, and what was acknowledged must be there.
        assert!(agree(&[&seen(100, 1)], 101).is_ok());
        assert!(agree(&[&seen(100, 1)], 99).is_err());
    }
}
