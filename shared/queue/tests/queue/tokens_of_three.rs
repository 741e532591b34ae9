//! Three processes, one limit: together they keep it, with clocks that differ, without Redis, and
//! when it comes back. Time is played: what takes half a minute here takes a second.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parcours_queue::{
    LimitKey, LinkTimes, RedisLink, RedisTokens, TokenLease as _, tokens::SKEW_MAX,
};
use parcours_testkit::redis::{RedisServer, TempRedis};

use crate::{
    ground::link,
    tokens::{after, brand, domain, lessee, most_in_a_period, rate},
};

const SECOND: Duration = Duration::from_secs(1);
const STEP_MS: u64 = 10;

/// Three lessees with more to send than they may.
struct Three {
    begin: Instant,
    lessees: Vec<(RedisTokens, Instant)>,
    key: LimitKey,
    limit: &'static str,
    uses: Vec<Instant>,
}

impl Three {
    /// Clocks as far apart as the bound allows, each process with a connection of its own.
    fn new(link: impl Fn() -> Arc<RedisLink>, install: &str, limit: &'static str) -> Self {
        let begin = Instant::now();
        let half = i64::try_from(SKEW_MAX.as_micros()).unwrap() / 2;
        let lessee = |skew| (lessee((link(), install), begin, skew, 3), begin);
        let lessees = [-half, 0, half].into_iter().map(lessee).collect();
        Self { begin, lessees, key: brand(1), limit, uses: Vec::new() }
    }

    /// Plays from one moment (milliseconds) to another. Each lessee asks when it may, for another
    /// number each time; the first uses its slots at once, the last as late as it may.
    async fn play(&mut self, from: u64, to: u64) {
        for step in from / STEP_MS..to / STEP_MS {
            let now = after(self.begin, step * STEP_MS);
            for (who, (tokens, next_at)) in self.lessees.iter_mut().enumerate() {
                if now < *next_at {
                    continue;
                }
                let want = 1 + u32::try_from(step % 7).unwrap() * 5;
                let lease = tokens.lease(&self.key, rate(self.limit), want, now).await.unwrap();
                let late = lease.width.mul_f64(0.499 * who as f64);
                self.uses.extend(lease.slots.iter().map(|slot| *slot + late));
                *next_at = lease.next_at;
            }
        }
    }

    /// Uses in this stretch.
    fn used(&self, from: u64, to: u64) -> usize {
        let (from, to) = (after(self.begin, from), after(self.begin, to));
        self.uses.iter().filter(|at| **at >= from && **at < to).count()
    }

    /// The most uses in a second that begins in this stretch.
    fn most(&self, from: u64, to: u64) -> usize {
        let (from, to) = (after(self.begin, from), after(self.begin, to) + SECOND);
        let inside = self.uses.iter().copied().filter(|at| *at >= from && *at < to);
        most_in_a_period(inside.collect(), SECOND)
    }
}

#[tokio::test]
async fn three_with_clocks_that_differ_keep_one_limit() {
    let Some(redis) = TempRedis::new("three_with_clocks_that_differ").unwrap() else { return };
    for (limit, most) in [("100/s", 101), ("100/s burst 20", 120), ("7/s", 8), ("1000/s", 1_001)] {
        let install = format!("{}-{most}", redis.install());
        let mut three = Three::new(|| link(redis.url()), &install, limit);
        three.play(0, 30_000).await;
        assert!(three.most(0, 30_000) <= most, "{limit}: {}", three.most(0, 30_000));
        let used = three.used(1_000, 29_000);
        let share = used * 100 / (28 * (rate(limit).count() as usize));
        println!("{limit}: at most {} in a second, {share} % used", three.most(0, 30_000));
        assert!(share >= 90, "{limit}: {share} % used");
    }
}

/// Limits of two providers over one server, in minutes: no minute sees more than count and burst,
/// and neither takes from the other.
#[tokio::test]
async fn three_keep_each_providers_limit() {
    const MINUTE: Duration = Duration::from_secs(60);
    let Some(redis) = TempRedis::new("three_keep_each_providers_limit").unwrap() else { return };
    for (recipients, limit, most) in [("google", "100/min burst 20", 120), ("orange", "6/min", 7)] {
        let mut three = Three::new(|| link(redis.url()), redis.install(), limit);
        three.key = domain(1, "here:25", recipients);
        three.play(0, 240_000).await;
        let (used, uses) = (three.used(60_000, 240_000), three.uses);
        let seen = most_in_a_period(uses, MINUTE);
        println!("{recipients} {limit}: at most {seen} in a minute, {used} in three");
        assert!(seen <= most, "{recipients}: {seen}");
        assert!(used * 10 >= 3 * 9 * rate(limit).count() as usize, "{recipients}: {used}");
    }
}

#[tokio::test]
async fn a_clock_that_is_ahead_grants_nothing_twice() {
    let Some(redis) = TempRedis::new("a_clock_that_is_ahead").unwrap() else { return };
    let begin = Instant::now();
    let of = |skew| lessee((link(redis.url()), redis.install()), begin, skew, 2);
    let (ahead, right) = (of(400_000), of(0));
    let limit = rate("100/s burst 50");
    let mut slots = ahead.lease(&brand(1), limit, 30, begin).await.unwrap().slots;
    // By its own clock the first one's slots lie 400 ms ahead; the second one's come after them.
    let more = right.lease(&brand(1), limit, 100, begin).await.unwrap().slots;
    assert!(more.iter().all(|slot| *slot >= after(begin, 400)));
    slots.extend(more.iter().map(|slot| *slot - Duration::from_millis(400)));
    assert!(most_in_a_period(slots, SECOND) <= 150);
}

#[tokio::test]
async fn without_redis_each_keeps_to_its_share_and_afterwards_to_the_limit() {
    let Some(mut server) = RedisServer::start("without_redis_each_keeps").unwrap() else { return };
    // Played time: no rest by this machine's clock.
    let times = LinkTimes { rest: Duration::ZERO, ..LinkTimes::default() };
    let link = || Arc::new(RedisLink::new(server.url(), times).unwrap());
    let mut three = Three::new(link, "i", "100/s");
    three.play(0, 5_000).await;
    server.kill().unwrap();
    three.play(5_000, 15_000).await;
    server.start_again().unwrap();
    three.play(15_000, 25_000).await;

    let [before, without, back] =
        [three.most(0, 4_000), three.most(4_000, 13_900), three.most(14_000, 24_000)];
    println!("at most {before} in a second, {without} without Redis, {back} when it is back");
    assert!(before.max(without).max(back) <= 101, "{before} {without} {back}");
    let share = three.used(7_000, 15_000) * 100 / 800;
    println!("without Redis {share} % used");
    assert!(share >= 90, "{share} %");
    let after = three.used(17_000, 25_000) * 100 / 800;
    assert!(after >= 90, "{after} % after its return");
}

#[tokio::test]
async fn one_that_alone_has_no_redis_adds_no_more_than_its_share() {
    let Some(redis) = TempRedis::new("one_that_alone_has_no_redis").unwrap() else { return };
    let nowhere = link("redis+unix:///nonexistent/socket");
    let mut three = Three::new(|| link(redis.url()), redis.install(), "90/s");
    three.lessees[0].0 = lessee((nowhere, redis.install()), three.begin, 0, 3);
    three.play(0, 10_000).await;
    let most = three.most(0, 9_000);
    assert!(most <= 91 + 30, "{most}");
    assert!(three.used(2_000, 9_000) > 7 * 100, "the cut off one goes on with its third");
}

#[tokio::test]
async fn answers_that_fail_for_a_moment_cost_that_moment() {
    let Some(mut server) = RedisServer::start("answers_that_fail").unwrap() else { return };
    let response = Duration::from_millis(50);
    let times = LinkTimes { rest: Duration::ZERO, response, ..LinkTimes::default() };
    let link = || Arc::new(RedisLink::new(server.url(), times).unwrap());
    let mut three = Three::new(link, "i", "100/s");
    three.play(0, 5_000).await;
    server.freeze().unwrap();
    three.play(5_000, 5_500).await;
    server.thaw().unwrap();
    three.play(5_500, 12_500).await;
    let share = three.used(5_700, 11_700) * 100 / 600;
    println!("afterwards {share} % used, at most {} in a second", three.most(0, 11_500));
    assert!(share >= 95, "{share} %");
    assert!(three.most(0, 11_500) <= 101, "{}", three.most(0, 11_500));
}
