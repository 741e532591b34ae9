//! What work costs the processor.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Processor time of pieces of work, on whatever threads, added up.
#[derive(Debug, Default)]
pub struct CpuMeter(AtomicU64);

impl CpuMeter {
    /// Does the work and adds what this thread used for it, also when it panics.
    pub fn measure<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Running<'a>(&'a CpuMeter, Duration);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                let used = of_this_thread().saturating_sub(self.1).as_nanos();
                self.0.0.fetch_add(u64::try_from(used).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        }
        let _running = Running(self, of_this_thread());
        work()
    }

    /// The sum so far.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// `CLOCK_THREAD_CPUTIME_ID` (POSIX.1-2017, `clock_getres`).
fn of_this_thread() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn what_spins_is_counted_and_what_waits_is_not() {
        let (spins, waits) = (CpuMeter::default(), CpuMeter::default());
        let spin = || {
            let begun = of_this_thread();
            while of_this_thread() - begun < Duration::from_millis(20) {}
        };
        spins.measure(spin);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            spins.measure(|| {
                spin();
                std::panic::resume_unwind(Box::new("on purpose"))
            })
        }));
        assert!(panicked.is_err());
        assert!(spins.used() >= Duration::from_millis(40));
        waits.measure(|| std::thread::spawn(spin).join()).unwrap();
        assert!(waits.used() < Duration::from_millis(20), "{:?}", waits.used());
    }
}
