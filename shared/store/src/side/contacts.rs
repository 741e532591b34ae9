//! Contacts as people read them: state, identities' contact, addresses.
//!
//! What always holds: asking for an absorbed contact gives the one it has become; reads go to SQL
//! and never to an actor.

use parcours_domain::{
    AddressHash, Channel, ContactId, EmailAddress, Handle, Timestamp, consent::AddressStanding,
};
use parcours_journey::ContactState;
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    inbox,
    page::{Page, PageRequest},
    sql::{Row, Sql, bytes, damaged, ms, vals},
};
use crate::{TenantStore, error::StoreError, keys::TenantKeys};

/// The contact's present address on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactAddress {
    /// The channel.
    pub channel: Channel,
    /// The keyed hash.
    pub hash: AddressHash,
    /// The text; none once erased.
    pub address: Option<EmailAddress>,
    /// Since when it is the contact's.
    pub since: Timestamp,
    /// Suppression and objection.
    pub standing: AddressStanding,
}

/// A contact with its state.
#[derive(Clone, Debug, PartialEq)]
pub struct ContactView {
    /// Its id.
    pub id: ContactId,
    /// Its handle.
    pub handle: Handle,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When it was erased, if it was.
    pub erased_at: Option<Timestamp>,
    /// Revision of the state; 0 when nothing was committed yet.
    pub revision: i64,
    /// Number of the last accepted event.
    pub seq: i64,
    /// Attributes, live runs, entry records; none when nothing was committed yet.
    pub state: Option<ContactState>,
    /// Bytes of the stored state.
    pub state_bytes: usize,
    /// Present addresses.
    pub addresses: Vec<ContactAddress>,
}

#[derive(Serialize, Deserialize)]
struct Position(Timestamp, Uuid);

const CONTACTS: &str = "SELECT c.id, c.handle, c.created_at, c.erased_at, s.revision, s.seq, \
     s.state FROM contact c \
     LEFT JOIN contact_state s ON s.tenant_id = c.tenant_id AND s.contact_id = c.id \
     WHERE c.tenant_id = ";

impl TenantStore {
    /// A contact, or the one it has become.
    ///
    /// # Errors
    /// What the database says.
    pub async fn contact(&self, id: ContactId) -> Result<Option<ContactView>, StoreError> {
        let on = &self.read();
        let id = inbox::live_contact(on, self.tenant(), id).await?;
        let row = Sql::new(CONTACTS, vec![])
            .arg(self.tenant().0)
            .text(" AND c.id = ")
            .arg(id.0)
            .one(on)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let mut view = view_from(&row)?;
        let keys = self.keys().await?;
        view.addresses = addresses(on, self, &keys, id).await?;
        Ok(Some(view))
    }

    /// The contact that an identity (`user_id`, `anonymous_id`, `email`) points at.
    ///
    /// # Errors
    /// What the database says.
    pub async fn contact_by_identity(
        &self,
        kind: &str,
        value: &str,
    ) -> Result<Option<ContactId>, StoreError> {
        let keys = self.keys().await?;
        let on = &self.read();
        let hash = crate::identity::value_hmac(&keys, kind, value);
        let row = Sql::new(
            "SELECT contact_id FROM identity \
             WHERE tenant_id = $1 AND kind = $2 AND value_hmac = $3",
            vals![self.tenant().0, kind, bytes(&hash)],
        )
        .one(on)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(inbox::live_contact(on, self.tenant(), row.id("contact_id")?).await?))
    }

    /// The contacts whose present e-mail address this is, oldest first. Families share mailboxes,
    /// so there may be several.
    ///
    /// # Errors
    /// What the database says.
    pub async fn contacts_by_address(
        &self,
        channel: Channel,
        address: &EmailAddress,
    ) -> Result<Vec<ContactId>, StoreError> {
        let hash = address.hash(&self.keys().await?.address);
        let rows = Sql::new(
            "SELECT p.contact_id FROM contact_address p \
             JOIN contact c ON c.tenant_id = p.tenant_id AND c.id = p.contact_id \
             AND c.merged_into IS NULL \
             WHERE p.tenant_id = $1 AND p.channel = $2 AND p.hmac = $3 \
             ORDER BY c.created_at, c.id LIMIT 500",
            vals![self.tenant().0, channel.as_str(), bytes(&hash.0)],
        )
        .all(&self.read())
        .await?;
        rows.iter().map(|row| row.id("contact_id")).collect()
    }

    /// A page of contacts, oldest first, without addresses. Absorbed contacts are left out.
    ///
    /// # Errors
    /// `BadCursor`, or what the database says.
    pub async fn contacts(&self, page: &PageRequest) -> Result<Page<ContactView>, StoreError> {
        let mut sql =
            Sql::new(CONTACTS, vec![]).arg(self.tenant().0).text(" AND c.merged_into IS NULL");
        if let Some(Position(at, id)) = page.position()? {
            sql =
                sql.text(" AND (c.created_at, c.id) > (").arg(ms(at)).text(", ").arg(id).text(")");
        }
        let rows = sql
            .text(" ORDER BY c.created_at, c.id LIMIT ")
            .arg(page.fetch())
            .all(&self.read())
            .await?;
        let items = rows.iter().map(view_from).collect::<Result<_, _>>()?;
        Ok(Page::cut(items, page, |one: &ContactView| Position(one.created_at, one.id.0)))
    }
}

fn view_from(row: &Row) -> Result<ContactView, StoreError> {
    let stored = row.get::<Option<Vec<u8>>>("state")?;
    let state_bytes = stored.as_ref().map_or(0, Vec::len);
    let state = stored.map(|stored| ContactState::decode(&stored)).transpose();
    Ok(ContactView {
        id: row.id("id")?,
        handle: Handle(row.bytes("handle")?),
        created_at: row.time("created_at")?,
        erased_at: row.time_opt("erased_at")?,
        revision: row.get::<Option<i64>>("revision")?.unwrap_or(0),
        seq: row.get::<Option<i64>>("seq")?.unwrap_or(0),
        state: state.map_err(|_| damaged("contact_state.state"))?,
        state_bytes,
        addresses: Vec::new(),
    })
}

async fn addresses(
    on: &impl ConnectionTrait,
    store: &TenantStore,
    keys: &TenantKeys,
    contact: ContactId,
) -> Result<Vec<ContactAddress>, StoreError> {
    let rows = Sql::new(
        "SELECT p.channel, p.since, a.hmac, a.ciphertext, a.suppressed_at, a.objected_at \
         FROM contact_address p JOIN address a ON a.tenant_id = p.tenant_id \
         AND a.channel = p.channel AND a.hmac = p.hmac \
         WHERE p.tenant_id = $1 AND p.contact_id = $2 ORDER BY p.channel",
        vals![store.tenant().0, contact.0],
    )
    .all(on)
    .await?;
    rows.iter()
        .map(|row| {
            let hash = AddressHash(row.bytes("hmac")?);
            let sealed = row.get::<Option<Vec<u8>>>("ciphertext")?;
            Ok(ContactAddress {
                channel: row.word("channel", Channel::parse)?,
                hash,
                address: sealed.map(|sealed| keys.open_address(&hash, &sealed)).transpose()?,
                since: row.time("since")?,
                standing: AddressStanding {
                    suppressed_at: row.time_opt("suppressed_at")?,
                    objected_at: row.time_opt("objected_at")?,
                },
            })
        })
        .collect()
}
