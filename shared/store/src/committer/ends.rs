//! The end of an absorbed contact, and inbox rows for others.
//!
//! What always holds: absorption ends the contact, hands over identities and waiting inbox rows
//! and drops its timers and live runs in one commit; what the other contact must take over
//! travels as an inbox row of that same commit, so nothing is between the two. An address goes
//! over at once where the other has none, and the other's consent head moves, because its
//! standing counts the absorbed contact's facts from then on.

use std::collections::BTreeSet;

use parcours_domain::shard_of;

use super::{ContactCommit, sends::Heads};
use crate::{
    db::{Tx, in_rows, listed, with_rows},
    error::StoreError,
    identity::{self, IdentityPlace},
    side::{
        inbox::{self, InboxWrite},
        sql::{Sql, vals},
    },
};

/// Takes the contacts that a batch ends, before anything of theirs is written: whoever resolves
/// their identities holds the contact and then meets its inbox, and so must this.
pub(super) async fn lock_absorbed(tx: &Tx, commits: &[&ContactCommit]) -> Result<(), StoreError> {
    let ending: BTreeSet<_> = commits
        .iter()
        .filter(|commit| commit.absorbed_into.is_some())
        .map(|commit| (commit.tenant, commit.contact))
        .collect();
    if ending.is_empty() || !tx.is_postgres() {
        return Ok(());
    }
    let keys = ending.into_iter().map(|(tenant, contact)| vals![tenant.0, contact.0]);
    let sql = Sql::default().text("SELECT id FROM contact WHERE (tenant_id, id) IN ");
    in_rows(sql, keys).text(" ORDER BY tenant_id, id FOR NO KEY UPDATE").all(tx).await.map(|_| ())
}

/// Ends the absorbed contacts of a batch; the identities that point at another contact now. What
/// they became counts their facts from then on: those heads have to move too.
pub(super) async fn absorbed(
    tx: &Tx,
    commits: &[&ContactCommit],
    shards: u16,
    heads: &mut Heads,
) -> Result<Vec<IdentityPlace>, StoreError> {
    let (mut pairs, mut contacts) = (Vec::new(), Vec::new());
    for commit in commits {
        let Some(into) = commit.absorbed_into else { continue };
        let shard = i64::from(shard_of(into, shards));
        pairs.push(vals![commit.tenant.0, commit.contact.0, into.0, shard]);
        contacts.push(vals![commit.tenant.0, commit.contact.0]);
    }
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let with = "WITH v (v_tenant, v_from, v_into, v_shard) AS (VALUES ";
    for change in [
        ") UPDATE contact SET merged_into = v_into FROM v \
         WHERE tenant_id = v_tenant AND id = v_from AND merged_into IS NULL",
        // No commit ever names this revision as the one that it read.
        ") UPDATE contact_state SET revision = -revision FROM v \
         WHERE tenant_id = v_tenant AND contact_id = v_from AND revision > 0",
        // Whom this one was to become besides is nothing that the other contact is to become.
        ") DELETE FROM inbox WHERE kind = 'absorb' \
         AND (tenant_id, contact_id) IN (SELECT v_tenant, v_from FROM v)",
        ") UPDATE inbox SET contact_id = v_into, shard = v_shard FROM v \
         WHERE tenant_id = v_tenant AND contact_id = v_from",
        // So that messages under way find an address until the other contact's own commit.
        ") INSERT INTO contact_address (tenant_id, contact_id, channel, hmac, since) \
         SELECT p.tenant_id, v_into, p.channel, p.hmac, p.since FROM v \
         JOIN contact_address p ON p.tenant_id = v_tenant AND p.contact_id = v_from \
         WHERE true ORDER BY p.tenant_id, v_into ON CONFLICT DO NOTHING",
    ] {
        for chunk in pairs.chunks(512) {
            let rows = chunk.iter().cloned();
            Sql::default().text(with).rows(rows).text(change).run(tx).await?;
        }
    }
    let theirs = ") SELECT h.tenant_id, v_into, h.channel, h.version FROM v \
                  JOIN consent_head h ON h.tenant_id = v_tenant AND h.contact_id = v_from";
    for row in with_rows(tx, (with, theirs), pairs.clone()).await? {
        let head = (row.id("tenant_id")?, row.id("v_into")?, row.get("channel")?);
        let first = heads.entry(head).or_default();
        *first = row.get::<i64>("version")?.max(*first);
    }
    let repointed = ") UPDATE identity SET contact_id = v_into FROM v \
                     WHERE tenant_id = v_tenant AND contact_id = v_from \
                     RETURNING tenant_id, kind, value_hmac";
    let rows = with_rows(tx, (with, repointed), pairs).await?;
    for head in [
        "DELETE FROM timer WHERE (tenant_id, run_id) IN (SELECT tenant_id, id FROM run \
         WHERE live = 1 AND (tenant_id, contact_id) IN ",
        "DELETE FROM run WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM run \
         WHERE live = 1 AND (tenant_id, contact_id) IN ",
    ] {
        listed(tx, (head, ")"), contacts.clone()).await?;
    }
    rows.iter().map(identity::place_from).collect()
}

/// Inserts the inbox rows for other contacts, in sorted order of their causes.
pub(super) async fn inbox_new(
    tx: &Tx,
    commits: &[&ContactCommit],
    shards: u16,
) -> Result<(), StoreError> {
    for commit in commits {
        if commit.inbox_new.is_empty() {
            continue;
        }
        let mut rows: Vec<&super::NewInbox> = commit.inbox_new.iter().collect();
        rows.sort_by_key(|row| (row.tenant, row.source));
        let rows = rows.into_iter().map(|row| InboxWrite {
            tenant: row.tenant,
            contact: row.contact,
            source: row.source,
            kind: row.kind,
            reference: row.ref_json.clone(),
            body: row.body.clone(),
        });
        inbox::write(tx, shards, rows.collect(), commit.now).await?;
    }
    Ok(())
}
