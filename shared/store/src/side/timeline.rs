//! One contact's timeline: events, steps, runs, messages and consent facts, in order.
//!
//! What always holds: the order is (time, kind, id), the time of a record being the one in its
//! version 7 id; a page never skips or repeats; records of contacts that were absorbed into this
//! one are among them.

use parcours_domain::{ContactId, EventId, Timestamp, consent::ConsentFact};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    facts::{FACT_COLUMNS, fact_from},
    inbox,
    messages::{MessageRow, message_from},
    page::{Page, PageRequest},
    runs::{RUN_COLUMNS, RunView, run_from},
    sql::{Row, Sql, ms},
};
use crate::{TenantStore, error::StoreError};

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub item: TimelineItem,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq)]
pub enum TimelineItem {
    /// An accepted client event.
    Event {
        /// Its id.
        id: EventId,
        /// Order of acceptance in its contact.
        seq: i64,
        /// Which call.
        kind: String,
        /// Its name.
        name: String,
        /// The client's messageId.
        message_id: String,
        /// The client's own time.
        occurred_at: Option<Timestamp>,
        /// When it was received.
        received_at: Timestamp,
        /// Canonical JSON.
        body: String,
    },
    /// What a step did and why.
    Trace {
        /// What caused it: `event:ID`, `timer:RUN` or `inbox:ID`.
        cause: String,
        /// JSON list of trace entries.
        body: String,
    },
    /// A run, at its entry.
    Run(RunView),
    /// A message, at its enqueueing.
    Message(Box<MessageRow>),
    /// A consent fact.
    Fact(Box<ConsentFact>),
}

/// Time, rank of the source, id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Position(Timestamp, u8, Uuid);

/// The sources in the order in which they stand when times are equal.
const EVENT: u8 = 0;
const RUN: u8 = 1;
const MESSAGE: u8 = 2;
const FACT: u8 = 3;
const TRACE: u8 = 4;

type Placed = (Position, TimelineItem);

impl TenantStore {
    /// A page of a contact's timeline, oldest first.
    ///
    /// # Errors
    /// `BadCursor`, or what the database says.
    pub async fn timeline(
        &self,
        contact: ContactId,
        page: &PageRequest,
    ) -> Result<Page<TimelineEntry>, StoreError> {
        let on = &self.read();
        let contact = inbox::live_contact(on, self.tenant(), contact).await?;
        let aliases = inbox::aliases(on, self.tenant(), &[contact]).await?;
        let contacts: Vec<ContactId> =
            std::iter::once(contact).chain(aliases.into_iter().map(|(alias, _)| alias)).collect();
        let after: Option<Position> = page.position()?;
        let mut placed = Vec::new();
        for rank in [EVENT, RUN, MESSAGE, FACT, TRACE] {
            placed.extend(self.source(rank, &contacts, after, page.fetch()).await?);
        }
        placed.sort_by_key(|(position, _)| *position);
        let page = Page::cut(placed, page, |(position, _): &Placed| *position);
        let entry = |(Position(at, ..), item)| TimelineEntry { at, item };
        Ok(Page { items: page.items.into_iter().map(entry).collect(), next: page.next })
    }

    /// The next entries of one source after the position.
    async fn source(
        &self,
        rank: u8,
        contacts: &[ContactId],
        after: Option<Position>,
        limit: i64,
    ) -> Result<Vec<Placed>, StoreError> {
        let (columns, table) = match rank {
            EVENT => ("id, seq, kind, name, message_id, occurred_at, received_at, body", "event"),
            RUN => (RUN_COLUMNS, "run"),
            MESSAGE => ("*", "message"),
            FACT => (FACT_COLUMNS, "consent_fact"),
            _ => ("id, cause, body", "trace"),
        };
        let sql = Sql::new(&format!("SELECT {columns} FROM {table} WHERE tenant_id = "), vec![])
            .arg(self.tenant().0)
            .text(" AND contact_id IN ")
            .list(contacts.iter().map(|contact| contact.0.into()));
        let sql = match (rank == RUN, after) {
            (true, after) => by_entry(sql, after),
            (false, Some(after)) => by_id(sql, rank, after),
            (false, None) => sql.text(" ORDER BY id"),
        };
        let rows = sql.text(" LIMIT ").arg(limit).all(&self.read()).await?;
        rows.iter().map(|row| placed(rank, row)).collect()
    }
}

/// Records whose id carries their time: the position becomes a bound on the id.
fn by_id(sql: Sql, rank: u8, Position(at, last, id): Position) -> Sql {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    let first_of = |millis: u64| Uuid::from_u128(u128::from(millis) << 80);
    let sql = match rank.cmp(&last) {
        // Everything of this moment was given already.
        std::cmp::Ordering::Less => sql.text(" AND id >= ").arg(first_of(millis + 1)),
        std::cmp::Ordering::Equal => sql.text(" AND id > ").arg(id),
        std::cmp::Ordering::Greater => sql.text(" AND id >= ").arg(first_of(millis)),
    };
    sql.text(" ORDER BY id")
}

/// Runs stand at the time of their entry.
fn by_entry(sql: Sql, after: Option<Position>) -> Sql {
    let sql = match after {
        None => sql,
        Some(Position(at, rank, id)) => {
            let id = match RUN.cmp(&rank) {
                std::cmp::Ordering::Less => Uuid::max(),
                std::cmp::Ordering::Equal => id,
                std::cmp::Ordering::Greater => Uuid::nil(),
            };
            sql.text(" AND (entered_at, id) > (").arg(ms(at)).text(", ").arg(id).text(")")
        }
    };
    sql.text(" ORDER BY entered_at, id")
}

/// The time in a version 7 id.
fn id_time(id: Uuid) -> Timestamp {
    Timestamp::from_millis(i64::try_from(id.as_u128() >> 80).unwrap_or(0))
}

fn placed(rank: u8, row: &Row) -> Result<Placed, StoreError> {
    let id: Uuid = row.get("id")?;
    let mut at = id_time(id);
    let item = match rank {
        EVENT => TimelineItem::Event {
            id: id.into(),
            seq: row.get("seq")?,
            kind: row.get("kind")?,
            name: row.get("name")?,
            message_id: row.get("message_id")?,
            occurred_at: row.time_opt("occurred_at")?,
            received_at: row.time("received_at")?,
            body: row.get("body")?,
        },
        RUN => {
            let run = run_from(row)?;
            at = run.entered_at;
            TimelineItem::Run(run)
        }
        MESSAGE => TimelineItem::Message(Box::new(message_from(row)?)),
        FACT => TimelineItem::Fact(Box::new(fact_from(row)?)),
        _ => TimelineItem::Trace { cause: row.get("cause")?, body: row.get("body")? },
    };
    Ok((Position(at, rank, id), item))
}
