//! One batch, one transaction: who is in it, and what to do when something is in the way.
//!
//! A contact whose shard is not mine leaves before anything is written, one of whose events a key
//! is in the way before anything else is. A conditional write that finds nothing (the contact has
//! ended, or its state moved) makes the contact leave and the rest start over. A value that the
//! database refuses halves the batch until it stands alone.
//!
//! What always holds: each round has fewer contacts than the one before, so it ends.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Instant,
};

use parcours_domain::{ContactId, TenantId};

use super::{CommitOutcome, CommitterParts, Job, ends, rows, sends};
use crate::{
    db::{Tx, looked_up},
    error::StoreError,
    fault::FaultPoint,
    identity::IdentityPlace,
    side::sql::vals,
    wall::Door,
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
    /// Rolled back; these leave, the others start over.
    Again(Leaving),
}

async fn attempt(parts: &CommitterParts, group: &[Job]) -> Result<Round, StoreError> {
    let tx = parts.db.begin(door(parts, group)).await?;
    let leaving = preflight(parts, &tx, group).await?;
    let staying: Vec<&Job> = group
        .iter()
        .filter(|job| !leaving.contains_key(&(job.commit.tenant, job.commit.contact)))
        .collect();
    if staying.is_empty() {
        tx.rollback().await;
        return Ok(Round::Committed(leaving));
    }
    match write(parts, &tx, &staying).await {
        Ok(Written { mut without, blocked, repointed }) => {
            without.extend(leaving);
            if !blocked.is_empty() {
                tx.rollback().await;
                without.extend(blocked);
                return Ok(Round::Again(without));
            }
            if let Err(late) = parts.ownership.may_commit() {
                tx.rollback().await;
                return Err(late);
            }
            let committed = parts.faults.commit(tx).await;
            parts.identities.forget(repointed);
            committed?;
            Ok(Round::Committed(without))
        }
        Err(error) => {
            tx.rollback().await;
            Err(error)
        }
    }
}

/// Locks the shards: whose shard is another worker's leaves here.
async fn preflight(parts: &CommitterParts, tx: &Tx, group: &[Job]) -> Result<Leaving, StoreError> {
    let shards: BTreeSet<u16> = group.iter().map(|job| job.commit.shard).collect();
    let locked = parts.ownership.lock(tx, &shards).await?;
    let refused = |job: &&Job| locked.refused.contains(&job.commit.shard);
    let fenced = group.iter().filter(refused).count();
    if fenced > 0 {
        tracing::warn!(contacts = fenced, "writes were refused: another worker has their shards");
        parts.watch.fenced(fenced);
    }
    let moved = group.iter().filter(|job| !locked.mine.contains(&job.commit.shard));
    let who = |job: &Job| (job.commit.tenant, job.commit.contact);
    Ok(moved.map(|job| (who(job), CommitOutcome::Moved)).collect())
}

/// Why these were not written: what each has become, or that its state moved.
async fn why_not(tx: &Tx, stale: HashSet<Who>) -> Result<Leaving, StoreError> {
    let keys = stale.iter().map(|(tenant, contact)| vals![tenant.0, contact.0]).collect();
    let merged = "SELECT tenant_id, id, merged_into FROM contact WHERE merged_into IS NOT NULL";
    let merged = looked_up(tx, merged, &["tenant_id", "id"], keys).await?;
    let mut leaving: Leaving = stale.into_iter().map(|who| (who, CommitOutcome::Stale)).collect();
    for row in merged {
        let who = (row.id("tenant_id")?, row.id("id")?);
        leaving.insert(who, CommitOutcome::Merged(row.id("merged_into")?));
    }
    Ok(leaving)
}

/// Writes everything of these contacts but those who leave; anybody in the way of the others
/// makes the whole start over.
async fn write(parts: &CommitterParts, tx: &Tx, jobs: &[&Job]) -> Result<Written, StoreError> {
    let mut commits: Vec<_> = jobs.iter().map(|job| &job.commit).collect();
    ends::lock_absorbed(tx, &commits).await?;
    let repeats = rows::event_keys(tx, &commits).await?;
    if !repeats.is_empty() {
        commits.retain(|commit| !repeats.contains(&(commit.tenant, commit.contact)));
    }
    let mut written = Written {
        without: repeats.into_iter().map(|who| (who, CommitOutcome::KeyConflict)).collect(),
        blocked: Leaving::new(),
        repointed: Vec::new(),
    };
    if commits.is_empty() {
        return Ok(written);
    }
    let mut stale: HashSet<Who> = rows::states(tx, &commits).await?;
    stale.extend(rows::inbox_done(tx, &commits).await?);
    if !stale.is_empty() {
        written.blocked = why_not(tx, stale).await?;
        return Ok(written);
    }
    rows::events(tx, &commits).await?;
    rows::traces(tx, &commits).await?;
    rows::quarantine(tx, &commits).await?;
    rows::runs(tx, &commits).await?;
    rows::timers(tx, &commits).await?;
    let mut heads = sends::addresses(tx, &commits).await?;
    written.repointed = ends::absorbed(tx, &commits, parts.shards, &mut heads).await?;
    sends::move_heads(tx, heads).await?;
    ends::inbox_new(tx, &commits, parts.shards).await?;
    rows::counters(tx, &commits).await?;
    // Last, because heads are the only rows that several lanes may want.
    sends::messages(tx, &commits).await?;
    Ok(written)
}

/// What a transaction holds.
struct Written {
    /// Nothing of these is in it; it may be committed without them.
    without: Leaving,
    /// It cannot be committed because of these.
    blocked: Leaving,
    /// These identities point at another contact once it is committed.
    repointed: Vec<IdentityPlace>,
}

/// The brands of the batch, exactly: the database lets it reach no other's rows.
fn door(parts: &CommitterParts, group: &[Job]) -> Door {
    let mut tenants: BTreeSet<TenantId> = group.iter().map(|job| job.commit.tenant).collect();
    if parts.faults.at(FaultPoint::BatchBrands).is_some() {
        tenants.pop_last();
    }
    Door::Brands(tenants)
}
