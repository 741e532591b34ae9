//! What a claimed message uses up before it is written: a permit of each rate, its sender's day and
//! its brand's day, in this order.
//!
//! What always holds: a message that may not leave now goes back to the queue with every permit that
//! it had, and takes nothing of a day that it does not need.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use parcours_domain::{Day, Millis, Name, TenantId, Timestamp, provider};
use parcours_kit::telemetry;
use parcours_queue::tokens::LimitKey;
use parcours_store::StoreError;

use crate::{
    batch::{Desk, Fit},
    budget::{Ahead, Permit, Permits},
    catalogue::Unready,
    core::Core,
    dispatch::REST_MOST,
    ending::{Ending, Ticket},
    pace::Pace,
    rounds::{Head, Turn},
    settings::SenderSettings,
};

/// Counts messages that were put off, and lanes that waited, for a limit.
const PUT_OFF: &str = "parcours_sends_put_off_total";

/// Permits for a lane with a pace; or until when it rests, because there are none.
pub(crate) async fn ahead(core: &Core, turn: Turn) -> Result<Option<Ahead<'_>>, Instant> {
    let Some(pace) = core.paces.of(turn.head) else { return Ok(None) };
    match core.purse.ahead(pace, turn.most).await {
        Ok(ahead) => Ok(Some(ahead)),
        Err(next_at) if next_at > Instant::now() + REST_MOST => {
            // Others may be behind those that wait so long.
            core.paces.learn(turn.head, None);
            Ok(None)
        }
        Err(next_at) => {
            telemetry::metrics().add(PUT_OFF, 1, &[("limit", "domain")]);
            Err(next_at)
        }
    }
}

/// What may leave now, with a permit of each rate.
pub(crate) async fn within(
    desk: &Desk,
    (head, day): (Head, Day),
    ahead: Option<Ahead<'_>>,
    fit: Vec<Fit>,
) -> Result<Vec<Fit>, StoreError> {
    let tenant = head.0;
    let checked = async {
        let senders = match Senders::of(desk, tenant, &fit).await {
            Ok(senders) => senders,
            Err(error) => return Err((error, fit)),
        };
        let fit = permitted(desk, head, &senders, ahead, fit).await;
        // Permits come back and days do not, so these are last.
        let fit = senders_day(desk, (tenant, day), &senders, fit).await?;
        brands_day(desk, (tenant, day), fit).await
    };
    match checked.await {
        Ok(fit) => Ok(fit),
        Err((error, fit)) => {
            let now = desk.core.clock.now();
            go_back(desk, fit, |_| Ending::Back(now)).await;
            Err(error)
        }
    }
}

/// The senders of a batch, as their documents say now. A sender without a readable document is
/// missing; its messages end when they are to be written.
struct Senders(BTreeMap<Name, Arc<SenderSettings>>);

impl Senders {
    async fn of(desk: &Desk, tenant: TenantId, fit: &[Fit]) -> Result<Self, StoreError> {
        let mut senders = BTreeMap::new();
        for one in fit {
            let (name, version) = (&one.claimed.row.sender, one.claimed.sender_version);
            if senders.contains_key(name) {
                continue;
            }
            match desk.core.catalogue.sender(tenant, (name, version)).await {
                Ok(sender) => drop(senders.insert(name.clone(), sender)),
                Err(Unready::Store(error)) => return Err(error),
                Err(Unready::Missing(_) | Unready::Secret(_)) => {}
            }
        }
        Ok(Self(senders))
    }

    /// The pace of a message's recipients.
    fn pace(&self, one: &Fit) -> Option<Pace> {
        let name = &one.claimed.row.sender;
        let sender = self.0.get(name)?;
        let (_, address, ..) = one.claimed.address.as_ref()?;
        let limit = sender.limit(address.domain())?;
        let (tenant, server) = (one.claimed.tenant, sender.server(name));
        let key = LimitKey::Domain { tenant, server, recipients: limit.recipients };
        limit.rate.map(|rate| Pace { key, rate })
    }
}

/// The messages that may go on; or what the store said, and all of them.
type Going = Result<Vec<Fit>, (StoreError, Vec<Fit>)>;

/// Those whose senders may still send today; the others wait for the next day.
async fn senders_day(
    desk: &Desk,
    (tenant, day): (TenantId, Day),
    senders: &Senders,
    mut fit: Vec<Fit>,
) -> Going {
    for (name, sender) in &senders.0 {
        let Some(most) = sender.limits.warm_up.as_ref().and_then(|days| days.most_on(day)) else {
            continue;
        };
        let (mut own, others) = of_sender(name, fit);
        let taken = desk.core.warm_ups.take((tenant, name), (day, most), count(&own)).await;
        let may = taken.as_ref().map_or(own.len(), |may| *may as usize);
        let over = own.split_off(may.min(own.len()));
        put_off(desk, "warm_up", over, |_| Ending::Tomorrow(day.next().begins())).await;
        fit = own;
        fit.extend(others);
        if let Err(error) = taken {
            return Err((error, fit));
        }
    }
    Ok(fit)
}

/// Those that the brand may still send today; the others go back.
async fn brands_day(desk: &Desk, (tenant, day): (TenantId, Day), mut fit: Vec<Fit>) -> Going {
    match desk.core.days.take(tenant, day.0, count(&fit)).await {
        Err(error) => Err((error, fit)),
        Ok(may) => {
            let back = fit.split_off((may as usize).min(fit.len()));
            let now = desk.core.clock.now();
            go_back(desk, back, |_| Ending::Back(now)).await;
            Ok(fit)
        }
    }
}

/// Those with a permit of every rate that holds for them; the others go back until there may be one.
async fn permitted(
    desk: &Desk,
    head: Head,
    senders: &Senders,
    ahead: Option<Ahead<'_>>,
    fit: Vec<Fit>,
) -> Vec<Fit> {
    let fit = by_recipients(desk, head, senders, ahead, fit).await;
    by_sender(desk, head.0, senders, fit).await
}

async fn by_recipients(
    desk: &Desk,
    head: Head,
    senders: &Senders,
    mut ahead: Option<Ahead<'_>>,
    fit: Vec<Fit>,
) -> Vec<Fit> {
    let mut piles: Vec<(Option<Pace>, Vec<Fit>)> = Vec::new();
    for one in fit {
        let pace = senders.pace(&one);
        match piles.iter_mut().find(|(known, _)| *known == pace) {
            Some((_, pile)) => pile.push(one),
            None => piles.push((pace, vec![one])),
        }
    }
    let is_of_one_kind = piles.len() == 1 && provider::is_of_one_provider(head.1);
    let (mut kept, mut learnt) = (Vec::new(), None);
    for (pace, mut pile) in piles {
        let Some(pace) = pace else {
            kept.extend(pile);
            continue;
        };
        let own = ahead.as_mut().filter(|ahead| ahead.pace == pace);
        let Permits { permits, next_at } = match own {
            Some(ahead) => ahead.hand_out(pile.len()),
            None => desk.core.purse.take(&pace.key, Some(pace.rate), count(&pile)).await,
        };
        let without = give(&pace.key, permits, &mut pile);
        kept.extend(pile);
        // A lane whose messages all wait for the same permits rests, and keeps its order; from other
        // lanes, and for long, who waits steps aside.
        let rests = is_of_one_kind && next_at <= Instant::now() + REST_MOST;
        put_off(desk, "domain", without, |one| {
            Ending::Back(if rests {
                one.claimed.row.not_before
            } else {
                place(desk, &pace, next_at)
            })
        })
        .await;
        learnt = rests.then_some(pace);
    }
    desk.core.paces.learn(head, learnt);
    kept
}

async fn by_sender(
    desk: &Desk,
    tenant: TenantId,
    senders: &Senders,
    mut fit: Vec<Fit>,
) -> Vec<Fit> {
    for (name, sender) in &senders.0 {
        let Some(rate) = sender.rate else { continue };
        let (mut own, others) = of_sender(name, fit);
        let pace = Pace { key: LimitKey::Sender(tenant, name.clone()), rate };
        let Permits { permits, next_at } =
            desk.core.purse.take(&pace.key, Some(rate), count(&own)).await;
        let without = give(&pace.key, permits, &mut own);
        put_off(desk, "sender", without, |_| Ending::Back(place(desk, &pace, next_at))).await;
        fit = own;
        fit.extend(others);
    }
    fit
}

fn of_sender(name: &Name, fit: Vec<Fit>) -> (Vec<Fit>, Vec<Fit>) {
    fit.into_iter().partition(|one| one.claimed.row.sender == *name)
}

fn count(fit: &[Fit]) -> u32 {
    u32::try_from(fit.len()).unwrap_or(u32::MAX)
}

/// A permit for each message, as far as there are any; those without leave the pile.
fn give(key: &LimitKey, permits: Vec<Permit>, pile: &mut Vec<Fit>) -> Vec<Fit> {
    let without = pile.split_off(permits.len().min(pile.len()));
    for (one, permit) in pile.iter_mut().zip(permits) {
        one.pass.add(key, permit);
    }
    without
}

/// When, in product time, a message without a permit may try again.
fn place(desk: &Desk, pace: &Pace, next_at: Instant) -> Timestamp {
    let at = desk.core.purse.place(&pace.key, pace.rate, next_at);
    let wait = at.saturating_duration_since(Instant::now()).as_millis();
    desk.core.clock.now() + Millis(i64::try_from(wait).unwrap_or(1_000).max(1))
}

async fn put_off(desk: &Desk, limit: &'static str, fit: Vec<Fit>, ending: impl Fn(&Fit) -> Ending) {
    let messages = u64::try_from(fit.len()).unwrap_or(0);
    telemetry::metrics().add(PUT_OFF, messages, &[("limit", limit)]);
    go_back(desk, fit, ending).await;
}

/// Back to the queue, with all permits.
async fn go_back(desk: &Desk, fit: Vec<Fit>, ending: impl Fn(&Fit) -> Ending) {
    let now = desk.core.clock.now();
    let mut records = Vec::with_capacity(fit.len());
    for one in fit {
        let ticket = Ticket::of(&one.claimed, now);
        records.extend(desk.record(&ticket, ending(&one)));
        desk.core.purse.give_back(one.pass);
    }
    desk.core.recorder.all(records).await;
}
