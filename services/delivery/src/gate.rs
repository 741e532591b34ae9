//! The gate: the only place where a message becomes something that a transport accepts.
//!
//! [`judge`] puts the claimed facts to the pure verdict; what passes is only *judged*. It becomes
//! [`Cleared`] when the final commit, in the store, found every version of the judgement still
//! standing, the claim still ours and nothing halted. No other code can build a [`Cleared`]: its
//! fields are private to this file, and every transport's data stage takes nothing else. When the
//! store does not answer, nothing is cleared.

use std::{sync::Arc, time::Duration};

use parcours_domain::{
    MessageClass, Timestamp,
    consent::{Question, Refusal, verdict},
};
use parcours_kit::Clock;
use parcours_store::{
    Claimed, DeliveryDoor, DotAnswer, DotRequest, DotTimes, Moments, NewAttempt, StoreError,
};

use crate::{
    config::DeliveryConfig,
    group::Group,
    receipt::{Receipt, Subject, Versions},
};

/// A message that may leave if nothing has changed by its final commit.
#[derive(Clone, Debug)]
pub struct Judged {
    request: DotRequest,
}

/// A message that must not leave, and the record of why.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why not.
    pub refusal: Refusal,
    /// For the message's record.
    pub receipt: Receipt,
}

/// What passed the gate's final commit. Only this file can make one.
#[derive(Debug)]
pub struct Cleared<T> {
    inner: T,
    at: Duration,
    since_boot: fn() -> Duration,
}

impl<T> Cleared<T> {
    /// How long ago the final commit was begun, by a clock that goes on while the process is frozen
    /// and while the machine sleeps.
    #[must_use]
    pub fn age(&self) -> Duration {
        (self.since_boot)().saturating_sub(self.at)
    }
    /// What was cleared, for the transport.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.inner
    }
}

/// The gate's last word on one message.
#[derive(Debug)]
pub enum Clearance<T> {
    /// It may leave now.
    Go(Cleared<T>),
    /// Something changed since it was judged; the letter comes back.
    Rejudge(T),
    /// The claim is not ours any more.
    Lost,
    /// Brand or install is halted, or the brand's breaker stops the message's class.
    Halted,
    /// The store did not answer, or not certainly: the message has not left.
    Unanswered,
}

/// Judges a claimed message.
///
/// The class that counts is the stricter of the message's own and its topic's present one: a topic
/// that was made transactional afterwards frees nothing that was asked for under consent.
///
/// # Errors
/// The refusal, with its receipt.
pub fn judge(claimed: &Claimed, now: Timestamp) -> Result<Judged, Box<Refused>> {
    let (topic, address) = (claimed.topic.as_ref(), claimed.address.as_ref());
    let class = class_of(claimed);
    let decision = match (topic, address) {
        (None, _) => Err(Refusal::NoTopic),
        (Some(_), None) => Err(Refusal::NoAddress),
        (Some(topic), Some((hash, _, standing, version))) => verdict(&Question {
            topic: &claimed.row.topic,
            class,
            double_opt_in: topic.double_opt_in,
            standing: &claimed.standing,
            address: *standing,
            test_address: claimed.test_address,
        })
        .map(|ground| (ground, *hash, *version)),
    };
    let subject = Subject {
        versions: Versions {
            address: address.map(|(_, _, _, version)| *version),
            contact: claimed.head_version,
            brand: claimed.tenant_version,
        },
        topic: claimed.row.topic.clone(),
        purpose: topic.map(|topic| topic.purpose.clone()).unwrap_or_default(),
        class,
        template: claimed.row.template.clone(),
        template_version: claimed.row.template_version,
    };
    let receipt = |decision| Receipt::new(subject, &decision, now);
    match decision {
        Ok((ground, address, address_version)) => Ok(Judged {
            request: DotRequest {
                tenant: claimed.tenant,
                message: claimed.message,
                class,
                claim_id: claimed.claim_id,
                contact: claimed.contact,
                channel: claimed.row.channel,
                address,
                address_version,
                head_version: claimed.head_version,
                tenant_version: claimed.tenant_version,
                receipt_json: receipt(Ok(ground)).to_json(),
                attempt: attempt_of(claimed, now),
                links: Vec::new(),
            },
        }),
        Err(refusal) => Err(Box::new(Refused { refusal, receipt: receipt(Err(refusal)) })),
    }
}

/// The class under which a message is judged and written. A test stays one, whatever its topic.
#[must_use]
pub fn class_of(claimed: &Claimed) -> MessageClass {
    match (claimed.row.class, claimed.topic.as_ref().map(|topic| topic.class)) {
        (MessageClass::Test, _) => MessageClass::Test,
        (MessageClass::Transactional, Some(MessageClass::Transactional)) => {
            MessageClass::Transactional
        }
        (MessageClass::Marketing | MessageClass::Transactional, _) => MessageClass::Marketing,
    }
}

fn attempt_of(claimed: &Claimed, now: Timestamp) -> NewAttempt {
    NewAttempt {
        number: claimed.attempt,
        started_at: now,
        ended_at: None,
        stage: "dot".to_owned(),
        result: "pending".to_owned(),
        code: None,
        enhanced: None,
    }
}

impl Judged {
    /// With the links whose targets are stored by the final commit.
    #[must_use]
    pub fn with_links(mut self, links: Vec<(u16, String)>) -> Self {
        self.request.links = links;
        self
    }
    /// The decision as it is stored.
    #[must_use]
    pub fn receipt_json(&self) -> &str {
        &self.request.receipt_json
    }
}

/// The answer, and when by [`Cleared`]'s clock its commit was begun.
type Answered = Result<(DotAnswer, Duration), ()>;

/// Makes final commits.
#[derive(Clone)]
pub(crate) struct Gate {
    desk: Desk,
    group: Group<DotRequest, Answered>,
}

/// What a final commit needs.
#[derive(Clone)]
struct Desk {
    door: DeliveryDoor,
    clock: Arc<dyn Clock>,
    /// How long the owner of a message may wait for the reply to it.
    lease_ms: i64,
    since_boot: fn() -> Duration,
}

impl Gate {
    pub(crate) fn new(door: DeliveryDoor, clock: Arc<dyn Clock>, config: &DeliveryConfig) -> Self {
        let lease_ms = i64::try_from(config.lease.as_millis()).unwrap_or(i64::MAX);
        let desk = Desk { door, clock, lease_ms, since_boot: config.since_boot };
        let shared = desk.clone();
        let group = Group::start(config.group, move |requests: Vec<DotRequest>| {
            let desk = shared.clone();
            async move { desk.answer(requests).await }
        });
        Self { desk, group }
    }

    /// Clears one message, together with those of other connections.
    pub(crate) async fn clear<T>(&self, judged: Judged, letter: T) -> Clearance<T> {
        let answer = self.group.ask(judged.request).await;
        clearance(answer.unwrap_or(Err(())), letter, self.desk.since_boot)
    }

    /// Clears a batch in one commit; answers in its order.
    pub(crate) async fn clear_all<T>(&self, batch: Vec<(Judged, T)>) -> Vec<Clearance<T>> {
        let (requests, letters): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|(judged, letter)| (judged.request, letter)).unzip();
        let answers = self.desk.answer(requests).await;
        let since_boot = self.desk.since_boot;
        let cleared = |(answer, letter)| clearance(answer, letter, since_boot);
        answers.into_iter().zip(letters).map(cleared).collect()
    }
}

impl Desk {
    async fn answer(&self, requests: Vec<DotRequest>) -> Vec<Answered> {
        let asked = requests.len();
        let now = Moments { product: self.clock.now(), machine: self.door.server_now() };
        let times = DotTimes { now, lease_ms: self.lease_ms };
        // Taken before the commit: the wait for its answer counts as time since then.
        let at = (self.since_boot)();
        match self.door.commit_dot(requests, times).await {
            Ok(answers) => answers.into_iter().map(|answer| Ok((answer, at))).collect(),
            Err(error) => {
                warn(&error);
                vec![Err(()); asked]
            }
        }
    }
}

fn warn(error: &StoreError) {
    tracing::warn!(%error, "the final commit failed; nothing of its group leaves");
}

fn clearance<T>(answer: Answered, letter: T, since_boot: fn() -> Duration) -> Clearance<T> {
    match answer {
        Ok((DotAnswer::Go, at)) => Clearance::Go(Cleared { inner: letter, at, since_boot }),
        Ok((DotAnswer::Rejudge, _)) => Clearance::Rejudge(letter),
        Ok((DotAnswer::Lost, _)) => Clearance::Lost,
        Ok((DotAnswer::Halted, _)) => Clearance::Halted,
        Err(()) => Clearance::Unanswered,
    }
}
