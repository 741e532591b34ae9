//! What the clients saw: each answer with its moment, and figures over a window of them.

use std::{
    sync::{Mutex, PoisonError},
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
        Self { began: Instant::now(), all: Mutex::default() }
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

    /// The figures from `from` to `to`.
    pub fn window(&self, from: Duration, to: Duration) -> Figures {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        figures(all.iter().filter(|sample| sample.at >= from && sample.at < to))
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
}
