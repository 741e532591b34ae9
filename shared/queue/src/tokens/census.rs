//! How many processes lease permits: each says every now and then that it does, and counts those
//! who said so lately.
//!
//! What always holds: the count is the highest of the last while, so that a Redis that comes back
//! empty makes nobody's share larger; before the first answer it is larger than any rate, so that a
//! process that has never met the others takes no share of theirs.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use redis::Script;
use tokio::{task::JoinHandle, time::sleep};
use uuid::Uuid;

use crate::RedisLink;

/// Notes `ARGV[1]`, forgets who has not been heard for `ARGV[2]` milliseconds, and counts. Redis's own
/// time is only compared with itself.
const COUNT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 2)
return redis.call('ZCARD', KEYS[1])
";

/// How often a census is taken, and what it remembers.
#[derive(Clone, Copy, Debug)]
pub struct CensusTimes {
    /// Between two counts.
    pub every: Duration,
    /// Who has not been heard for so long is not counted.
    pub gone_after: Duration,
}

impl Default for CensusTimes {
    fn default() -> Self {
        Self { every: Duration::from_secs(2), gone_after: Duration::from_secs(15) }
    }
}

/// Counts for as long as it lives; then this process is forgotten by the others after a while.
#[derive(Debug)]
pub struct Census {
    count: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Census {
    /// Among the processes of an install.
    #[must_use]
    pub fn start(link: Arc<RedisLink>, install: &str, times: CensusTimes) -> Self {
        let count = Arc::new(AtomicU32::new(u32::MAX));
        let key = format!("p:{install}:1:lessees");
        let task = link.home().clone().spawn(run(link, key, times, Arc::clone(&count)));
        Self { count, task }
    }

    /// The present count, this process among them; more than any rate before the first answer.
    #[must_use]
    pub fn count(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.count)
    }
}

impl Drop for Census {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(link: Arc<RedisLink>, key: String, times: CensusTimes, count: Arc<AtomicU32>) {
    let (script, me) = (Script::new(COUNT), Uuid::new_v4());
    let gone_after = u64::try_from(times.gone_after.as_millis()).unwrap_or(u64::MAX);
    let mut lately = Lately::default();
    loop {
        let mut call = script.key(&key);
        call.arg(me.as_bytes()).arg(gone_after);
        let told = link.ask(|mut redis| async move { call.invoke_async(&mut redis).await }).await;
        if let Ok(told) = told {
            count.store(lately.highest(told, Instant::now(), times.gone_after), Ordering::Relaxed);
        }
        sleep(times.every).await;
    }
}

/// Counts of the last while.
#[derive(Debug, Default)]
struct Lately(VecDeque<(Instant, u32)>);

impl Lately {
    /// With one more; the highest.
    fn highest(&mut self, count: u32, now: Instant, within: Duration) -> u32 {
        self.0.push_back((now, count));
        while self.0.front().is_some_and(|(at, _)| now.duration_since(*at) > within) {
            self.0.pop_front();
        }
        self.0.iter().map(|(_, count)| *count).max().unwrap_or(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_are_believed_only_after_a_while() {
        let (mut lately, begun) = (Lately::default(), Instant::now());
        let within = Duration::from_secs(15);
        let mut at =
            |seconds, count| lately.highest(count, begun + Duration::from_secs(seconds), within);
        assert_eq!([at(0, 3), at(2, 1), at(15, 1), at(16, 1), at(17, 2)], [3, 3, 3, 1, 2]);
    }
}
