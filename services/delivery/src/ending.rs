//! How a message's turn ended, and what is written down about it.
//!
//! One table from endings to records: what is final, what comes back and when, what suppresses an
//! address, and what the brand's breaker counts: what a next hop took, or refused for good. Only a
//! permanent refusal of the recipient suppresses; only a reply that was never read makes an outcome
//! unknown.

use parcours_domain::{
    AddressHash, Channel, ContactId, MessageClass, MessageId, Millis, RunId, SendOutcome, StepId,
    TenantId, Timestamp, breaker::Counted,
};
use parcours_store::{Claimed, Finished, MailboxPut, NewAttempt, Retry, Suppress};
use uuid::Uuid;

use crate::{
    backoff::Backoff,
    gate::{self, Refused},
    letter::Unfit,
    recorder::Record,
    settings::UnknownPolicy,
};

/// What names a claimed message in every record about it.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub tenant: TenantId,
    pub message: MessageId,
    pub claim_id: Uuid,
    pub channel: Channel,
    pub class: MessageClass,
    pub address: Option<AddressHash>,
    /// Number of this attempt.
    pub attempt: u32,
    /// Product time at which it began.
    pub started_at: Timestamp,
    /// The contact, as it is now.
    pub contact: ContactId,
    /// The gate's decision, once there is one.
    pub receipt: Option<String>,
    /// The run that asked for it.
    pub run: Option<RunId>,
    /// The step that asked for it.
    pub step: Option<StepId>,
}

impl Ticket {
    pub(crate) fn of(claimed: &Claimed, started_at: Timestamp) -> Self {
        Self {
            tenant: claimed.tenant,
            message: claimed.message,
            claim_id: claimed.claim_id,
            channel: claimed.row.channel,
            class: gate::class_of(claimed),
            address: claimed.address.as_ref().map(|(hash, ..)| *hash),
            attempt: claimed.attempt,
            started_at,
            contact: claimed.contact,
            receipt: None,
            run: claimed.row.run,
            step: claimed.row.step.clone(),
        }
    }
}

/// What the peer said, as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    /// How far the attempt came.
    pub stage: &'static str,
    /// SMTP reply code.
    pub code: Option<u16>,
    /// Enhanced status code.
    pub enhanced: Option<String>,
}

impl Reply {
    pub(crate) fn at(stage: &'static str) -> Self {
        Self { stage, ..Self::default() }
    }
}

/// How the turn ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The gate said no.
    Refused(Box<Refused>),
    /// There is nothing to send.
    Unfit(Unfit),
    /// The built-in mailbox took it.
    Kept(Vec<u8>),
    /// The next hop took it.
    Sent(Reply),
    /// The recipient was permanently refused.
    Bounced(Reply),
    /// A permanent failure that is not the recipient's fault.
    Failed(Reply, &'static str),
    /// It may have left.
    Unknown(Reply),
    /// It did not leave; try again later.
    Again(Reply, &'static str),
    /// Too much time passed between its final commit and DATA, which was not begun; judge it again.
    Late(Reply),
    /// Its turn did not come; back to the queue, not before then, without counting.
    Back(Timestamp),
    /// Its sender's day is used up; back to the queue, not before then, without counting.
    Tomorrow(Timestamp),
    /// The claim is not ours any more.
    Lost,
}

/// By what rules endings become records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub backoff: Backoff,
    pub attempts_most: u32,
    pub unknown: UnknownPolicy,
}

impl Rules {
    /// The record; none when there is nothing of ours to record.
    pub(crate) fn record(&self, ticket: &Ticket, ending: Ending, now: Timestamp) -> Option<Record> {
        let attempt = |reply: Reply, result: &str| attempt(ticket, reply, result, now);
        let end = |outcome, reason| end(ticket, outcome, reason, now);
        let finished = match ending {
            Ending::Refused(refused) => Finished {
                receipt_json: Some(refused.receipt.to_json()),
                attempt: Some(attempt(Reply::at("judge"), refused.refusal.as_str())),
                ..end(SendOutcome::Refused, Some(refused.refusal.as_str().to_owned()))
            },
            Ending::Unfit(unfit) => Finished {
                attempt: Some(attempt(Reply::at("render"), unfit.outcome.as_str())),
                ..end(unfit.outcome, Some(unfit.reason))
            },
            Ending::Kept(raw) => Finished {
                attempt: Some(attempt(Reply::at("reply"), "sent")),
                mailbox: ticket.address.map(|recipient| MailboxPut { recipient, raw }),
                counted: Some((ticket.class, Counted::Sent)),
                ..end(SendOutcome::Sent, None)
            },
            Ending::Sent(reply) => Finished {
                attempt: Some(attempt(reply, "sent")),
                counted: Some((ticket.class, Counted::Sent)),
                ..end(SendOutcome::Sent, None)
            },
            Ending::Bounced(reply) => bounced(ticket, reply, now),
            Ending::Failed(reply, word) => Finished {
                attempt: Some(attempt(reply.clone(), "failed")),
                // Policy, reputation, content, sender or size: all that is left when a server says
                // no for good and does not mean the recipient.
                counted: Some((ticket.class, Counted::Refused)),
                ..end(SendOutcome::Failed, Some(reason_of(&reply, word)))
            },
            Ending::Unknown(reply) if self.is_final(ticket) => Finished {
                attempt: Some(attempt(reply, "unknown")),
                ..end(SendOutcome::Unknown, Some("reply_lost".to_owned()))
            },
            Ending::Again(reply, _) | Ending::Late(reply)
                if ticket.attempt >= self.attempts_most =>
            {
                Finished {
                    attempt: Some(attempt(reply, "failed")),
                    ..end(SendOutcome::Failed, Some("attempts_used_up".to_owned()))
                }
            }
            Ending::Unknown(reply) => {
                return Some(self.again(ticket, attempt(reply, "unknown"), now));
            }
            Ending::Again(reply, word) => {
                return Some(self.again(ticket, attempt(reply, word), now));
            }
            Ending::Late(reply) => {
                return Some(self.again(ticket, attempt(reply, "too_late_for_data"), now));
            }
            Ending::Back(not_before) => return Some(back(ticket, not_before)),
            Ending::Tomorrow(not_before) => {
                // Recorded, so that whoever asks why it waits is told.
                let attempt = Some(attempt(Reply::at("judge"), "warm_up"));
                let retry = Retry { attempt, ..retry(ticket, not_before) };
                return Some(Record::Retry(Box::new(retry)));
            }
            Ending::Lost => return None,
        };
        Some(Record::Finish(Box::new(finished), ticket.contact))
    }

    fn is_final(&self, ticket: &Ticket) -> bool {
        self.unknown == UnknownPolicy::NeverAgain || ticket.attempt >= self.attempts_most
    }

    fn again(&self, ticket: &Ticket, attempt: NewAttempt, now: Timestamp) -> Record {
        let wait: Millis = self.backoff.after(ticket.message, ticket.attempt);
        counted(ticket, attempt, now + wait)
    }
}

fn counted(ticket: &Ticket, attempt: NewAttempt, not_before: Timestamp) -> Record {
    Record::Retry(Box::new(Retry {
        attempt: Some(attempt),
        counted: true,
        ..retry(ticket, not_before)
    }))
}

fn end(ticket: &Ticket, outcome: SendOutcome, reason: Option<String>, now: Timestamp) -> Finished {
    Finished {
        tenant: ticket.tenant,
        message: ticket.message,
        claim_id: ticket.claim_id,
        outcome,
        counted: None,
        reason,
        receipt_json: ticket.receipt.clone(),
        attempt: None,
        suppress: None,
        mailbox: None,
        now,
    }
}

fn bounced(ticket: &Ticket, reply: Reply, now: Timestamp) -> Finished {
    let reason = reason_of(&reply, "recipient_refused");
    let suppress = |address| Suppress { address, channel: ticket.channel, reason: reason.clone() };
    // A test's contact is not its recipient: nothing is recorded of it.
    let recipient = ticket.address.filter(|_| ticket.class != MessageClass::Test);
    Finished {
        suppress: recipient.map(suppress),
        counted: Some((ticket.class, Counted::Bounced)),
        attempt: Some(attempt(ticket, reply, "bounced", now)),
        ..end(ticket, SendOutcome::Bounced, Some(reason), now)
    }
}

fn retry(ticket: &Ticket, not_before: Timestamp) -> Retry {
    Retry {
        tenant: ticket.tenant,
        message: ticket.message,
        claim_id: ticket.claim_id,
        not_before,
        receipt_json: None,
        attempt: None,
        counted: false,
    }
}

fn back(ticket: &Ticket, not_before: Timestamp) -> Record {
    Record::Retry(Box::new(retry(ticket, not_before)))
}

fn attempt(ticket: &Ticket, reply: Reply, result: &str, now: Timestamp) -> NewAttempt {
    NewAttempt {
        number: ticket.attempt,
        started_at: ticket.started_at,
        ended_at: Some(now),
        stage: reply.stage.to_owned(),
        result: result.to_owned(),
        code: reply.code,
        enhanced: reply.enhanced,
    }
}

/// `smtp:5.1.1`, `smtp:550`, or the word when the peer gave no code.
fn reason_of(reply: &Reply, word: &str) -> String {
    match (&reply.enhanced, reply.code) {
        (Some(enhanced), _) => format!("smtp:{enhanced}"),
        (None, Some(code)) => format!("smtp:{code}"),
        (None, None) => word.to_owned(),
    }
}
