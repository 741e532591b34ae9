//! The statements of a batch: one per table and kind of change, never one per row.
//!
//! What always holds: rows that another lane could insert too (keys) go in sorted order, so two
//! lanes never wait for each other; a row appears once per statement, with its last value.

use std::collections::{BTreeMap, HashMap, HashSet};

use parcours_domain::{MessageId, RunId, TenantId};
use uuid::Uuid;

use super::{ContactCommit, NewEvent, TimerChange, batch::Who};
use crate::{
    db::{ByKey, Insert, Tx, listed, with_rows},
    error::StoreError,
    side::sql::{ms, ms_opt, tail, vals},
};

type Commits<'a> = [&'a ContactCommit];

/// Inserts the event keys. Contacts of which a key was used or set aside before come back, and
/// none of their keys stays.
pub(super) async fn event_keys(tx: &Tx, commits: &Commits<'_>) -> Result<HashSet<Who>, StoreError> {
    let mut keys: Vec<_> = commits
        .iter()
        .flat_map(|commit| commit.events.iter().map(move |event| (*commit, event)))
        .collect();
    keys.sort_by_key(|(commit, event)| (commit.tenant, event.key, event.day));
    let rows = keys.iter().map(|(commit, event)| {
        vals![
            commit.tenant.0,
            event.key.0.to_vec(),
            event.day,
            commit.contact.0,
            event.seq,
            event.body_hash.to_vec(),
            event.id.0,
            ms(event.received_at),
            i64::from(event.requeued)
        ]
    });
    let mut free = HashSet::with_capacity(keys.len());
    for row in with_rows(tx, EVENT_KEYS, rows.collect()).await? {
        let who: Who = (row.id("tenant_id")?, row.id("contact_id")?);
        free.insert((who, row.get::<i64>("seq")?));
    }
    let is_free = |commit: &ContactCommit, event: &NewEvent| {
        free.contains(&((commit.tenant, commit.contact), event.seq))
    };
    let blocked: HashSet<Who> = keys
        .iter()
        .filter(|(commit, event)| !is_free(commit, event))
        .map(|(commit, _)| (commit.tenant, commit.contact))
        .collect();
    if !blocked.is_empty() {
        let given_back = keys.iter().filter(|(commit, event)| {
            blocked.contains(&(commit.tenant, commit.contact)) && is_free(commit, event)
        });
        let given_back = given_back
            .map(|(commit, event)| vals![commit.tenant.0, event.key.0.to_vec(), event.day]);
        let delete = ("DELETE FROM event_key WHERE (tenant_id, key, day) IN ", "");
        listed(tx, delete, given_back.collect()).await?;
    }
    Ok(blocked)
}

/// A key that was set aside is in the way, except of the event that comes back from there.
const EVENT_KEYS: (&str, &str) = (
    "WITH v (v_tenant, v_key, v_day, v_contact, v_seq, v_hash, v_event, v_at, v_requeued) AS \
     (VALUES ",
    ") INSERT INTO event_key \
     (tenant_id, key, day, contact_id, seq, body_hash, event_id, received_at) \
     SELECT v_tenant, v_key, v_day, v_contact, v_seq, v_hash, v_event, v_at FROM v \
     WHERE v_requeued = 1 OR (SELECT q.id FROM quarantine q WHERE q.key IS NOT NULL \
     AND q.tenant_id = v_tenant AND q.key = v_key) IS NULL \
     ON CONFLICT DO NOTHING RETURNING tenant_id, contact_id, seq",
);

/// Writes the states, where the revision is still the one read; the contacts of the others come
/// back. The end of a contact takes its revision below zero, so it comes back too.
pub(super) async fn states(tx: &Tx, commits: &Commits<'_>) -> Result<HashSet<Who>, StoreError> {
    let mut asked: HashSet<Who> = HashSet::with_capacity(commits.len());
    let (mut fresh, mut known) = (Vec::new(), Vec::with_capacity(commits.len()));
    for commit in commits {
        asked.insert((commit.tenant, commit.contact));
        let rows = if commit.read_revision == 0 { &mut fresh } else { &mut known };
        rows.push(vals![
            commit.tenant.0,
            commit.contact.0,
            i64::from(commit.shard),
            commit.read_revision + 1,
            commit.seq,
            commit.state.clone(),
            ms(commit.now)
        ]);
    }
    let mut written = with_rows(tx, FIRST_STATES, fresh).await?;
    written.extend(with_rows(tx, NEXT_STATES, known).await?);
    for row in written {
        asked.remove(&(row.id("tenant_id")?, row.id("contact_id")?));
    }
    Ok(asked)
}

/// A contact's first state: the contact must be there, and no state.
const FIRST_STATES: (&str, &str) = (
    "WITH v (v_tenant, v_contact, v_shard, v_revision, v_seq, v_state, v_at) AS (VALUES ",
    ") INSERT INTO contact_state (tenant_id, contact_id, shard, revision, seq, state, updated_at) \
     SELECT v_tenant, v_contact, v_shard, v_revision, v_seq, v_state, v_at FROM v \
     WHERE EXISTS (SELECT 1 FROM contact c WHERE c.tenant_id = v_tenant AND c.id = v_contact) \
     ON CONFLICT DO NOTHING RETURNING tenant_id, contact_id",
);

/// A state that was read must still be there as it was.
const NEXT_STATES: (&str, &str) = (
    "WITH v (v_tenant, v_contact, v_shard, v_revision, v_seq, v_state, v_at) AS (VALUES ",
    ") UPDATE contact_state SET revision = v_revision, seq = v_seq, state = v_state, \
     updated_at = v_at FROM v WHERE tenant_id = v_tenant AND contact_id = v_contact \
     AND revision = v_revision - 1 RETURNING tenant_id, contact_id",
);

/// Deletes the applied inbox rows; contacts of which one is gone already come back.
pub(super) async fn inbox_done(tx: &Tx, commits: &Commits<'_>) -> Result<HashSet<Who>, StoreError> {
    let mut asked: HashMap<(TenantId, Uuid), Who> = HashMap::new();
    for commit in commits {
        let who = (commit.tenant, commit.contact);
        asked.extend(commit.inbox_done.iter().map(|id| ((commit.tenant, id.0), who)));
    }
    let keys = asked.iter().map(|((tenant, id), (_, contact))| vals![tenant.0, contact.0, *id]);
    let deleted = INBOX_DONE.run(tx, keys.collect()).await?;
    asked.retain(|key, _| !deleted.contains(key));
    Ok(asked.into_values().collect())
}

const INBOX_DONE: ByKey =
    ByKey { change: "DELETE FROM inbox", table: "inbox", columns: &["contact_id", "id"] };

pub(super) async fn events(tx: &Tx, commits: &Commits<'_>) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for commit in commits {
        rows.extend(commit.events.iter().map(|event| {
            vals![
                commit.tenant.0,
                event.id.0,
                commit.contact.0,
                event.seq,
                event.kind.as_str(),
                event.name.clone(),
                event.message_id.clone(),
                ms_opt(event.occurred_at),
                ms(event.received_at),
                event.body.clone()
            ]
        }));
    }
    let columns = [
        "tenant_id",
        "id",
        "contact_id",
        "seq",
        "kind",
        "name",
        "message_id",
        "occurred_at",
        "received_at",
        "body",
    ];
    Insert::new("event", &columns).run(tx, rows).await.map(|_| ())
}

pub(super) async fn traces(tx: &Tx, commits: &Commits<'_>) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for commit in commits {
        let Some((cause, body)) = &commit.trace else { continue };
        let id = MessageId::v7(commit.now, tail()?).0;
        let (tenant, contact) = (commit.tenant.0, commit.contact.0);
        rows.push(vals![tenant, id, contact, ms(commit.now), cause.clone(), body.clone()]);
    }
    let columns = ["tenant_id", "id", "contact_id", "at", "cause", "body"];
    Insert::new("trace", &columns).run(tx, rows).await.map(|_| ())
}

pub(super) async fn quarantine(tx: &Tx, commits: &Commits<'_>) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for commit in commits {
        rows.extend(commit.quarantine.iter().map(|row| {
            vals![
                commit.tenant.0,
                row.id.0,
                commit.contact.0,
                row.origin,
                row.code.clone(),
                row.detail.clone(),
                row.payload.clone(),
                row.key.map(|key| key.0.to_vec()),
                row.body_hash.map(|hash| hash.to_vec()),
                ms(commit.now)
            ]
        }));
    }
    let columns = [
        "tenant_id",
        "id",
        "contact_id",
        "origin",
        "code",
        "detail",
        "payload",
        "key",
        "body_hash",
        "created_at",
    ];
    let insert = Insert::new("quarantine", &columns).suffix("ON CONFLICT DO NOTHING");
    insert.run(tx, rows).await.map(|_| ())
}

/// Ended runs go first, so that a run that takes the place of one may be live.
pub(super) async fn runs(tx: &Tx, commits: &Commits<'_>) -> Result<(), StoreError> {
    let mut last = BTreeMap::new();
    for commit in commits {
        last.extend(commit.runs.iter().map(|run| ((commit.tenant, run.id), (*commit, run))));
    }
    let is_live = |status: &str| status == "waiting" || status == "held";
    let mut runs: Vec<_> = last.into_values().collect();
    runs.sort_by_key(|(_, run)| is_live(run.status));
    let rows = runs.into_iter().map(|(commit, run)| {
        vals![
            commit.tenant.0,
            run.id.0,
            commit.contact.0,
            run.journey.to_string(),
            i64::from(run.version),
            run.key.clone(),
            i64::from(is_live(run.status)),
            run.status,
            run.step.to_string(),
            ms(run.entered_at),
            ms_opt(run.wakes_at),
            ms_opt(run.ended_at),
            run.ended_by.clone()
        ]
    });
    let columns = [
        "tenant_id",
        "id",
        "contact_id",
        "journey",
        "version",
        "run_key",
        "live",
        "status",
        "step",
        "entered_at",
        "wakes_at",
        "ended_at",
        "ended_by",
    ];
    Insert::new("run", &columns)
        .suffix(
            "ON CONFLICT (tenant_id, id) DO UPDATE SET contact_id = excluded.contact_id, \
             version = excluded.version, live = excluded.live, status = excluded.status, \
             step = excluded.step, wakes_at = excluded.wakes_at, ended_at = excluded.ended_at, \
             ended_by = excluded.ended_by",
        )
        .run(tx, rows.collect())
        .await
        .map(|_| ())
}

pub(super) async fn timers(tx: &Tx, commits: &Commits<'_>) -> Result<(), StoreError> {
    let mut last = BTreeMap::new();
    for commit in commits {
        last.extend(commit.timers.iter().map(|one| ((commit.tenant, one.run()), (*commit, one))));
    }
    let (mut set, mut hold, mut cancel) = (Vec::new(), Vec::new(), Vec::new());
    for ((tenant, run), (commit, change)) in last {
        match change {
            TimerChange::Set { journey, seq, due_at, .. } => set.push(vals![
                tenant.0,
                commit.contact.0,
                run.0,
                journey.to_string(),
                i64::from(commit.shard),
                i64::from(*seq),
                ms(*due_at),
                0_i64
            ]),
            TimerChange::Hold { .. } => hold.push((tenant, run)),
            TimerChange::Cancel { .. } => cancel.push((tenant, run)),
        }
    }
    let columns =
        ["tenant_id", "contact_id", "run_id", "journey", "shard", "seq", "due_at", "held"];
    Insert::new("timer", &columns)
        .suffix(
            "ON CONFLICT (tenant_id, run_id) DO UPDATE SET contact_id = excluded.contact_id, \
             shard = excluded.shard, seq = excluded.seq, due_at = excluded.due_at, held = 0",
        )
        .run(tx, set)
        .await?;
    of_timers("UPDATE timer SET held = 1", tx, hold).await?;
    of_timers("DELETE FROM timer", tx, cancel).await
}

/// How often a timer is looked for that is not there.
const TIMER_ROUNDS: u32 = 3;

/// Whoever pauses or resumes the journey changes rows at the same time: what was not found is looked
/// for again, as it was left.
async fn of_timers(
    change: &'static str,
    tx: &Tx,
    mut rows: Vec<(TenantId, RunId)>,
) -> Result<(), StoreError> {
    let by_key = ByKey { change, table: "timer", columns: &["run_id"] };
    for _ in 0..TIMER_ROUNDS {
        let keys = rows.iter().map(|(tenant, run)| vals![tenant.0, run.0]).collect();
        let changed = by_key.run(tx, keys).await?;
        rows.retain(|(tenant, run)| !changed.contains(&(*tenant, run.0)));
    }
    Ok(())
}

/// Appends the batch's sums; a job folds them.
pub(super) async fn counters(tx: &Tx, commits: &Commits<'_>) -> Result<(), StoreError> {
    let mut sums: BTreeMap<(TenantId, &str, i64), i64> = BTreeMap::new();
    for commit in commits {
        for (name, delta) in &commit.counters {
            *sums.entry((commit.tenant, name, commit.now.utc_day())).or_default() += delta;
        }
    }
    let mut rows = Vec::with_capacity(sums.len());
    for ((tenant, name, day), delta) in sums {
        let id = MessageId::v7(crate::store::machine_now(), tail()?).0;
        rows.push(vals![tenant.0, id, name, day, delta]);
    }
    let columns = ["tenant_id", "id", "name", "day", "delta"];
    Insert::new("counter_delta", &columns).run(tx, rows).await.map(|_| ())
}
