//! Messages as rows: one by id with its attempts and links ("why"), pages of them.
//!
//! What always holds: a page is newest first by id, which is by creation.

use std::collections::BTreeMap;

use parcours_domain::{
    AddressHash, Channel, ContactId, Handle, MessageClass, MessageId, Name, RunId, StepId,
    TenantId, Timestamp, value::Properties,
};
use sea_orm::ConnectionTrait;
use serde::Serialize;

use super::{
    page::{Page, PageRequest},
    sql::{ROWS_MAX, Row, Sql, damaged, vals},
};
use crate::{TenantStore, error::StoreError};

/// A message, all columns.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageRow {
    /// The brand.
    pub tenant: TenantId,
    /// Its id, the same through all attempts.
    pub id: MessageId,
    /// The contact it was enqueued for.
    pub contact: ContactId,
    /// The run that asked for it; none when it came by the API.
    pub run: Option<RunId>,
    /// The run's journey.
    pub journey: Option<Name>,
    /// The version the run is on.
    pub journey_version: Option<i64>,
    /// The send step.
    pub step: Option<StepId>,
    /// How often that step had asked in that run, from 1.
    pub occurrence: Option<i64>,
    /// `journey`, `api` or `test`.
    pub origin: String,
    /// The template.
    pub template: Name,
    /// Its version.
    pub template_version: i64,
    /// The sender.
    pub sender: Name,
    /// The topic.
    pub topic: Name,
    /// The topic's class when it was enqueued.
    pub class: MessageClass,
    /// By what it travels.
    pub channel: Channel,
    /// The address it was written to (present at enqueue, then the one finally used).
    pub address: Option<AddressHash>,
    /// Data for the template: see [`MessageRow::properties`].
    pub data: Vec<u8>,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// Not before.
    pub not_before: Timestamp,
    /// Not from here on.
    pub expires_at: Timestamp,
    /// `queued`, then an outcome's word.
    pub status: String,
    /// Stable word for why, when not sent.
    pub reason: Option<String>,
    /// Attempts so far.
    pub attempts: i64,
    /// The gate's decision, JSON.
    pub receipt: Option<String>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Run data as it is stored with a message: version byte 1, then postcard.
#[must_use]
pub fn encode_data(data: &Properties) -> Vec<u8> {
    postcard::to_extend(data, vec![1]).unwrap_or_default()
}

impl MessageRow {
    /// The data for the template. Erased data reads as empty.
    ///
    /// # Errors
    /// `Damaged` when this build cannot read it.
    pub fn properties(&self) -> Result<Properties, StoreError> {
        match self.data.split_first() {
            None => Ok(Properties::new()),
            Some((1, rest)) => postcard::from_bytes(rest).map_err(|_| damaged("message.data")),
            Some(_) => Err(damaged("message.data")),
        }
    }
}

/// One attempt to transmit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptRow {
    /// Its number, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How far it came: `judge`, `render`, `connect`, `envelope`, `dot`, `reply`.
    pub stage: String,
    /// Stable word for how it ended; `pending` while it runs.
    pub result: String,
    /// The peer's reply code.
    pub code: Option<i64>,
    /// The peer's enhanced status.
    pub enhanced: Option<String>,
}

/// One rewritten link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkRow {
    /// Its number in the message.
    pub number: u16,
    /// Where it leads.
    pub url: String,
    /// When it was first followed.
    pub clicked_at: Option<Timestamp>,
}

/// A message with everything that explains it.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageWhy {
    /// The message; `receipt` is the decision.
    pub message: MessageRow,
    /// Its attempts, in order.
    pub attempts: Vec<AttemptRow>,
    /// Its links, in order.
    pub links: Vec<LinkRow>,
}

/// Which messages a page is about. Empty: all of the brand.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// Of this contact only.
    pub contact: Option<ContactId>,
    /// With this status only.
    pub status: Option<String>,
    /// Of this journey only.
    pub journey: Option<Name>,
    /// Of this template only.
    pub template: Option<Name>,
    /// Of this class only.
    pub class: Option<MessageClass>,
}

/// The bytes of a v7 id that are its moment (RFC 9562, section 5.7).
const V7_TIME_BYTES: usize = 6;

/// Messages of whoever has a handle (`$2`) in a brand (`$1`). Joined in this order: the other way
/// SQLite reads all messages of the brand.
pub(crate) const OF_HANDLE: &str = "SELECT m.id FROM contact c CROSS JOIN message m \
     WHERE m.tenant_id = c.tenant_id AND m.contact_id = c.id AND c.tenant_id = $1 AND c.handle = $2";

impl TenantStore {
    /// One message.
    ///
    /// # Errors
    /// What the database says.
    pub async fn message(&self, id: MessageId) -> Result<Option<MessageRow>, StoreError> {
        Ok(by_ids(&self.read(), self.tenant(), &[id]).await?.remove(&id))
    }

    /// The message that a link is in, for the recipient with this handle. A store that came from a
    /// backup may have made the message anew, at another moment: the rest of its id is the same,
    /// because it follows from run, step and occurrence.
    ///
    /// # Errors
    /// What the database says.
    pub async fn linked_message(
        &self,
        id: MessageId,
        handle: Handle,
    ) -> Result<Option<MessageRow>, StoreError> {
        if let Some(message) = self.message(id).await? {
            return Ok(Some(message));
        }
        let on = &self.read();
        let rows = Sql::new(OF_HANDLE, vals![self.tenant().0, handle.0.to_vec()]).all(on).await?;
        for row in rows {
            let other: MessageId = row.id("id")?;
            if other.bytes()[V7_TIME_BYTES..] == id.bytes()[V7_TIME_BYTES..] {
                return self.message(other).await;
            }
        }
        Ok(None)
    }

    /// One message with its attempts and links.
    ///
    /// # Errors
    /// What the database says.
    pub async fn message_why(&self, id: MessageId) -> Result<Option<MessageWhy>, StoreError> {
        let on = &self.read();
        let Some(message) = by_ids(on, self.tenant(), &[id]).await?.remove(&id) else {
            return Ok(None);
        };
        let key = vals![self.tenant().0, id.0];
        let attempts = Sql::new(
            "SELECT number, started_at, ended_at, stage, result, code, enhanced FROM attempt \
             WHERE tenant_id = $1 AND message_id = $2 ORDER BY number, started_at, id",
            key.clone(),
        );
        let links = Sql::new(
            "SELECT number, url, clicked_at FROM message_link \
             WHERE tenant_id = $1 AND message_id = $2 ORDER BY number",
            key,
        );
        let attempts =
            attempts.all(on).await?.iter().map(attempt_from).collect::<Result<_, _>>()?;
        let links = links.all(on).await?.iter().map(link_from).collect::<Result<_, _>>()?;
        Ok(Some(MessageWhy { message, attempts, links }))
    }

    /// A page of messages, newest first.
    ///
    /// # Errors
    /// `BadCursor`, or what the database says.
    pub async fn messages(
        &self,
        filter: &MessageFilter,
        page: &PageRequest,
    ) -> Result<Page<MessageRow>, StoreError> {
        let mut sql =
            Sql::default().text("SELECT * FROM message WHERE tenant_id = ").arg(self.tenant().0);
        let words = [
            (" AND status = ", filter.status.as_deref()),
            (" AND journey = ", filter.journey.as_ref().map(Name::as_str)),
            (" AND template = ", filter.template.as_ref().map(Name::as_str)),
            (" AND class = ", filter.class.map(MessageClass::as_str)),
        ];
        for (text, word) in words {
            if let Some(word) = word {
                sql = sql.text(text).arg(word);
            }
        }
        if let Some(contact) = filter.contact {
            sql = sql.text(" AND contact_id = ").arg(contact.0);
        }
        if let Some(after) = page.position::<MessageId>()? {
            sql = sql.text(" AND id < ").arg(after.0);
        }
        let rows = sql.text(" ORDER BY id DESC LIMIT ").arg(page.fetch()).all(&self.read()).await?;
        let items = rows.iter().map(message_from).collect::<Result<_, _>>()?;
        Ok(Page::cut(items, page, |message: &MessageRow| message.id))
    }
}

/// Messages by id.
pub(crate) async fn by_ids(
    on: &impl ConnectionTrait,
    tenant: TenantId,
    ids: &[MessageId],
) -> Result<BTreeMap<MessageId, MessageRow>, StoreError> {
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(ROWS_MAX) {
        let rows = Sql::default()
            .text("SELECT * FROM message WHERE tenant_id = ")
            .arg(tenant.0)
            .text(" AND id IN ")
            .list(chunk.iter().map(|id| id.0.into()))
            .all(on)
            .await?;
        for row in rows {
            let message = message_from(&row)?;
            found.insert(message.id, message);
        }
    }
    Ok(found)
}

fn name_opt(row: &Row, column: &'static str) -> Result<Option<Name>, StoreError> {
    match row.get::<Option<String>>(column)? {
        Some(text) => text.parse().map(Some).map_err(|_| damaged(column)),
        None => Ok(None),
    }
}

/// A message from its row.
pub(crate) fn message_from(row: &Row) -> Result<MessageRow, StoreError> {
    let name = |column| row.word(column, |text| text.parse::<Name>().ok());
    Ok(MessageRow {
        tenant: row.id("tenant_id")?,
        id: row.id("id")?,
        contact: row.id("contact_id")?,
        run: row.id_opt("run_id")?,
        journey: name_opt(row, "journey")?,
        journey_version: row.get("journey_version")?,
        step: name_opt(row, "step")?,
        occurrence: row.get("occurrence")?,
        origin: row.get("origin")?,
        template: name("template")?,
        template_version: row.get("template_version")?,
        sender: name("sender")?,
        topic: name("topic")?,
        class: row.word("class", MessageClass::parse)?,
        channel: row.word("channel", Channel::parse)?,
        address: row.bytes_opt("address_hmac")?.map(AddressHash),
        data: row.get("data")?,
        created_at: row.time("created_at")?,
        not_before: row.time("not_before")?,
        expires_at: row.time("expires_at")?,
        status: row.get("status")?,
        reason: row.get("reason")?,
        attempts: row.get("attempts")?,
        receipt: row.get("receipt")?,
        finished_at: row.time_opt("finished_at")?,
    })
}

fn attempt_from(row: &Row) -> Result<AttemptRow, StoreError> {
    Ok(AttemptRow {
        number: row.small("number")?,
        started_at: row.time("started_at")?,
        ended_at: row.time_opt("ended_at")?,
        stage: row.get("stage")?,
        result: row.get("result")?,
        code: row.get("code")?,
        enhanced: row.get("enhanced")?,
    })
}

fn link_from(row: &Row) -> Result<LinkRow, StoreError> {
    Ok(LinkRow {
        number: u16::try_from(row.get::<i64>("number")?).map_err(|_| damaged("number"))?,
        url: row.get("url")?,
        clicked_at: row.time_opt("clicked_at")?,
    })
}
