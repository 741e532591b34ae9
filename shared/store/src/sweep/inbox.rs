//! The sweep of the inbox: whom to wake, page by page.
//!
//! What always holds: a page costs what it finds and not what waits, because each shard's rows are
//! read through their own index, on from a mark; rows of a contact that was absorbed meanwhile go
//! to the contact that it became.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{ContactId, InboxId, TenantId, shard_of};
use sea_orm::{ConnectionTrait as _, DbBackend};
use uuid::Uuid;

use super::{Sweep, limit_of};
use crate::{
    error::StoreError,
    side::{
        inbox::live_contacts,
        sql::{Row, Sql, vals},
    },
    wall::Door,
};

/// Where a pass over one lane stands: shard and row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InboxMark(i64, InboxId);

/// Where the next pass over the inbox goes on; the default is the beginning of either lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxMarks {
    live: Option<InboxMark>,
    bulk: Option<InboxMark>,
}

impl InboxMarks {
    /// Whether the live lane's page was full, and the bulk lane's: more rows may wait.
    #[must_use]
    pub const fn more(&self) -> (bool, bool) {
        (self.live.is_some(), self.bulk.is_some())
    }
}

/// A contact with waiting inbox rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxFound {
    /// The brand.
    pub tenant: TenantId,
    /// The contact.
    pub contact: ContactId,
    /// Whether all of its rows that were found are in the bulk lane.
    pub bulk: bool,
}

struct Place {
    tenant: TenantId,
    contact: ContactId,
    shard: i64,
    id: InboxId,
}

fn place(row: &Row) -> Result<Place, StoreError> {
    Ok(Place {
        tenant: row.id("tenant_id")?,
        contact: row.id("contact_id")?,
        shard: row.get("shard")?,
        id: row.id("id")?,
    })
}

/// Which side of a mark.
#[derive(Clone, Copy)]
enum Side {
    After,
    UpTo,
}

impl Side {
    const fn of_rows(self) -> &'static str {
        match self {
            Self::After => ">",
            Self::UpTo => "<=",
        }
    }
    const fn of_shards(self) -> &'static str {
        match self {
            Self::After => ">=",
            Self::UpTo => "<=",
        }
    }
    /// Beyond it no id is.
    const fn end(self) -> Uuid {
        match self {
            Self::After => Uuid::nil(),
            Self::UpTo => Uuid::max(),
        }
    }
}

impl Sweep {
    /// Contacts of this worker's shards with waiting inbox rows, each once, each lane on from its
    /// mark and around its end, at most `limits` rows of it (live, bulk); and the marks for the
    /// next pass. Rows of contacts that ended meanwhile are handed to what those have become.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn inbox_contacts(
        &self,
        marks: InboxMarks,
        (live, bulk): (u64, u64),
    ) -> Result<(Vec<InboxFound>, InboxMarks), StoreError> {
        let mut next = marks;
        let live = self.inbox_round(0, &mut next.live, live).await?;
        let bulk = self.inbox_round(1, &mut next.bulk, bulk).await?;
        let became = self.hand_over(live.iter().chain(&bulk)).await?;
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        for (rows, bulk) in [(live, false), (bulk, true)] {
            for Place { tenant, contact, .. } in rows {
                let contact = became.get(&(tenant, contact)).copied().unwrap_or(contact);
                if seen.insert((tenant, contact)) {
                    found.push(InboxFound { tenant, contact, bulk });
                }
            }
        }
        Ok((found, next))
    }

    /// A lane's rows after the mark; what room is left, from the lane's beginning up to the mark.
    async fn inbox_round(
        &self,
        lane: i64,
        mark: &mut Option<InboxMark>,
        limit: u64,
    ) -> Result<Vec<Place>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut rows = self.inbox_page(lane, mark.map(|mark| (Side::After, mark)), limit).await?;
        let left = limit.saturating_sub(rows.len() as u64);
        if let Some(mark) = *mark
            && left > 0
        {
            rows.extend(self.inbox_page(lane, Some((Side::UpTo, mark)), left).await?);
        }
        let full = u64::try_from(rows.len()).is_ok_and(|count| count >= limit);
        *mark = rows.last().filter(|_| full).map(|row| InboxMark(row.shard, row.id));
        Ok(rows)
    }

    /// Shard by shard, and each by its index from the mark on, so that a page is all that is read,
    /// however many rows wait. Each database is told so in its own way.
    async fn inbox_page(
        &self,
        lane: i64,
        bound: Option<(Side, InboxMark)>,
        limit: u64,
    ) -> Result<Vec<Place>, StoreError> {
        let reads = self.read();
        let lateral = reads.get_database_backend() == DbBackend::Postgres;
        let row = "i.tenant_id, i.contact_id, i.shard, i.id";
        let mut sql = if lateral {
            let head = format!("SELECT {row} FROM shard s CROSS JOIN LATERAL (SELECT {row} ");
            Sql::default().text(&head).text("FROM inbox i WHERE i.shard = s.id AND i.lane = ")
        } else {
            let head = format!("SELECT {row} FROM shard s CROSS JOIN inbox i ");
            Sql::default().text(&head).text("ON i.shard = s.id AND i.lane = ")
        };
        sql = sql.arg(lane);
        if let Some((side, InboxMark(shard, id))) = bound {
            // In the mark's shard from the mark on, in the others from their end.
            sql = sql
                .text(&format!(" AND i.id {} CASE WHEN s.id = ", side.of_rows()))
                .arg(shard)
                .text(" THEN ")
                .arg(id.0)
                .text(" ELSE ")
                .arg(side.end())
                .text(" END");
        }
        if lateral {
            sql = sql.text(" ORDER BY i.id LIMIT ").arg(limit_of(limit)).text(") i");
        }
        sql = sql.text(" WHERE s.owner = ").arg(self.store.incarnation());
        if let Some((side, InboxMark(shard, _))) = bound {
            sql = sql.text(&format!(" AND s.id {} ", side.of_shards())).arg(shard);
        }
        // A lateral's rows come as it read them; to say so again would cost a sort of all.
        let order = if lateral { " ORDER BY s.id LIMIT " } else { " ORDER BY s.id, i.id LIMIT " };
        let sql = sql.text(order).arg(limit_of(limit));
        sql.all(&reads).await?.iter().map(place).collect()
    }

    /// A cause may have written its row just as the contact was absorbed: the row goes where the
    /// contact went. Which contacts have become which.
    async fn hand_over(
        &self,
        rows: impl Iterator<Item = &Place> + Clone,
    ) -> Result<BTreeMap<(TenantId, ContactId), ContactId>, StoreError> {
        let asked = rows.clone().map(|row| (row.tenant, row.contact)).collect();
        let became = live_contacts(&self.read(), &asked).await?;
        if became.is_empty() {
            return Ok(became);
        }
        let tx = self.store.db().begin(Door::of(became.keys().map(|(tenant, _)| *tenant))).await?;
        for row in rows {
            let Some(into) = became.get(&(row.tenant, row.contact)) else { continue };
            let shard = i64::from(shard_of(*into, self.store.shards()));
            Sql::new(
                "UPDATE inbox SET contact_id = $1, shard = $2 WHERE tenant_id = $3 AND id = $4",
                vals![into.0, shard, row.tenant.0, row.id.0],
            )
            .run(&tx)
            .await?;
        }
        tx.commit().await?;
        Ok(became)
    }
}
