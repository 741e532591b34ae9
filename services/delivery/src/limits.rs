//! What a sender may send to one mailbox provider or domain: what its document says, or else the
//! pace of the provider where shaping is on.

use parcours_domain::{Name, Provider, Rate, Recipients, WarmUp};
use serde::{Deserialize, Deserializer};

use crate::settings::{SenderSettings, Switch, Transport};

/// What a sender's document says of its pace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct SenderLimits {
    /// Of single providers and domains.
    #[serde(default, deserialize_with = "readable")]
    pub domains: Vec<DomainLimit>,
    /// Whether providers without a line are sent to at their default pace.
    #[serde(default)]
    pub shape: Option<Switch>,
    /// Of the first days.
    #[serde(default)]
    pub warm_up: Option<WarmUp>,
}

/// A line of the document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DomainLimit {
    /// To whom.
    #[serde(rename = "match")]
    pub recipients: Recipients,
    /// How fast.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Over how many connections at once, of all processes together.
    #[serde(default)]
    pub connections: Option<u32>,
}

/// A provider that only a newer version knows must not take the whole sender away from this one.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DomainLimit>, D::Error> {
    let lines = Vec::<serde_json::Value>::deserialize(deserializer)?;
    Ok(lines.into_iter().filter_map(|line| serde_json::from_value(line).ok()).collect())
}

/// What holds for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Who is counted together: a provider, or a domain.
    pub recipients: String,
    pub rate: Option<Rate>,
    pub connections: Option<u32>,
}

impl SenderSettings {
    /// What holds for messages to a domain; the closest line counts, and it alone: the domain's, the
    /// provider's, the provider's default, `other`.
    pub(crate) fn limit(&self, domain: &str) -> Option<Limit> {
        if self.limits.domains.is_empty() && !self.is_shaped() {
            return None;
        }
        let provider = Provider::of(domain);
        let line = |wanted: &Recipients| {
            self.limits.domains.iter().find(|line| line.recipients == *wanted)
        };
        let of = |line: &DomainLimit, recipients: &str| {
            let DomainLimit { rate, connections, .. } = *line;
            Limit { recipients: recipients.to_owned(), rate, connections }
        };
        if let Some(own) = line(&Recipients::Domain(domain.to_owned())) {
            return Some(of(own, domain));
        }
        if let Some(provider) = provider {
            if let Some(own) = line(&Recipients::Provider(provider)) {
                return Some(of(own, provider.name));
            }
            if self.is_shaped() {
                return Some(Limit {
                    recipients: provider.name.to_owned(),
                    rate: Some(provider.rate),
                    connections: Some(provider.connections),
                });
            }
        }
        let other = line(&Recipients::Other)?;
        Some(of(other, provider.map_or(domain, |provider| provider.name)))
    }

    /// A server on this machine sends from this machine's own address, which nobody else looks after;
    /// a relay elsewhere knows its own pace. The built-in mailbox reaches no provider.
    fn is_shaped(&self) -> bool {
        let Transport::Smtp(smtp) = &self.transport else { return false };
        let is_here = smtp.host.eq_ignore_ascii_case("localhost")
            || smtp.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.limits.shape.map_or(is_here, |shape| shape == Switch::On)
    }

    /// What the recipients' servers see of it: senders of a brand with the same server and account
    /// are one to them.
    pub(crate) fn server(&self, name: &Name) -> String {
        match &self.transport {
            Transport::Mailbox => format!("mailbox {name}"),
            Transport::Smtp(smtp) => {
                let account = smtp.username.as_deref().unwrap_or_default();
                format!("{}:{} {account}", smtp.host.to_ascii_lowercase(), smtp.port)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(transport: &str, fields: &str) -> SenderSettings {
        let text =
            format!(r#"{{"from":{{"address":"a@b.example"}},"transport":{transport}{fields}}}"#);
        serde_json::from_str(&text).unwrap()
    }
    fn smtp(host: &str, fields: &str) -> SenderSettings {
        let transport = format!(r#"{{"kind":"smtp","host":"{host}","port":25,"security":"none"}}"#);
        sender(&transport, fields)
    }
    fn told(
        sender: &SenderSettings,
        domain: &str,
    ) -> Option<(String, Option<String>, Option<u32>)> {
        let limit = sender.limit(domain)?;
        Some((limit.recipients, limit.rate.map(|rate| rate.to_string()), limit.connections))
    }
    fn some(
        recipients: &str,
        rate: &str,
        connections: u32,
    ) -> Option<(String, Option<String>, Option<u32>)> {
        let rate = (!rate.is_empty()).then(|| rate.to_owned());
        Some((recipients.to_owned(), rate, (connections > 0).then_some(connections)))
    }

    #[test]
    fn the_closest_line_counts_and_it_alone() {
        let sender = smtp(
            "relay.example",
            r#","shape":"on","domains":[{"match":"google","connections":3},
               {"match":"gmail.com","rate":"1/s"},{"match":"other","rate":"5/s"}]"#,
        );
        assert_eq!(told(&sender, "gmail.com"), some("gmail.com", "1/s", 0));
        assert_eq!(
            told(&sender, "googlemail.com"),
            some("google", "", 3),
            "no rate of the default"
        );
        assert_eq!(
            told(&sender, "orange.fr"),
            some("orange", "120/min burst 20", 2),
            "the default"
        );
        assert_eq!(told(&sender, "example.org"), some("example.org", "5/s", 0), "each for itself");
        let plain = smtp("relay.example", r#","domains":[{"match":"other","rate":"5/s"}]"#);
        assert_eq!(told(&plain, "wanadoo.fr"), some("orange", "5/s", 0), "a provider as one");
    }

    #[test]
    fn a_server_on_this_machine_is_shaped_and_a_relay_is_not_unless_it_says_so() {
        for here in ["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.53", "::1"] {
            assert!(smtp(here, "").limit("gmail.com").is_some(), "{here}");
            assert_eq!(smtp(here, r#","shape":"off""#).limit("gmail.com"), None);
            assert_eq!(smtp(here, "").limit("example.org"), None, "nothing is known of others");
        }
        for there in ["smtp.relay.example", "10.0.0.7", "localhost.example"] {
            assert_eq!(smtp(there, "").limit("gmail.com"), None, "{there}");
            assert!(smtp(there, r#","shape":"on""#).limit("gmail.com").is_some());
        }
        let mailbox = sender(r#"{"kind":"mailbox"}"#, r#","shape":"on""#);
        assert_eq!(mailbox.limit("gmail.com"), None);
    }

    #[test]
    fn senders_with_one_server_are_one_to_providers() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let server = |host, who| smtp(host, "").server(&name(who));
        assert_eq!(server("relay.example", "news"), server("Relay.example", "orders"));
        assert_ne!(server("relay.example", "news"), server("relay2.example", "news"));
        let mailbox = |who| sender(r#"{"kind":"mailbox"}"#, "").server(&name(who));
        assert_ne!(mailbox("news"), mailbox("orders"));
    }

    #[test]
    fn a_line_that_only_a_newer_version_knows_costs_no_more_than_itself() {
        let sender = smtp(
            "relay.example",
            r#","domains":[{"match":"provider_of_2031","rate":"1/s"},{"match":"google","rate":"2/s"}],
               "warm_up":{"from":"2026-11-23","days":[50,100]}"#,
        );
        assert_eq!(told(&sender, "gmail.com"), some("google", "2/s", 0));
        assert_eq!(sender.limits.warm_up.unwrap().days, [50, 100]);
    }
}
