//! Partitions on PostgreSQL: records by the month in their v7 id, event keys by day.
//!
//! Each partitioned table has a default partition, so a row always finds a place; months and days
//! are made ahead of time, and a period whose rows already sit in the default partition is left
//! there. Event keys without a day have a partition of their own, which is never dropped.
//!
//! What always holds: SQLite has no partitions and none of this runs there.

use jiff::civil::{Date, date};
use parcours_domain::{Timestamp, ids::uuid_v7};
use sea_orm::ConnectionTrait as _;

use super::translate::marked;
use crate::{
    db::{Backend, Db},
    error::StoreError,
    side::sql::Sql,
    wall::{Door, Role, walled},
};

/// Marker of a table that is partitioned by the month in its id.
pub(super) const MONTH: &str = "@month";
/// Marker of a table that is partitioned by its `day` column.
pub(super) const DAY: &str = "@day";

const MONTHS_AHEAD: i32 = 3;
const DAYS_AHEAD: i64 = 7;
/// Periods made for rows that come from elsewhere, of one table.
const PERIODS_MAX: i32 = 120;
const SCHEMA: &str = include_str!("v1.sql");
/// Days below this are not days: the key has none.
pub(crate) const UNDATED_BELOW: i64 = -100_000_000;

struct Partition {
    name: String,
    parent: String,
    bounds: String,
}

impl Partition {
    fn statement(&self) -> String {
        let Self { name, parent, bounds } = self;
        let made = format!("CREATE TABLE IF NOT EXISTS {name} PARTITION OF {parent} {bounds}");
        // Rows are reached through the parent, where the policies are; by itself it shows nobody any.
        format!("{made};\n{}", walled(name))
    }
}

/// Makes the default partitions, and those from the last period to some ahead of `now`.
pub(crate) async fn ensure(db: &Db, now: Timestamp) -> Result<(), StoreError> {
    if db.backend() == Backend::Sqlite {
        return Ok(());
    }
    let rows = Sql::default()
        .text(
            "SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
             JOIN pg_class p ON p.oid = i.inhparent \
             WHERE p.relnamespace = current_schema()::regnamespace",
        )
        .all(&db.read(Door::Owner))
        .await?;
    let mut present = Vec::with_capacity(rows.len());
    for row in rows {
        present.push(row.get::<String>("name")?);
    }
    let missing: Vec<Partition> =
        wanted(now).into_iter().filter(|partition| !present.contains(&partition.name)).collect();
    // One text is one transaction; only when one of them cannot be made, each has its own.
    let together: Vec<String> = missing.iter().map(Partition::statement).collect();
    if together.is_empty() || run(db, &together.join(";\n")).await.is_ok() {
        return Ok(());
    }
    for partition in missing {
        make(db, &partition).await?;
    }
    Ok(())
}

/// Makes the months of one table from the one of `first` to the one of `last`; periods beyond a
/// bound, and those that cannot be made, leave their rows to the default partition.
pub(crate) async fn ensure_months(
    db: &Db,
    table: &str,
    (first, last): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    if db.backend() == Backend::Sqlite || !marked(SCHEMA, MONTH).iter().any(|one| one == table) {
        return Ok(());
    }
    let mut made = String::new();
    for ahead in 0..PERIODS_MAX {
        let Some(partition) = month(table, first, ahead) else { break };
        let past = month(table, last, 0).is_none_or(|end| partition.name > end.name);
        if past || made == partition.name {
            break;
        }
        make(db, &partition).await?;
        made = partition.name;
    }
    Ok(())
}

/// Makes the days of one table, as [`ensure_months`] does.
pub(crate) async fn ensure_days(
    db: &Db,
    table: &str,
    (first, last): (i64, i64),
) -> Result<(), StoreError> {
    if db.backend() == Backend::Sqlite || !marked(SCHEMA, DAY).iter().any(|one| one == table) {
        return Ok(());
    }
    let first = first.max(UNDATED_BELOW).max(last.saturating_sub(i64::from(PERIODS_MAX)));
    for day in first..=last {
        make(db, &of_day(table, day)).await?;
    }
    Ok(())
}

async fn make(db: &Db, partition: &Partition) -> Result<(), StoreError> {
    match run(db, &partition.statement()).await {
        Ok(()) => Ok(()),
        // Its rows are in the default partition already (a moved product clock): they stay.
        Err(StoreError::Refused { .. }) => Ok(()),
        // Another process made it at the same moment.
        Err(other) if exists(db, &partition.name).await? => {
            tracing::debug!(%other, name = partition.name, "the partition was made by another process");
            Ok(())
        }
        Err(other) => Err(other),
    }
}

/// Changes the schema, as the owner of the tables.
async fn run(db: &Db, text: &str) -> Result<(), StoreError> {
    let tx = db.begin(Door::Owner).await?;
    tx.execute_unprepared(text).await?;
    tx.commit().await
}

async fn exists(db: &Db, name: &str) -> Result<bool, StoreError> {
    let row = Sql::default()
        .text("SELECT to_regclass(")
        .arg(name)
        .text(") IS NOT NULL AS there")
        .one(&db.read(Door::Owner))
        .await?;
    row.map_or(Ok(false), |row| row.get("there"))
}

fn wanted(now: Timestamp) -> Vec<Partition> {
    let mut all = Vec::new();
    for parent in marked(SCHEMA, MONTH) {
        all.push(default_of(&parent));
        for ahead in -1..=MONTHS_AHEAD {
            all.extend(month(&parent, now, ahead));
        }
    }
    for parent in marked(SCHEMA, DAY) {
        all.push(default_of(&parent));
        all.push(Partition {
            name: format!("{parent}_undated"),
            bounds: format!("FOR VALUES FROM (MINVALUE) TO ({UNDATED_BELOW})"),
            parent: parent.clone(),
        });
        for day in now.utc_day() - 1..=now.utc_day() + DAYS_AHEAD {
            all.push(of_day(&parent, day));
        }
    }
    all
}

fn of_day(parent: &str, day: i64) -> Partition {
    Partition {
        name: format!("{parent}_d{day}").replace('-', "m"),
        bounds: format!("FOR VALUES FROM ({day}) TO ({})", day + 1),
        parent: parent.to_owned(),
    }
}

fn default_of(parent: &str) -> Partition {
    Partition {
        name: format!("{parent}_default"),
        parent: parent.to_owned(),
        bounds: "DEFAULT".to_owned(),
    }
}

/// The month `ahead` months after that of `now`; none beyond the calendar.
fn month(parent: &str, now: Timestamp, ahead: i32) -> Option<Partition> {
    let days = i32::try_from(now.utc_day()).ok()?;
    let today = date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
    let first = today.first_of_month().checked_add(jiff::Span::new().months(ahead)).ok()?;
    let next = first.checked_add(jiff::Span::new().months(1)).ok()?;
    Some(Partition {
        name: format!("{parent}_{:04}{:02}", first.year(), first.month()),
        parent: parent.to_owned(),
        bounds: format!("FOR VALUES FROM ('{}') TO ('{}')", least_id(first)?, least_id(next)?),
    })
}

/// The least UUID whose 48 time bits are this day's midnight.
fn least_id(day: Date) -> Option<uuid::Uuid> {
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    let mut bytes = *uuid_v7(Timestamp::from_millis(midnight), [0; 10]).as_bytes();
    bytes[6..].fill(0);
    Some(uuid::Uuid::from_bytes(bytes))
}

/// Drops the daily partitions of event keys whose day is before `first_day`, and deletes what
/// lies in the default partition; undated keys go by the age of their receipt.
pub(crate) async fn forget_event_keys(
    db: &Db,
    first_day: i64,
    received_before: Timestamp,
) -> Result<(), StoreError> {
    if db.backend() == Backend::Postgres {
        let rows = Sql::default()
            .text(
                "SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                 JOIN pg_class p ON p.oid = i.inhparent WHERE p.relname = 'event_key' \
                 AND p.relnamespace = current_schema()::regnamespace",
            )
            .all(&db.read(Door::Owner))
            .await?;
        for row in rows {
            let name: String = row.get("name")?;
            let day = name.strip_prefix("event_key_d").map(|day| day.replace('m', "-"));
            if day.and_then(|day| day.parse::<i64>().ok()).is_some_and(|day| day < first_day) {
                let sql = format!("DROP TABLE IF EXISTS {name}");
                run(db, &sql).await?;
            }
        }
    }
    let tx = db.begin(Role::Retention).await?;
    Sql::default()
        .text("DELETE FROM event_key WHERE (day >= ")
        .arg(UNDATED_BELOW)
        .text(" AND day < ")
        .arg(first_day)
        .text(") OR (day < ")
        .arg(UNDATED_BELOW)
        .text(" AND received_at < ")
        .arg(received_before.as_millis())
        .text(")")
        .run(&tx)
        .await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_and_ends_at_its_first_moments() {
        let now: Timestamp = "2026-12-31T23:59:59Z".parse().unwrap();
        let made = month("event", now, 1).unwrap();
        assert_eq!(made.name, "event_202701");
        let start: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let end: Timestamp = "2027-02-01T00:00:00Z".parse().unwrap();
        let bound = |at| uuid_v7(at, [0; 10]).to_string()[..13].to_owned();
        assert!(made.bounds.contains(&bound(start)), "{}", made.bounds);
        assert!(made.bounds.contains(&bound(end)), "{}", made.bounds);
    }

    #[test]
    fn names_are_unique_and_periods_before_the_epoch_do_not_panic() {
        for at in [0, -86_400_000 * 3, 1_800_000_000_000, i64::MAX] {
            let mut names: Vec<String> =
                wanted(Timestamp::from_millis(at)).into_iter().map(|p| p.name).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }
}
