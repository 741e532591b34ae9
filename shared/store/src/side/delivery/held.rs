//! What a restored store holds back: messages that may have left after its backup was taken.
//!
//! A restored store knows nothing of what happened after the backup. Whatever was queued then, or
//! follows from a timer that came due since, may have left: such rows are in phase 3, which nothing
//! claims, expires or settles; only [`AdminDoor::release`] ends it. What comes later is queued as
//! ever and stays behind the halt of the install until the same release.
//!
//! What always holds: the hold and its end are the database's; a store whose catching up was
//! interrupted says so ([`AdminDoor::restored`]) and is not served.

use parcours_domain::{
    ContactId, MessageClass, MessageId, RunId, SendOutcome, StepId, TenantId, Timestamp,
};
use sea_orm::ConnectionTrait;
use serde::Serialize;

use super::{close, finish, heads};
use crate::{
    db::listed,
    error::StoreError,
    keep::{RESTORED, RestoredFrom},
    side::{
        AdminDoor,
        inbox::{self, InboxWrite, OutcomeRef},
        sql::{Row, Sql, ms, vals},
    },
    wall::Role,
};

/// Rows in one transaction.
const ROUND: i64 = 1_000;

/// Stable word for why a message of unknown outcome is not sent.
const MAY_HAVE_LEFT: &str = "may_have_left";

/// Messages in the queue, by brand, template and class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueuedGroup {
    /// The brand.
    pub tenant: TenantId,
    /// Its name.
    pub brand: String,
    /// The template.
    pub template: String,
    /// The class at enqueue.
    pub class: MessageClass,
    /// Messages that would leave.
    pub would_leave: i64,
    /// Messages that may have left before the store was restored.
    pub may_have_left: i64,
    /// When the first of them was asked for (product time).
    pub first_at: Timestamp,
    /// When the last of them was asked for.
    pub last_at: Timestamp,
}

/// What to do with messages that may have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayHaveLeft {
    /// They are not sent again, and end as `unknown`.
    Skip,
    /// They are sent, perhaps for the second time.
    Send,
}

/// What a release did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Released {
    /// Messages ended as `unknown`.
    pub skipped: u64,
    /// Messages put back into the queue.
    pub queued: u64,
    /// Whether the install is still halted, by somebody's order and not by the restore.
    pub still_halted: bool,
}

impl AdminDoor {
    /// From when this store was restored, while its sending is not released.
    ///
    /// # Errors
    /// What the database says.
    pub async fn restored(&self) -> Result<Option<RestoredFrom>, StoreError> {
        let text = "SELECT restored_from, caught_up_at FROM install WHERE id = 1";
        let row = Sql::new(text, vec![]).one(&self.db().read(Role::Control)).await?;
        let row = row.ok_or(StoreError::Damaged("install"))?;
        let caught_up_at = row.time_opt("caught_up_at")?;
        let from = row.time_opt("restored_from")?;
        Ok(from.map(|backup_at| RestoredFrom { backup_at, caught_up_at }))
    }

    /// Everything in the queue, by brand, template and class.
    ///
    /// # Errors
    /// What the database says.
    pub async fn queued(&self) -> Result<Vec<QueuedGroup>, StoreError> {
        let text = "SELECT q.tenant_id, b.name AS brand, m.template, q.class, \
                    sum(CASE WHEN q.phase = 3 THEN 0 ELSE 1 END) AS would_leave, \
                    sum(CASE WHEN q.phase = 3 THEN 1 ELSE 0 END) AS may_have_left, \
                    min(m.created_at) AS first_at, max(m.created_at) AS last_at \
                    FROM send_queue q JOIN brand b ON b.tenant_id = q.tenant_id \
                    JOIN message m ON m.tenant_id = q.tenant_id AND m.id = q.message_id \
                    GROUP BY q.tenant_id, b.name, m.template, q.class \
                    ORDER BY b.name, q.tenant_id, m.template, q.class";
        let rows = Sql::new(text, vec![]).all(&self.db().read(Role::Sending)).await?;
        rows.iter().map(group).collect()
    }

    /// Marks everything in the queue that could have left by `until` as "may have left", and lets
    /// runs that wait for the outcome go on as if it had been sent, because that is what most
    /// likely happened; how many. Only while catching up, when nothing else is running.
    ///
    /// # Errors
    /// What the database says.
    pub async fn hold_back(&self, until: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let mut held = 0;
        loop {
            let mut tx = self.db().begin(Role::Sending).await?;
            let rows = Sql::new(
                "SELECT q.tenant_id, q.message_id, m.contact_id, m.run_id, m.step, \
                 r.id AS waiting_run FROM send_queue q \
                 JOIN message m ON m.tenant_id = q.tenant_id AND m.id = q.message_id \
                 LEFT JOIN run r ON r.tenant_id = m.tenant_id AND r.id = m.run_id \
                 AND r.live = 1 AND r.step = m.step \
                 WHERE q.phase IN (0, 1, 2) AND q.not_before <= $1 \
                 ORDER BY q.tenant_id, q.message_id LIMIT $2",
                vals![ms(until), ROUND],
            )
            .all(&tx)
            .await?;
            if rows.is_empty() {
                return Ok(held);
            }
            let mut keys = Vec::with_capacity(rows.len());
            let mut told = Vec::new();
            for row in &rows {
                let (tenant, message): (TenantId, MessageId) =
                    (row.id("tenant_id")?, row.id("message_id")?);
                keys.push(vals![tenant.0, message.0]);
                told.extend(presumed_sent(row, tenant, message)?);
            }
            let update = (
                "UPDATE send_queue SET phase = 3, claim_id = NULL, claim_owner = NULL, \
                 lease_until = NULL WHERE (tenant_id, message_id) IN ",
                "",
            );
            tx.turn(finish::brands_of(&rows)?).await?;
            listed(&tx, update, keys).await?;
            inbox::write(&tx, self.store.shards(), told, now).await?;
            tx.commit().await?;
            held += rows.len() as u64;
        }
    }

    /// Notes that everything which came due until `at` was worked off.
    ///
    /// # Errors
    /// What the database says.
    pub async fn caught_up(&self, at: Timestamp) -> Result<(), StoreError> {
        let text = "UPDATE install SET caught_up_at = $1 WHERE restored_from IS NOT NULL";
        self.change(Role::Control, Sql::new(text, vals![ms(at)])).await.map(|_| ())
    }

    /// Lets a restored store send: ends or queues what may have left, then lifts the hold. What
    /// was interrupted can be repeated. None when nothing is held.
    ///
    /// # Errors
    /// What the database says; the hold stays then. `Conflict` while catching up is not done.
    pub async fn release(
        &self,
        what: MayHaveLeft,
        now: Timestamp,
    ) -> Result<Option<Released>, StoreError> {
        match self.restored().await? {
            None => return Ok(None),
            Some(RestoredFrom { caught_up_at: None, .. }) => return Err(StoreError::Conflict),
            Some(_) => {}
        }
        let mut released = Released::default();
        loop {
            let done = match what {
                MayHaveLeft::Skip => &mut released.skipped,
                MayHaveLeft::Send => &mut released.queued,
            };
            let round = self.release_round(what, now).await?;
            *done += round;
            if i64::try_from(round).unwrap_or(ROUND) < ROUND {
                break;
            }
        }
        self.change(
            Role::Control,
            Sql::new(
                "UPDATE install SET restored_from = NULL, caught_up_at = NULL, \
             halted_at = CASE WHEN halt_reason = $1 THEN NULL ELSE halted_at END, \
             halt_reason = CASE WHEN halt_reason = $1 THEN NULL ELSE halt_reason END",
                vals![RESTORED],
            ),
        )
        .await?;
        released.still_halted = self.install().await?.halted_at.is_some();
        Ok(Some(released))
    }

    async fn release_round(&self, what: MayHaveLeft, now: Timestamp) -> Result<u64, StoreError> {
        let chosen = "WITH c AS MATERIALIZED (SELECT tenant_id AS c_tenant, \
                      message_id AS c_message FROM send_queue WHERE phase = 3 \
                      ORDER BY tenant_id, message_id LIMIT $1) ";
        let named = " WHERE phase = 3 AND (tenant_id, message_id) IN \
                     (SELECT c_tenant, c_message FROM c) RETURNING ";
        let mut tx = self.db().begin(Role::Sending).await?;
        let sql = Sql::new(chosen, vals![ROUND]);
        let rows = match what {
            MayHaveLeft::Skip => {
                let sql = sql.text("DELETE FROM send_queue").text(named);
                let rows = sql.text("tenant_id, message_id, attempts").all(&tx).await?;
                let closings = rows
                    .iter()
                    .map(|row| finish::closing(row, SendOutcome::Unknown, MAY_HAVE_LEFT, now))
                    .collect::<Result<Vec<_>, _>>()?;
                tx.turn(finish::brands_of(&rows)?).await?;
                close::close(&tx, self.store.shards(), &closings, now).await?;
                rows
            }
            MayHaveLeft::Send => {
                let sql = sql.text("UPDATE send_queue SET phase = 0").text(named);
                let rows = sql.text("tenant_id, lane, not_before").all(&tx).await?;
                tx.turn(finish::brands_of(&rows)?).await?;
                lower(&tx, &rows).await?;
                rows
            }
        };
        tx.commit().await?;
        Ok(rows.len() as u64)
    }
}

async fn lower(tx: &impl ConnectionTrait, rows: &[Row]) -> Result<(), StoreError> {
    let mut ready = std::collections::BTreeMap::new();
    for row in rows {
        let at = row.time("not_before")?;
        let head = ready.entry((row.id("tenant_id")?, row.get("lane")?)).or_insert(at);
        *head = at.min(*head);
    }
    heads::lower(tx, ready).await
}

/// What a run hears that waits for the outcome of a message which may have left.
fn presumed_sent(
    row: &Row,
    tenant: TenantId,
    message: MessageId,
) -> Result<Option<InboxWrite>, StoreError> {
    let run: Option<RunId> = row.id_opt("waiting_run")?;
    let step = row.get::<Option<String>>("step")?;
    let step = step.and_then(|step| step.parse::<StepId>().ok());
    let Some((run, step)) = run.zip(step) else { return Ok(None) };
    let contact: ContactId = row.id("contact_id")?;
    let outcome = SendOutcome::Sent;
    let reason = Some(MAY_HAVE_LEFT.to_owned());
    let told = OutcomeRef { message, run, step, outcome, reason };
    Ok(Some(InboxWrite::outcome(tenant, contact, &told)))
}

fn group(row: &Row) -> Result<QueuedGroup, StoreError> {
    Ok(QueuedGroup {
        tenant: row.id("tenant_id")?,
        brand: row.get("brand")?,
        template: row.get("template")?,
        class: row.word("class", MessageClass::parse)?,
        would_leave: row.get("would_leave")?,
        may_have_left: row.get("may_have_left")?,
        first_at: row.time("first_at")?,
        last_at: row.time("last_at")?,
    })
}
