//! Consent: facts, the standing they fold to, and the verdict on one message.
//!
//! A fact is what a person (or somebody responsible) said, at a time, from a source, under a
//! wording. Facts are appended, never changed. The fold is pure: the newest fact of a scope
//! decides within its scope, an objection to all marketing outranks any consent given before it,
//! and **no fact means no** (G-10, G-12, G-18).
//!
//! Order is `(at, id)`: the server's product time, then the fact's id. A client's own time is kept
//! in the record and never decides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    address::AddressHash,
    hash::sha256,
    ids::{ContactId, FactId, Handle, TenantId},
    message::{Channel, MessageClass},
    name::Name,
    time::Timestamp,
};

/// What a fact says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// The person agreed.
    Given,
    /// The person confirmed an earlier agreement (double opt-in).
    Confirmed,
    /// The person withdrew an agreement (Art. 7(3) GDPR).
    Withdrawn,
    /// The person objected to direct marketing (Art. 21(2) GDPR).
    Objected,
    /// The address must not be written to: permanent refusal, complaint, or by hand.
    Suppressed,
}

impl FactKind {
    /// Every kind, in a fixed order.
    pub const ALL: [Self; 5] =
        [Self::Given, Self::Confirmed, Self::Withdrawn, Self::Objected, Self::Suppressed];

    /// The stored and shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Confirmed => "confirmed",
            Self::Withdrawn => "withdrawn",
            Self::Objected => "objected",
            Self::Suppressed => "suppressed",
        }
    }
    /// From the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What a fact is about, on its channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One topic.
    Topic(Name),
    /// All marketing on the channel.
    AllMarketing,
}

/// One appended fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsentFact {
    /// Its id; the month in it places the row.
    pub id: FactId,
    /// The brand.
    pub tenant: TenantId,
    /// The contact it was recorded for.
    pub contact: ContactId,
    /// The contact's handle: what the log will name.
    pub handle: Handle,
    /// What was said.
    pub kind: FactKind,
    /// About what.
    pub scope: Scope,
    /// The topic's purpose at that time; empty for all marketing.
    pub purpose: String,
    /// On which channel.
    pub channel: Channel,
    /// The address it was said for, when there is one.
    pub address: Option<AddressHash>,
    /// Product time of the record.
    pub at: Timestamp,
    /// Where it came from: `one-click`, `preference-page`, `api`, `import:...`, `smtp`.
    pub source: String,
    /// Reference to the wording shown, when there was one.
    pub wording: Option<String>,
    /// 32 random bytes that make the commitment unguessable (E-01).
    pub nonce: [u8; 32],
}

impl ConsentFact {
    /// The canonical bytes that the ledger commits to: version 1, JSON with sorted keys, without
    /// contact id, address or nonce.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut map = BTreeMap::new();
        map.insert("at", serde_json::json!(self.at.as_millis()));
        map.insert("channel", serde_json::json!(self.channel.as_str()));
        map.insert("handle", serde_json::json!(self.handle.to_string()));
        map.insert("id", serde_json::json!(self.id.to_string()));
        map.insert("kind", serde_json::json!(self.kind.as_str()));
        map.insert("purpose", serde_json::json!(self.purpose));
        map.insert(
            "scope",
            match &self.scope {
                Scope::Topic(topic) => serde_json::json!({"topic": topic.as_str()}),
                Scope::AllMarketing => serde_json::json!("all_marketing"),
            },
        );
        map.insert("source", serde_json::json!(self.source));
        map.insert("tenant", serde_json::json!(self.tenant.to_string()));
        map.insert("v", serde_json::json!(1));
        map.insert("wording", serde_json::json!(self.wording));
        serde_json::to_vec(&map).unwrap_or_default()
    }

    /// SHA-256(nonce, canonical bytes).
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        sha256(&[&self.nonce, &self.canonical_bytes()])
    }
}

/// The newest word on one scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Latest {
    /// When it was said.
    pub at: Timestamp,
    /// The fact that says so.
    pub fact: FactId,
    /// What it says.
    pub kind: FactKind,
}

/// Where a contact stands on one channel, folded from facts in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Newest given, confirmed, withdrawn or objected a topic.
    pub topics: BTreeMap<Name, Latest>,
    /// Newest withdrawn or objected of all marketing, or a fresh opt-in to all of it.
    pub all_marketing: Option<Latest>,
    /// Newest suppression, if any.
    pub suppressed: Option<Latest>,
}

impl Standing {
    /// Folds facts of one contact and channel; their order does not matter.
    #[must_use]
    pub fn fold<'a>(facts: impl IntoIterator<Item = &'a ConsentFact>) -> Self {
        let mut standing = Self::default();
        for fact in facts {
            standing.add(fact.kind, &fact.scope, fact.at, fact.id);
        }
        standing
    }

    /// Adds one fact; the newest `(at, id)` of a scope stays.
    pub fn add(&mut self, kind: FactKind, scope: &Scope, at: Timestamp, fact: FactId) {
        let latest = Latest { at, fact, kind };
        let newer = |old: &Latest| (old.at, old.fact) < (at, fact);
        if kind == FactKind::Suppressed {
            if self.suppressed.as_ref().is_none_or(newer) {
                self.suppressed = Some(latest);
            }
            return;
        }
        match scope {
            Scope::Topic(topic) => {
                if self.topics.get(topic).is_none_or(newer) {
                    self.topics.insert(topic.clone(), latest);
                }
            }
            Scope::AllMarketing => {
                if self.all_marketing.as_ref().is_none_or(newer) {
                    self.all_marketing = Some(latest);
                }
            }
        }
    }
}

/// What is known of the address itself, by keyed hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressStanding {
    /// When it was suppressed, if it is.
    pub suppressed_at: Option<Timestamp>,
    /// When its holder objected to direct marketing, whoever the contact was then.
    pub objected_at: Option<Timestamp>,
}

/// Why a message must not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No fact permits it.
    NoConsent,
    /// The topic's consent was withdrawn.
    Withdrawn,
    /// All marketing was withdrawn.
    WithdrawnAll,
    /// The person objected, to the topic or to all marketing.
    Objected,
    /// The address (or contact) is suppressed.
    Suppressed,
    /// The contact has no address on the channel.
    NoAddress,
    /// The brand requires a confirmed opt-in and there is only an unconfirmed one.
    Unconfirmed,
    /// The topic is not published any more.
    NoTopic,
    /// A test send to an address that the brand does not list for tests.
    NotTestAddress,
}

impl Refusal {
    /// Every refusal, in a fixed order.
    pub const ALL: [Self; 9] = [
        Self::NoConsent,
        Self::Withdrawn,
        Self::WithdrawnAll,
        Self::Objected,
        Self::Suppressed,
        Self::NoAddress,
        Self::Unconfirmed,
        Self::NoTopic,
        Self::NotTestAddress,
    ];

    /// The stored and shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoConsent => "no_consent",
            Self::Withdrawn => "withdrawn",
            Self::WithdrawnAll => "withdrawn_all",
            Self::Objected => "objected",
            Self::Suppressed => "suppressed",
            Self::NoAddress => "no_address",
            Self::Unconfirmed => "unconfirmed",
            Self::NoTopic => "no_topic",
            Self::NotTestAddress => "not_test_address",
        }
    }
    /// From the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.as_str() == text)
    }
}

/// On what ground a message may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// This fact permits it.
    Consent(FactId),
    /// The topic is transactional.
    Transactional,
    /// The brand lists the address for tests.
    TestAddress,
}

/// The question put to the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The message's topic.
    pub topic: &'a Name,
    /// The topic's class now.
    pub class: MessageClass,
    /// Whether the topic asks for a confirmed opt-in.
    pub double_opt_in: bool,
    /// The contact's standing on the message's channel.
    pub standing: &'a Standing,
    /// The address's standing.
    pub address: AddressStanding,
    /// Whether the brand lists the address for tests; asked for the class `test` only.
    pub test_address: bool,
}

/// May this message leave? Pure and total; fails closed (G-10).
///
/// A suppression refuses every class. A test goes to an address that the brand lists, unless its
/// holder objected; the standing of the contact that it is rendered with is not its reader's and
/// has no say. Transactional needs nothing else. For marketing: an
/// objection (by contact or by address) that is not older than the newest opt-in to this topic
/// refuses; so does a withdrawal of the topic or of all marketing; an opt-in later than them, on
/// record as a fact of its own, lifts them (G-18).
///
/// # Errors
/// The reason why not.
pub fn verdict(question: &Question<'_>) -> Result<Ground, Refusal> {
    let Question { topic, class, double_opt_in, standing, address, test_address } = *question;
    if class == MessageClass::Test {
        return match address {
            AddressStanding { suppressed_at: Some(_), .. } => Err(Refusal::Suppressed),
            AddressStanding { objected_at: Some(_), .. } => Err(Refusal::Objected),
            AddressStanding { .. } if test_address => Ok(Ground::TestAddress),
            AddressStanding { .. } => Err(Refusal::NotTestAddress),
        };
    }
    if address.suppressed_at.is_some() || standing.suppressed.is_some() {
        return Err(Refusal::Suppressed);
    }
    if class == MessageClass::Transactional {
        return Ok(Ground::Transactional);
    }
    let all = standing.all_marketing.as_ref();
    let own = standing.topics.get(topic);
    let Some(consent) = own.filter(|l| l.kind != FactKind::Objected) else {
        return Err(match (own, all.map(|l| l.kind)) {
            (Some(_), _) | (None, Some(FactKind::Objected)) => Refusal::Objected,
            (None, Some(FactKind::Withdrawn)) => Refusal::WithdrawnAll,
            (None, Some(FactKind::Given | FactKind::Confirmed | FactKind::Suppressed) | None) => {
                Refusal::NoConsent
            }
        });
    };
    if consent.kind == FactKind::Withdrawn {
        return Err(Refusal::Withdrawn);
    }
    let lifts = |at: Timestamp| consent.at > at;
    if address.objected_at.is_some_and(|at| !lifts(at)) {
        return Err(Refusal::Objected);
    }
    match all {
        Some(latest) if latest.kind == FactKind::Objected && !lifts(latest.at) => {
            return Err(Refusal::Objected);
        }
        Some(latest) if latest.kind == FactKind::Withdrawn && !lifts(latest.at) => {
            return Err(Refusal::WithdrawnAll);
        }
        Some(_) | None => {}
    }
    if double_opt_in && consent.kind != FactKind::Confirmed {
        return Err(Refusal::Unconfirmed);
    }
    Ok(Ground::Consent(consent.fact))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Script = Vec<(FactKind, Scope)>;

    const KINDS: [FactKind; 5] = FactKind::ALL;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }
    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(minute * 60_000)
    }
    fn id(n: i64) -> FactId {
        FactId::v7(at(n), [u8::try_from(n % 251).unwrap(); 10])
    }
    fn ask(script: &[(FactKind, Scope)]) -> Result<Ground, Refusal> {
        let mut standing = Standing::default();
        for (n, (kind, scope)) in script.iter().enumerate() {
            let n = i64::try_from(n).unwrap() + 1;
            standing.add(*kind, scope, at(n), id(n));
        }
        verdict(&Question {
            topic: &name("news"),
            class: MessageClass::Marketing,
            double_opt_in: false,
            standing: &standing,
            address: AddressStanding::default(),
            test_address: false,
        })
    }

    #[test]
    fn the_table_of_verdicts() {
        use FactKind::{Confirmed, Given, Objected, Suppressed, Withdrawn};
        let news = || Scope::Topic(name("news"));
        let other = || Scope::Topic(name("offers"));
        let all = || Scope::AllMarketing;
        let cases: Vec<(Script, Result<Ground, Refusal>)> = vec![
            (vec![], Err(Refusal::NoConsent)),
            (vec![(Given, other())], Err(Refusal::NoConsent)),
            (vec![(Given, all())], Err(Refusal::NoConsent)),
            (vec![(Given, news())], Ok(Ground::Consent(id(1)))),
            (vec![(Given, news()), (Confirmed, news())], Ok(Ground::Consent(id(2)))),
            (vec![(Given, news()), (Withdrawn, news())], Err(Refusal::Withdrawn)),
            (vec![(Given, news()), (Withdrawn, other())], Ok(Ground::Consent(id(1)))),
            (vec![(Given, news()), (Withdrawn, all())], Err(Refusal::WithdrawnAll)),
            (vec![(Given, news()), (Objected, all())], Err(Refusal::Objected)),
            (vec![(Objected, news())], Err(Refusal::Objected)),
            (vec![(Objected, all()), (Given, news())], Ok(Ground::Consent(id(2)))),
            (vec![(Withdrawn, news()), (Given, news())], Ok(Ground::Consent(id(2)))),
            (vec![(Given, news()), (Suppressed, all())], Err(Refusal::Suppressed)),
            (vec![(Suppressed, all()), (Given, news())], Err(Refusal::Suppressed)),
        ];
        for (script, expected) in cases {
            assert_eq!(ask(&script), expected, "{script:?}");
        }
    }

    #[test]
    fn an_objection_by_address_holds_against_older_consent_only() {
        let mut standing = Standing::default();
        standing.add(FactKind::Given, &Scope::Topic(name("news")), at(5), id(5));
        let question = |objected_at| {
            verdict(&Question {
                topic: &name("news"),
                class: MessageClass::Marketing,
                double_opt_in: false,
                standing: &standing,
                address: AddressStanding { suppressed_at: None, objected_at: Some(objected_at) },
                test_address: false,
            })
        };
        assert_eq!(question(at(4)), Ok(Ground::Consent(id(5))));
        assert_eq!(question(at(5)), Err(Refusal::Objected));
        assert_eq!(question(at(6)), Err(Refusal::Objected));
    }

    #[test]
    fn transactional_needs_no_consent_but_respects_suppression() {
        let mut standing = Standing::default();
        let ask = |standing: &Standing| {
            verdict(&Question {
                topic: &name("receipts"),
                class: MessageClass::Transactional,
                double_opt_in: true,
                standing,
                address: AddressStanding::default(),
                test_address: false,
            })
        };
        standing.add(FactKind::Objected, &Scope::AllMarketing, at(1), id(1));
        assert_eq!(ask(&standing), Ok(Ground::Transactional));
        standing.add(FactKind::Suppressed, &Scope::AllMarketing, at(2), id(2));
        assert_eq!(ask(&standing), Err(Refusal::Suppressed));
    }

    #[test]
    fn a_test_goes_to_listed_addresses_that_did_not_refuse_whatever_the_contact_said() {
        let mut standing = Standing::default();
        let ask = |standing: &Standing, address, test_address| {
            verdict(&Question {
                topic: &name("news"),
                class: MessageClass::Test,
                double_opt_in: true,
                standing,
                address,
                test_address,
            })
        };
        let fine = AddressStanding::default();
        assert_eq!(ask(&standing, fine, true), Ok(Ground::TestAddress));
        assert_eq!(ask(&standing, fine, false), Err(Refusal::NotTestAddress));
        let suppressed = AddressStanding { suppressed_at: Some(at(1)), objected_at: None };
        assert_eq!(ask(&standing, suppressed, true), Err(Refusal::Suppressed));
        let objected = AddressStanding { suppressed_at: None, objected_at: Some(at(1)) };
        assert_eq!(ask(&standing, objected, true), Err(Refusal::Objected));
        standing.add(FactKind::Suppressed, &Scope::AllMarketing, at(2), id(2));
        assert_eq!(ask(&standing, fine, true), Ok(Ground::TestAddress));
    }

    proptest! {
        /// C-03: only a given or confirmed state permits, and the order of facts on disk does
        /// not matter.
        #[test]
        fn the_fold_does_not_depend_on_order(
            script in proptest::collection::vec((0..5usize, 0..3usize, 1..40i64), 0..12),
            seed in 0..1000usize,
        ) {
            let scopes = [Scope::Topic(name("news")), Scope::Topic(name("offers")), Scope::AllMarketing];
            let mut facts: Vec<_> = script.iter().enumerate().map(|(n, (kind, scope, minute))| {
                let n = i64::try_from(n).unwrap();
                (KINDS[*kind], scopes[*scope].clone(), at(*minute), FactId::v7(at(*minute), [u8::try_from(n).unwrap(); 10]))
            }).collect();
            let fold = |facts: &[(FactKind, Scope, Timestamp, FactId)]| {
                let mut standing = Standing::default();
                for (kind, scope, at, id) in facts { standing.add(*kind, scope, *at, *id); }
                standing
            };
            let one = fold(&facts);
            let len = facts.len().max(1);
            facts.rotate_left(seed % len);
            facts.reverse();
            prop_assert_eq!(&one, &fold(&facts));
            let answer = verdict(&Question {
                topic: &name("news"), class: MessageClass::Marketing, double_opt_in: false,
                standing: &one, address: AddressStanding::default(), test_address: false,
            });
            if let Ok(Ground::Consent(fact)) = answer {
                let ground = facts.iter().find(|f| f.3 == fact).unwrap();
                prop_assert!(matches!(ground.0, FactKind::Given | FactKind::Confirmed));
                prop_assert!(!facts.iter().any(|f| f.0 == FactKind::Suppressed));
            }
        }
    }
}
