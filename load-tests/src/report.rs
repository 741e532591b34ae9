//! The table: one line for each figure.

use std::time::Duration;

use crate::{args::Args, watch::Reading};

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

/// Milliseconds for people.
pub fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1_000.0)
}
