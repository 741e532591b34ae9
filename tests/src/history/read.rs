//! What the database holds, read by SQL of our own in one transaction: SQLite's file from outside,
//! or PostgreSQL. Every column is read as text, so that one reader serves both.

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, bail};
use sqlx::{Connection as _, Row as _, postgres::PgConnection, sqlite::SqliteConnection};

use super::{
    Held, HeldContact, HeldEvent, HeldFact, HeldInput, HeldMessage, HeldRun, HeldTimer, TraceLine,
};

/// A connection of either kind, for looking in from outside.
pub enum Database {
    /// To the SQLite file of an install.
    Sqlite(SqliteConnection),
    /// To the database of an install.
    Postgres(PgConnection),
}

/// A column and how it becomes text.
enum Column {
    /// UUID: 32 hexadecimal digits.
    Id(&'static str),
    /// Text or number.
    Plain(&'static str),
    /// Bytes: hexadecimal digits.
    Bytes(&'static str),
}

use Column::{Bytes, Id, Plain};

/// A row; absent values are empty.
type Line = Vec<String>;

impl Database {
    /// The SQLite install in this data folder.
    ///
    /// # Errors
    /// There is none.
    pub async fn sqlite(data: &Path) -> anyhow::Result<Self> {
        let url = format!("sqlite://{}?mode=ro", data.join("parcours.sqlite").display());
        Ok(Self::Sqlite(SqliteConnection::connect(&url).await?))
    }

    /// The install in this database.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn postgres(url: &str) -> anyhow::Result<Self> {
        Ok(Self::Postgres(PgConnection::connect(url).await?))
    }

    /// A number that a statement gives.
    ///
    /// # Errors
    /// The statement fails, or gives something else.
    pub async fn number(&mut self, sql: &str) -> anyhow::Result<i64> {
        let lines = self.lines(format!("SELECT CAST(({sql}) AS TEXT)"), 1).await?;
        Ok(lines.first().context("no row")?.first().context("no column")?.parse()?)
    }

    /// Everything that the checker asks about, at product time `asked_at`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn held(&mut self, asked_at: i64) -> anyhow::Result<Held> {
        self.run("BEGIN").await?;
        if matches!(self, Self::Postgres(_)) {
            self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
        }
        let held = self.all(asked_at).await;
        self.run("COMMIT").await?;
        held
    }

    async fn all(&mut self, asked_at: i64) -> anyhow::Result<Held> {
        let brands: HashMap<String, String> = self
            .select("brand", &[Id("tenant_id"), Plain("name")])
            .await?
            .into_iter()
            .map(|line| array(line).map(|[id, name]| (id, name)))
            .collect::<anyhow::Result<_>>()?;
        let brand = |id: &str| brands.get(id).cloned().unwrap_or_else(|| id.to_owned());
        let mut held = Held { asked_at, ..Held::default() };
        let columns = [Id("tenant_id"), Id("contact_id"), Plain("seq"), Plain("message_id")];
        for line in self.select("event", &columns).await? {
            let [tenant, contact, seq, message_id] = array(line)?;
            let (brand, seq) = (brand(&tenant), seq.parse()?);
            held.events.push(HeldEvent { brand, contact, seq, message_id });
        }
        for line in self.select("contact_state", &[Id("contact_id"), Plain("seq")]).await? {
            let [id, seq] = array(line)?;
            held.contacts.push(HeldContact { id, seq: seq.parse()? });
        }
        let columns = [
            Id("tenant_id"),
            Id("id"),
            Id("contact_id"),
            Plain("journey"),
            Plain("run_key"),
            Plain("live"),
            Plain("status"),
            Plain("step"),
        ];
        for line in self.select("run", &columns).await? {
            let [tenant, id, contact, journey, key, live, status, step] = array(line)?;
            let (brand, live) = (brand(&tenant), live == "1");
            held.runs.push(HeldRun { brand, id, contact, journey, key, live, status, step });
        }
        for line in self.select("timer", &[Id("run_id"), Plain("due_at"), Plain("held")]).await? {
            let [run, due_at, on_hold] = array(line)?;
            held.timers.push(HeldTimer { run, due_at: due_at.parse()?, on_hold: on_hold == "1" });
        }
        self.trace(&mut held).await?;
        self.inputs(&mut held).await?;
        self.messages(&mut held).await?;
        for line in self.select("consent_fact", &[Id("contact_id"), Plain("kind")]).await? {
            let [contact, kind] = array(line)?;
            held.facts.push(HeldFact { contact, kind });
        }
        for line in self.select("quarantine", &[Id("tenant_id"), Bytes("payload")]).await? {
            let [tenant, payload] = array(line)?;
            // What is not JSON has no messageId that could be told.
            let payload: serde_json::Value =
                serde_json::from_slice(&bytes(&payload)?).unwrap_or_default();
            let id = payload.get("message_id").or_else(|| payload.get("messageId"));
            if let Some(id) = id.and_then(serde_json::Value::as_str) {
                held.set_aside.push((brand(&tenant), id.to_owned()));
            }
        }
        Ok(held)
    }

    async fn trace(&mut self, held: &mut Held) -> anyhow::Result<()> {
        for line in self.select("trace", &[Plain("at"), Plain("body")]).await? {
            let [at, body] = array(line)?;
            let at: i64 = at.parse()?;
            let lines: Vec<serde_json::Value> = serde_json::from_str(&body)?;
            let text = |line: &serde_json::Value, member: &str| {
                line.get(member).and_then(|v| v.as_str()).unwrap_or_default().to_owned()
            };
            held.trace.extend(lines.iter().map(|line| TraceLine {
                at,
                cause: text(line, "cause"),
                run: text(line, "run").replace('-', ""),
                step: text(line, "step"),
                what: text(line, "what"),
                detail: text(line, "detail"),
            }));
        }
        Ok(())
    }

    async fn inputs(&mut self, held: &mut Held) -> anyhow::Result<()> {
        for line in self.select("inbox", &[Id("id"), Plain("kind"), Plain("created_at")]).await? {
            let [id, kind, since] = array(line)?;
            held.inbox.push(HeldInput { about: format!("{kind} {id}"), since: since.parse()? });
        }
        for line in self.select("send_queue", &[Id("message_id"), Plain("not_before")]).await? {
            let [about, since] = array(line)?;
            held.queue.push(HeldInput { about, since: since.parse()? });
        }
        Ok(())
    }

    async fn messages(&mut self, held: &mut Held) -> anyhow::Result<()> {
        let columns = [
            Id("id"),
            Id("contact_id"),
            Id("run_id"),
            Plain("step"),
            Plain("occurrence"),
            Plain("class"),
            Plain("status"),
            Plain("attempts"),
        ];
        for line in self.select("message", &columns).await? {
            let [id, contact, run, step, occurrence, class, status, attempts] = array(line)?;
            let marketing = class == "marketing";
            let attempts: usize = attempts.parse()?;
            // What nobody asked for by a run has no step and no occurrence.
            let run = (!run.is_empty()).then_some(run);
            let occurrence = occurrence.parse().unwrap_or(0);
            let sent_again = if marketing { 0 } else { attempts.saturating_sub(1) };
            held.messages.push(HeldMessage {
                id,
                contact,
                run,
                step,
                occurrence,
                marketing,
                status,
                sent_again,
            });
        }
        Ok(())
    }

    async fn run(&mut self, sql: &'static str) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop)?,
            Self::Postgres(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop)?,
        }
        Ok(())
    }

    async fn select(&mut self, table: &str, columns: &[Column]) -> anyhow::Result<Vec<Line>> {
        let is_sqlite = matches!(self, Self::Sqlite(_));
        let list: Vec<String> = columns
            .iter()
            .map(|column| match (column, is_sqlite) {
                (Id(name), true) => format!("lower(hex({name}))"),
                (Id(name), false) => format!("replace(CAST({name} AS TEXT), '-', '')"),
                (Plain(name), _) => format!("CAST({name} AS TEXT)"),
                (Bytes(name), true) => format!("hex({name})"),
                (Bytes(name), false) => format!("encode({name}, 'hex')"),
            })
            .map(|sql| format!("coalesce({sql}, '')"))
            .collect();
        self.lines(format!("SELECT {} FROM {table}", list.join(", ")), columns.len()).await
    }

    async fn lines(&mut self, sql: String, columns: usize) -> anyhow::Result<Vec<Line>> {
        let sql = sqlx::AssertSqlSafe(sql);
        Ok(match self {
            Self::Sqlite(connection) => {
                let rows = sqlx::query(sql).fetch_all(connection).await?;
                let line = |row: &sqlx::sqlite::SqliteRow| {
                    (0..columns).map(|at| row.try_get(at)).collect::<Result<Line, _>>()
                };
                rows.iter().map(line).collect::<Result<_, _>>()?
            }
            Self::Postgres(connection) => {
                let rows = sqlx::query(sql).fetch_all(connection).await?;
                let line = |row: &sqlx::postgres::PgRow| {
                    (0..columns).map(|at| row.try_get(at)).collect::<Result<Line, _>>()
                };
                rows.iter().map(line).collect::<Result<_, _>>()?
            }
        })
    }
}

/// A row of known width.
fn array<const N: usize>(line: Line) -> anyhow::Result<[String; N]> {
    match line.try_into() {
        Ok(array) => Ok(array),
        Err(line) => bail!("{} columns instead of {N}", line.len()),
    }
}

fn bytes(hex: &str) -> anyhow::Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
