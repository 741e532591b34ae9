//! Counting outcomes, and the moment at which a brand is stopped.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{
    MessageClass, TenantId, Timestamp,
    breaker::{
        BreakerRules, COMPLAINTS_OVER, Counted, OUTCOMES_OVER, Stops, Tally, Trip, bucket_of,
        first_bucket,
    },
};
use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::{breakers, sums};
use crate::{
    Store,
    db::Tx,
    error::StoreError,
    side::sql::{ROWS_MAX, Sql, ms, vals},
    wall::Role,
};

/// The key of a count, but for who counts.
type Slot = (TenantId, MessageClass, Timestamp);

/// Counts the outcomes of a commit, of class and brand as they were judged; which brands that has
/// stopped. Last of all in its transaction.
pub(crate) async fn count(
    tx: &mut Tx,
    owner: Uuid,
    ended: impl Iterator<Item = (TenantId, (MessageClass, Counted), Timestamp)>,
) -> Result<Vec<(TenantId, Trip)>, StoreError> {
    let mut counts: BTreeMap<Slot, Tally> = BTreeMap::new();
    let mut latest = Timestamp::default();
    for (tenant, (class, counted), at) in ended {
        counts.entry((tenant, class, bucket_of(at))).or_default().add(counted);
        latest = latest.max(at);
    }
    add(tx, owner, &counts).await?;
    let bad = counts.iter().filter(|(_, tally)| tally.is_bad());
    let bad: BTreeSet<TenantId> = bad.map(|((tenant, ..), _)| *tenant).collect();
    let rule = |rules: &BreakerRules, class, tally| rules.limits().on_outcomes(class, tally);
    judge(tx, &bad, (first_bucket(latest, OUTCOMES_OVER), latest), rule).await
}

/// Counts a complaint about a message that was sent at `sent_at`; whether that has stopped the brand.
/// One about a message from before the last reset is not counted. Last of all in its transaction.
pub(crate) async fn complained(
    tx: &mut Tx,
    owner: Uuid,
    (tenant, class, sent_at): Slot,
    now: Timestamp,
) -> Result<Vec<(TenantId, Trip)>, StoreError> {
    let own = BTreeSet::from([tenant]);
    let reset_at = breakers(tx, &own).await?.get(&tenant).and_then(|one| one.reset_at);
    if reset_at.is_some_and(|reset| sent_at < reset) {
        return Ok(Vec::new());
    }
    let tally = Tally { complained: 1, ..Tally::default() };
    add(tx, owner, &BTreeMap::from([((tenant, class, bucket_of(sent_at)), tally)])).await?;
    let rule = |rules: &BreakerRules, class, tally| match class {
        MessageClass::Marketing => rules.limits().on_complaints(tally),
        MessageClass::Transactional | MessageClass::Test => None,
    };
    judge(tx, &own, (first_bucket(now, COMPLAINTS_OVER), now), rule).await
}

/// Says what was committed.
pub(crate) fn tell(store: &Store, tripped: &[(TenantId, Trip)]) {
    for (tenant, Trip { stops, cause, tally }) in tripped {
        let (stops, cause_word) = (stops.as_str(), cause.as_str());
        tracing::error!(%tenant, stops, cause = cause_word, ?tally, "a brand's breaker has tripped");
        store.inner.watch.tripped(*cause);
    }
}

async fn add(
    tx: &impl ConnectionTrait,
    owner: Uuid,
    counts: &BTreeMap<Slot, Tally>,
) -> Result<(), StoreError> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let rows: Vec<_> = counts
        .iter()
        .filter(|((_, class, _), _)| *class != MessageClass::Test)
        .map(|((tenant, class, at), tally)| {
            vals![
                tenant.0,
                class.as_str(),
                ms(*at),
                owner,
                number(tally.sent),
                number(tally.bounced),
                number(tally.refused),
                number(tally.complained)
            ]
        })
        .collect();
    for chunk in rows.chunks(ROWS_MAX) {
        Sql::default()
            .text(
                "INSERT INTO outcome_count (tenant_id, class, at, owner, sent, bounced, refused, \
                 complained) VALUES ",
            )
            .rows(chunk.iter().cloned())
            .text(
                " ON CONFLICT (tenant_id, class, at, owner) DO UPDATE SET \
                 sent = outcome_count.sent + excluded.sent, \
                 bounced = outcome_count.bounced + excluded.bounced, \
                 refused = outcome_count.refused + excluded.refused, \
                 complained = outcome_count.complained + excluded.complained",
            )
            .run(tx)
            .await?;
    }
    Ok(())
}

/// Sums up the window from its first bucket on and writes down what that stops.
async fn judge(
    tx: &mut Tx,
    tenants: &BTreeSet<TenantId>,
    (first, now): (Timestamp, Timestamp),
    rule: impl Fn(&BreakerRules, MessageClass, Tally) -> Option<Trip>,
) -> Result<Vec<(TenantId, Trip)>, StoreError> {
    if tenants.is_empty() {
        return Ok(Vec::new());
    }
    let breakers = breakers(tx, tenants).await?;
    let mut trips: BTreeMap<TenantId, Trip> = BTreeMap::new();
    for ((tenant, class), tally) in sums(tx, tenants, first).await? {
        let breaker = breakers.get(&tenant).copied().unwrap_or_default();
        let stops = breaker.stopped.map_or(Stops::Nothing, |stopped| stopped.stops);
        let stops = trips.get(&tenant).map_or(stops, |trip| trip.stops.max(stops));
        if let Some(trip) = rule(&breaker.rules, class, tally).filter(|trip| trip.stops > stops) {
            trips.insert(tenant, trip);
        }
    }
    if trips.is_empty() {
        return Ok(Vec::new());
    }
    // Whether a brand is stopped is not its own to say.
    tx.turn(Role::Sending).await?;
    let mut tripped = Vec::new();
    for (tenant, trip) in trips {
        let reset_at = breakers.get(&tenant).and_then(|breaker| breaker.reset_at);
        if stop(tx, tenant, (&trip, now), reset_at).await? {
            tripped.push((tenant, trip));
        }
    }
    Ok(tripped)
}

/// Whether it is stopped by this: not when it is already, and not when it was reset meanwhile.
async fn stop(
    tx: &impl ConnectionTrait,
    tenant: TenantId,
    (trip, now): (&Trip, Timestamp),
    reset_at: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let Tally { sent, bounced, refused, complained } = trip.tally;
    let values: Vec<Value> = vals![
        tenant.0,
        trip.stops.level(),
        trip.cause.as_str(),
        ms(now),
        number(sent),
        number(bounced),
        number(refused),
        number(complained),
        reset_at.map_or(0, Timestamp::as_millis)
    ];
    let touched = Sql::new(
        "INSERT INTO brand_sending (tenant_id, stops, cause, stopped_at, sent, bounced, refused, \
         complained, since) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (tenant_id) DO UPDATE SET stops = excluded.stops, cause = excluded.cause, \
         stopped_at = excluded.stopped_at, sent = excluded.sent, bounced = excluded.bounced, \
         refused = excluded.refused, complained = excluded.complained \
         WHERE brand_sending.stops < excluded.stops AND brand_sending.since = excluded.since",
        values,
    )
    .run(tx)
    .await?;
    Ok(touched > 0)
}
