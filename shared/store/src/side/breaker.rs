//! Each brand's breaker: what became of its messages, counted, and whether that has stopped it.
//!
//! Outcomes are counted in the commit that records them, one row for each brand, class, five minutes
//! and process, so no message costs a statement and no process waits for another. They are summed up
//! only when the commit brought something bad; then the trip is part of the same commit.
//!
//! What always holds: a trip only raises what is stopped, and only a person lowers it; a reset throws
//! the counts away, and counts nothing that was sent before it. Two commits at one moment do not see
//! each other's counts: the next bad outcome does.

mod count;

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{
    MessageClass, TenantId, Timestamp,
    breaker::{
        BUCKET, BreakerRules, COMPLAINTS_OVER, Cause, OUTCOMES_OVER, Share, Stops, Tally,
        first_bucket,
    },
};
use sea_orm::ConnectionTrait;

use super::{
    AdminDoor,
    sql::{Row, Sql, damaged, ms, vals},
};
use crate::{TenantStore, error::StoreError, wall::Role};

pub(crate) use count::{complained, count, tell};

/// That a brand is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What is stopped.
    pub stops: Stops,
    /// Why.
    pub cause: Cause,
    /// Since when (product time).
    pub at: Timestamp,
    /// The counts that said so: of the last hour, of the last 24 when it was complaints.
    pub tally: Tally,
}

/// A brand's breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerNow {
    /// What was set for the brand.
    pub rules: BreakerRules,
    /// That it is stopped, if it is.
    pub stopped: Option<Stopped>,
    /// When a person last reset it (product time).
    pub reset_at: Option<Timestamp>,
}

/// What is counted of a brand now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Marketing of the last hour, without its complaints.
    pub marketing: Tally,
    /// Transactional messages of the last hour.
    pub transactional: Tally,
    /// Marketing of the last 24 hours: what was sent, and what of that was complained about.
    pub marketing_day: Tally,
}

/// The sums of a window.
type Sums = BTreeMap<(TenantId, MessageClass), Tally>;

const BREAKERS: &str = "SELECT tenant_id, complaints, bounces, refusals, sample, stops, cause, \
     stopped_at, sent, bounced, refused, complained, since FROM brand_sending WHERE ";

impl TenantStore {
    /// The brand's breaker.
    ///
    /// # Errors
    /// What the database says.
    pub async fn breaker(&self) -> Result<BreakerNow, StoreError> {
        let sql = Sql::new(BREAKERS, vec![]).text("tenant_id = ").arg(self.tenant().0);
        let row = sql.one(&self.read()).await?;
        row.as_ref().map_or(Ok(BreakerNow::default()), breaker_from)
    }

    /// What is counted of the brand at the product time `now`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn outcomes(&self, now: Timestamp) -> Result<Outcomes, StoreError> {
        let (on, own) = (&self.read(), BTreeSet::from([self.tenant()]));
        let hour = sums(on, &own, first_bucket(now, OUTCOMES_OVER)).await?;
        let day = sums(on, &own, first_bucket(now, COMPLAINTS_OVER)).await?;
        let of = |sums: &Sums, class| sums.get(&(self.tenant(), class)).copied();
        Ok(Outcomes {
            marketing: of(&hour, MessageClass::Marketing).unwrap_or_default(),
            transactional: of(&hour, MessageClass::Transactional).unwrap_or_default(),
            marketing_day: of(&day, MessageClass::Marketing).unwrap_or_default(),
        })
    }
}

impl AdminDoor {
    /// Sets the limits of a brand's breaker, in place of what was set before. What is stopped stays so.
    ///
    /// # Errors
    /// `NotFound` when there is no such brand; otherwise what the database says.
    pub async fn set_breaker(
        &self,
        tenant: TenantId,
        rules: &BreakerRules,
    ) -> Result<(), StoreError> {
        let parts = |share: Option<Share>| share.map(|share| i64::from(share.millionths()));
        let set = Sql::new(
            "INSERT INTO brand_sending (tenant_id, complaints, bounces, refusals, sample, stops, \
             since) SELECT tenant_id, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), \
             CAST($5 AS BIGINT), 0, 0 FROM brand WHERE tenant_id = $1 \
             ON CONFLICT (tenant_id) DO UPDATE SET complaints = excluded.complaints, \
             bounces = excluded.bounces, refusals = excluded.refusals, sample = excluded.sample",
            vals![
                tenant.0,
                parts(rules.complaints),
                parts(rules.bounces),
                parts(rules.refusals),
                rules.sample.map(i64::from)
            ],
        );
        match self.change(Role::Control, set).await? {
            0 => Err(StoreError::NotFound),
            _ => Ok(()),
        }
    }

    /// Lets a stopped brand send again and begins to count anew; whether it was stopped.
    ///
    /// # Errors
    /// What the database says.
    pub async fn reset_breaker(
        &self,
        tenant: TenantId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let tx = self.db().begin(Role::Control).await?;
        // Counts before the breaker, as when outcomes are recorded.
        let gone = "DELETE FROM outcome_count WHERE tenant_id = $1";
        Sql::new(gone, vals![tenant.0]).run(&tx).await?;
        let before =
            Sql::new("SELECT stops FROM brand_sending WHERE tenant_id = $1", vals![tenant.0]);
        let before = before.lock(&tx, "FOR UPDATE").one(&tx).await?;
        Sql::new(
            "INSERT INTO brand_sending (tenant_id, stops, since) \
             SELECT tenant_id, 0, CAST($2 AS BIGINT) FROM brand WHERE tenant_id = $1 \
             ON CONFLICT (tenant_id) DO UPDATE SET stops = 0, since = excluded.since, cause = NULL, \
             stopped_at = NULL, sent = NULL, bounced = NULL, refused = NULL, complained = NULL",
            vals![tenant.0, ms(now)],
        )
        .run(&tx)
        .await?;
        tx.commit().await?;
        before.map_or(Ok(false), |row| Ok(row.get::<i64>("stops")? > 0))
    }

    /// Forgets counts that no window reaches any more; how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn forget_outcomes(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = first_bucket(now, COMPLAINTS_OVER) - BUCKET;
        let old = Sql::new("DELETE FROM outcome_count WHERE at < $1", vals![ms(before)]);
        self.change(Role::Retention, old).await
    }
}

async fn breakers(
    on: &impl ConnectionTrait,
    tenants: &BTreeSet<TenantId>,
) -> Result<BTreeMap<TenantId, BreakerNow>, StoreError> {
    let sql = Sql::new(BREAKERS, vec![]).text("tenant_id IN ");
    let rows = sql.list(tenants.iter().map(|tenant| tenant.0.into())).all(on).await?;
    rows.iter().map(|row| Ok((row.id("tenant_id")?, breaker_from(row)?))).collect()
}

async fn sums(
    on: &impl ConnectionTrait,
    tenants: &BTreeSet<TenantId>,
    first: Timestamp,
) -> Result<Sums, StoreError> {
    let rows = Sql::default()
        .text(
            "SELECT tenant_id, class, CAST(sum(sent) AS BIGINT) AS sent, \
             CAST(sum(bounced) AS BIGINT) AS bounced, CAST(sum(refused) AS BIGINT) AS refused, \
             CAST(sum(complained) AS BIGINT) AS complained FROM outcome_count WHERE tenant_id IN ",
        )
        .list(tenants.iter().map(|tenant| tenant.0.into()))
        .text(" AND at >= ")
        .arg(ms(first))
        .text(" GROUP BY tenant_id, class")
        .all(on)
        .await?;
    rows.iter()
        .map(|row| {
            let class = row.word("class", MessageClass::parse)?;
            Ok(((row.id("tenant_id")?, class), tally_from(row)?))
        })
        .collect()
}

fn tally_from(row: &Row) -> Result<Tally, StoreError> {
    let number =
        |column| Ok::<_, StoreError>(row.get::<Option<i64>>(column)?.unwrap_or(0).unsigned_abs());
    Ok(Tally {
        sent: number("sent")?,
        bounced: number("bounced")?,
        refused: number("refused")?,
        complained: number("complained")?,
    })
}

fn breaker_from(row: &Row) -> Result<BreakerNow, StoreError> {
    let number = |column: &'static str| {
        let number = row.get::<Option<i64>>(column)?;
        number.map(|number| u32::try_from(number).map_err(|_| damaged(column))).transpose()
    };
    let share = |column: &'static str| {
        let parts = number(column)?;
        parts.map(|parts| Share::of_millionths(parts).ok_or_else(|| damaged(column))).transpose()
    };
    let since = row.time("since")?;
    Ok(BreakerNow {
        rules: BreakerRules {
            complaints: share("complaints")?,
            bounces: share("bounces")?,
            refusals: share("refusals")?,
            sample: number("sample")?,
        },
        stopped: stopped_from(row)?,
        reset_at: (since > Timestamp::EPOCH).then_some(since),
    })
}

/// That the brand of a row of `brand_sending` is stopped.
pub(super) fn stopped_from(row: &Row) -> Result<Option<Stopped>, StoreError> {
    let stops = Stops::of_level(row.get("stops")?);
    if stops == Stops::Nothing {
        return Ok(None);
    }
    let cause = row.get::<Option<String>>("cause")?;
    Ok(Some(Stopped {
        stops,
        cause: cause.as_deref().and_then(Cause::parse).ok_or_else(|| damaged("cause"))?,
        at: row.time_opt("stopped_at")?.ok_or_else(|| damaged("stopped_at"))?,
        tally: tally_from(row)?,
    }))
}
