//! Ending messages, and attempts: the part that every ending shares.
//!
//! What always holds: the caller has removed the queue row in the same transaction, so a message
//! is closed once; a run that asked for it is told in that transaction.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{
    AttemptId, ContactId, MessageClass, MessageId, RunId, SendOutcome, StepId, TenantId, Timestamp,
    hash::sha256_head,
};
use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::NewAttempt;
use crate::{
    error::StoreError,
    side::{
        counters,
        inbox::{self, InboxWrite, OutcomeRef},
        sql::{ROWS_MAX, Sql, ms, ms_opt, vals},
    },
};

/// One ending.
pub(super) struct Closing {
    pub tenant: TenantId,
    pub message: MessageId,
    pub outcome: SendOutcome,
    pub reason: Option<String>,
    pub receipt: Option<String>,
    pub attempts: i64,
    pub at: Timestamp,
}

/// Writes the ends into the messages, tells their runs, counts.
pub(super) async fn close(
    tx: &impl ConnectionTrait,
    shards: u16,
    closings: &[Closing],
    now: Timestamp,
) -> Result<(), StoreError> {
    let (mut told, mut tests) = (Vec::new(), BTreeSet::new());
    for chunk in closings.chunks(ROWS_MAX) {
        let ends: BTreeMap<_, _> = chunk.iter().map(|c| ((c.tenant, c.message), c)).collect();
        for row in update(tx, chunk).await? {
            let key = (row.id("tenant_id")?, row.id("id")?);
            let contact: ContactId = row.id("contact_id")?;
            if row.word("class", MessageClass::parse)? == MessageClass::Test {
                tests.insert(key);
            }
            let run: Option<RunId> = row.id_opt("run_id")?;
            let step: Option<String> = row.get("step")?;
            let step = step.and_then(|step| step.parse::<StepId>().ok());
            if let (Some(end), Some(run), Some(step)) = (ends.get(&key), run, step) {
                let reference = OutcomeRef {
                    message: key.1,
                    run,
                    step,
                    outcome: end.outcome,
                    reason: end.reason.clone(),
                };
                told.push(InboxWrite::outcome(key.0, contact, &reference));
            }
        }
    }
    inbox::write(tx, shards, told, now).await?;
    count(tx, closings, &tests, now).await
}

async fn update(
    tx: &impl ConnectionTrait,
    chunk: &[Closing],
) -> Result<Vec<crate::side::sql::Row>, StoreError> {
    let values = chunk.iter().map(|c| {
        vals![
            c.tenant.0,
            c.message.0,
            c.outcome.as_str(),
            c.reason.clone(),
            c.receipt.clone(),
            c.attempts,
            ms(c.at)
        ]
    });
    Sql::default()
        .text(
            "WITH v (v_tenant, v_message, v_status, v_reason, v_receipt, v_attempts, v_at) \
             AS (VALUES ",
        )
        .rows(values)
        .text(
            ") UPDATE message SET status = v_status, reason = v_reason, \
             receipt = coalesce(v_receipt, message.receipt), attempts = v_attempts, \
             finished_at = v_at FROM v \
             WHERE message.tenant_id = v_tenant AND message.id = v_message \
             RETURNING message.tenant_id, message.id, message.contact_id, message.run_id, \
             message.step, message.class",
        )
        .all(tx)
        .await
}

/// Test sends are counted apart.
async fn count(
    tx: &impl ConnectionTrait,
    closings: &[Closing],
    tests: &BTreeSet<(TenantId, MessageId)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut deltas: BTreeMap<(TenantId, String), i64> = BTreeMap::new();
    for closing in closings {
        let is_test = tests.contains(&(closing.tenant, closing.message));
        let prefix = if is_test { "test_messages" } else { "messages" };
        let name = format!("{prefix}_{}", closing.outcome);
        *deltas.entry((closing.tenant, name)).or_default() += 1;
    }
    counters::append(tx, deltas, now).await
}

/// Inserts attempts, or completes those that were written at the dot.
pub(super) async fn attempts<'a>(
    tx: &impl ConnectionTrait,
    written: impl Iterator<Item = (TenantId, MessageId, Uuid, &'a NewAttempt)>,
) -> Result<(), StoreError> {
    let rows: BTreeMap<_, Vec<Value>> = written
        .map(|(tenant, message, claim, attempt)| {
            let id = attempt_id(message, claim, attempt);
            ((tenant, id), attempt_values(tenant, id, message, attempt))
        })
        .collect();
    let rows: Vec<_> = rows.into_values().collect();
    for chunk in rows.chunks(ROWS_MAX) {
        Sql::default()
            .text(
                "INSERT INTO attempt (tenant_id, id, message_id, number, started_at, ended_at, \
                 stage, result, code, enhanced) VALUES ",
            )
            .rows(chunk.iter().cloned())
            .text(
                " ON CONFLICT (tenant_id, message_id, id) DO UPDATE SET ended_at = excluded.ended_at, \
                 stage = excluded.stage, result = excluded.result, code = excluded.code, \
                 enhanced = excluded.enhanced",
            )
            .run(tx)
            .await?;
    }
    Ok(())
}

/// The same through the calls about one attempt of one claim.
fn attempt_id(message: MessageId, claim: Uuid, attempt: &NewAttempt) -> AttemptId {
    let number = attempt.number.to_be_bytes();
    let tail = sha256_head(&[b"attempt", &message.bytes(), claim.as_bytes(), &number]);
    AttemptId::v7(attempt.started_at, tail)
}

fn attempt_values(
    tenant: TenantId,
    id: AttemptId,
    message: MessageId,
    attempt: &NewAttempt,
) -> Vec<Value> {
    vals![
        tenant.0,
        id.0,
        message.0,
        i64::from(attempt.number),
        ms(attempt.started_at),
        ms_opt(attempt.ended_at),
        attempt.stage.clone(),
        attempt.result.clone(),
        attempt.code.map(i64::from),
        attempt.enhanced.clone()
    ]
}
