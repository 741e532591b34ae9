//! One batch, one transaction: who is in it, and what to do when something is in the way.
//!
//! A contact that is not mine, has ended, or moved leaves before anything is written. An event
//! key in the way, or a conditional write that finds nothing, makes the contact leave and the
//! rest start over. A value that the database refuses halves the batch until it stands alone.
//!
//! What always holds: each round has fewer contacts than the one before, so it ends.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Instant,
};

use parcours_domain::{ContactId, TenantId};

use super::{CommitOutcome, CommitterParts, Job, ends, rows, sends};
use crate::{
    db::{Tx, in_rows},
    error::StoreError,
    side::sql::{Sql, vals},
    watch::BatchEnd,
};

/// A contact of a batch.
pub(super) type Who = (TenantId, ContactId);

/// Contacts that cannot be committed as they are, and why.
pub(super) type Leaving = HashMap<Who, CommitOutcome>;

/// Commits these jobs and answers each.
pub(super) async fn settle(parts: &CommitterParts, jobs: Vec<Job>) {
    let mut groups = vec![jobs];
    while let Some(mut group) = groups.pop() {
        if group.is_empty() {
            continue;
        }
        let begun = Instant::now();
        let ended = attempt(parts, &group).await;
        let end = match &ended {
            Ok(Round::Committed(_)) => BatchEnd::Committed,
            Ok(Round::Again(_)) => BatchEnd::Again,
            Err(error) => BatchEnd::of_error(error),
        };
        parts.watch.batch(end, group.len(), begun.elapsed());
        match ended {
            Ok(Round::Committed(mut leaving)) => {
                for job in group {
                    let who = (job.commit.tenant, job.commit.contact);
                    job.tell(leaving.remove(&who).unwrap_or(CommitOutcome::Done));
                }
            }
            Ok(Round::Again(mut leaving)) => {
                let mut rest = Vec::with_capacity(group.len());
                for job in group {
                    match leaving.remove(&(job.commit.tenant, job.commit.contact)) {
                        Some(outcome) => job.tell(outcome),
                        None => rest.push(job),
                    }
                }
                groups.push(rest);
            }
            Err(StoreError::Refused { code, on, .. }) => {
                if group.len() == 1 {
                    for job in group {
                        let detail = on.clone().unwrap_or_default();
                        job.tell(CommitOutcome::Refused { code: code.clone(), detail });
                    }
                } else {
                    let half = group.split_off(group.len() / 2);
                    groups.push(half);
                    groups.push(group);
                }
            }
            Err(error) => {
                tracing::warn!(%error, contacts = group.len(), "a batch was not committed");
                for job in group {
                    job.tell(CommitOutcome::Unknown);
                }
            }
        }
    }
}

enum Round {
    /// COMMIT returned; these had left before.
    Committed(Leaving),
    /// Rolled back; these are in the way of the others.
    Again(Leaving),
}

async fn attempt(parts: &CommitterParts, group: &[Job]) -> Result<Round, StoreError> {
    let tx = parts.db.begin().await?;
    let leaving = preflight(parts, &tx, group).await?;
    let staying: Vec<&Job> = group
        .iter()
        .filter(|job| !leaving.contains_key(&(job.commit.tenant, job.commit.contact)))
        .collect();
    if staying.is_empty() {
        tx.rollback().await;
        return Ok(Round::Committed(leaving));
    }
    let blocked = write(parts, &tx, &staying).await;
    match blocked {
        Ok(blocked) if blocked.is_empty() => {
            if let Err(late) = parts.ownership.may_commit() {
                tx.rollback().await;
                return Err(late);
            }
            parts.faults.commit(tx).await?;
            Ok(Round::Committed(leaving))
        }
        Ok(mut blocked) => {
            tx.rollback().await;
            blocked.extend(leaving);
            Ok(Round::Again(blocked))
        }
        Err(error) => {
            tx.rollback().await;
            Err(error)
        }
    }
}

/// Locks the shards and reads where each contact stands: who cannot be written leaves here.
async fn preflight(parts: &CommitterParts, tx: &Tx, group: &[Job]) -> Result<Leaving, StoreError> {
    let shards: BTreeSet<u16> = group.iter().map(|job| job.commit.shard).collect();
    let mine = parts.ownership.lock(tx, &shards).await?;
    let mut leaving = Leaving::new();
    let found = if mine.is_empty() { HashMap::new() } else { standing(tx, group).await? };
    for job in group {
        let commit = &job.commit;
        let who = (commit.tenant, commit.contact);
        let outcome = if !mine.contains(&commit.shard) {
            CommitOutcome::Moved
        } else {
            match found.get(&who) {
                Some((Some(into), _)) => CommitOutcome::Merged(*into),
                Some((None, revision)) if *revision == commit.read_revision => continue,
                Some(_) | None => CommitOutcome::Stale,
            }
        };
        leaving.insert(who, outcome);
    }
    Ok(leaving)
}

/// What each contact has become, and the revision of its state.
async fn standing(
    tx: &Tx,
    group: &[Job],
) -> Result<HashMap<Who, (Option<ContactId>, i64)>, StoreError> {
    let keys = group.iter().map(|job| vals![job.commit.tenant.0, job.commit.contact.0]);
    let sql = Sql::default()
        .text("SELECT c.tenant_id, c.id, c.merged_into, coalesce(s.revision, 0) AS revision ")
        .text("FROM contact c LEFT JOIN contact_state s ")
        .text("ON s.tenant_id = c.tenant_id AND s.contact_id = c.id ")
        .text("WHERE (c.tenant_id, c.id) IN ");
    let found = in_rows(sql, keys).all(tx).await?;
    let mut standing = HashMap::with_capacity(found.len());
    for row in found {
        let who = (row.id("tenant_id")?, row.id("id")?);
        standing.insert(who, (row.id_opt("merged_into")?, row.get("revision")?));
    }
    Ok(standing)
}

/// Writes everything of these contacts; whoever is in the way comes back.
async fn write(parts: &CommitterParts, tx: &Tx, jobs: &[&Job]) -> Result<Leaving, StoreError> {
    let commits: Vec<_> = jobs.iter().map(|job| &job.commit).collect();
    ends::lock_absorbed(tx, &commits).await?;
    let blocked = rows::event_keys(tx, &commits).await?;
    if !blocked.is_empty() {
        return Ok(blocked.into_iter().map(|who| (who, CommitOutcome::KeyConflict)).collect());
    }
    let mut stale: HashSet<Who> = rows::states(tx, &commits).await?;
    stale.extend(rows::inbox_done(tx, &commits).await?);
    if !stale.is_empty() {
        return Ok(stale.into_iter().map(|who| (who, CommitOutcome::Stale)).collect());
    }
    rows::events(tx, &commits).await?;
    rows::traces(tx, &commits).await?;
    rows::quarantine(tx, &commits).await?;
    rows::runs(tx, &commits).await?;
    rows::timers(tx, &commits).await?;
    sends::addresses(tx, &commits).await?;
    ends::absorbed(tx, &commits, parts.shards).await?;
    ends::inbox_new(tx, &commits, parts.shards).await?;
    rows::counters(tx, &commits).await?;
    // Last, because heads are the only rows that several lanes may want.
    sends::messages(tx, &commits).await?;
    Ok(Leaving::new())
}
