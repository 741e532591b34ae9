//! The run's own PostgreSQL database, for what no counter of a process can say: processes that are
//! restarted begin to count anew.

use anyhow::Context as _;
use tokio_postgres::{Client, NoTls};

use crate::args::Args;

/// A connection to the run's own database.
pub struct Sql(Client);

impl Sql {
    /// Connects.
    pub async fn connect(args: &Args) -> anyhow::Result<Self> {
        let url = args.postgres.as_deref().context("this scenario needs --postgres")?;
        let (client, connection) =
            tokio_postgres::connect(url, NoTls).await.context("the database cannot be reached")?;
        tokio::spawn(connection);
        Ok(Self(client))
    }

    /// A number that a query answers with.
    pub async fn number(&self, query: &str) -> anyhow::Result<u64> {
        let row = self.0.query_one(query, &[]).await.with_context(|| query.to_owned())?;
        Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
    }

    /// The client events that are committed.
    pub async fn events(&self) -> anyhow::Result<u64> {
        self.number("SELECT count(*) FROM event").await
    }

    /// Writes so many rows of mass work for each contact of the brand, every contact once before any
    /// twice; how many were written.
    pub async fn mass_work(&self, brand: &str, each: usize) -> anyhow::Result<u64> {
        let each = i32::try_from(each)?;
        let written = self.0.execute(MASS_WORK, &[&brand, &each]).await;
        written.context("mass work cannot be written")
    }

    /// Lets the database renew its statistics of the inbox, as autovacuum does within minutes.
    pub async fn look_at_inbox(&self) -> anyhow::Result<()> {
        self.0.batch_execute("ANALYZE inbox").await.context("the inbox cannot be analysed")
    }

    /// The rows of mass work that are left.
    pub async fn mass_work_left(&self) -> anyhow::Result<u64> {
        self.number("SELECT count(*) FROM inbox WHERE lane = 1").await
    }
}

/// Rows as the product writes the outcome of a message whose run has ended; ids by time, as its own.
const MASS_WORK: &str = "\
INSERT INTO inbox (tenant_id, id, contact_id, shard, source, lane, kind, ref, body, created_at) \
SELECT c.tenant_id, \
  (lpad(to_hex(t.ms + turn), 12, '0') || '7' || left(r.text, 3) || '8' || right(r.text, 15))::uuid, \
  c.id, c.shard, decode(r.text, 'hex'), 1, 'outcome', \
  json_build_object('message', gen_random_uuid(), 'run', gen_random_uuid(), 'step', 'mail', \
    'outcome', 'sent', 'reason', null)::text, NULL, t.ms \
FROM generate_series(1, $2) turn CROSS JOIN contact c \
JOIN brand b ON b.tenant_id = c.tenant_id AND b.name = $1 \
CROSS JOIN (SELECT (extract(epoch FROM now()) * 1000)::bigint AS ms) t \
CROSS JOIN LATERAL (SELECT md5(c.id::text || turn::text) AS text) r \
WHERE c.merged_into IS NULL";
