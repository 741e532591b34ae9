//! `Idempotency-Key`: the first request does the work, a repeat gets its answer.
//!
//! What always holds: two requests with one key, route and body do the work once; the same key
//! with another body is a conflict; a first request whose process died can be taken over after a
//! stated time.

use parcours_domain::{Millis, TenantId, Timestamp, hash::sha256};
use uuid::Uuid;

use super::{
    AdminDoor,
    sql::{Row, Sql, bytes, ms, vals},
};
use crate::{error::StoreError, wall::Role};

/// After this long an unfinished first request counts as dead.
const ABANDONED_AFTER: Millis = Millis::minutes(2);

/// What a request with a key should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Do the work, then call `idempotency_finish` (or `idempotency_abandon`).
    Fresh,
    /// Give this answer.
    Replay {
        /// The first answer's status.
        status: u16,
        /// The first answer's body.
        response: String,
    },
    /// The key was used with another body.
    Conflict,
    /// The first request is still being worked on.
    InProgress,
}

/// Names one keyed request. The scope is the brand, or the organisation for keys above brands.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencyKey<'a> {
    /// Brand or organisation.
    pub scope: Uuid,
    /// The header's text.
    pub key: &'a str,
    /// Method and route pattern.
    pub route: &'a str,
}

impl IdempotencyKey<'_> {
    fn values(&self) -> Vec<sea_orm::Value> {
        vals![self.scope, bytes(&sha256(&[self.key.as_bytes()])), self.route]
    }
}

impl AdminDoor {
    /// Notes that a request begins. `now` is machine time.
    ///
    /// # Errors
    /// What the database says.
    pub async fn idempotency_begin(
        &self,
        key: &IdempotencyKey<'_>,
        body_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Begun, StoreError> {
        let mut values = key.values();
        values.extend(vals![bytes(&body_hash), ms(now)]);
        let tx = self.db().begin(TenantId(key.scope)).await?;
        let fresh = Sql::new(
            "INSERT INTO idempotency (scope_id, key, route, body_hash, status, response, created_at) \
             VALUES ($1, $2, $3, $4, 0, '', $5) ON CONFLICT (scope_id, key, route) DO NOTHING",
            values.clone(),
        )
        .run(&tx)
        .await?;
        if fresh > 0 {
            tx.commit().await?;
            return Ok(Begun::Fresh);
        }
        let row = Sql::new(
            "SELECT body_hash, status, response, created_at FROM idempotency \
             WHERE scope_id = $1 AND key = $2 AND route = $3",
            key.values(),
        )
        .lock(&tx, "FOR UPDATE")
        .one(&tx)
        .await?;
        let Some(row) = row else { return Ok(Begun::InProgress) };
        let begun = seen(&row, body_hash, now)?;
        if begun == Begun::Fresh {
            Sql::new(
                "UPDATE idempotency SET body_hash = $4, created_at = $5 \
                 WHERE scope_id = $1 AND key = $2 AND route = $3",
                values,
            )
            .run(&tx)
            .await?;
        }
        tx.commit().await?;
        Ok(begun)
    }

    /// Keeps the answer for repeats.
    ///
    /// # Errors
    /// What the database says.
    pub async fn idempotency_finish(
        &self,
        key: &IdempotencyKey<'_>,
        status: u16,
        response: &str,
    ) -> Result<(), StoreError> {
        let mut values = key.values();
        values.extend(vals![i64::from(status), response]);
        self.change(
            TenantId(key.scope),
            Sql::new(
                "UPDATE idempotency SET status = $4, response = $5 \
             WHERE scope_id = $1 AND key = $2 AND route = $3",
                values,
            ),
        )
        .await?;
        Ok(())
    }

    /// Forgets an unfinished request whose work was not done, so that a repeat may try.
    ///
    /// # Errors
    /// What the database says.
    pub async fn idempotency_abandon(&self, key: &IdempotencyKey<'_>) -> Result<(), StoreError> {
        self.change(
            TenantId(key.scope),
            Sql::new(
                "DELETE FROM idempotency \
             WHERE scope_id = $1 AND key = $2 AND route = $3 AND status = 0",
                key.values(),
            ),
        )
        .await?;
        Ok(())
    }

    /// Forgets answers older than this (machine time); how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn idempotency_clean(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.change(
            Role::Retention,
            Sql::new("DELETE FROM idempotency WHERE created_at < $1", vals![ms(before)]),
        )
        .await
    }
}

fn seen(row: &Row, body_hash: [u8; 32], now: Timestamp) -> Result<Begun, StoreError> {
    let same = row.bytes::<32>("body_hash")? == body_hash;
    let status: i64 = row.get("status")?;
    let abandoned = row.time("created_at")? + ABANDONED_AFTER < now;
    Ok(match (status, same) {
        (0, _) if abandoned => Begun::Fresh,
        (_, false) => Begun::Conflict,
        (0, true) => Begun::InProgress,
        (_, true) => Begun::Replay {
            status: u16::try_from(status).unwrap_or(500),
            response: row.get("response")?,
        },
    })
}
