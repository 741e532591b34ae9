//! One turn of one head: permits, claim, judgement, letters, transport, records.
//!
//! Budget first, so nothing is claimed that may not leave. Messages of a batch share what they can
//! (settings, templates, commits) and nothing else: one that cannot be judged, written or sent ends
//! alone.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parcours_domain::{Day, MessageClass, Millis, Name, SendOutcome, TenantId};
use parcours_kit::telemetry;
use parcours_queue::tokens::LimitKey;
use parcours_store::{ClaimOrder, Claimed, Moments, StoreError};

use crate::{
    budget::{Ahead, Pass, Permit},
    catalogue::Unready,
    compose,
    core::Core,
    doors::Entrance,
    ending::{Ending, Reply, Rules, Ticket},
    gate::{self, Judged},
    letter::{Letter, Unfit},
    mailbox,
    recorder::Record,
    relay,
    rounds::Turn,
    settings::{BrandSettings, Transport, UnknownPolicies},
    spend, told,
};

/// How long a head rests after the store did not answer.
const UNANSWERED_REST: Duration = Duration::from_secs(1);

/// How long a message waits that a brand's breaker stops, when it was claimed all the same.
const STOPPED_WAIT: Millis = Millis::minutes(1);

/// What a turn took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    /// How many messages were claimed.
    pub claimed: u32,
    /// Whether the head has more.
    pub more: bool,
    /// The head has nothing to ask for before then.
    pub rest_until: Option<Instant>,
    /// Permits were taken that are free again.
    pub gave_back: bool,
    /// How many of this head's messages can be worked on at once.
    pub appetite: Option<u32>,
}

/// A claimed message that was judged fit to leave.
pub(crate) struct Fit {
    pub claimed: Claimed,
    pub judged: Judged,
    pub pass: Pass,
}

/// A message with its letter, ready for a transport.
pub(crate) struct Ready {
    pub ticket: Ticket,
    pub judged: Judged,
    pub letter: Letter,
    pub permit: Permit,
}

/// What the transports of one brand share.
pub(crate) struct Desk {
    pub core: Arc<Core>,
    policies: UnknownPolicies,
    /// When these messages were claimed.
    pub claimed_at: Instant,
}

impl Desk {
    /// The record of an ending; counts it.
    pub(crate) fn record(&self, ticket: &Ticket, ending: Ending) -> Option<Record> {
        let rules = Rules {
            backoff: self.core.config.backoff,
            attempts_most: self.core.config.attempts_most,
            unknown: self.policies.of(ticket.class),
        };
        let record = rules.record(ticket, ending, self.core.clock.now());
        told::attempt(ticket, record.as_ref(), SystemTime::now() - self.claimed_at.elapsed());
        if let Some(Record::Finish(finished, _)) = &record {
            let labels = [("outcome", finished.outcome.as_str())];
            let metric = match ticket.class {
                MessageClass::Test => "parcours_test_messages_ended_total",
                MessageClass::Marketing | MessageClass::Transactional => {
                    "parcours_messages_ended_total"
                }
            };
            telemetry::metrics().add(metric, 1, &labels);
        }
        record
    }
}

/// Works on one turn. What fails rests; its claims come back when their lease is over.
pub(crate) async fn work(core: &Arc<Core>, turn: Turn) -> Report {
    match turn_of(core, turn).await {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!(%error, tenant = %turn.head.0, "a turn ended early; nothing leaves");
            let rest_until = Some(Instant::now() + UNANSWERED_REST);
            Report { rest_until, ..Report::default() }
        }
    }
}

async fn turn_of(core: &Arc<Core>, turn: Turn) -> Result<Report, StoreError> {
    let (tenant, lane) = turn.head;
    let day = Day::of(core.clock.now());
    let rest_until = core.days.over_until(tenant, day.0);
    if let rest_until @ Some(_) = rest_until.max(core.templates.rest_until(tenant).await?) {
        return Ok(Report { rest_until, ..Report::default() });
    }
    let ahead = match spend::ahead(core, turn).await {
        Ok(ahead) => ahead,
        Err(rest_until) => {
            return Ok(Report { rest_until: Some(rest_until), ..Report::default() });
        }
    };
    let most = ahead.as_ref().map_or(turn.most, Ahead::count);
    let brand = core.catalogue.brand(tenant).await?;
    let rate = brand.as_ref().and_then(|brand| brand.rate);
    let key = LimitKey::Brand(tenant);
    let mut budget = core.purse.take(&key, rate, most).await;
    let count = u32::try_from(budget.permits.len()).unwrap_or(most);
    if count == 0 {
        return Ok(Report { rest_until: Some(budget.next_at), ..Report::default() });
    }
    let now = Moments { product: core.clock.now(), machine: core.door.server_now() };
    let lease_ms = i64::try_from(core.config.lease.as_millis()).unwrap_or(i64::MAX);
    let order = ClaimOrder { tenant, lane, count, lease_ms, now };
    let claiming = core.board.claim(turn.head);
    let claimed = core.door.claim(&order).await;
    drop(claiming);
    let claimed = match claimed {
        Ok(claimed) => claimed,
        Err(error) => {
            core.purse.put_back(&key, budget.permits);
            return Err(error);
        }
    };
    let taken = u32::try_from(claimed.len()).unwrap_or(count);
    core.purse.put_back(&key, budget.permits.drain(claimed.len().min(budget.permits.len())..));
    let _in_flight = core.board.begin(claimed.len());
    let policies = brand.as_ref().map(|brand| brand.unknown_policy).unwrap_or_default();
    let desk = Desk { core: Arc::clone(core), policies, claimed_at: Instant::now() };
    let passes = budget.permits.into_iter().map(|permit| Pass::of(&key, permit));
    let fit = triage(&desk, claimed.into_iter().zip(passes)).await;
    let fit = spend::within(&desk, (turn.head, day), ahead, fit).await?;
    let gave_back = rate.is_some() && fit.len() < count as usize;
    let appetite = senders(&desk, tenant, brand, fit).await?;
    let rest_until = core.days.over_until(tenant, day.0).max(core.templates.over_until(tenant));
    Ok(Report { claimed: taken, more: taken == count, rest_until, gave_back, appetite })
}

/// Judges, and ends at once what must not leave or has no time left.
async fn triage(desk: &Desk, claimed: impl Iterator<Item = (Claimed, Pass)>) -> Vec<Fit> {
    let (mut fit, mut records) = (Vec::new(), Vec::new());
    let now = desk.core.clock.now();
    for (claimed, pass) in claimed {
        let ticket = Ticket::of(&claimed, now);
        let ending = if claimed.halted {
            Ending::Back(now)
        } else if claimed.stops.holds(ticket.class) {
            // Queued as another class than it is judged as now: the claim could not leave it out.
            Ending::Back(now + STOPPED_WAIT)
        } else if claimed.expires_at <= now {
            Ending::Unfit(Unfit { outcome: SendOutcome::Expired, reason: "expired".to_owned() })
        } else {
            match gate::judge(&claimed, now) {
                Ok(judged) => {
                    fit.push(Fit { claimed, judged, pass });
                    continue;
                }
                Err(refused) => Ending::Refused(refused),
            }
        };
        records.extend(desk.record(&ticket, ending));
        desk.core.purse.give_back(pass);
    }
    desk.core.recorder.all(records).await;
    fit
}

/// Sender by sender, at the same time; how many messages can be worked on at once.
async fn senders(
    desk: &Desk,
    tenant: TenantId,
    brand: Option<Arc<BrandSettings>>,
    fit: Vec<Fit>,
) -> Result<Option<u32>, StoreError> {
    let mut groups: BTreeMap<Name, Vec<Fit>> = BTreeMap::new();
    for one in fit {
        groups.entry(one.claimed.row.sender.clone()).or_default().push(one);
    }
    let work = groups.into_iter().map(|(sender, fit)| {
        let brand = brand.clone();
        async move { sender_group(desk, (tenant, sender), brand, fit).await }
    });
    let mut appetite = None;
    for answer in futures::future::join_all(work).await {
        appetite = appetite.max(answer?);
    }
    Ok(appetite)
}

async fn sender_group(
    desk: &Desk,
    (tenant, sender): (TenantId, Name),
    brand: Option<Arc<BrandSettings>>,
    fit: Vec<Fit>,
) -> Result<Option<u32>, StoreError> {
    let version = fit.first().and_then(|first| first.claimed.sender_version);
    let house = match desk.core.catalogue.house(tenant, brand, (&sender, version)).await {
        Ok(house) => Arc::new(house),
        Err(unready) => return not_ready(desk, unready, fit).await.map(|()| None),
    };
    let now = desk.core.clock.now();
    let tickets: Vec<Ticket> = fit.iter().map(|one| Ticket::of(&one.claimed, now)).collect();
    let ready = match compose::letters(desk, &house, fit).await {
        Ok(ready) => ready,
        // Nothing was handed over yet: back to the queue, not left to the lease.
        Err(error) => {
            return end_unready(desk, Unready::Store(error), tickets.into_iter())
                .await
                .map(|()| None);
        }
    };
    match &house.sender.transport {
        Transport::Mailbox => {
            mailbox::deliver(desk, ready).await;
            Ok(None)
        }
        Transport::Smtp(smtp) => {
            let target = match desk.core.catalogue.target(tenant, smtp, &desk.core.config).await {
                Ok(target) => target,
                Err(unready) => {
                    let tickets = ready.into_iter().map(|ready| ready.ticket);
                    return end_unready(desk, unready, tickets).await.map(|()| None);
                }
            };
            let pool = desk.core.pools.of(tenant, &sender, &target, smtp.connections);
            let server = house.sender.server(&sender);
            let doors: Vec<_> = ready
                .iter()
                .map(|one| {
                    let limit = house.sender.limit(one.letter.envelope.to.domain())?;
                    let (server, recipients) = (server.clone(), limit.recipients);
                    let key = LimitKey::Domain { tenant, server, recipients };
                    limit.connections.map(|cap| Entrance { door: desk.core.doors.to(&key), cap })
                })
                .collect();
            let at_once = doors
                .iter()
                .map(|door| door.as_ref().map_or(smtp.connections, |door| door.part(&desk.core)));
            let at_once = at_once.max().unwrap_or(smtp.connections).min(smtp.connections);
            relay::deliver(desk, &pool, ready.into_iter().zip(doors)).await;
            Ok(Some(at_once.saturating_mul(8).max(1)))
        }
    }
}

/// Settings that are missing fail their messages; a secret or a store that is missing for now
/// makes them wait.
async fn not_ready(desk: &Desk, unready: Unready, fit: Vec<Fit>) -> Result<(), StoreError> {
    let now = desk.core.clock.now();
    let tickets = fit.iter().map(|one| Ticket::of(&one.claimed, now));
    end_unready(desk, unready, tickets).await
}

async fn end_unready(
    desk: &Desk,
    unready: Unready,
    tickets: impl Iterator<Item = Ticket>,
) -> Result<(), StoreError> {
    let ending = |unready: &Unready| match unready {
        Unready::Missing(what) => Ending::Unfit(Unfit::failed(what)),
        Unready::Secret(_) => Ending::Again(Reply::at("render"), "secret_missing"),
        Unready::Store(_) => Ending::Back(desk.core.clock.now()),
    };
    let records = tickets.filter_map(|ticket| desk.record(&ticket, ending(&unready))).collect();
    desk.core.recorder.all(records).await;
    match unready {
        Unready::Store(error) => Err(error),
        Unready::Secret(name) => {
            tracing::warn!(secret = %name, "a sender's secret is missing or unusable");
            Ok(())
        }
        Unready::Missing(_) => Ok(()),
    }
}
