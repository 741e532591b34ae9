//! The run's own PostgreSQL database, for what no counter of a process can say: processes that are
//! restarted begin to count anew.

use anyhow::Context as _;
use tokio_postgres::{Client, NoTls};

use crate::args::Args;

/// What a table takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Bytes of its rows.
    pub table: u64,
    /// Bytes of its indexes.
    pub indexes: u64,
    /// Rows that are dead and still there.
    pub dead: u64,
    /// Rows that were deleted so far.
    pub gone: u64,
}

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

    /// Bytes of the write-ahead log since the server's beginning.
    pub async fn log_bytes(&self) -> anyhow::Result<u64> {
        self.number("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").await
    }

    /// Deadlocks in this database.
    pub async fn deadlocks(&self) -> anyhow::Result<u64> {
        self.number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            .await
    }

    /// Writes keys of events that came today, so many in all, as many for each brand, and the
    /// statistics of them.
    pub async fn event_keys(&self, keys: usize) -> anyhow::Result<()> {
        let keys = i64::try_from(keys)?;
        self.0.execute(EVENT_KEYS, &[&keys]).await.context("event keys cannot be written")?;
        self.0.batch_execute("ANALYZE").await.context("the database cannot be analysed")
    }

    /// Holds a snapshot open until [`Self::close_snapshot`], as a forgotten session does.
    pub async fn open_snapshot(&self) -> anyhow::Result<()> {
        let open = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM shard";
        self.0.batch_execute(open).await.context("no snapshot")
    }

    /// Ends it.
    pub async fn close_snapshot(&self) -> anyhow::Result<()> {
        self.0.batch_execute("COMMIT").await.context("the snapshot was lost")
    }

    /// Bytes of a table and of its indexes, rows that are dead, and rows that ever left it.
    pub async fn size(&self, table: &str) -> anyhow::Result<Size> {
        let row = self.0.query_one(SIZE, &[&table]).await.context("a table's size")?;
        let number = |place| Ok::<_, anyhow::Error>(u64::try_from(row.try_get::<_, i64>(place)?)?);
        Ok(Size { table: number(0)?, indexes: number(1)?, dead: number(2)?, gone: number(3)? })
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

    /// Rows that have left the inbox so far, by the database's own statistics, which are a second old:
    /// to count what is left would keep both cores busy.
    pub async fn left_inbox(&self) -> anyhow::Result<u64> {
        self.number("SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 'inbox'").await
    }

    /// The rows of mass work that are left, counted.
    pub async fn mass_work_left(&self) -> anyhow::Result<u64> {
        self.number("SELECT count(*) FROM inbox WHERE lane = 1").await
    }
}

const EVENT_KEYS: &str = "\
INSERT INTO event_key (tenant_id, key, day, contact_id, seq, body_hash, event_id, received_at) \
SELECT b.tenant_id, decode(md5(b.tenant_id::text || i), 'hex'), \
  floor(extract(epoch FROM now()) / 86400)::bigint, b.tenant_id, 1, decode(md5(i::text), 'hex'), \
  gen_random_uuid(), (extract(epoch FROM now()) * 1000)::bigint \
FROM brand b CROSS JOIN generate_series(1, $1 / (SELECT count(*) FROM brand)) i";

const SIZE: &str = "\
SELECT pg_table_size(s.relid), pg_indexes_size(s.relid), s.n_dead_tup, s.n_tup_del \
FROM pg_stat_user_tables s WHERE s.relname = $1";

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
