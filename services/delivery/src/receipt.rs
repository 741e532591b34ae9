//! The receipt: what the gate decided about a message, on what ground, and against which versions.
//!
//! It is stored with the message and is the answer to "why did this leave, or not". Versioned JSON;
//! it holds ids and author-given names, never an address or a value.

use parcours_domain::{
    FactId, MessageClass, Name, Timestamp,
    consent::{Ground, Refusal},
};
use serde::Serialize;

/// The format of [`Receipt`]'s JSON.
const FORMAT: u32 = 1;

/// The versions that the decision was made against; the final commit demands that they still hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// Of the address row; none when the contact has no address.
    pub address: Option<i64>,
    /// Of the contact's consent head on the channel.
    pub contact: i64,
    /// Of the brand's consent rules.
    pub brand: i64,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Receipt {
    v: u32,
    /// `cleared` or `refused`.
    pub verdict: &'static str,
    /// `consent`, `transactional` or `test_address`, when cleared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ground: Option<&'static str>,
    /// The fact that permits it, when the ground is consent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fact: Option<FactId>,
    /// Why not, when refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// What it was decided against.
    pub versions: Versions,
    /// The message's topic.
    pub topic: Name,
    /// The topic's purpose at that time.
    pub purpose: String,
    /// The class that was applied.
    pub class: MessageClass,
    /// The template.
    pub template: Name,
    /// Its version.
    pub template_version: i64,
    /// Product time of the decision.
    pub decided_at: Timestamp,
}

/// What a decision is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What it was decided against.
    pub versions: Versions,
    /// The message's topic.
    pub topic: Name,
    /// The topic's purpose now; empty when the topic is gone.
    pub purpose: String,
    /// The class that is applied.
    pub class: MessageClass,
    /// The template.
    pub template: Name,
    /// Its version.
    pub template_version: i64,
}

impl Receipt {
    /// Of a decision at `decided_at`.
    #[must_use]
    pub fn new(
        subject: Subject,
        decision: &Result<Ground, Refusal>,
        decided_at: Timestamp,
    ) -> Self {
        let (verdict, ground, fact, refusal) = match decision {
            Ok(Ground::Consent(fact)) => ("cleared", Some("consent"), Some(*fact), None),
            Ok(Ground::Transactional) => ("cleared", Some("transactional"), None, None),
            Ok(Ground::TestAddress) => ("cleared", Some("test_address"), None, None),
            Err(refusal) => ("refused", None, None, Some(*refusal)),
        };
        let Subject { versions, topic, purpose, class, template, template_version } = subject;
        Self {
            v: FORMAT,
            verdict,
            ground,
            fact,
            refusal,
            versions,
            topic,
            purpose,
            class,
            template,
            template_version,
            decided_at,
        }
    }

    /// The stored form.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: stored receipts are read for years.
    #[test]
    fn the_stored_form_of_a_receipt_never_changes() {
        let subject = Subject {
            versions: Versions { address: Some(3), contact: 2, brand: 1 },
            topic: "news".parse().unwrap(),
            purpose: "News of the shop".into(),
            class: MessageClass::Marketing,
            template: "hello".parse().unwrap(),
            template_version: 4,
        };
        let at = Timestamp::from_millis(1_000);
        let fact = FactId::v7(at, [9; 10]);
        let cleared = Receipt::new(subject.clone(), &Ok(Ground::Consent(fact)), at).to_json();
        assert_eq!(
            cleared,
            format!(
                "{{\"v\":1,\"verdict\":\"cleared\",\"ground\":\"consent\",\"fact\":\"{fact}\",\
                 \"versions\":{{\"address\":3,\"contact\":2,\"brand\":1}},\"topic\":\"news\",\
                 \"purpose\":\"News of the shop\",\"class\":\"marketing\",\"template\":\"hello\",\
                 \"template_version\":4,\"decided_at\":\"1970-01-01T00:00:01.000Z\"}}"
            )
        );
        let refused = Receipt::new(subject, &Err(Refusal::WithdrawnAll), at).to_json();
        assert!(refused.contains("\"verdict\":\"refused\",\"refusal\":\"withdrawn_all\""));
    }
}
