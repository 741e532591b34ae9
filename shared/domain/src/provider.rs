//! Mailbox providers: which domains are one provider's, and what may be sent to each at what pace.
//!
//! A provider counts what comes from one server over all of its domains, so limits and queue lanes
//! go by provider and not by domain. Only addresses under the providers' own domains are known by
//! sight; a company's domain that is hosted by one of them is a domain of its own here, because who
//! hosts it would have to be asked of the DNS.
//!
//! The paces are those of a server that is known and does not complain: where a provider has
//! published a number they stay within it, and where none is known they are ours, and cautious.
//! They are nobody's promise; a sender's own line replaces them (see [`Recipients`]).

mod table;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{MessageClass, Rate, hash::sha256_head, nearest};

pub use table::PROVIDERS;

/// Lanes of a brand for domains that belong to no known provider. Few, because each lane is claimed
/// from by itself, and these domains seldom have two messages at a time; more than one, because one
/// of them may be slow.
pub const OTHER_LANES: u64 = 8;
/// Lanes below are those of other domains (and, in rows of older versions, of all domains).
const PROVIDER_LANES: i64 = 64;
/// Lanes from here on are those of messages that are not marketing, in the same order.
const URGENT_LANES: i64 = 1_000;

/// A mailbox provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Provider {
    /// What limits call it.
    pub name: &'static str,
    /// Its lane, counted from the first lane of a provider. Stored in rows: never given to another.
    place: i64,
    /// How fast it is sent to where shaped defaults apply.
    pub rate: Rate,
    /// To how many connections at once.
    pub connections: u32,
    /// Its domains, with spaces between.
    domains: &'static str,
    /// Names that it has under several top level domains: the name, and where.
    families: &'static [(&'static str, &'static str)],
}

impl Provider {
    /// Whose mailboxes are under this domain (A-labels, lower case), if that is known.
    #[must_use]
    pub fn of(domain: &str) -> Option<&'static Self> {
        PROVIDERS.iter().find(|provider| provider.has(domain))
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PROVIDERS.iter().find(|provider| provider.name == name)
    }

    fn has(&self, domain: &str) -> bool {
        let listed = |list: &str, wanted: &str| list.split_whitespace().any(|one| one == wanted);
        let family = |(stem, where_to): &(&str, &str)| {
            let rest = domain.strip_prefix(stem).and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|rest| listed(where_to, rest))
        };
        listed(self.domains, domain) || self.families.iter().any(family)
    }
}

/// The delivery lane of a message to this domain: each known provider has its own, all others share
/// [`OTHER_LANES`]. What is not marketing has lanes beside, so that a receipt does not wait behind a
/// campaign that waits for a provider. Stored in rows; a row of any lane is sent.
#[must_use]
pub fn lane(domain: &str, class: MessageClass) -> i64 {
    let lane = Provider::of(domain).map_or_else(
        || {
            let head = u64::from_be_bytes(sha256_head(&[b"lane", domain.as_bytes()]));
            i64::try_from(head % OTHER_LANES).unwrap_or(0)
        },
        |provider| PROVIDER_LANES + provider.place,
    );
    match class {
        MessageClass::Marketing => lane,
        MessageClass::Transactional | MessageClass::Test => URGENT_LANES + lane,
    }
}

/// Whether all messages of a lane go to one provider.
#[must_use]
pub fn is_of_one_provider(lane: i64) -> bool {
    lane.rem_euclid(URGENT_LANES) >= PROVIDER_LANES
}

/// Whom a limit is about, as written: a provider's name, a domain, or `other`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Recipients {
    /// All domains of a provider together.
    Provider(&'static Provider),
    /// One domain, as A-labels.
    Domain(String),
    /// Every domain and provider that nothing else is said about, each for itself.
    Other,
}

/// The text names no recipients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "neither a provider's name{}, nor a domain such as example.org, nor `other`; providers: {}",
    .nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default(),
    names()
)]
pub struct InvalidRecipients {
    nearest: Option<&'static str>,
}

fn names() -> String {
    let names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
    names.join(", ")
}

impl FromStr for Recipients {
    type Err = InvalidRecipients;
    fn from_str(text: &str) -> Result<Self, InvalidRecipients> {
        if text == "other" {
            return Ok(Self::Other);
        }
        if let Some(provider) = Provider::named(text) {
            return Ok(Self::Provider(provider));
        }
        // What may stand behind the @ is what an address says.
        let domain = format!("a@{text}").parse::<crate::EmailAddress>().ok();
        domain.map(|address| Self::Domain(address.domain().to_owned())).ok_or_else(|| {
            let known = PROVIDERS.iter().map(|provider| provider.name);
            InvalidRecipients { nearest: nearest(text, known.chain(["other"])) }
        })
    }
}
impl fmt::Display for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider(provider) => provider.name,
            Self::Domain(domain) => domain,
            Self::Other => "other",
        })
    }
}
impl TryFrom<String> for Recipients {
    type Error = InvalidRecipients;
    fn try_from(text: String) -> Result<Self, InvalidRecipients> {
        text.parse()
    }
}
impl From<Recipients> for String {
    fn from(recipients: Recipients) -> Self {
        recipients.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn provider(domain: &str) -> Option<&'static str> {
        Provider::of(domain).map(|provider| provider.name)
    }

    #[test]
    fn domains_of_one_provider_meet_and_look_alikes_do_not() {
        for (domain, expected) in [
            ("gmail.com", Some("google")),
            ("googlemail.com", Some("google")),
            ("hotmail.co.uk", Some("microsoft")),
            ("outlook.fr", Some("microsoft")),
            ("live.com", Some("microsoft")),
            ("yahoo.com", Some("yahoo")),
            ("yahoo.fr", Some("yahoo")),
            ("aol.com", Some("yahoo")),
            ("yahoo.co.jp", Some("yahoo_japan")),
            ("me.com", Some("apple")),
            ("web.de", Some("gmx")),
            ("gmx.at", Some("gmx")),
            ("wanadoo.fr", Some("orange")),
            ("virgilio.it", Some("libero")),
            ("bk.ru", Some("mail_ru")),
            ("example.org", None),
            ("com", None),
            ("yahoo", None),
            ("gmail.com.example.org", None),
            ("yahoo.example.org", None),
            ("notgmail.com", None),
            ("mygmx.de", None),
        ] {
            assert_eq!(provider(domain), expected, "{domain}");
        }
    }

    #[test]
    fn no_domain_name_or_lane_is_given_twice() {
        let (mut domains, mut names, mut places) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for one in &PROVIDERS {
            let family = one.families.iter().flat_map(|(stem, where_to)| {
                where_to.split_whitespace().map(move |end| format!("{stem}.{end}"))
            });
            let own = one.domains.split_whitespace().map(str::to_owned);
            for domain in own.chain(family) {
                let recipients: Recipients = domain.parse().unwrap();
                assert_eq!(recipients.to_string(), domain, "a domain as it is compared");
                assert!(domains.insert(domain.clone()), "{domain} twice");
            }
            assert!(names.insert(one.name), "{}", one.name);
            assert!(places.insert(one.place) && one.place < 900, "{}", one.name);
            assert!(!one.name.contains('.') && one.connections > 0);
        }
    }

    #[test]
    fn lanes_stay_what_they_are() {
        use MessageClass::{Marketing, Test, Transactional};
        // Stored in rows: another value would spread what waits over two lanes.
        for (domain, class, expected) in [
            ("example.org", Marketing, 0),
            ("example.net", Marketing, 3),
            ("gmail.com", Marketing, 64),
            ("googlemail.com", Marketing, 64),
            ("gmail.com", Transactional, 1_064),
            ("gmail.com", Test, 1_064),
            ("outlook.com", Marketing, 65),
            ("yahoo.com", Marketing, 66),
            ("icloud.com", Marketing, 67),
            ("orange.fr", Marketing, 71),
        ] {
            assert_eq!(lane(domain, class), expected, "{domain}");
        }
        let others: BTreeSet<i64> =
            (0..1_000).map(|n| lane(&format!("shop{n}.example"), Marketing)).collect();
        assert_eq!(others, (0..8).collect(), "all lanes of other domains are used, and no more");
        for (lane, expected) in [(0, false), (63, false), (64, true), (1_007, false), (1_064, true)]
        {
            assert_eq!(is_of_one_provider(lane), expected, "{lane}");
        }
    }

    #[test]
    fn recipients_round_trip_and_a_slip_is_told() {
        for text in ["google", "t_online", "example.org", "gmail.com", "other"] {
            assert_eq!(text.parse::<Recipients>().unwrap().to_string(), text);
        }
        let upper: Recipients = "BÜCHER.example".parse().unwrap();
        assert_eq!(upper.to_string(), "xn--bcher-kva.example");
        for bad in ["", "gogle", "localhost", "a b.example", "*@gmail.com", "@gmail.com"] {
            assert!(bad.parse::<Recipients>().is_err(), "{bad}");
        }
        let told = "gogle".parse::<Recipients>().unwrap_err().to_string();
        assert!(told.contains("did you mean `google`?") && told.contains("mail_ru"), "{told}");
    }
}
