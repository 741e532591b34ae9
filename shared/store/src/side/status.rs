//! What waits, what is late and what needs a person, for each brand: the operator's view.
//!
//! One statement for each group of numbers, over all brands that the caller reaches. Queues are
//! counted by their own rows, because a queue holds only what is not done; records are never
//! scanned: what needs a person has small partial indexes of its own.
//!
//! What always holds: it only reads; a brand that has nothing is there with zeros.

use std::collections::BTreeMap;

use parcours_domain::{Millis, OrganisationId, TenantId, Timestamp};

use super::{
    AdminDoor, Stopped,
    brands::BrandRow,
    breaker,
    sql::{Row, Sql, ms},
};
use crate::{
    db::Backend,
    error::StoreError,
    wall::{Door, Role},
};

/// For so long a message whose outcome is unknown counts as news.
const UNKNOWN_IS_NEWS: Millis = Millis::hours(24);

/// Whose numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Every brand's.
    Install,
    /// Those of an organisation's brands.
    Organisation(OrganisationId),
    /// One brand's.
    Brand(TenantId),
}

impl Reached {
    pub(super) fn door(self) -> Door {
        match self {
            Self::Install | Self::Organisation(_) => Role::Status.into(),
            Self::Brand(tenant) => tenant.into(),
        }
    }

    /// Appends the condition on the brand, after `WHERE` or before the next `AND`.
    pub(super) fn limit(self, sql: Sql) -> Sql {
        match self {
            Self::Install => sql.text("1 = 1"),
            Self::Organisation(organisation) => sql
                .text("tenant_id IN (SELECT tenant_id FROM brand WHERE organisation_id = ")
                .arg(organisation.0)
                .text(")"),
            Self::Brand(tenant) => sql.text("tenant_id = ").arg(tenant.0),
        }
    }
}

/// A number and since when its oldest waits (product time).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many.
    pub count: u64,
    /// Since when the oldest of them waits.
    pub oldest: Option<Timestamp>,
}

impl Backlog {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.oldest = match (self.oldest, other.oldest) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }
}

/// The numbers of one brand, or of several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusNumbers {
    /// Timers that are due and not applied; since the earliest was due.
    pub timers_due: Backlog,
    /// Timers that are held: their journey is paused, or they were set aside.
    pub timers_held: u64,
    /// Inbox rows in the live lane.
    pub inbox_live: Backlog,
    /// Inbox rows in the bulk lane.
    pub inbox_bulk: Backlog,
    /// Messages that may leave now; since the first of them may.
    pub queue_ready: Backlog,
    /// Messages that may leave later: planned, or asked to come again.
    pub queue_later: u64,
    /// Messages claimed by a delivery process, before their final commit.
    pub queue_claimed: u64,
    /// Messages between the final commit and the recorded reply.
    pub queue_leaving: u64,
    /// Inputs set aside and not requeued, by code.
    pub quarantine: BTreeMap<String, Backlog>,
    /// Messages whose outcome is unknown, ever.
    pub messages_unknown: u64,
    /// Of these, the ones of the last 24 hours.
    pub messages_unknown_recent: u64,
    /// Live runs without a timer.
    pub runs_stuck: u64,
    /// Journeys that are paused.
    pub journeys_paused: u64,
}

impl StatusNumbers {
    /// Adds another brand's numbers.
    pub fn add(&mut self, other: &Self) {
        self.timers_due.add(other.timers_due);
        self.timers_held += other.timers_held;
        self.inbox_live.add(other.inbox_live);
        self.inbox_bulk.add(other.inbox_bulk);
        self.queue_ready.add(other.queue_ready);
        self.queue_later += other.queue_later;
        self.queue_claimed += other.queue_claimed;
        self.queue_leaving += other.queue_leaving;
        for (code, backlog) in &other.quarantine {
            self.quarantine.entry(code.clone()).or_default().add(*backlog);
        }
        self.messages_unknown += other.messages_unknown;
        self.messages_unknown_recent += other.messages_unknown_recent;
        self.runs_stuck += other.runs_stuck;
        self.journeys_paused += other.journeys_paused;
    }

    /// Everything in quarantine together.
    #[must_use]
    pub fn quarantined(&self) -> Backlog {
        let mut all = Backlog::default();
        self.quarantine.values().for_each(|one| all.add(*one));
        all
    }
}

/// A brand and its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrandStatus {
    /// The brand, with its halt.
    pub brand: BrandRow,
    /// That its breaker has stopped it, if it has.
    pub stopped: Option<Stopped>,
    /// Its numbers.
    pub numbers: StatusNumbers,
}

/// The numbers while they are being collected.
type Numbers = BTreeMap<TenantId, StatusNumbers>;

impl AdminDoor {
    /// The numbers of every brand reached, at the product time `now`, by organisation and name.
    /// Stuck runs are a question of their own: [`AdminDoor::count_stuck`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn status(
        &self,
        reached: Reached,
        now: Timestamp,
    ) -> Result<Vec<BrandStatus>, StoreError> {
        let brands = match reached {
            Reached::Install => self.brands(None).await?,
            Reached::Organisation(organisation) => self.brands(Some(organisation)).await?,
            Reached::Brand(tenant) => self.brand(tenant).await?.into_iter().collect(),
        };
        let mut numbers = Numbers::new();
        self.read_timers(reached, now, &mut numbers).await?;
        self.read_inbox(reached, &mut numbers).await?;
        self.read_queue(reached, now, &mut numbers).await?;
        self.read_quarantine(reached, &mut numbers).await?;
        self.read_unknown(reached, now, &mut numbers).await?;
        self.read_paused(reached, &mut numbers).await?;
        let mut stopped = self.read_stopped(reached).await?;
        let with = |brand: BrandRow| {
            let numbers = numbers.remove(&brand.tenant).unwrap_or_default();
            BrandStatus { stopped: stopped.remove(&brand.tenant), brand, numbers }
        };
        Ok(brands.into_iter().map(with).collect())
    }

    /// Adds live runs without a timer. They are repaired every minute, so this is none but for
    /// moments; it compares all live runs with the timers, which costs more than the rest.
    ///
    /// # Errors
    /// What the database says.
    pub async fn count_stuck(
        &self,
        reached: Reached,
        brands: &mut [BrandStatus],
    ) -> Result<(), StoreError> {
        let sql = reached
            .limit(
                Sql::new("SELECT r.tenant_id, count(*) AS n FROM (", vec![])
                    .text("SELECT tenant_id, id FROM run WHERE live = 1 AND "),
            )
            .text(") AS r LEFT JOIN timer t ON t.tenant_id = r.tenant_id AND t.run_id = r.id ")
            .text("WHERE t.run_id IS NULL GROUP BY r.tenant_id");
        for row in sql.all(&self.db().read(reached.door())).await? {
            let tenant: TenantId = row.id("tenant_id")?;
            if let Some(status) = brands.iter_mut().find(|one| one.brand.tenant == tenant) {
                status.numbers.runs_stuck = number(&row, "n")?;
            }
        }
        Ok(())
    }

    async fn read_timers(
        &self,
        reached: Reached,
        now: Timestamp,
        into: &mut Numbers,
    ) -> Result<(), StoreError> {
        let sql = Sql::default()
            .text("SELECT tenant_id, 0 AS held, count(*) AS n, min(due_at) AS oldest FROM timer ")
            .text("WHERE shard IN (SELECT id FROM shard) AND held = 0 AND due_at <= ")
            .arg(ms(now))
            .text(" AND ");
        let sql = reached
            .limit(sql)
            .text(" GROUP BY tenant_id UNION ALL SELECT tenant_id, 1 AS held, count(*) AS n, ")
            .text("CAST(NULL AS BIGINT) AS oldest FROM timer WHERE held = 1 AND ");
        let sql = reached.limit(sql).text(" GROUP BY tenant_id");
        for row in sql.all(&self.db().read(reached.door())).await? {
            let numbers = into.entry(row.id("tenant_id")?).or_default();
            match row.get::<i32>("held")? {
                0 => numbers.timers_due = backlog(&row)?,
                _ => numbers.timers_held = number(&row, "n")?,
            }
        }
        Ok(())
    }

    /// Over all brands a queue is read in the order in which it lies there, which no other statement
    /// may: by way of an index a million rows take seconds instead of a part of one.
    async fn of_whole_table(&self, reached: Reached, sql: Sql) -> Result<Vec<Row>, StoreError> {
        if reached != Reached::Install || self.db().backend() == Backend::Sqlite {
            return sql.all(&self.db().read(reached.door())).await;
        }
        let on = self.db().look(reached.door()).await?;
        Sql::new("SELECT set_config('enable_seqscan', 'on', true)", vec![]).one(&on).await?;
        let rows = sql.all(&on).await?;
        on.end().await?;
        Ok(rows)
    }

    async fn read_inbox(&self, reached: Reached, into: &mut Numbers) -> Result<(), StoreError> {
        let sql = Sql::default()
            .text("SELECT tenant_id, lane, count(*) AS n, min(created_at) AS oldest FROM inbox ")
            .text("WHERE ");
        let sql = reached.limit(sql).text(" GROUP BY tenant_id, lane");
        for row in self.of_whole_table(reached, sql).await? {
            let numbers = into.entry(row.id("tenant_id")?).or_default();
            match row.get::<i64>("lane")? {
                0 => numbers.inbox_live = backlog(&row)?,
                _ => numbers.inbox_bulk = backlog(&row)?,
            }
        }
        Ok(())
    }

    async fn read_queue(
        &self,
        reached: Reached,
        now: Timestamp,
        into: &mut Numbers,
    ) -> Result<(), StoreError> {
        let sql = Sql::default()
            .text("SELECT tenant_id, phase, later, count(*) AS n, min(not_before) AS oldest FROM ")
            .text("(SELECT tenant_id, phase, not_before, CASE WHEN not_before > ")
            .arg(ms(now))
            .text(" THEN 1 ELSE 0 END AS later FROM send_queue WHERE ");
        let sql = reached.limit(sql).text(") AS queue GROUP BY tenant_id, phase, later");
        for row in self.of_whole_table(reached, sql).await? {
            let numbers = into.entry(row.id("tenant_id")?).or_default();
            match (row.get::<i64>("phase")?, row.get::<i32>("later")?) {
                (0, 0) => numbers.queue_ready = backlog(&row)?,
                (0, _) => numbers.queue_later = number(&row, "n")?,
                (1, _) => numbers.queue_claimed += number(&row, "n")?,
                (2, _) => numbers.queue_leaving += number(&row, "n")?,
                // What may have left before a restore: nothing moves it but its release.
                (_, _) => {}
            }
        }
        Ok(())
    }

    async fn read_quarantine(
        &self,
        reached: Reached,
        into: &mut Numbers,
    ) -> Result<(), StoreError> {
        let sql = Sql::default()
            .text("SELECT tenant_id, code, count(*) AS n, min(created_at) AS oldest ")
            .text("FROM quarantine WHERE requeued_at IS NULL AND ");
        let sql = reached.limit(sql).text(" GROUP BY tenant_id, code");
        for row in sql.all(&self.db().read(reached.door())).await? {
            let numbers = into.entry(row.id("tenant_id")?).or_default();
            numbers.quarantine.insert(row.get("code")?, backlog(&row)?);
        }
        Ok(())
    }

    async fn read_unknown(
        &self,
        reached: Reached,
        now: Timestamp,
        into: &mut Numbers,
    ) -> Result<(), StoreError> {
        let sql = Sql::default()
            .text("SELECT tenant_id, count(*) AS n, count(CASE WHEN finished_at > ")
            .arg(ms(now - UNKNOWN_IS_NEWS))
            .text(" THEN 1 END) AS recent FROM message WHERE status = 'unknown' AND ");
        let sql = reached.limit(sql).text(" GROUP BY tenant_id");
        for row in sql.all(&self.db().read(reached.door())).await? {
            let numbers = into.entry(row.id("tenant_id")?).or_default();
            numbers.messages_unknown = number(&row, "n")?;
            numbers.messages_unknown_recent = number(&row, "recent")?;
        }
        Ok(())
    }

    async fn read_stopped(
        &self,
        reached: Reached,
    ) -> Result<BTreeMap<TenantId, Stopped>, StoreError> {
        let sql = Sql::default()
            .text("SELECT tenant_id, stops, cause, stopped_at, sent, bounced, refused, complained ")
            .text("FROM brand_sending WHERE stops > 0 AND ");
        let rows = reached.limit(sql).all(&self.db().read(reached.door())).await?;
        let stopped = rows.iter().filter_map(|row| {
            let stopped = breaker::stopped_from(row).transpose()?;
            Some(stopped.and_then(|stopped| Ok((row.id("tenant_id")?, stopped))))
        });
        stopped.collect()
    }

    async fn read_paused(&self, reached: Reached, into: &mut Numbers) -> Result<(), StoreError> {
        let sql = Sql::default()
            .text("SELECT tenant_id, count(*) AS n FROM document_head ")
            .text("WHERE kind = 'Journey' AND status = 'paused' AND ");
        let sql = reached.limit(sql).text(" GROUP BY tenant_id");
        for row in sql.all(&self.db().read(reached.door())).await? {
            into.entry(row.id("tenant_id")?).or_default().journeys_paused = number(&row, "n")?;
        }
        Ok(())
    }
}

fn number(row: &Row, column: &str) -> Result<u64, StoreError> {
    Ok(row.get::<i64>(column)?.unsigned_abs())
}

fn backlog(row: &Row) -> Result<Backlog, StoreError> {
    Ok(Backlog { count: number(row, "n")?, oldest: row.time_opt("oldest")? })
}
