//! What brands may use, and what they have used of it.
//!
//! A quota is set above brands and read by the brand; what is used is the brand's own rows. Events
//! and sends are leased in chunks: a transaction for each chunk, none for what is spent out of it.
//!
//! What always holds: one row a brand says up to where its events are given out, and is locked while
//! a lease is made, so all gateways together keep one quota; the sum of a day's granted sends never
//! exceeds the quota of that moment.

use std::time::{Duration, Instant};

use parcours_domain::{
    CpuShare, EventAsk, EventBucket, EventGrant, EventQuota, Name, Quotas, Rate, TenantId, Weight,
};

use super::{
    AdminDoor,
    sql::{Row, Sql, damaged, vals},
};
use crate::{TenantStore, error::StoreError, wall::Role};

/// What a brand uses of what its quotas count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaUse {
    /// Contacts, absorbed ones included.
    pub contacts: u64,
    /// Published journeys that are not archived.
    pub journeys: u64,
    /// Sends of the day that senders have taken for themselves, used or not; counted only while the
    /// brand has a quota of them.
    pub sends: u64,
}

const QUOTAS: &str = "SELECT q.events, q.contacts, q.journeys, q.sends_per_day, \
     q.template_cpu, s.weight \
     FROM brand b LEFT JOIN quota q ON q.tenant_id = b.tenant_id \
     LEFT JOIN brand_sending s ON s.tenant_id = b.tenant_id WHERE b.tenant_id = $1";

impl TenantStore {
    /// What the brand may use.
    ///
    /// # Errors
    /// What the database says.
    pub async fn quotas(&self) -> Result<Quotas, StoreError> {
        let row = Sql::new(QUOTAS, vals![self.tenant().0]).one(&self.read()).await?;
        row.as_ref().map_or(Ok(Quotas::default()), quotas_from)
    }

    /// What it uses, on the day (UTC, number since 1970-01-01). Contacts are counted one by one:
    /// for people, not for every request.
    ///
    /// # Errors
    /// What the database says.
    pub async fn quota_use(&self, day: i64) -> Result<QuotaUse, StoreError> {
        let row = Sql::new(
            "SELECT (SELECT count(*) FROM contact WHERE tenant_id = $1) AS contacts, \
             (SELECT count(*) FROM document_head WHERE tenant_id = $1 AND kind = 'Journey' \
             AND status <> 'archived') AS journeys, (SELECT granted FROM send_day \
             WHERE tenant_id = $1 AND day = $2) AS sends",
            vals![self.tenant().0, day],
        )
        .one(&self.read())
        .await?
        .ok_or(StoreError::NotFound)?;
        let count = |column: &'static str| {
            let count = row.get::<Option<i64>>(column)?.unwrap_or(0);
            u64::try_from(count).map_err(|_| damaged(column))
        };
        Ok(QuotaUse {
            contacts: count("contacts")?,
            journeys: count("journeys")?,
            sends: count("sends")?,
        })
    }

    /// How many published journeys of the brand are not archived, and whether this one is among them.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open_journeys(&self, name: &Name) -> Result<(u32, bool), StoreError> {
        let row = Sql::new(
            "SELECT count(*) AS n, count(CASE WHEN name = $2 THEN 1 END) AS own \
             FROM document_head WHERE tenant_id = $1 AND kind = 'Journey' \
             AND status <> 'archived'",
            vals![self.tenant().0, name.as_str()],
        )
        .one(&self.read())
        .await?
        .ok_or(StoreError::NotFound)?;
        Ok((row.small("n")?, row.get::<i64>("own")? > 0))
    }

    /// How many sends of the day senders have taken for themselves.
    ///
    /// # Errors
    /// What the database says.
    pub async fn sends_granted(&self, day: i64) -> Result<u64, StoreError> {
        let row = Sql::new(
            "SELECT granted FROM send_day WHERE tenant_id = $1 AND day = $2",
            vals![self.tenant().0, day],
        )
        .one(&self.read())
        .await?;
        let granted = row.map_or(Ok(0), |row| row.get::<i64>("granted"))?;
        u64::try_from(granted).map_err(|_| damaged("granted"))
    }

    /// Takes at most `want` sends out of what the brand may send on the day; none: it has no quota of
    /// sends. What is taken and not used is lost to the day.
    ///
    /// # Errors
    /// What the database says.
    pub async fn lease_sends(&self, day: i64, want: u32) -> Result<Option<u32>, StoreError> {
        let tenant = self.tenant().0;
        let tx = self.begin().await?;
        let row = Sql::new(QUOTAS, vals![tenant]).one(&tx).await?;
        let quotas = row.as_ref().map_or(Ok(Quotas::default()), quotas_from)?;
        let Some(quota) = quotas.sends_per_day else {
            tx.commit().await?;
            return Ok(None);
        };
        Sql::new(
            "INSERT INTO send_day (tenant_id, day, granted) VALUES ($1, $2, 0) \
             ON CONFLICT DO NOTHING",
            vals![tenant, day],
        )
        .run(&tx)
        .await?;
        let taken = "SELECT granted FROM send_day WHERE tenant_id = $1 AND day = $2";
        let row = Sql::new(taken, vals![tenant, day]).lock(&tx, "FOR UPDATE").one(&tx).await?;
        let granted = row.ok_or(StoreError::Conflict)?.small("granted")?;
        let count = want.min(quota.saturating_sub(granted));
        if count > 0 {
            Sql::new(
                "UPDATE send_day SET granted = granted + $3 WHERE tenant_id = $1 AND day = $2",
                vals![tenant, day, i64::from(count)],
            )
            .run(&tx)
            .await?;
            Sql::new(
                "DELETE FROM send_day WHERE tenant_id = $1 AND day < $2",
                vals![tenant, day.saturating_sub(7)],
            )
            .run(&tx)
            .await?;
        }
        tx.commit().await?;
        Ok(Some(count))
    }

    /// Takes events out of the brand's rate, as of `at`. All processes mean the same by that moment
    /// ([`crate::Store::server_micros`]); one whose clock is ahead of the others' by some time is given
    /// what that time allows, once.
    ///
    /// # Errors
    /// What the database says; if it was done all the same, what it gave is lost.
    pub async fn lease_events(
        &self,
        rate: Rate,
        ask: EventAsk,
        at: Instant,
    ) -> Result<EventGrant, StoreError> {
        let now = self.store.server_micros(at).saturating_mul(1_000);
        let tenant = self.tenant().0;
        let tx = self.begin().await?;
        let taken = || {
            Sql::new("SELECT taken_to FROM event_lease WHERE tenant_id = $1", vals![tenant])
                .lock(&tx, "FOR UPDATE")
        };
        let mut row = taken().one(&tx).await?;
        if row.is_none() {
            // Long ago: everything that may come at once is there.
            Sql::new(
                "INSERT INTO event_lease (tenant_id, taken_to) VALUES ($1, 0) \
                 ON CONFLICT DO NOTHING",
                vals![tenant],
            )
            .run(&tx)
            .await?;
            row = taken().one(&tx).await?;
        }
        let before = row.map(|row| row.get("taken_to")).transpose()?;
        let (grant, to) = EventBucket::of(rate).grant(before, now, ask);
        if before != Some(to) {
            Sql::new(
                "UPDATE event_lease SET taken_to = $2 WHERE tenant_id = $1",
                vals![tenant, to],
            )
            .run(&tx)
            .await?;
        }
        tx.commit().await?;
        Ok(grant)
    }

    /// Tells what the brand's templates have used until `at`, and answers how long they must rest; zero:
    /// they may be rendered. All processes together keep the share, and mean the same by that moment
    /// ([`crate::Store::server_micros`]).
    ///
    /// # Errors
    /// What the database says.
    pub async fn charge_templates(
        &self,
        share: CpuShare,
        used: Duration,
        at: Instant,
    ) -> Result<Duration, StoreError> {
        let now = self.store.server_micros(at);
        let tx = self.begin().await?;
        let row = Sql::new(
            "INSERT INTO template_lease (tenant_id, taken_to) \
             VALUES ($1, CAST($2 AS BIGINT) + CAST($3 AS BIGINT)) \
             ON CONFLICT (tenant_id) DO UPDATE SET taken_to = CASE \
             WHEN template_lease.taken_to > CAST($2 AS BIGINT) THEN template_lease.taken_to \
             ELSE CAST($2 AS BIGINT) END + CAST($3 AS BIGINT) RETURNING taken_to",
            vals![
                self.tenant().0,
                now.saturating_sub(CpuShare::AHEAD_US),
                share.brings_in_us(used)
            ],
        )
        .one(&tx)
        .await?;
        tx.commit().await?;
        let to: i64 = row.ok_or(StoreError::Conflict)?.get("taken_to")?;
        Ok(Duration::from_micros(u64::try_from(to.saturating_sub(now)).unwrap_or(0)))
    }
}

impl AdminDoor {
    /// Sets what a brand may use, in place of what was set before.
    ///
    /// # Errors
    /// `NotFound` when there is no such brand; otherwise what the database says.
    pub async fn set_quotas(&self, tenant: TenantId, quotas: &Quotas) -> Result<(), StoreError> {
        let events = match quotas.events {
            EventQuota::Install => None,
            events @ (EventQuota::Unlimited | EventQuota::Rate(_)) => Some(events.to_string()),
        };
        let number = |quota: Option<u32>| quota.map(i64::from);
        let set = Sql::new(
            "INSERT INTO quota (tenant_id, events, contacts, journeys, sends_per_day, template_cpu) \
             SELECT tenant_id, CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), \
             CAST($5 AS BIGINT), CAST($6 AS BIGINT) FROM brand WHERE tenant_id = $1 \
             ON CONFLICT (tenant_id) DO UPDATE SET events = excluded.events, \
             contacts = excluded.contacts, journeys = excluded.journeys, \
             sends_per_day = excluded.sends_per_day, template_cpu = excluded.template_cpu",
            vals![
                tenant.0,
                events,
                number(quotas.contacts),
                number(quotas.journeys),
                number(quotas.sends_per_day),
                number(quotas.template_cpu.map(CpuShare::percent))
            ],
        );
        let weight = (quotas.weight != Weight::default()).then(|| i64::from(quotas.weight.get()));
        let weigh = Sql::new(
            "INSERT INTO brand_sending (tenant_id, weight, stops, since) \
             VALUES ($1, CAST($2 AS BIGINT), 0, 0) \
             ON CONFLICT (tenant_id) DO UPDATE SET weight = excluded.weight",
            vals![tenant.0, weight],
        );
        let tx = self.db().begin(Role::Control).await?;
        if set.run(&tx).await? == 0 {
            return Err(StoreError::NotFound);
        }
        weigh.run(&tx).await?;
        tx.commit().await
    }
}

/// The weight in a row; the default when none was set.
pub(crate) fn weight_from(row: &Row) -> Result<Weight, StoreError> {
    let Some(weight) = row.get::<Option<i64>>("weight")? else { return Ok(Weight::default()) };
    u32::try_from(weight).ok().and_then(Weight::new).ok_or_else(|| damaged("weight"))
}

/// The share of a processor in a row, if one was set.
pub(crate) fn share_from(row: &Row) -> Result<Option<CpuShare>, StoreError> {
    let Some(percent) = row.get::<Option<i64>>("template_cpu")? else { return Ok(None) };
    let share = u32::try_from(percent).ok().and_then(CpuShare::new);
    share.map(Some).ok_or_else(|| damaged("template_cpu"))
}

fn quotas_from(row: &Row) -> Result<Quotas, StoreError> {
    let number = |column: &'static str| {
        let number = row.get::<Option<i64>>(column)?;
        number.map(|number| u32::try_from(number).map_err(|_| damaged(column))).transpose()
    };
    let events = row.get::<Option<String>>("events")?;
    let events = events.map(|text| text.parse().map_err(|_| damaged("events"))).transpose()?;
    Ok(Quotas {
        events: events.unwrap_or_default(),
        contacts: number("contacts")?,
        journeys: number("journeys")?,
        sends_per_day: number("sends_per_day")?,
        template_cpu: share_from(row)?,
        weight: weight_from(row)?,
    })
}
