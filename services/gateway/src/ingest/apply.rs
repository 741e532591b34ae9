//! Hands the items of one request to the owners of their contacts and collects what became of
//! each: applied, there before, or set aside.
//!
//! What always holds: nothing is reported before its commit; when any contact could not take its
//! events, or the set-aside items could not be kept, the whole request is to be repeated, and what
//! was done is recognised then.

use std::{collections::BTreeMap, time::SystemTime};

use parcours_domain::{ContactId, EventId, EventKind, TenantId};
use parcours_kit::{
    Problem,
    telemetry::metrics,
    traces::{self, About},
};
use parcours_store::{IdentityQuery, NO_ROOM, Resolution, TenantStore};
use parcours_wire::{ContactEvents, ItemOutcome, http::ingest::IngestAnswer};

use super::{
    answer::Tally,
    envelope::RawItem,
    item::{self, Fault, Item, Rules},
};
use crate::{failure, quota, state::Gateway};

/// How often a contact may turn out to be part of another.
const HOPS_MAX: usize = 2;

/// One request's work.
pub struct Ingest<'a> {
    /// The wiring.
    pub gateway: &'a Gateway,
    /// The brand.
    pub store: TenantStore,
    /// The route's kind; none in a batch.
    pub kind: Option<EventKind>,
    /// How items are read.
    pub rules: Rules,
    /// Whether the brand takes an e-mail address as an identity.
    pub identify_by_email: bool,
    /// The most contacts of the brand; none: any number.
    pub contacts: Option<u32>,
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Applied by this request.
    Applied(EventId, ContactId),
    /// Applied by an earlier one.
    Duplicate(EventId, ContactId),
    /// Kept by the worker, not applied; it applies once what the worker kept is requeued.
    SetAside(Fault),
    /// Kept by the worker, not applied: its id belongs to another body.
    Conflict(Fault),
    /// Not applied; to be kept by us.
    Faulty(Fault),
}

/// An item on its way.
struct Pending {
    /// Its place in the request.
    place: usize,
    item: Item,
}

impl Ingest<'_> {
    /// Takes the items of a request and answers.
    ///
    /// # Errors
    /// 429 or 503: the whole request is to be repeated.
    pub async fn take(&self, raw: &[RawItem<'_>]) -> Result<IngestAnswer, Problem> {
        let fates = self.fates(raw).await?;
        let kept: Vec<_> = raw
            .iter()
            .zip(&fates)
            .filter_map(|(raw, fate)| match fate {
                Fate::Faulty(fault) => Some(self.entry(raw.bytes, fault)),
                Fate::Applied(..) | Fate::Duplicate(..) | Fate::SetAside(_) | Fate::Conflict(_) => {
                    None
                }
            })
            .collect();
        self.keep(&kept).await?;
        let mut tally = Tally::default();
        for (raw, fate) in raw.iter().zip(&fates) {
            match fate {
                Fate::Applied(..) => tally.accepted(),
                Fate::Duplicate(..) => tally.duplicate(),
                Fate::SetAside(fault) | Fate::Conflict(fault) | Fate::Faulty(fault) => {
                    tally.set_aside(raw.index, fault);
                }
            }
        }
        let answer = tally.answer();
        count(&answer);
        Ok(answer)
    }

    /// What becomes of each item, in order; faulty ones are not kept yet.
    ///
    /// # Errors
    /// 429 or 503.
    pub async fn fates(&self, raw: &[RawItem<'_>]) -> Result<Vec<Fate>, Problem> {
        self.fates_with(raw, || self.made_id()).await
    }

    /// The same; items without an id of their own get theirs from `made_id`.
    ///
    /// # Errors
    /// 429 or 503.
    pub async fn fates_with(
        &self,
        raw: &[RawItem<'_>],
        made_id: impl Fn() -> String,
    ) -> Result<Vec<Fate>, Problem> {
        let begun = SystemTime::now();
        let mut fates: Vec<Option<Fate>> = vec![None; raw.len()];
        let mut pending = Vec::new();
        for (place, one) in raw.iter().enumerate() {
            match item::read(*one, self.kind, &self.rules, &made_id) {
                Ok(item) => pending.push(Pending { place, item }),
                Err(fault) => set(&mut fates, place, Fate::Faulty(fault)),
            }
        }
        self.refuse_known_aliases(&mut pending, &mut fates).await?;
        let contacts = self.resolve(&mut pending, &mut fates).await?;
        self.hand_over(pending, contacts, &mut fates).await?;
        if traces::are_on() {
            self.tell(&fates, begun);
        }
        // Every place got its fate above; a hole would be our fault and is not acknowledged.
        fates.into_iter().map(|fate| fate.ok_or_else(failure::internal)).collect()
    }

    /// Tells in traces which events were taken since then.
    fn tell(&self, fates: &[Option<Fate>], begun: SystemTime) {
        for fate in fates {
            if let Some(Fate::Applied(event, contact)) = fate
                && let Some(trace) = traces::of(event.0)
            {
                trace
                    .span("take event", (About::Taken, None), begun)
                    .with("parcours.tenant", self.store.tenant())
                    .with("parcours.contact", contact)
                    .with("parcours.event", event)
                    .with("parcours.items", fates.len())
                    .emit();
            }
        }
    }

    fn made_id(&self) -> String {
        let mut bytes = [0; 16];
        self.gateway.state.chance.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// An alias whose previous id is another known person's is never merged by itself.
    async fn refuse_known_aliases(
        &self,
        pending: &mut Vec<Pending>,
        fates: &mut [Option<Fate>],
    ) -> Result<(), Problem> {
        for one in std::mem::take(pending) {
            let (Some(user), Some(previous)) = (&one.item.user_id, &one.item.previous_id) else {
                pending.push(one);
                continue;
            };
            let known = self.known(previous).await?;
            if known.is_some() && known != self.known(user).await? {
                set(fates, one.place, Fate::Faulty(contacts_differ()));
            } else {
                pending.push(one);
            }
        }
        Ok(())
    }

    async fn known(&self, user_id: &str) -> Result<Option<ContactId>, Problem> {
        let found = self.store.contact_by_identity("user_id", user_id).await;
        found.map_err(|error| failure::of_store(&error))
    }

    /// The contact of each pending item, in order.
    async fn resolve(
        &self,
        pending: &mut Vec<Pending>,
        fates: &mut [Option<Fate>],
    ) -> Result<Vec<ContactId>, Problem> {
        let mut queries: Vec<IdentityQuery> = Vec::new();
        let mut known: BTreeMap<QueryKey, usize> = BTreeMap::new();
        let mut asked = Vec::with_capacity(pending.len());
        for one in pending.iter() {
            let query = self.query(&one.item);
            let key = (query.user_id.clone(), query.anonymous_id.clone(), query.email.clone());
            asked.push(*known.entry(key).or_insert_with(|| {
                queries.push(query);
                queries.len() - 1
            }));
        }
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        let state = &self.gateway.state;
        let tenant = self.store.tenant();
        let chance = |kind: &str, value: &str| state.chance.contact(tenant, kind, value);
        let resolved = self
            .store
            .resolve_within(&queries, &chance, self.rules.received_at, self.contacts)
            .await;
        let resolved = resolved.map_err(|error| failure::of_store(&error))?;
        for absorbed in resolved.iter().filter_map(|one| one.absorb) {
            state.worker.wake(tenant, absorbed);
        }
        let mut contacts = Vec::with_capacity(pending.len());
        for (one, query) in std::mem::take(pending).into_iter().zip(asked) {
            match resolved.get(query).map(|one| &one.contact) {
                Some(Resolution::Contact(contact)) => {
                    contacts.push(*contact);
                    pending.push(one);
                }
                Some(Resolution::Refused { code: NO_ROOM, detail }) => {
                    quota::count("contacts", 1);
                    set(fates, one.place, Fate::Faulty(Fault::new(NO_ROOM, *detail)));
                }
                Some(Resolution::Refused { .. }) => {
                    set(fates, one.place, Fate::Faulty(contacts_differ()));
                }
                None => return Err(failure::internal()),
            }
        }
        Ok(contacts)
    }

    fn query(&self, item: &Item) -> IdentityQuery {
        let anonymous = item.previous_id.clone().or_else(|| item.anonymous_id.clone());
        IdentityQuery {
            user_id: item.user_id.clone(),
            anonymous_id: anonymous,
            email: item.event.email.clone().filter(|_| self.identify_by_email),
        }
    }

    /// Hands each contact its events, follows absorptions, and notes what became of them.
    async fn hand_over(
        &self,
        pending: Vec<Pending>,
        contacts: Vec<ContactId>,
        fates: &mut [Option<Fate>],
    ) -> Result<(), Problem> {
        let mut waiting: Vec<(ContactId, Pending)> = contacts.into_iter().zip(pending).collect();
        for _ in 0..=HOPS_MAX {
            if waiting.is_empty() {
                return Ok(());
            }
            waiting = self.offer(waiting, fates).await?;
        }
        if waiting.is_empty() { Ok(()) } else { Err(failure::unavailable()) }
    }

    /// One round; what comes back is to be offered to the contact that absorbed its own.
    async fn offer(
        &self,
        waiting: Vec<(ContactId, Pending)>,
        fates: &mut [Option<Fate>],
    ) -> Result<Vec<(ContactId, Pending)>, Problem> {
        let tenant = self.store.tenant();
        let groups = group(waiting);
        let batch =
            groups.iter().map(|(contact, pending)| contact_events(tenant, *contact, pending));
        let outcomes = self.gateway.state.worker.accept(batch.collect()).await;
        refuse_unless_taken(&outcomes)?;
        let mut again = Vec::new();
        let mut outcomes = outcomes.into_iter();
        for (contact, pending) in groups {
            let mut of_contact = outcomes.next().unwrap_or_default().into_iter();
            for one in pending {
                let outcome = of_contact.next().ok_or_else(failure::internal)?;
                let fate = match outcome {
                    ItemOutcome::Applied(event) => Fate::Applied(event, contact),
                    ItemOutcome::Duplicate(event) => Fate::Duplicate(event, contact),
                    ItemOutcome::Conflict => Fate::Conflict(other_body()),
                    ItemOutcome::SetAside { code, detail } => {
                        Fate::SetAside(Fault::new(code, detail))
                    }
                    ItemOutcome::Merged(into) => {
                        let forgot = self.store.forget(&self.query(&one.item)).await;
                        forgot.map_err(|error| failure::of_store(&error))?;
                        again.push((into, one));
                        continue;
                    }
                    ItemOutcome::Moved | ItemOutcome::Busy(_) | ItemOutcome::Unavailable => {
                        return Err(failure::unavailable());
                    }
                };
                set(fates, one.place, fate);
            }
        }
        again.sort_by_key(|(_, one)| one.place);
        Ok(again)
    }
}

type QueryKey = (Option<String>, Option<String>, Option<parcours_domain::EmailAddress>);

/// By contact, in the order in which the contacts first appear; a contact's items keep theirs.
fn group(waiting: Vec<(ContactId, Pending)>) -> Vec<(ContactId, Vec<Pending>)> {
    let mut groups: Vec<(ContactId, Vec<Pending>)> = Vec::new();
    let mut places: BTreeMap<ContactId, usize> = BTreeMap::new();
    for (contact, one) in waiting {
        let place = *places.entry(contact).or_insert_with(|| {
            groups.push((contact, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, pending)) = groups.get_mut(place) {
            pending.push(one);
        }
    }
    groups
}

fn contact_events(tenant: TenantId, contact: ContactId, pending: &[Pending]) -> ContactEvents {
    let events = pending.iter().map(|one| one.item.event.clone()).collect();
    ContactEvents { tenant, contact, events }
}

/// The whole request is repeated when any contact could not take its events.
fn refuse_unless_taken(outcomes: &[Vec<ItemOutcome>]) -> Result<(), Problem> {
    let all = || outcomes.iter().flatten();
    // A move that is still told here has outlasted the router's hops.
    if all().any(|outcome| matches!(outcome, ItemOutcome::Moved | ItemOutcome::Unavailable)) {
        return Err(failure::unavailable());
    }
    let busy = all().filter_map(|outcome| match outcome {
        ItemOutcome::Busy(seconds) => Some(*seconds),
        ItemOutcome::Applied(_)
        | ItemOutcome::Duplicate(_)
        | ItemOutcome::Conflict
        | ItemOutcome::SetAside { .. }
        | ItemOutcome::Merged(_)
        | ItemOutcome::Moved
        | ItemOutcome::Unavailable => None,
    });
    match busy.max() {
        Some(seconds) => Err(busy_problem(seconds)),
        None => Ok(()),
    }
}

/// 429: the same request later.
#[must_use]
pub fn busy_problem(seconds: u32) -> Problem {
    let detail =
        "too much is being worked on; repeat the same request, what was done is recognised";
    Problem::new(429, "busy", "Too busy", detail).retry_after(seconds.max(1))
}

fn set(fates: &mut [Option<Fate>], place: usize, fate: Fate) {
    if let Some(slot) = fates.get_mut(place) {
        *slot = Some(fate);
    }
}

fn other_body() -> Fault {
    let message =
        "the messageId came before with another body; the first one counts, use a new messageId";
    Fault::new("duplicate_id_other_body", message)
}

fn contacts_differ() -> Fault {
    let message =
        "both ids belong to known people; two known people are never made one automatically";
    Fault::new("known_contacts_differ", message)
}

pub(super) fn count(answer: &IngestAnswer) {
    let total = |amount: u32, outcome: &'static str| {
        metrics().add("parcours_ingest_items_total", u64::from(amount), &[("outcome", outcome)]);
    };
    total(answer.accepted, "accepted");
    total(answer.duplicates, "duplicate");
    total(u32::try_from(answer.set_aside.len()).unwrap_or(u32::MAX), "set_aside");
}
