//! Reading what the verdict and the template need of claimed messages.
//!
//! What always holds: versions are read before the facts they stand for, so a fact that slips in
//! between (an absorption too: it moves the absorber's head) makes the final commit judge again;
//! what is missing permits nothing.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{
    AddressHash, Channel, ContactId, EmailAddress, Handle, MessageClass, MessageId, Name, TenantId,
    consent::{AddressStanding, Standing},
    value::Properties,
};
use parcours_journey::ContactState;
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{
    Claimed, TopicNow,
    claim::{BrandNow, Taken},
    test_send,
};
use crate::{
    error::StoreError,
    keys::TenantKeys,
    side::{
        MessageRow, facts, inbox, messages,
        sql::{ROWS_MAX, Row, Sql, damaged},
    },
};

/// A contact as the verdict and the template see it.
struct ContactNow {
    handle: Handle,
    attributes: Properties,
    head_version: Option<i64>,
    address: Option<AddressNow>,
    standing: Standing,
    /// It has become another.
    merged: bool,
}

/// Hash, text, standing, version.
pub(super) type AddressNow = (AddressHash, EmailAddress, AddressStanding, i64);

/// The messages with what the verdict and the template need, in order; without those whose record is
/// gone.
pub(super) async fn read(
    on: &impl ConnectionTrait,
    keys: &TenantKeys,
    tenant: TenantId,
    (claim_id, taken): (Uuid, Vec<Taken>),
    brand: &BrandNow,
) -> Result<Vec<Claimed>, StoreError> {
    let ids: Vec<MessageId> = taken.iter().map(|one| one.message).collect();
    let mut rows = messages::by_ids(on, tenant, &ids).await?;
    let wanted: BTreeSet<_> = rows.values().map(|row| (row.contact, row.channel)).collect();
    let mut contacts = contacts_now(on, keys, tenant, &wanted).await?;
    let merged = contacts.iter().filter(|(_, now)| now.merged).map(|((id, _), _)| (tenant, *id));
    let live = inbox::live_contacts(on, &merged.collect()).await?;
    let now_of = |row: &MessageRow| {
        (live.get(&(tenant, row.contact)).copied().unwrap_or(row.contact), row.channel)
    };
    let others: BTreeSet<_> =
        rows.values().map(now_of).filter(|now| !contacts.contains_key(now)).collect();
    contacts.extend(contacts_now(on, keys, tenant, &others).await?);
    let published =
        published_now(on, tenant, rows.values().map(|row| &row.topic).collect()).await?;
    let mut tests = test_send::recipients(on, keys, tenant, rows.values()).await?;
    let mut claimed = Vec::with_capacity(taken.len());
    for one in taken {
        let Some(row) = rows.remove(&one.message) else { continue };
        let (contact, channel) = now_of(&row);
        let Some(now) = contacts.get(&(contact, channel)) else { continue };
        let test = (row.class == MessageClass::Test).then(|| tests.remove(&row.id));
        let (address, standing, test_address) = match test {
            None => (
                now.address.clone().filter(|_| now.head_version.is_some()),
                now.standing.clone(),
                false,
            ),
            Some(recipient) => {
                let listed = recipient.as_ref().is_some_and(|recipient| recipient.is_listed);
                (recipient.map(|recipient| recipient.address), Standing::default(), listed)
            }
        };
        claimed.push(Claimed {
            tenant,
            message: one.message,
            contact,
            lane: one.lane,
            class: one.class,
            claim_id,
            attempt: one.attempt,
            address,
            head_version: now.head_version.unwrap_or(-1),
            tenant_version: brand.version,
            standing,
            topic: published.topics.get(&row.topic).cloned(),
            handle: now.handle,
            contact_attributes: now.attributes.clone(),
            expires_at: one.expires_at,
            test_address,
            halted: brand.halted,
            stops: brand.stops,
            sender_version: published.senders.get(&row.sender).copied(),
            row,
        });
    }
    Ok(claimed)
}

async fn contacts_now(
    on: &impl ConnectionTrait,
    keys: &TenantKeys,
    tenant: TenantId,
    wanted: &BTreeSet<(ContactId, Channel)>,
) -> Result<BTreeMap<(ContactId, Channel), ContactNow>, StoreError> {
    let mut found = BTreeMap::new();
    let channels: BTreeSet<Channel> = wanted.iter().map(|(_, channel)| *channel).collect();
    for channel in channels {
        let ids: Vec<ContactId> =
            wanted.iter().filter(|(_, c)| *c == channel).map(|(contact, _)| *contact).collect();
        for chunk in ids.chunks(ROWS_MAX) {
            let rows = contact_rows(on, tenant, channel, chunk).await?;
            // Facts after versions: see the head of this file.
            let mut absorbers: Vec<ContactId> = Vec::new();
            for row in &rows {
                if row.get("absorbed")? {
                    absorbers.push(row.id("id")?);
                }
            }
            let of = (chunk, absorbers.as_slice());
            let mut standings = facts::standings_with(on, tenant, of, channel).await?;
            for row in rows {
                let id: ContactId = row.id("id")?;
                let standing = standings.remove(&id).unwrap_or_default().0;
                found.insert((id, channel), contact_from(&row, keys, standing)?);
            }
        }
    }
    Ok(found)
}

/// The channel is no column to find a row by: without statistics PostgreSQL has been seen to read
/// all addresses of a brand for each contact.
async fn contact_rows(
    on: &impl ConnectionTrait,
    tenant: TenantId,
    channel: Channel,
    contacts: &[ContactId],
) -> Result<Vec<Row>, StoreError> {
    Sql::default()
        .text(
            "SELECT c.id, c.handle, c.merged_into, s.state, h.version AS head_version, a.hmac, \
             a.ciphertext, a.version AS address_version, a.suppressed_at, a.objected_at, \
             (SELECT o.id FROM contact o WHERE o.tenant_id = c.tenant_id \
             AND o.merged_into = c.id LIMIT 1) IS NOT NULL AS absorbed FROM contact c \
             LEFT JOIN contact_state s ON s.tenant_id = c.tenant_id AND s.contact_id = c.id \
             LEFT JOIN consent_head h ON h.tenant_id = c.tenant_id AND h.contact_id = c.id \
             AND h.channel || '' = ",
        )
        .arg(channel.as_str())
        .text(
            " LEFT JOIN contact_address p ON p.tenant_id = c.tenant_id AND p.contact_id = c.id \
             AND p.channel || '' = ",
        )
        .arg(channel.as_str())
        .text(
            " LEFT JOIN address a ON a.tenant_id = p.tenant_id AND a.channel = p.channel \
             AND a.hmac = p.hmac WHERE c.tenant_id = ",
        )
        .arg(tenant.0)
        .text(" AND c.id IN ")
        .list(contacts.iter().map(|contact| contact.0.into()))
        .all(on)
        .await
}

/// What cannot be read permits nothing and is said loudly; the others of the claim go on.
fn contact_from(
    row: &Row,
    keys: &TenantKeys,
    standing: Standing,
) -> Result<ContactNow, StoreError> {
    let state = row.get::<Option<Vec<u8>>>("state")?;
    let state = state.map(|state| ContactState::decode(&state)).transpose();
    let address = address_from(row, keys);
    if state.is_err() || address.is_err() {
        let contact: ContactId = row.id("id")?;
        tracing::error!(%contact, "state or address cannot be read; the message is refused");
    }
    let readable = state.is_ok();
    Ok(ContactNow {
        handle: Handle(row.bytes("handle")?),
        attributes: state.ok().flatten().map_or_else(Properties::new, |state| state.attributes),
        head_version: row.get("head_version")?,
        address: address.ok().flatten().filter(|_| readable),
        standing,
        merged: row.id_opt::<ContactId>("merged_into")?.is_some(),
    })
}

pub(super) fn address_from(row: &Row, keys: &TenantKeys) -> Result<Option<AddressNow>, StoreError> {
    let hash = row.bytes_opt("hmac")?.map(AddressHash);
    let (Some(hash), Some(sealed)) = (hash, row.get::<Option<Vec<u8>>>("ciphertext")?) else {
        return Ok(None);
    };
    let known = AddressStanding {
        suppressed_at: row.time_opt("suppressed_at")?,
        objected_at: row.time_opt("objected_at")?,
    };
    Ok(Some((hash, keys.open_address(&hash, &sealed)?, known, row.get("address_version")?)))
}

/// What is published of a brand, as far as messages need it.
#[derive(Default)]
struct PublishedNow {
    /// Topics that are not archived.
    topics: BTreeMap<Name, TopicNow>,
    /// Versions of its senders.
    senders: BTreeMap<Name, i64>,
}

async fn published_now(
    on: &impl ConnectionTrait,
    tenant: TenantId,
    topics: BTreeSet<&Name>,
) -> Result<PublishedNow, StoreError> {
    let mut now = PublishedNow::default();
    if topics.is_empty() {
        return Ok(now);
    }
    let rows = Sql::default()
        .text(
            "SELECT h.kind, h.name, h.version, d.body FROM document_head h \
             LEFT JOIN document d ON h.kind = 'Topic' AND d.tenant_id = h.tenant_id \
             AND d.kind = h.kind AND d.name = h.name AND d.version = h.version \
             WHERE h.tenant_id = ",
        )
        .arg(tenant.0)
        .text(
            " AND (h.kind = 'Sender' \
             OR (h.kind = 'Topic' AND h.status <> 'archived' AND h.name IN ",
        )
        .list(topics.into_iter().map(|name| name.as_str().into()))
        .text("))")
        .all(on)
        .await?;
    for row in rows {
        let name = row.word("name", |text| text.parse::<Name>().ok())?;
        let version = row.get("version")?;
        if row.get::<String>("kind")? == "Sender" {
            now.senders.insert(name, version);
        } else {
            now.topics.insert(name, topic_from(&row.get::<String>("body")?, version)?);
        }
    }
    Ok(now)
}

fn topic_from(body: &str, version: i64) -> Result<TopicNow, StoreError> {
    let body: serde_json::Value =
        serde_json::from_str(body).map_err(|_| damaged("document.body"))?;
    let text = |field: &str| body.get(field).and_then(|v| v.as_str()).map(str::to_owned);
    let class = match text("class") {
        Some(class) => MessageClass::parse(&class).ok_or_else(|| damaged("document.body"))?,
        None => MessageClass::Marketing,
    };
    Ok(TopicNow {
        title: text("title").unwrap_or_default(),
        purpose: text("purpose").unwrap_or_default(),
        class,
        double_opt_in: body.get("double_opt_in").and_then(|v| v.as_bool()).unwrap_or(false),
        version,
    })
}
