//! Messages that runs want, and the addresses they go to.
//!
//! What always holds: a send key is used once, ever, and message, queue row and head appear with
//! it or not at all; the message's address is the contact's at this commit; a new address leaves
//! what is known about it (suppression, objection) untouched; an address that changes or is gone
//! takes with it every permission judged before.

use std::collections::{BTreeMap, HashMap, HashSet};

use parcours_domain::{Channel, ContactId, TenantId};
use uuid::Uuid;

use super::{ContactCommit, NewMessage};
use crate::{
    db::{Insert, Tx, listed, looked_up},
    error::StoreError,
    side::sql::{ms, vals},
};

/// Address row and the contact's pointer to it; whose consent heads have to move.
pub(super) async fn addresses(tx: &Tx, commits: &[&ContactCommit]) -> Result<Heads, StoreError> {
    let (mut rows, mut pointers) = (BTreeMap::new(), BTreeMap::new());
    for commit in commits {
        let Some(new) = &commit.address else { continue };
        let (tenant, channel, hmac) = (commit.tenant.0, new.channel.as_str(), new.hmac.0);
        rows.entry((tenant, channel, hmac)).or_insert_with(|| {
            let (sealed, at) = (new.ciphertext.clone(), ms(commit.now));
            vals![tenant, channel, hmac.to_vec(), new.key_version, sealed, 1_i64, at]
        });
        let contact = commit.contact.0;
        let pointer = vals![tenant, contact, channel, hmac.to_vec(), ms(commit.now)];
        pointers.insert((commit.tenant, commit.contact, channel), pointer);
    }
    let columns =
        ["tenant_id", "channel", "hmac", "key_version", "ciphertext", "version", "created_at"];
    Insert::new("address", &columns)
        .suffix(
            "ON CONFLICT (tenant_id, channel, hmac) DO UPDATE \
             SET ciphertext = excluded.ciphertext, key_version = excluded.key_version \
             WHERE address.ciphertext IS NULL",
        )
        .run(tx, rows.into_values().collect())
        .await?;
    let changed = Insert::new("contact_address", &POINTER)
        .suffix(
            "ON CONFLICT (tenant_id, contact_id, channel) DO UPDATE \
             SET hmac = excluded.hmac, since = excluded.since \
             WHERE contact_address.hmac <> excluded.hmac \
             RETURNING tenant_id, contact_id, channel",
        )
        .returning(tx, pointers.into_values().collect())
        .await?;
    let mut moved = Heads::new();
    for row in changed {
        moved.insert((row.id("tenant_id")?, row.id("contact_id")?, row.get("channel")?), 0);
    }
    moved.extend(addresses_gone(tx, commits).await?.into_iter().map(|head| (head, 0)));
    Ok(moved)
}

const POINTER: [&str; 5] = ["tenant_id", "contact_id", "channel", "hmac", "since"];

/// A contact's channel.
type Head = (TenantId, ContactId, String);

/// Heads of consent that a batch moves, each with the version at which it begins if there is none.
pub(super) type Heads = BTreeMap<Head, i64>;

/// Drops the pointers of contacts without an address any more; whose they were.
async fn addresses_gone(tx: &Tx, commits: &[&ContactCommit]) -> Result<Vec<Head>, StoreError> {
    let channel = Channel::Email.as_str();
    let gone: Vec<Head> = commits
        .iter()
        .filter(|commit| commit.address_gone && commit.address.is_none())
        .map(|commit| (commit.tenant, commit.contact, channel.to_owned()))
        .collect();
    let keys = gone.iter().map(|(tenant, contact, _)| vals![tenant.0, contact.0, channel]);
    let delete = ("DELETE FROM contact_address WHERE (tenant_id, contact_id, channel) IN ", "");
    listed(tx, delete, keys.collect()).await?;
    Ok(gone)
}

/// Moves heads, made where there are none: all of a batch at once, after any address row, and in
/// the order in which a sender's final commit takes them.
pub(super) async fn move_heads(tx: &Tx, moved: Heads) -> Result<(), StoreError> {
    let heads = moved
        .into_iter()
        .map(|((tenant, contact, channel), first)| vals![tenant.0, contact.0, channel, first])
        .collect();
    Insert::new("consent_head", &["tenant_id", "contact_id", "channel", "version"])
        .suffix(
            "ON CONFLICT (tenant_id, contact_id, channel) \
             DO UPDATE SET version = consent_head.version + 1",
        )
        .run(tx, heads)
        .await
        .map(|_| ())
}

type Wanted<'a> = (&'a ContactCommit, &'a NewMessage);

pub(super) async fn messages(tx: &Tx, commits: &[&ContactCommit]) -> Result<(), StoreError> {
    let mut wanted: Vec<Wanted<'_>> = commits
        .iter()
        .flat_map(|commit| commit.sends.iter().map(move |send| (*commit, send)))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    wanted.sort_by_key(|(commit, send)| (commit.tenant, send.send_key));
    let fresh = send_keys(tx, &wanted).await?;
    wanted.retain(|(commit, send)| fresh.contains(&(commit.tenant, send.id.0)));
    let addresses = present_addresses(tx, &wanted).await?;
    insert_messages(tx, &wanted, &addresses).await?;
    enqueue(tx, &wanted).await
}

/// Uses the send keys; the messages whose key was free come back.
async fn send_keys(
    tx: &Tx,
    wanted: &[Wanted<'_>],
) -> Result<HashSet<(TenantId, Uuid)>, StoreError> {
    let rows = wanted
        .iter()
        .map(|(commit, send)| vals![commit.tenant.0, send.send_key.to_vec(), send.id.0]);
    let rows = Insert::new("send_key", &["tenant_id", "key", "message_id"])
        .suffix("ON CONFLICT DO NOTHING RETURNING tenant_id, message_id")
        .returning(tx, rows.collect())
        .await?;
    rows.iter().map(|row| Ok((row.id("tenant_id")?, row.get("message_id")?))).collect()
}

type AddressOf = HashMap<(TenantId, ContactId, String), Vec<u8>>;

async fn present_addresses(tx: &Tx, wanted: &[Wanted<'_>]) -> Result<AddressOf, StoreError> {
    let mut contacts: Vec<_> =
        wanted.iter().map(|(commit, _)| (commit.tenant, commit.contact)).collect();
    contacts.sort();
    contacts.dedup();
    let keys = contacts.into_iter().map(|(tenant, contact)| vals![tenant.0, contact.0]).collect();
    let sql = "SELECT tenant_id, contact_id, channel, hmac FROM contact_address WHERE 1 = 1";
    let mut found = AddressOf::new();
    for row in looked_up(tx, sql, &["tenant_id", "contact_id"], keys).await? {
        let key = (row.id("tenant_id")?, row.id("contact_id")?, row.get("channel")?);
        found.insert(key, row.get("hmac")?);
    }
    Ok(found)
}

async fn insert_messages(
    tx: &Tx,
    wanted: &[Wanted<'_>],
    addresses: &AddressOf,
) -> Result<(), StoreError> {
    let rows = wanted.iter().map(|(commit, send)| {
        let channel = send.channel.as_str();
        let address = addresses.get(&(commit.tenant, commit.contact, channel.to_owned()));
        vals![
            commit.tenant.0,
            send.id.0,
            commit.contact.0,
            send.run.map(|run| run.0),
            send.journey.as_ref().map(ToString::to_string),
            send.journey_version.map(i64::from),
            send.step.as_ref().map(ToString::to_string),
            send.occurrence.map(i64::from),
            send.origin,
            send.template.to_string(),
            i64::from(send.template_version),
            send.sender.to_string(),
            send.topic.to_string(),
            send.class.as_str(),
            channel,
            address.cloned(),
            send.data.clone(),
            ms(commit.now),
            ms(send.not_before),
            ms(send.expires_at),
            "queued",
            0_i64
        ]
    });
    let columns = [
        "tenant_id",
        "id",
        "contact_id",
        "run_id",
        "journey",
        "journey_version",
        "step",
        "occurrence",
        "origin",
        "template",
        "template_version",
        "sender",
        "topic",
        "class",
        "channel",
        "address_hmac",
        "data",
        "created_at",
        "not_before",
        "expires_at",
        "status",
        "attempts",
    ];
    Insert::new("message", &columns).run(tx, rows.collect()).await.map(|_| ())
}

async fn enqueue(tx: &Tx, wanted: &[Wanted<'_>]) -> Result<(), StoreError> {
    let mut heads: BTreeMap<(TenantId, i64), i64> = BTreeMap::new();
    let mut rows = Vec::with_capacity(wanted.len());
    for (commit, send) in wanted {
        let ready_at = send.not_before.as_millis();
        let head = heads.entry((commit.tenant, send.lane)).or_insert(ready_at);
        *head = ready_at.min(*head);
        rows.push(vals![
            commit.tenant.0,
            send.id.0,
            send.lane,
            send.class.as_str(),
            ready_at,
            ms(send.expires_at),
            0_i64,
            0_i64
        ]);
    }
    let columns = [
        "tenant_id",
        "message_id",
        "lane",
        "class",
        "not_before",
        "expires_at",
        "phase",
        "attempts",
    ];
    Insert::new("send_queue", &columns).run(tx, rows).await?;
    let heads = heads.into_iter().map(|((tenant, lane), at)| vals![tenant.0, lane, at]).collect();
    Insert::new("send_head", &["tenant_id", "lane", "ready_at"])
        .suffix(
            "ON CONFLICT (tenant_id, lane) DO UPDATE SET ready_at = excluded.ready_at \
             WHERE send_head.ready_at > excluded.ready_at",
        )
        .run(tx, heads)
        .await
        .map(|_| ())
}
