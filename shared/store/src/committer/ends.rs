//! The end of an absorbed contact, and inbox rows for others.
//!
//! What always holds: absorption ends the contact, hands over identities and waiting inbox rows
//! and drops its timers and live runs in one commit; what the other contact must take over
//! travels as an inbox row of that same commit, so nothing is between the two.

use parcours_domain::shard_of;

use super::ContactCommit;
use crate::{
    db::{Tx, listed},
    error::StoreError,
    side::{
        inbox::{self, InboxWrite},
        sql::{Sql, vals},
    },
};

/// Ends the absorbed contacts of a batch.
pub(super) async fn absorbed(
    tx: &Tx,
    commits: &[&ContactCommit],
    shards: u16,
) -> Result<(), StoreError> {
    let (mut pairs, mut contacts) = (Vec::new(), Vec::new());
    for commit in commits {
        let Some(into) = commit.absorbed_into else { continue };
        let shard = i64::from(shard_of(into, shards));
        pairs.push(vals![commit.tenant.0, commit.contact.0, into.0, shard]);
        contacts.push(vals![commit.tenant.0, commit.contact.0]);
    }
    if pairs.is_empty() {
        return Ok(());
    }
    let with = "WITH v (v_tenant, v_from, v_into, v_shard) AS (VALUES ";
    for change in [
        ") UPDATE contact SET merged_into = v_into FROM v \
         WHERE tenant_id = v_tenant AND id = v_from AND merged_into IS NULL",
        ") UPDATE identity SET contact_id = v_into FROM v \
         WHERE tenant_id = v_tenant AND contact_id = v_from",
        ") UPDATE inbox SET contact_id = v_into, shard = v_shard FROM v \
         WHERE tenant_id = v_tenant AND contact_id = v_from",
    ] {
        for chunk in pairs.chunks(512) {
            let rows = chunk.iter().cloned();
            Sql::default().text(with).rows(rows).text(change).run(tx).await?;
        }
    }
    for head in [
        "DELETE FROM timer WHERE (tenant_id, run_id) IN (SELECT tenant_id, id FROM run \
         WHERE live = 1 AND (tenant_id, contact_id) IN ",
        "DELETE FROM run WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM run \
         WHERE live = 1 AND (tenant_id, contact_id) IN ",
    ] {
        listed(tx, (head, ")"), contacts.clone()).await?;
    }
    Ok(())
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
