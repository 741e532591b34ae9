//! Putting a file's rows into a store: one brand beside others, or a whole install into an empty
//! one.
//!
//! What always holds: all rows come in by one transaction, which is committed only after the
//! file's end was checked; partitions are made before it, and empty ones do no harm.

use std::collections::BTreeMap;

use parcours_domain::{ContactId, OrganisationId, TenantId, Timestamp, shard_of};
use sea_orm::{ConnectionTrait as _, Value};
use serde_json::Value as Json;
use uuid::Uuid;

use super::{
    KeepError, KeptFile, KeptKind, Progress, RESTORED, SOURCE_NOT_HALTED,
    form::{self, Span},
    read::Line,
    tables::{Kind, Of, Table},
};
use crate::{
    Store,
    db::{Insert, Tx},
    error::StoreError,
    keys,
    migration::partition,
    open::WORKER_LOCK,
    shard,
    side::sql::{Sql, ms, vals},
    store::machine_now,
    wall::Role,
};

/// What came into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Whether a loaded brand's sending is halted.
    pub halted: bool,
}

/// What a load needs to know besides the row.
struct Target<'a> {
    store: &'a Store,
    kind: KeptKind,
    /// The one brand of a dump.
    brand: Option<TenantId>,
    moved: bool,
    /// The organisation of the file, and the one of the same name that is here already.
    organisation: Option<(Uuid, OrganisationId)>,
    halted: bool,
}

impl Store {
    /// Loads a dumped brand. A brand whose source was not halted for the dump arrives halted.
    ///
    /// # Errors
    /// The brand is here already, or something is wrong with the file; then nothing was changed.
    pub async fn load_brand(
        &self,
        file: &mut KeptFile,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Arrived, KeepError> {
        let (KeptKind::Brand, [brand]) = (file.kind(), file.brands()) else {
            return Err(KeepError::WrongKind(
                "this is a backup of a whole install; `parcours restore` reads it",
            ));
        };
        let brand = brand.clone();
        self.partitions_for(file).await?;
        let tx = self.loading().await?;
        let there = Sql::new(
            "SELECT 1 AS n FROM brand b JOIN organisation o ON o.id = b.organisation_id \
             WHERE b.tenant_id = $1 OR (o.name = $2 AND b.name = $3)",
            vals![brand.id.0, brand.organisation.clone(), brand.name.clone()],
        );
        if there.one(&tx).await?.is_some() {
            tx.rollback().await;
            return Err(KeepError::BrandExists(format!("{}/{}", brand.organisation, brand.name)));
        }
        let mut target = Target {
            store: self,
            kind: KeptKind::Brand,
            brand: Some(brand.id),
            moved: file.moved(),
            organisation: None,
            halted: false,
        };
        let rows = rows(&mut target, &tx, file, progress).await?;
        tx.commit().await?;
        Ok(Arrived { rows, halted: target.halted })
    }

    /// Puts a backup into this store, which must be empty. All sending is held from the first
    /// moment on, and nothing may serve it until [`crate::AdminDoor::caught_up`].
    ///
    /// # Errors
    /// The store is not empty, or something is wrong with the file; then nothing was changed.
    pub async fn restore(
        &self,
        file: &mut KeptFile,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Arrived, KeepError> {
        if file.kind() != KeptKind::Install {
            return Err(KeepError::WrongKind(
                "this is a dump of one brand; `parcours tenant load` reads it",
            ));
        }
        self.partitions_for(file).await?;
        let tx = self.loading().await?;
        self.keep_workers_out(&tx).await?;
        let used = "SELECT 1 AS n WHERE EXISTS (SELECT 1 FROM organisation) \
                    OR EXISTS (SELECT 1 FROM brand) OR EXISTS (SELECT 1 FROM api_key)";
        if Sql::new(used, vec![]).one(&tx).await?.is_some() {
            tx.rollback().await;
            return Err(KeepError::NotEmpty);
        }
        let mut target = Target {
            store: self,
            kind: KeptKind::Install,
            brand: None,
            moved: false,
            organisation: None,
            halted: false,
        };
        let rows = rows(&mut target, &tx, file, progress).await?;
        hold(&tx, file).await?;
        tx.commit().await?;
        Ok(Arrived { rows, halted: true })
    }

    /// Until the rows are committed no worker starts on this database, or it would work off the
    /// backup's delays at the wrong time. On SQLite the lock on the file does it.
    async fn keep_workers_out(&self, tx: &Tx) -> Result<(), StoreError> {
        if !tx.is_postgres() {
            return Ok(());
        }
        if self.inner.hold.is_worker() {
            return match shard::rows::live_worker(tx, self.incarnation()).await? {
                Some(by) => Err(StoreError::Held { by }),
                None => Ok(()),
            };
        }
        let lock = Sql::new("SELECT pg_try_advisory_xact_lock($1) AS free", vals![WORKER_LOCK]);
        let row = lock.one(tx).await?;
        if row.map(|row| row.get("free")).transpose()? != Some(true) {
            let by = shard::rows::live_worker(tx, self.incarnation()).await?;
            let by = by.unwrap_or_else(|| "a worker that is starting".to_owned());
            return Err(StoreError::Held { by });
        }
        // One may live that has lost its session; what it believes to own is not what comes here.
        shard::rows::bury_all(tx).await?;
        shard::rows::free_all(tx).await
    }

    /// A transaction that may wait for the file.
    async fn loading(&self) -> Result<Tx, KeepError> {
        let tx = self.db().begin(Role::Restore).await?;
        if tx.is_postgres() {
            let patient = "SET LOCAL idle_in_transaction_session_timeout = 0";
            tx.execute_unprepared(patient).await.map_err(crate::StoreError::from)?;
        }
        Ok(tx)
    }

    async fn partitions_for(&self, file: &KeptFile) -> Result<(), KeepError> {
        for (table, span) in &file.header.spans {
            match *span {
                Span::Ids(first, last) => {
                    let span = (Timestamp::from_millis(first), Timestamp::from_millis(last));
                    partition::ensure_months(self.db(), table, span).await?;
                }
                Span::Days(first, last) => {
                    partition::ensure_days(self.db(), table, (first, last)).await?;
                }
            }
        }
        Ok(())
    }
}

/// Takes over the install's clock and halt, and holds all sending.
async fn hold(tx: &Tx, file: &KeptFile) -> Result<(), KeepError> {
    let kept = &file.header.install;
    Sql::new(
        "UPDATE install SET product_now = $1, product_speed = $2, clock_set_at = $3, \
         halted_at = $4, halt_reason = $5, restored_from = $6, caught_up_at = NULL WHERE id = 1",
        vals![
            kept.product_now,
            kept.product_speed,
            kept.clock_set_at,
            kept.halted_at.unwrap_or(machine_now().as_millis()),
            kept.halt_reason
                .clone()
                .filter(|_| kept.halted_at.is_some())
                .unwrap_or(RESTORED.into()),
            ms(file.header.product_at)
        ],
    )
    .run(tx)
    .await?;
    Ok(())
}

/// Inserts every row of the file; the counts, once the end was checked.
async fn rows(
    target: &mut Target<'_>,
    tx: &Tx,
    file: &mut KeptFile,
    progress: &mut dyn FnMut(Progress),
) -> Result<BTreeMap<String, u64>, KeepError> {
    let mut open: Option<(&'static Table, Vec<Vec<Value>>)> = None;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut done = 0;
    loop {
        match file.next()? {
            Line::Row(row) => {
                let Some((table, batch)) = &mut open else {
                    return Err(file.damaged("a row without a table"));
                };
                if let Some(row) = target.row(tx, table, row, file).await? {
                    batch.push(row);
                }
                *counts.entry(table.name.to_owned()).or_default() += 1;
                done += 1;
                if batch.len() >= table.page() {
                    insert(tx, table, std::mem::take(batch)).await?;
                    progress(Progress { table: table.name, rows: done });
                }
            }
            Line::Table(table) => {
                if let Some((last, batch)) = open.take() {
                    insert(tx, last, batch).await?;
                }
                progress(Progress { table: table.name, rows: done });
                counts.insert(table.name.to_owned(), 0);
                open = Some((table, Vec::new()));
            }
            Line::End(said) => {
                if let Some((last, batch)) = open.take() {
                    insert(tx, last, batch).await?;
                }
                return if said == counts { Ok(counts) } else { Err(KeepError::Changed) };
            }
        }
    }
}

async fn insert(tx: &Tx, table: &Table, rows: Vec<Vec<Value>>) -> Result<(), KeepError> {
    Insert::new(table.name, &table.names()).run(tx, rows).await?;
    Ok(())
}

impl Target<'_> {
    /// A row as it comes into this store; none when what it says is here already.
    async fn row(
        &mut self,
        tx: &Tx,
        table: &'static Table,
        row: Vec<Json>,
        file: &KeptFile,
    ) -> Result<Option<Vec<Value>>, KeepError> {
        if row.len() != table.columns.len() {
            return Err(file.damaged("the row has another number of values than columns"));
        }
        let mut values = Vec::with_capacity(row.len());
        for (column, value) in table.columns.iter().zip(row) {
            let value = form::read(value, column.kind);
            values.push(value.ok_or_else(|| file.damaged("a value is not what its column holds"))?);
        }
        let mut row = Incoming { table, values };
        self.check_brand(&row, file)?;
        if table.columns.iter().any(|column| column.kind == Kind::Shard) {
            let contact = row.id(table.contact()).ok_or_else(|| file.damaged("no contact"))?;
            let shard = shard_of(ContactId(contact), self.store.shards());
            row.set("shard", i64::from(shard).into());
        }
        match table.name {
            "organisation" => return self.organisation(tx, row).await,
            "brand" => self.brand(&mut row),
            "tenant_key" => self.rewrap(&mut row, file)?,
            // The process that claimed it is not here: what it had not sent goes back to the
            // queue, and policy ends what it may have sent.
            "send_queue" if self.kind == KeptKind::Brand => row.set_unless_null("lease_until", 0),
            _ => {}
        }
        Ok(Some(row.values))
    }

    /// A dump of one brand writes into no other.
    fn check_brand(&self, row: &Incoming, file: &KeptFile) -> Result<(), KeepError> {
        if let (Some(brand), Of::Brand(column)) = (self.brand, row.table.of)
            && row.id(column) != Some(brand.0)
        {
            return Err(file.damaged("the row is of another brand"));
        }
        Ok(())
    }

    async fn organisation(
        &mut self,
        tx: &Tx,
        row: Incoming,
    ) -> Result<Option<Vec<Value>>, KeepError> {
        let (Some(id), KeptKind::Brand) = (row.id("id"), self.kind) else {
            return Ok(Some(row.values));
        };
        let name = row.get("name").cloned().unwrap_or_else(|| None::<String>.into());
        let same = Sql::new("SELECT id FROM organisation WHERE name = $1", vec![name]);
        match same.one(tx).await? {
            Some(here) => {
                self.organisation = Some((id, here.id("id")?));
                Ok(None)
            }
            None => Ok(Some(row.values)),
        }
    }

    fn brand(&mut self, row: &mut Incoming) {
        if let Some((theirs, ours)) = self.organisation
            && row.id("organisation_id") == Some(theirs)
        {
            row.set("organisation_id", ours.0.into());
        }
        let halted = matches!(row.get("halted_at"), Some(Value::BigInt(Some(_))));
        self.halted = halted || (self.kind == KeptKind::Brand && !self.moved);
        if self.halted && !halted {
            row.set("halted_at", machine_now().as_millis().into());
            row.set("halt_reason", SOURCE_NOT_HALTED.into());
        }
    }

    /// From the passphrase to this store's root key.
    fn rewrap(&self, row: &mut Incoming, file: &KeptFile) -> Result<(), KeepError> {
        let damaged = || file.damaged("it is no key");
        let tenant = TenantId(row.id("tenant_id").ok_or_else(damaged)?);
        let (Some(Value::String(Some(purpose))), Some(Value::BigInt(Some(version)))) =
            (row.get("purpose"), row.get("version"))
        else {
            return Err(damaged());
        };
        let Some(Value::Bytes(Some(wrapped))) = row.get("wrapped") else { return Err(damaged()) };
        let over = (&file.sealing.wrapping, &self.store.inner.root.wrapping());
        let wrapped = keys::rewrap(over, (tenant, purpose, *version), wrapped);
        let wrapped = wrapped.map_err(|_| damaged())?;
        row.set("wrapped", wrapped.into());
        Ok(())
    }
}

/// A row on its way in.
struct Incoming {
    table: &'static Table,
    values: Vec<Value>,
}

impl Incoming {
    fn get(&self, column: &str) -> Option<&Value> {
        self.values.get(self.table.position(column)?)
    }

    fn id(&self, column: &str) -> Option<Uuid> {
        match self.get(column) {
            Some(Value::Uuid(id)) => *id,
            _ => None,
        }
    }

    fn set(&mut self, column: &str, value: Value) {
        if let Some(place) = self.table.position(column).and_then(|at| self.values.get_mut(at)) {
            *place = value;
        }
    }

    fn set_unless_null(&mut self, column: &str, value: i64) {
        if matches!(self.get(column), Some(Value::BigInt(Some(_)))) {
            self.set(column, value.into());
        }
    }
}
