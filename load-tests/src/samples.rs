//! What the clients saw: each answer with its moment, and figures over a window of them.

use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it came, from the beginning of the run.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// Items in it; 0 when it was an error.
    pub items: usize,
}

/// Keeps samples of all senders.
#[derive(Debug)]
pub struct Samples {
    began: Instant,
    all: Mutex<Vec<Sample>>,
    first_error: OnceLock<String>,
}

/// Figures of one second, or of a whole window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Items acknowledged.
    pub items: usize,
    /// Answers that were errors.
    pub errors: usize,
    /// Times of the good answers: median, 95th, 99th percentile, and the longest.
    pub times: [Duration; 4],
}

impl Samples {
    /// Nothing yet; the run begins now.
    pub fn new() -> Self {
        Self::since(Instant::now())
    }

    /// Nothing yet; the run began then.
    pub fn since(began: Instant) -> Self {
        Self { began, all: Mutex::default(), first_error: OnceLock::new() }
    }

    /// When the run began.
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// Keeps an answer that came now.
    pub fn add(&self, took: Duration, items: usize) {
        let sample = Sample { at: self.began.elapsed(), took, items };
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
    }

    /// Keeps what a call for so many items ended with.
    pub fn ended(&self, took: Duration, items: usize, how: anyhow::Result<()>) {
        let items = if how.is_ok() { items } else { 0 };
        self.add(took, items);
        if let Err(error) = how {
            let _first = self.first_error.set(format!("{error:#}"));
        }
    }

    /// What the first error said.
    pub fn first_error(&self) -> Option<&str> {
        self.first_error.get().map(String::as_str)
    }

    /// All figures.
    pub fn whole(&self) -> Figures {
        self.window(Duration::ZERO, Duration::MAX)
    }

    /// The figures from `from` to `to`.
    pub fn window(&self, from: Duration, to: Duration) -> Figures {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        figures(all.iter().filter(|sample| sample.at >= from && sample.at < to))
    }

    /// What was sent from `from` to `to`, whenever it was answered.
    pub fn sent(&self, from: Duration, to: Duration) -> Figures {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = |sample: &&Sample| {
            let at = sample.at.saturating_sub(sample.took);
            at >= from && at < to
        };
        figures(all.iter().filter(sent))
    }

    /// The figures of each second from `from` to `to`.
    pub fn seconds(&self, from: Duration, to: Duration) -> Vec<Figures> {
        let count = (to - from).as_secs();
        let second = |n: u64| from + Duration::from_secs(n);
        (0..count).map(|n| self.window(second(n), second(n + 1))).collect()
    }
}

fn figures<'a>(samples: impl Iterator<Item = &'a Sample>) -> Figures {
    let mut found = Figures::default();
    let mut times = Vec::new();
    for sample in samples {
        if sample.items == 0 {
            found.errors += 1;
        } else {
            found.items += sample.items;
            times.push(sample.took);
        }
    }
    times.sort_unstable();
    found.times = [50, 95, 99, 100].map(|percent| percentile(&times, percent));
    found
}

/// The least time that so many percent of the times do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100);
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let ms = |n: u64| Duration::from_millis(n);
        let times: Vec<Duration> = (1..=200).map(ms).collect();
        assert_eq!([50, 95, 99, 100].map(|p| percentile(&times, p)), [100, 190, 198, 200].map(ms));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
        assert_eq!(percentile(&[ms(7)], 50), ms(7));
    }

    #[test]
    fn an_error_counts_as_one_and_its_time_not_at_all() {
        let at = Duration::from_secs(1);
        let good = Sample { at, took: Duration::from_millis(5), items: 100 };
        let bad = Sample { at, took: Duration::from_secs(60), items: 0 };
        let found = figures([good, bad].iter());
        assert_eq!((found.items, found.errors), (100, 1));
        assert_eq!(found.times[3], Duration::from_millis(5));
    }

    #[test]
    fn what_is_answered_late_counts_where_it_was_sent() {
        let samples = Samples::new();
        let sample = |at, took, items| Sample {
            at: Duration::from_secs(at),
            took: Duration::from_secs(took),
            items,
        };
        samples.all.lock().unwrap().extend([sample(2, 1, 10), sample(9, 8, 10), sample(9, 1, 10)]);
        let phase = (Duration::ZERO, Duration::from_secs(3));
        assert_eq!(samples.window(phase.0, phase.1).times[3], Duration::from_secs(1));
        assert_eq!(samples.sent(phase.0, phase.1).times[3], Duration::from_secs(8));
        assert_eq!(samples.sent(phase.0, phase.1).items, 20);
    }
}
