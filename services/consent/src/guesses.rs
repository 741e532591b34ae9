//! Links that are none of ours, counted by the network that asks: whoever guesses is slowed down,
//! whoever follows a real link is not.
//!
//! What always holds: a token with a right MAC is served however much anyone guesses, because only
//! answers of "not found" are counted; memory is bounded whatever the number of networks; an address
//! in a header is believed only as far as proxies of one's own have written it.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use actix_web::http::header::HeaderMap;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};
use parcours_domain::Rate;
use parcours_kit::telemetry;

/// Networks that are counted on their own; while more than these guess, all share one allowance.
const NETWORKS_MAX: usize = 10_000;

/// Every so many guesses, networks that have their whole allowance again are forgotten.
const TIDY_EVERY: u32 = 1_024;

/// How links that are none of ours are dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessLimits {
    /// How many of one network are answered with the page "not found"; more get 429.
    pub rate: Rate,
    /// How many proxies of one's own stand before this server and append to `X-Forwarded-For`.
    pub proxies: u8,
}

impl GuessLimits {
    /// The rate unless asked otherwise: a scanner of mails stays below it, 10^6 guesses do not.
    pub const RATE: &'static str = "20/s burst 2000";
}

/// The part of an address that one party is likely to control: an IPv4 address, or the first half
/// of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4([u8; 4]),
    V6([u8; 8]),
    /// No address is known.
    Nowhere,
    /// All networks, once there are too many to tell apart.
    Others,
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let mut half = [0; 8];
                half.copy_from_slice(address.octets().split_at(8).0);
                Self::V6(half)
            }
        }
    }

    /// Who asks: the peer, or with `proxies` of one's own the address that the outermost of them
    /// saw. What stands further left in the header was written by the caller.
    pub(crate) fn asking(peer: Option<SocketAddr>, headers: &HeaderMap, proxies: u8) -> Self {
        let forwarded = || {
            let from_right = usize::from(proxies).checked_sub(1)?;
            // No line is left out, whatever its bytes: then another's word would take its place.
            let lines: Vec<_> = headers
                .get_all("x-forwarded-for")
                .map(|line| String::from_utf8_lossy(line.as_bytes()))
                .collect();
            let values: Vec<&str> = lines.iter().flat_map(|line| line.split(',')).collect();
            address(values.iter().rev().nth(from_right)?)
        };
        let known = forwarded().or_else(|| peer.map(|peer| peer.ip()));
        known.map_or(Self::Nowhere, Self::of)
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| bare().map(IpAddr::V6))
}

type Limiter<C> =
    RateLimiter<Network, HashMapStateStore<Network>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Counts guesses.
pub(crate) struct Guesses<C: Clock = DefaultClock> {
    limiter: Limiter<C>,
    since_tidied: AtomicU32,
    pub(crate) proxies: u8,
}

impl Guesses {
    pub(crate) fn new(limits: GuessLimits) -> Self {
        Self::with_clock(limits, DefaultClock::default())
    }
}

impl<C: Clock> Guesses<C> {
    fn with_clock(limits: GuessLimits, clock: C) -> Self {
        let store = HashMapStateStore::default();
        Self {
            limiter: RateLimiter::new(quota(limits.rate), store, clock),
            since_tidied: AtomicU32::new(0),
            proxies: limits.proxies,
        }
    }

    /// Counts one guess; whether the network still has an allowance.
    pub(crate) fn spend(&self, network: Network) -> bool {
        if self.since_tidied.fetch_add(1, Ordering::Relaxed) >= TIDY_EVERY {
            self.since_tidied.store(0, Ordering::Relaxed);
            self.limiter.retain_recent();
        }
        let crowded = self.limiter.len() >= NETWORKS_MAX;
        let allowed = self.limiter.check_key(if crowded { &Network::Others } else { &network });
        let answer = if allowed.is_ok() { "not_found" } else { "too_many" };
        telemetry::metrics().add("parcours_link_guesses_total", 1, &[("answer", answer)]);
        allowed.is_ok()
    }
}

fn quota(rate: Rate) -> Quota {
    let period = u64::try_from(rate.period().0).unwrap_or(1_000);
    let interval = Duration::from_millis(period) / rate.count().max(1);
    let burst = NonZeroU32::new(rate.burst()).unwrap_or(NonZeroU32::MIN);
    // An interval of nothing is not a rate; a nanosecond is as good as no limit.
    let quota = Quota::with_period(interval.max(Duration::from_nanos(1)));
    quota.unwrap_or(Quota::per_second(burst)).allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn guesses(proxies: u8) -> (Guesses<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let limits = GuessLimits { rate: GuessLimits::RATE.parse().unwrap(), proxies };
        (Guesses::with_clock(limits, clock.clone()), clock)
    }

    fn host(number: u32) -> Network {
        Network::of(IpAddr::V4(number.into()))
    }

    #[test]
    fn a_million_guesses_of_one_network_are_slowed_down_and_others_are_not() {
        let (guesses, clock) = guesses(0);
        let guesser = host(1);
        let allowed = (0..1_000_000).filter(|_| guesses.spend(guesser)).count();
        assert_eq!(allowed, 2_000);
        assert!(guesses.spend(host(2)), "another network has its own allowance");
        clock.advance(Duration::from_secs(10));
        let allowed = (0..10_000).filter(|_| guesses.spend(guesser)).count();
        assert_eq!(allowed, 200);
        clock.advance(Duration::from_secs(1_000));
        let allowed = (0..10_000).filter(|_| guesses.spend(guesser)).count();
        assert_eq!(allowed, 2_000);
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let (guesses, clock) = guesses(0);
        for number in 0..200_000 {
            guesses.spend(host(number));
        }
        assert!(guesses.limiter.len() <= NETWORKS_MAX + 1, "{}", guesses.limiter.len());
        // Too many networks to tell apart share one allowance, and it is spent.
        assert!(!guesses.spend(host(999_999)));
        clock.advance(Duration::from_secs(3_600));
        for _ in 0..=TIDY_EVERY {
            guesses.spend(host(1));
        }
        assert!(guesses.limiter.len() <= 2, "{}", guesses.limiter.len());
        assert!(guesses.spend(host(999_999)));
    }

    #[test]
    fn an_address_is_believed_as_far_as_ones_own_proxies_wrote_it() {
        let peer: SocketAddr = "198.51.100.7:4711".parse().unwrap();
        let asking = |values: &[&str], proxies| {
            let mut headers = HeaderMap::new();
            for value in values {
                let name = HeaderName::from_static("x-forwarded-for");
                headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            Network::asking(Some(peer), &headers, proxies)
        };
        let (peer, of) = (Network::of(peer.ip()), |text: &str| Network::of(text.parse().unwrap()));
        assert_eq!(asking(&["1.2.3.4"], 0), peer, "nobody believes the header without proxies");
        assert_eq!(asking(&[], 1), peer);
        assert_eq!(asking(&["6.6.6.6, 1.2.3.4"], 1), of("1.2.3.4"));
        assert_eq!(asking(&["6.6.6.6, 1.2.3.4", "10.0.0.1:81"], 2), of("1.2.3.4"));
        assert_eq!(asking(&["1.2.3.4"], 2), peer, "fewer entries than proxies");
        assert_eq!(
            asking(&["6.6.6.6", "\u{ff}, 1.2.3.4"], 1),
            of("1.2.3.4"),
            "no line is left out"
        );
        assert_eq!(asking(&["nonsense"], 1), peer);
        assert_eq!(asking(&["[2001:db8::1]:443"], 1), of("2001:db8::ffff"), "one /64");
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
        assert_eq!(Network::asking(None, &HeaderMap::new(), 0), Network::Nowhere);
    }
}
